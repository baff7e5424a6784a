# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requirements files that pin every wheel by version and hash: what pip calls hash-checking mode."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError

_REQUIREMENT = re.compile(
    r"(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)(?:\[[^\]]*\])?\s*===?\s*(?P<version>[A-Za-z0-9.!+_-]+)"
    r"(?P<hashes>(?:\s+--hash=sha256:[0-9a-f]{64})+)"
)
_HASH = re.compile(r"sha256:([0-9a-f]{64})")
_RELEASE = re.compile(r"v?((?:\d+!)?\d+(?:\.\d+)*?)((?:\.0)*)(?!\.?\d)")  # numbers, then the zeros at their end


@dataclass(frozen=True)
class LockedWheel:
    """One line of a lock; ``name`` is in its canonical form, ``hashes`` are those of the files that may be used."""

    name: str
    version: str
    hashes: tuple[str, ...]

    @property
    def title(self) -> str:
        """Return the wheel's name and version for a person."""
        return f"{self.name} {self.version}"


def canonical_name(name: str) -> str:
    """Return the one spelling that stands for all spellings of a package's name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def parse_lock(text: str, what: str) -> tuple[LockedWheel, ...]:
    """Read a lock; OperatorError, naming it as ``what``, for a line that is not one pinned and hashed wheel."""
    found: dict[str, LockedWheel] = {}
    for number, line in _logical_lines(text):
        match = _REQUIREMENT.fullmatch(line)
        if match is None:
            raise OperatorError(
                found=f"{what}, line {number}: '{_shortened(line)}'.",
                expected="name==version --hash=sha256:<64 hex digits>, without addresses, options and conditions.",
                action="write the lock for one Python and one platform, with hashes, and leave addresses to the index.",
            )
        name = canonical_name(match["name"])
        wheel = LockedWheel(name, match["version"], tuple(_HASH.findall(match["hashes"])))
        if found.setdefault(name, wheel) != wheel:
            raise OperatorError(
                found=f"{what} pins {name} twice: {found[name].version} and {wheel.version} (line {number}).",
                expected="every package once.",
                action="remove one of the two lines.",
            )
    if not found:
        raise OperatorError(
            found=f"{what} is empty.",
            expected="at least one pinned wheel.",
            action="check which lock the stack names and that the catalogue has it.",
        )
    return tuple(found.values())


def render_lock(wheels: t.Iterable[LockedWheel]) -> str:
    """Return the requirements text for some wheels of a lock."""
    lines = (f"{w.name}=={w.version} {' '.join('--hash=sha256:' + h for h in w.hashes)}\n" for w in wheels)
    return "".join(lines)


def split_version(version: str) -> tuple[str, str]:
    """Return a version's public part, comparable as text, and its local part (PEP 440: 2.9.1+cu128, 1.0 is 1.0.0)."""
    public, _plus, local = version.strip().lower().partition("+")
    return _RELEASE.sub(r"\1", public, count=1), local.replace("-", ".").replace("_", ".")


def same_version(one: str, other: str) -> bool:
    """Say whether two versions can be the same wheel: a local part counts only where both have one."""
    (public_one, local_one), (public_other, local_other) = split_version(one), split_version(other)
    return public_one == public_other and (not local_one or not local_other or local_one == local_other)


def _logical_lines(text: str) -> t.Iterator[tuple[int, str]]:
    """Yield (number of the first line, line) with continuations joined and comments and blank lines left out."""
    parts: list[str] = []
    start = 0
    for number, raw in enumerate([*text.splitlines(), ""], start=1):
        line = re.sub(r"(?:^|\s)#.*$", "", raw).strip()
        start = start if parts else number
        parts.append(line.removesuffix("\\").strip())
        if line.endswith("\\"):
            continue
        joined = " ".join(part for part in parts if part)
        parts = []
        if joined:
            yield start, joined


def _shortened(line: str) -> str:
    return line if len(line) <= 80 else line[:77] + "..."  # noqa: PLR2004 - a line of a terminal


__all__ = ["LockedWheel", "canonical_name", "parse_lock", "render_lock", "same_version", "split_version"]
