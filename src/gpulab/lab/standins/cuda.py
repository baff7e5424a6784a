# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in for NVIDIA's CUDA runfile: the wrapper and the installer imitate theirs, the toolkit inside is real.

The tools come from NVIDIA's own wheels and say their true version (``nvcc --version``); ``standin.json`` in the
installed toolkit states what the file claims to be and what it carries. Two builds give the same bytes.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import typing as t
import zipfile
from pathlib import Path, PurePosixPath

import yaml

from gpulab._paths import repository
from gpulab.lab.standins._wheels import bring_wheels, pinned_versions

_HERE = Path(__file__).parent
LOCK = _HERE / "cuda-wheels.txt"
_BUILT = "20250531"

_TARGET = "targets/x86_64-linux"
# Where a wheel's folders lie in an installed toolkit; what is not named here is left out.
_FOLDERS = {
    "nvidia/cu13/bin/": "bin/",
    "nvidia/cu13/nvvm/": "nvvm/",
    "nvidia/cu13/include/": f"{_TARGET}/include/",
    "nvidia/cu13/lib/": f"{_TARGET}/lib/",
}
_NOT_NEEDED = ("nvidia/cu13/lib/libnvvm.so.4",)  # 63 MB, only for programs that call NVVM themselves
_LINKS = {
    "include": f"{_TARGET}/include",
    "lib64": f"{_TARGET}/lib",
    f"{_TARGET}/lib/libcudart.so": "libcudart.so.13",
}
_EPOCH = 1735689600  # 2025-01-01, the time of every member


def build_cuda_run(version: str, directory: Path, *, cache: Path | None = None) -> Path:
    """Write the stand-in under its original's name to the directory; wheels and the payload are kept in the cache."""
    original = _original(version)
    archive = _payload(cache or directory / ".cuda-wheels") + _release_member(version, original)
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / original["file"]
    partial = path.with_suffix(".part")
    partial.write_bytes(_wrapper(path.name, version, archive) + archive)
    partial.chmod(0o755)
    partial.replace(path)
    return path


def _original(version: str) -> dict[str, str]:
    """Return file name, bundled driver and build of the release that the catalogue knows."""
    releases = yaml.safe_load((repository() / "catalogue" / "cuda.yml").read_text())["releases"]
    if version not in releases:
        message = f"the catalogue has no CUDA {version}; it has: {', '.join(sorted(releases))}"
        raise ValueError(message)
    release: dict[str, str] = releases[version]
    return release


def _wrapper(name: str, version: str, archive: bytes) -> bytes:
    text = (_HERE / "cuda_run" / "wrapper.sh").read_text()
    values = {
        "@TITLE@": f"{name}: stand-in",
        "@LABEL@": f"NVIDIA CUDA {version} (stand-in)",
        "@MD5@": hashlib.md5(archive, usedforsecurity=False).hexdigest(),
        "@SKIP@": str(text.count("\n")),
        "@SIZE@": str(len(archive)),
    }
    for mark, value in values.items():
        text = text.replace(mark, value)
    return text.removesuffix("@END@\n").encode()


def _payload(cache: Path) -> bytes:
    """Return the compressed toolkit, which every version shares; made once for each state of the lock and this file."""
    state = hashlib.sha256(LOCK.read_bytes() + Path(__file__).read_bytes()).hexdigest()[:12]
    kept = cache / f"cuda-toolkit-{state}.tar.gz"
    if not kept.exists():
        brought = bring_wheels(LOCK, cache / "wheels")
        members = {f"toolkit/{path}": data for path, data in _toolkit(list(brought.values())).items()}
        members["EULA.txt"] = _licence(brought["nvidia-cuda-nvcc"])
        links = {f"toolkit/{path}": target for path, target in _LINKS.items()}
        partial = kept.with_suffix(".part")
        partial.write_bytes(_archive(members, links))
        partial.replace(kept)
    return kept.read_bytes()


def _toolkit(brought: list[Path]) -> dict[str, bytes]:
    members: dict[str, bytes] = {}
    for wheel in brought:
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                target = _place(name)
                if target:
                    members[target] = archive.read(name)
    return members


def _place(name: str) -> str | None:
    """Return where a wheel's file goes in the toolkit, None where it stays out."""
    if name.endswith("/") or name in _NOT_NEEDED:
        return None
    for folder, target in _FOLDERS.items():
        if name.startswith(folder):
            return target + name.removeprefix(folder)
    return None


def _licence(wheel: Path) -> bytes:
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(next(name for name in archive.namelist() if name.endswith("License.txt")))


def _release_member(version: str, original: t.Mapping[str, str]) -> bytes:
    """Return a second gzip member with what differs between versions; gzip and tar -i read on over the border."""
    carries = pinned_versions(LOCK)
    # As NVIDIA's runfiles have it: the series, and the day of the build.
    build = original.get("build") or f"{version.rpartition('.')[0]}.{_BUILT}"
    components = {"cuda": {"name": "CUDA SDK", "version": build}}
    for package, number in sorted(carries.items()):
        key = package.removeprefix("nvidia-").replace("-", "_")
        components[key] = {"name": package.removeprefix("nvidia-"), "version": number}
    standin = {"claims": version, "carries": carries["nvidia-cuda-nvcc"], "packages": carries}
    members = {
        "version.json": json.dumps(components, indent=3).encode() + b"\n",
        "standin.json": json.dumps(standin, indent=2, sort_keys=True).encode() + b"\n",
        "release.env": f"CUDA_VERSION={version}\nBUNDLED_DRIVER={original['bundled_driver']}\n".encode(),
        "cuda-installer": (_HERE / "cuda_run" / "cuda-installer.sh").read_bytes(),
    }
    return _archive(members, {})


def _archive(members: dict[str, bytes], links: dict[str, str]) -> bytes:
    """Return a tar.gz whose bytes depend on nothing but the content."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path in sorted(_parents([*members, *links])):
            folder = tarfile.TarInfo(path)
            folder.type, folder.mode, folder.mtime = tarfile.DIRTYPE, 0o755, _EPOCH
            archive.addfile(folder)
        for path, data in sorted(members.items()):
            member = tarfile.TarInfo(path)
            member.size, member.mtime = len(data), _EPOCH
            member.mode = 0o755 if data[:4] == b"\x7fELF" or data[:2] == b"#!" else 0o644
            archive.addfile(member, io.BytesIO(data))
        for path, target in sorted(links.items()):
            link = tarfile.TarInfo(path)
            link.type, link.linkname, link.mode, link.mtime = tarfile.SYMTYPE, target, 0o777, _EPOCH
            archive.addfile(link)
    return gzip.compress(raw.getvalue(), compresslevel=6, mtime=0)


def _parents(paths: list[str]) -> set[str]:
    return {str(parent) for path in paths for parent in PurePosixPath(path).parents if str(parent) != "."}


__all__ = ["LOCK", "build_cuda_run"]
