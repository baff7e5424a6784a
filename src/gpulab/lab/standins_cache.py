# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stand-ins for files that a test machine cannot have: built once for each state of their source, kept in the cache."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import typing as t
from dataclasses import asdict, dataclass
from pathlib import Path

if t.TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    InDebian = Callable[[Sequence[str]], bytes]
    Say = Callable[[str], None]

SOURCES = Path(__file__).parent / "standins"
KINDS = {
    "driver": "NVIDIA driver .run",
    "cuda": "CUDA toolkit runfile",
    "miniforge": "Miniforge installer and conda channel",
}


@dataclass(frozen=True, slots=True)
class Standin:
    """A built stand-in: its file below /files/; Miniforge has a lock and two more lines, with {depot} in them."""

    kind: str
    version: str
    file: str
    size: int
    sha256: str
    lock: str = ""
    older_line: str = ""
    extra_line: str = ""

    @property
    def described(self) -> str:
        """Return a line for people."""
        return f"stand-in for the {KINDS[self.kind]} {self.version}: {self.file}"

    def url(self, depot_url: str) -> str:
        """Return where hosts get it."""
        return f"{depot_url}/files/{self.file}"


def build(kind: str, version: str, directory: Path, cache: Path, in_debian: InDebian) -> Standin:
    """Build one stand-in: DIRECTORY/files/NAME, and what it serves besides under DIRECTORY/conda."""
    files = directory / "files"
    files.mkdir()
    texts: dict[str, str] = {}
    if kind == "driver":
        from gpulab.lab.standins.nvidia_driver import build_driver_run  # noqa: PLC0415  # only what is built is loaded

        file = build_driver_run(version, files)
    elif kind == "cuda":
        from gpulab.lab.standins.cuda import build_cuda_run  # noqa: PLC0415  # as above

        file = build_cuda_run(version, files, cache=cache / "cuda-parts")
    else:
        from gpulab.lab.standins.miniforge import build_miniforge  # noqa: PLC0415  # as above

        built = build_miniforge(version, directory, in_root=in_debian, cache=cache / "miniforge-parts")
        file = built.installer.rename(files / built.installer.name)
        texts = {"lock": built.lock, "older_line": built.older_line, "extra_line": built.extra_line}
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return Standin(kind, version, file.name, file.stat().st_size, digest, **texts)


def sources_key(kind: str, version: str) -> str:
    """Return the hash of everything in this package that a stand-in is made from."""
    digest = hashlib.sha256(f"{kind} {version}".encode())
    for path in sorted(SOURCES.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(str(path.relative_to(SOURCES)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def ensure(kind: str, version: str, cache: Path, depot: Path, in_debian: InDebian, say: Say) -> Standin:
    """Have a stand-in in the depot; a killed build leaves only a directory that the next one removes."""
    kept = cache / f"{kind}-{version}-{sources_key(kind, version)}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            say(f"Building the stand-in for the {KINDS[kind]} {version} ...")
            for leftover in cache.glob(f"{kind}-{version}-*.building"):
                shutil.rmtree(leftover)
            work = Path(tempfile.mkdtemp(prefix=f"{kind}-{version}-", suffix=".building", dir=cache))
            standin = build(kind, version, work, cache, in_debian)
            (work / "standin.json").write_text(json.dumps(asdict(standin)))
            for outdated in set(cache.glob(f"{kind}-{version}-*")) - {work}:
                shutil.rmtree(outdated)
            work.rename(kept)
        link_tree(kept, depot)
    return Standin(**json.loads((kept / "standin.json").read_text()))


def link_tree(source: Path, target: Path) -> None:
    """Put the files of a built stand-in below the depot: hard-linked where that works, else copied."""
    for part in ("files", "conda"):
        for path in sorted((source / part).rglob("*")):
            if path.is_file():
                link(path, target / path.relative_to(source))


def link(source: Path, target: Path) -> None:
    """Put one file at a second place, whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists() and (target.samefile(source) or target.stat().st_mtime_ns == source.stat().st_mtime_ns):
        return
    new = target.with_name(f".{target.name}.new")
    new.unlink(missing_ok=True)
    try:
        os.link(source, new)
    except OSError:
        shutil.copy2(source, new)
    new.replace(target)


__all__ = ["KINDS", "Standin", "build", "ensure", "link", "link_tree", "sources_key"]
