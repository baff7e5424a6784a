# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Conda packages and channels made by hand, byte for byte the same every time.

A package is a ``.tar.bz2`` with its payload and ``info/`` (index.json, paths.json, files, link.json); a channel is a
folder per platform with a ``repodata.json`` (conda's package and repodata specifications).
"""

from __future__ import annotations

import bz2
import hashlib
import io
import json
import tarfile
import typing as t
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

EPOCH = 1735689600  # 2025-01-01, the time of every member
# What stands in text files for the place of the environment, and is replaced when a package is linked.
PLACEHOLDER = "/opt/gpulab_standin_placeholder" + "_placehold" * 8


@dataclass(frozen=True)
class Payload:
    """A file of a package: its bytes, or where the symbolic link points."""

    data: bytes = b""
    link: str = ""
    executable: bool = False

    @property
    def has_placeholder(self) -> bool:
        """Whether the place of the environment is written into the file."""
        return PLACEHOLDER.encode() in self.data


@dataclass(frozen=True)
class CondaPackage:
    """A package before it is packed; ``noarch`` is ``python``, ``generic`` or empty for linux-64."""

    name: str
    version: str
    build: str
    files: Mapping[str, Payload]
    depends: tuple[str, ...] = ()
    noarch: str = ""
    entry_points: tuple[str, ...] = ()
    summary: str = ""
    license: str = ""

    @property
    def subdir(self) -> str:
        """The channel's folder."""
        return "noarch" if self.noarch else "linux-64"

    @property
    def distribution(self) -> str:
        """The name that files and caches use."""
        return f"{self.name}-{self.version}-{self.build}"

    def renamed_build(self, build: str) -> CondaPackage:
        """Return the same package under another build string."""
        return CondaPackage(**{**self.__dict__, "build": build})


@dataclass(frozen=True)
class PackedPackage:
    """A package as it lies in a channel."""

    package: CondaPackage
    file: str
    data: bytes = field(repr=False)

    @property
    def sha256(self) -> str:
        """Digest of the file."""
        return hashlib.sha256(self.data).hexdigest()

    def repodata(self) -> dict[str, t.Any]:
        """Return the package's entry in repodata.json."""
        md5 = hashlib.md5(self.data).hexdigest()  # noqa: S324 - a field of the format
        return {**_index(self.package), "md5": md5, "sha256": self.sha256, "size": len(self.data)}

    def explicit_line(self, channel: str) -> str:
        """Return the package's line in an explicit lock, for a channel at this address."""
        return f"{channel}/{self.package.subdir}/{self.file}#sha256:{self.sha256}"


def pack(package: CondaPackage) -> PackedPackage:
    """Pack a package; info/ comes first, as conda's own tools write it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path, payload in members(package).items():
            archive.addfile(*member(path, payload))
    return PackedPackage(package, f"{package.distribution}.tar.bz2", bz2.compress(buffer.getvalue()))


def members(package: CondaPackage) -> dict[str, Payload]:
    """Return every file of the package, info/ first, the payload sorted."""
    infos: dict[str, t.Any] = {
        "info/index.json": _index(package),
        "info/paths.json": {"paths": [_path(*item) for item in sorted(package.files.items())], "paths_version": 1},
        "info/about.json": {"summary": f"gpulab stand-in: {package.summary}", "license": package.license},
    }
    if package.noarch == "python":
        noarch = {"type": "python", "entry_points": list(package.entry_points)}
        infos["info/link.json"] = {"noarch": noarch, "package_metadata_version": 1}
    texts = {name: Payload(json.dumps(info, indent=2, sort_keys=True).encode()) for name, info in infos.items()}
    texts["info/files"] = Payload("".join(f"{path}\n" for path in sorted(package.files)).encode())
    return {**texts, **dict(sorted(package.files.items()))}


def member(path: str, payload: Payload) -> tuple[tarfile.TarInfo, io.BytesIO | None]:
    """Return a member for :meth:`tarfile.TarFile.addfile` that does not depend on who packs it or when."""
    info = tarfile.TarInfo(path)
    info.mtime = EPOCH
    info.mode = 0o755 if payload.executable else 0o644
    if payload.link:
        info.type, info.linkname, info.mode = tarfile.SYMTYPE, payload.link, 0o777
        return info, None
    info.size = len(payload.data)
    return info, io.BytesIO(payload.data)


def write_channel(channel: Path, packages: list[PackedPackage]) -> None:
    """Write the packages and the repodata.json of both platforms."""
    for subdir in ("linux-64", "noarch"):
        folder = channel / subdir
        folder.mkdir(parents=True, exist_ok=True)
        here = [packed for packed in packages if packed.package.subdir == subdir]
        for packed in here:
            (folder / packed.file).write_bytes(packed.data)
        repodata = {
            "info": {"subdir": subdir},
            "packages": {packed.file: packed.repodata() for packed in sorted(here, key=lambda p: p.file)},
            "packages.conda": {},
            "removed": [],
            "repodata_version": 1,
        }
        (folder / "repodata.json").write_text(json.dumps(repodata, indent=2, sort_keys=True) + "\n")


def _index(package: CondaPackage) -> dict[str, t.Any]:
    index: dict[str, t.Any] = {
        "name": package.name,
        "version": package.version,
        "build": package.build,
        "build_number": 0,
        "depends": list(package.depends),
        "license": package.license,
        "subdir": package.subdir,
    }
    if package.noarch:
        return {**index, "noarch": package.noarch, "arch": None, "platform": None}
    return {**index, "arch": "x86_64", "platform": "linux"}


def _path(path: str, payload: Payload) -> dict[str, t.Any]:
    entry: dict[str, t.Any] = {
        "_path": path,
        "path_type": "softlink" if payload.link else "hardlink",
        "sha256": hashlib.sha256(payload.data).hexdigest(),
        "size_in_bytes": len(payload.data),
    }
    if payload.has_placeholder:
        entry |= {"file_mode": "text", "prefix_placeholder": PLACEHOLDER}
    return entry


__all__ = [
    "EPOCH",
    "PLACEHOLDER",
    "CondaPackage",
    "PackedPackage",
    "Payload",
    "member",
    "members",
    "pack",
    "write_channel",
]
