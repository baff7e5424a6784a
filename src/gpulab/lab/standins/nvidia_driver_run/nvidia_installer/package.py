# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The package directory: the manifest that says what is installed where."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, replace
from pathlib import Path

from .identity import DESCRIPTION

MANIFEST = ".manifest"
Group = t.Literal[
    "source", "utility", "library", "compat32", "glvnd", "firmware", "systemd", "modprobe", "vulkan", "opencl", "doc"
]


@dataclass(frozen=True)
class Entry:
    """One file or link that the package installs."""

    group: Group
    destination: str
    source: str = ""  # of a file: its path in the package
    mode: int = 0o644
    target: str = ""  # of a link: what it points to
    in_place: bool = False  # somebody else has put it there already: it is only recorded

    @property
    def is_link(self) -> bool:
        """Whether this is a symbolic link."""
        return bool(self.target)

    def already_there(self) -> Entry:
        """Return the same entry as one that needs no copying."""
        return replace(self, in_place=True)


@dataclass(frozen=True)
class Package:
    """What the current directory offers for installation."""

    version: str
    modules: tuple[str, ...]
    entries: tuple[Entry, ...]
    description: str = DESCRIPTION

    def with_entries(self, entries: t.Iterable[Entry]) -> Package:
        """Return the same package with another list of files."""
        return replace(self, entries=tuple(entries))

    def without(self, *groups: Group) -> Package:
        """Return the same package less some groups of files."""
        return self.with_entries(entry for entry in self.entries if entry.group not in groups)


def read_package() -> Package | None:
    """Return the package in the current directory; None where there is no manifest."""
    try:
        with Path(MANIFEST).open(encoding="utf-8") as file:
            lines = file.read().splitlines()
    except OSError:
        return None
    description, version, modules, *rows = lines
    return Package(version, tuple(modules.split()), tuple(_entry(row) for row in rows if row), description)


def _entry(row: str) -> Entry:
    group, kind, destination, *rest = row.split("\t")
    known = t.cast(Group, group)
    if kind == "link":
        return Entry(known, destination, target=rest[0])
    return Entry(known, destination, source=rest[1], mode=int(rest[0], 8))


def module_sources(package: Package, build_directory: str) -> list[Entry]:
    """Return the kernel module sources of the chosen flavour, on their way to /usr/src."""
    return [
        Entry(
            "source",
            f"/usr/src/nvidia-{package.version}/{entry.source}",
            f"{build_directory}/{entry.source}",
            entry.mode,
        )
        for entry in package.entries
        if entry.group == "source" and Path(f"{build_directory}/{entry.source}").is_file()
    ]
