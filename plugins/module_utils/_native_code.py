# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Proof without a GPU: which architectures the installed libraries carry machine code for, read from the libraries.

Reading 1.2 GB of torch takes a while, so what was read is noted with each file's size, time and line of RECORD, and
is read again as soon as one of them differs.
"""

from __future__ import annotations

import fnmatch
import json
import typing as t
from dataclasses import dataclass, replace

from ansible_collections.gpulab.workstation.plugins.module_utils._fatbin import read_device_code, summarise
from ansible_collections.gpulab.workstation.plugins.module_utils._host import Host
from ansible_collections.gpulab.workstation.plugins.module_utils._wheel_env import RECORDS, Distribution

# Where the torch family keeps its kernels (seen in the wheels of torch 2.9.1, torchvision 0.24.1, torchaudio 2.9.1).
# libtorch_nvshmem.so is left out: it holds NVSHMEM's own PTX and serves clusters only.
KERNELS: t.Mapping[str, tuple[str, ...]] = {
    "torch": ("torch/lib/libtorch_cuda*.so",),
    "torchvision": ("torchvision/_C*.so",),
    "torchaudio": ("torchaudio/lib/*.so",),
}
_ANY_LIBRARY = ("*.so", "*.so.*")
_NOTE = f"{RECORDS}/native-code.json"


@dataclass(frozen=True)
class Library:
    """A shared library of a package; ``codes`` counts its device code by name, None where it was not read yet."""

    package: str
    path: str
    size: int
    mtime: float
    record: str
    codes: t.Mapping[str, int] | None = None


@dataclass(frozen=True)
class Verdict:
    """What is known about a package's machine code: pass, fail or not_proven, and why."""

    outcome: str
    why: str
    libraries: t.Mapping[str, t.Mapping[str, int]]

    def to_json(self) -> dict[str, t.Any]:
        """Return the form in which modules report it."""
        return {"outcome": self.outcome, "why": self.why, "libraries": {p: dict(c) for p, c in self.libraries.items()}}


def sm_name(arch: str) -> str:
    """Return nvcc's name for the machine code of a compute capability: 12.0 is sm_120."""
    return "sm_" + arch.replace(".", "")


def native_names(arch: str) -> tuple[str, ...]:
    """Return the machine code that a GPU runs as it is: of its major version, up to its minor one.

    CUDA C++ Programming Guide, binary compatibility: 8.9 runs sm_86, and 12.0 nothing but sm_120.
    """
    major, minor = arch.split(".")
    return tuple(f"sm_{major}{number}" for number in range(int(minor), -1, -1))


def find_libraries(
    host: Host, env: str, site_packages: str, distributions: t.Iterable[Distribution], packages: t.Collection[str]
) -> tuple[Library, ...]:
    """Return the libraries of some packages that can hold kernels, with what was noted about them."""
    noted = _read_note(host, env)
    found = []
    for distribution in distributions:
        if distribution.name not in packages:
            continue
        patterns = KERNELS.get(distribution.name, _ANY_LIBRARY)
        for file in distribution.files:
            status = host.status(f"{site_packages}/{file.path}")
            if status and any(fnmatch.fnmatchcase(file.path, pattern) for pattern in patterns):
                library = Library(distribution.name, file.path, status.size, status.mtime, file.digest)
                found.append(replace(library, codes=_still_true(library, noted.get(file.path))))
    return tuple(found)


def read_libraries(
    host: Host, env: str, site_packages: str, libraries: t.Iterable[Library], progress: t.Callable[[str], None]
) -> tuple[Library, ...]:
    """Read the device code of the libraries that nothing true is noted about, and note it."""
    read = []
    for library in libraries:
        if library.codes is None:
            progress(f"{library.path} ({library.size / 1e6:,.0f} MB)")
            codes = summarise(read_device_code(host, f"{site_packages}/{library.path}"))
            read.append(replace(library, codes=codes))
        else:
            read.append(library)
    note = {x.path: {"size": x.size, "mtime": x.mtime, "record": x.record, "codes": dict(x.codes or {})} for x in read}
    host.write_text(f"{env}/{_NOTE}", json.dumps(note, indent=1, sort_keys=True) + "\n")
    return tuple(read)


def judge(package: str, libraries: t.Iterable[Library], arch: str, *, in_lock: bool) -> Verdict:
    """Say whether a package runs on an architecture without PTX: each of its libraries with kernels must have it."""
    if not in_lock:
        return Verdict("not_proven", f"the lock has no {package}, so nothing was proven about it", {})
    own = [library for library in libraries if library.package == package]
    known = {library.path: library.codes for library in own if library.codes}
    if not own or any(library.codes is None for library in own):
        return Verdict("not_proven", "its libraries were not read yet" if own else "no library of it was found", known)
    lacking = [path for path, codes in known.items() if not any(name in codes for name in native_names(arch))]
    if not known:
        return Verdict("fail", "none of its libraries carries GPU code", known)
    if lacking:
        return Verdict("fail", f"no machine code {sm_name(arch)} in {', '.join(lacking)}", known)
    return Verdict("pass", "", known)


def _still_true(library: Library, noted: t.Mapping[str, t.Any] | None) -> t.Mapping[str, int] | None:
    """Return the noted counts if the file is the one they were read from."""
    if noted is None or not isinstance(noted.get("codes"), dict):
        return None
    same = (noted.get("size"), noted.get("mtime"), noted.get("record")) == (library.size, library.mtime, library.record)
    return noted["codes"] if same else None


def _read_note(host: Host, env: str) -> dict[str, t.Any]:
    try:
        data = json.loads(host.read_text(f"{env}/{_NOTE}") or "{}")
    except ValueError:
        return {}
    return {path: note for path, note in data.items() if isinstance(note, dict)} if isinstance(data, dict) else {}


__all__ = [
    "KERNELS",
    "Library",
    "Verdict",
    "find_libraries",
    "judge",
    "native_names",
    "read_libraries",
    "sm_name",
]
