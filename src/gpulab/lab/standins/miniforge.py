# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in for Miniforge and conda-forge: an installer that makes real conda environments, and a channel.

The installer has the options, exit codes and layout of Miniforge's (constructor); its conda is a small program that
links packages with py-rattler and has no solver. The channel holds a Python 3.11 made from Debian 12's binaries and
CPython's own library, and a few small packages. Two builds from the same Debian packages give the same bytes.
"""

from __future__ import annotations

import configparser
import gzip
import io
import json
import tarfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gpulab.lab.standins._conda_packages import (
    PLACEHOLDER,
    CondaPackage,
    PackedPackage,
    Payload,
    member,
    members,
    pack,
    write_channel,
)
from gpulab.lab.standins._debian_python import DebianParts, InRoot, debian_parts, python_files
from gpulab.lab.standins._wheels import bring_wheels

CHANNEL = "conda/standin-forge"  # below the depot
PYTHON = "3.11"
_HERE = Path(__file__).parent
_RUN = _HERE / "miniforge_run"
LOCK = _HERE / "miniforge-wheels.txt"
DRIFT_LOCK = _HERE / "miniforge-drift-wheels.txt"
# Where the base packages say they come from; nothing answers there, and nothing ever asks.
_BASE_CHANNEL = "https://gpulab.standin.invalid/base"
_SITE = "site-packages"


@dataclass(frozen=True)
class MiniforgeStandin:
    """What was built; ``lock`` and the drift lines name the depot as ``{depot}``."""

    version: str
    installer: Path
    channel: Path
    lock: str
    older_line: str
    extra_line: str


def build_miniforge(version: str, directory: Path, *, in_root: InRoot, cache: Path | None = None) -> MiniforgeStandin:
    """Write ``Miniforge3-<version>-Linux-x86_64.sh`` and the channel below the directory (the depot).

    ``in_root`` runs a command in a Debian 12 tree and returns its output; what it brought, and the wheels, are kept
    in the cache.
    """
    cache = cache or directory / ".miniforge-cache"
    parts = debian_parts(in_root, cache)
    wheels = bring_wheels(LOCK, cache / "wheels")
    environment = _environment_packages(parts, wheels)
    packed = [pack(package) for package in environment]
    older = pack(_wheel_package(bring_wheels(DRIFT_LOCK, cache / "drift-wheels")["wheel"], ("wheel = wheel.cli:main",)))
    extra = pack(_extra_package())
    directory.mkdir(parents=True, exist_ok=True)
    write_channel(directory / CHANNEL, [*packed, older, extra])
    installer = directory / f"Miniforge3-{version}-Linux-x86_64.sh"
    base = [pack(package.renamed_build(f"{package.build}_base")) for package in environment]
    _write_installer(installer, version, [*base, pack(_conda_package(version, wheels["py-rattler"]))])
    address = "{depot}/" + CHANNEL
    return MiniforgeStandin(
        version=version,
        installer=installer,
        channel=directory / CHANNEL,
        lock=_explicit(packed, address),
        older_line=older.explicit_line(address),
        extra_line=extra.explicit_line(address),
    )


def _explicit(packed: list[PackedPackage], address: str) -> str:
    head = "# Explicit lock of the gpulab stand-in channel (platform: linux-64).\n@EXPLICIT\n"
    return head + "".join(f"{package.explicit_line(address)}\n" for package in packed)


def _environment_packages(parts: DebianParts, wheels: Mapping[str, Path]) -> list[CondaPackage]:
    python = CondaPackage(
        "python", parts.versions["python3.11-minimal"].split("-", 1)[0], "standin_0_cpython", python_files(parts),
        depends=("ca-certificates", "python_abi 3.11.* *_cp311", "tzdata"),
        summary="CPython 3.11 from Debian 12's binaries and CPython's library", license="Python-2.0",
    )  # fmt: skip
    return [
        _certificates(parts),
        CondaPackage("python_abi", PYTHON, "standin_cp311", {}, summary="marks the ABI", license="BSD-3-Clause"),
        _time_zones(parts),
        python,
        _wheel_package(wheels["setuptools"], ()),
        _wheel_package(wheels["wheel"], ("wheel = wheel.cli:main",)),
        _wheel_package(wheels["pip"], ("pip = pip._internal.cli.main:main", "pip3 = pip._internal.cli.main:main")),
    ]


def _certificates(parts: DebianParts) -> CondaPackage:
    found = parts.below("usr/share/ca-certificates/mozilla/")
    bundle = b"".join(payload.data for _name, payload in sorted(found.items()))
    day = parts.versions["ca-certificates"][:8]
    files = {"ssl/cacert.pem": Payload(bundle), "ssl/cert.pem": Payload(link="cacert.pem")}
    version = f"{day[:4]}.{day[4:6]}.{day[6:]}"
    return CondaPackage(
        "ca-certificates", version, "standin_0", files, noarch="generic",
        summary="Mozilla's certificates as Debian 12 has them", license="MPL-2.0",
    )  # fmt: skip


def _time_zones(parts: DebianParts) -> CondaPackage:
    files = {f"share/zoneinfo/{path}": payload for path, payload in parts.below("usr/share/zoneinfo/").items()}
    version = parts.versions["tzdata"].split("-", 1)[0]
    inside = {path: payload for path, payload in files.items() if not payload.link.startswith("/")}
    return CondaPackage(
        "tzdata", version, "standin_0", inside, noarch="generic",
        summary="time zones as Debian 12 has them", license="LicenseRef-Public-Domain",
    )  # fmt: skip


def _wheel_package(wheel: Path, entry_points: tuple[str, ...]) -> CondaPackage:
    """Turn a pure wheel into a noarch python package, as conda-forge's recipes for pip and its friends do."""
    name, version = wheel.name.split("-")[:2]
    with zipfile.ZipFile(wheel) as archive:
        names = [info.filename for info in archive.infolist() if not info.is_dir()]
        files = {f"{_SITE}/{path}": Payload(archive.read(path)) for path in names}
        found = f"{name}-{version}.dist-info/entry_points.txt"
        points = _console_scripts(archive.read(found).decode()) if found in names else ()
    files[f"{_SITE}/{name}-{version}.dist-info/INSTALLER"] = Payload(b"conda\n")
    return CondaPackage(
        name, version, "standin_0", files, depends=("python >=3.10",), noarch="python",
        entry_points=entry_points or points, summary=f"the wheel of {name}", license="MIT",
    )  # fmt: skip


def _console_scripts(text: str) -> tuple[str, ...]:
    parser = configparser.ConfigParser(delimiters=("=",))
    parser.read_string(text)
    if not parser.has_section("console_scripts"):
        return ()
    return tuple(f"{name} = {target}" for name, target in parser.items("console_scripts"))


def _extra_package() -> CondaPackage:
    text = b"Nothing needs this: the drift tests of gpulab install it and see it go.\n"
    files = {"share/gpulab-standin-extra/README": Payload(text)}
    return CondaPackage("gpulab-standin-extra", "1.0", "standin_0", files, noarch="generic", license="GPL-3.0-or-later")


def _conda_package(version: str, rattler: Path) -> CondaPackage:
    """Return the stand-in's conda; Miniforge's version is conda's plus a build number (26.3.2-3 carries 26.3.2)."""
    conda = version.split("-", 1)[0]
    files = {}
    for source in sorted((_RUN / "gpulab_standin_conda").glob("*.py")):
        text = source.read_text().replace("@CONDA_VERSION@", conda)
        files[f"lib/gpulab-standin/gpulab_standin_conda/{source.name}"] = Payload(text.encode())
    with zipfile.ZipFile(rattler) as archive:
        for info in archive.infolist():
            if not info.is_dir() and ".dist-info/sboms/" not in info.filename:
                files[f"lib/gpulab-standin/{info.filename}"] = Payload(archive.read(info))
    places = {"conda": ("bin/conda", "condabin/conda"), "activate": ("bin/activate",)}
    places["conda.sh"] = ("etc/profile.d/conda.sh",)
    for name, paths in places.items():
        text = (_RUN / name).read_text().replace("@PREFIX@", PLACEHOLDER)
        files |= {path: Payload(text.encode(), executable=name != "conda.sh") for path in paths}
    return CondaPackage(
        "conda", conda, "standin_0", files, depends=("python 3.11.*",),
        summary="a conda driven by py-rattler, without a solver", license="GPL-3.0-or-later",
    )  # fmt: skip


def _write_installer(path: Path, version: str, packages: list[PackedPackage]) -> None:
    payload = _payload(packages)
    names = {packed.package.name: packed.package.distribution for packed in packages}
    fields = {"VERSION": version, "PYTHON_DIST": names["python"], "CONDA_DIST": names["conda"]}
    fields["PAYLOAD_SIZE"] = str(len(payload))
    text = (_RUN / "installer.sh").read_text()
    for field, value in fields.items():
        text = text.replace(f"@{field}@", value)
    width = len("@PAYLOAD_START@")
    start = len(text.encode()) + 1  # the number is padded to the width of its field
    text = text.replace("@PAYLOAD_START@", f"{start}".ljust(width))
    partial = path.with_suffix(".part")
    partial.write_bytes(text.encode() + payload)
    partial.chmod(0o755)
    partial.replace(path)


def _payload(packages: list[PackedPackage]) -> bytes:
    """Return pkgs/ with every base package unpacked, as Miniforge's installer leaves it, and the list to link."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for packed in packages:
            folder = f"pkgs/{packed.package.distribution}"
            record = {**packed.repodata(), "fn": packed.file, "channel": _BASE_CHANNEL}
            record["url"] = f"{_BASE_CHANNEL}/{packed.package.subdir}/{packed.file}"
            kept = Payload(json.dumps(record, indent=2, sort_keys=True).encode())
            for name, payload in {**members(packed.package), "info/repodata_record.json": kept}.items():
                archive.addfile(*member(f"{folder}/{name}", payload))
        archive.addfile(*member("pkgs/base.txt", Payload(_explicit(packages, _BASE_CHANNEL).encode())))
    return gzip.compress(buffer.getvalue(), compresslevel=6, mtime=0)


__all__ = ["CHANNEL", "PYTHON", "MiniforgeStandin", "build_miniforge"]
