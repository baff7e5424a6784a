# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Locks: what a pip requirements file with hashes or a conda @EXPLICIT file pins."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from ansible_collections.gpulab.workstation.plugins.module_utils._fields import Problems

_PIP_PIN = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[^\s;\\]+)(?: *;[^\\]*?)?(?: --hash=sha256:[0-9a-f]{64})+"
)
_CONDA_PIN = re.compile(r"(?:https?|file)://\S+/(?P<file>[^/#\s]+)\.(?:conda|tar\.bz2)#(?:sha256:)?[0-9a-f]{64}")


@dataclass(frozen=True)
class Lock:
    """A lock file: its text as installers read it, and the version that it pins for each package."""

    path: str
    text: str
    pins: t.Mapping[str, str]

    @classmethod
    def parse(cls, path: str, text: str, problems: Problems) -> Lock:
        """Read a lock; a line that is not pinned by sha256 becomes a problem."""
        lines = [line.strip() for line in text.replace("\\\n", " ").splitlines()]
        content = [line for line in lines if line and not line.startswith("#")]
        explicit = bool(content) and content[0] == "@EXPLICIT"
        pins: dict[str, str] = {}
        for line in content[1:] if explicit else content:
            pin = _conda_pin(line) if explicit else _pip_pin(line)
            if pin is None:
                problems.add(f"lock {path}", f"the line {line[:60]!r} does not pin a package by sha256")
            elif pin[0] in pins:
                problems.add(f"lock {path}", f"{pin[0]} is pinned twice")
            else:
                pins[pin[0]] = pin[1]
        if not pins:
            problems.add(f"lock {path}", "it pins nothing")
        return cls(path, text, pins)

    @property
    def name(self) -> str:
        """Return the file's name without directory and suffix."""
        return self.path.rpartition("/")[2].removesuffix(".txt")


def _pip_pin(line: str) -> tuple[str, str] | None:
    match = _PIP_PIN.fullmatch(" ".join(line.split()))
    return (match["name"].lower().replace("_", "-"), match["version"]) if match else None


def _conda_pin(line: str) -> tuple[str, str] | None:
    match = _CONDA_PIN.fullmatch(line)
    parts = match["file"].rsplit("-", 2) if match else []
    return (parts[0], parts[1]) if len(parts) == 3 else None  # noqa: PLR2004  # name, version, build


__all__ = ["Lock"]
