# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Version numbers of drivers, toolkits and wheels: parsed, ordered, and matched against what is known."""

from __future__ import annotations

import bisect
import difflib
import itertools
import re
import typing as t
from dataclasses import dataclass, field
from functools import total_ordering

_DRIVER = re.compile(r"(\d{3})\.(\d+)(?:\.(\d+))?")
_RELEASE = re.compile(r"v?(\d+(?:\.\d+)*)(?:\.post(\d+))?(?:-(\d+))?(?:\+[0-9A-Za-z.]+)?")
_LEADING = re.compile(r"(\d+)\.(\d+)")
_WINDOWS_MINOR_DIGITS = 2


@total_ordering
@dataclass(frozen=True)
class DriverVersion:
    """A Linux driver release: branch, minor and, for some releases, patch number (575.64, 580.142, 575.57.08)."""

    text: str = field(compare=False)
    parts: tuple[int, int, int]

    @classmethod
    def parse(cls, text: str) -> DriverVersion:
        """Read a release number; ValueError when it has no driver's form."""
        match = _DRIVER.fullmatch(text)
        if match is None:
            message = f"{text!r} is not a driver version (branch.minor or branch.minor.patch)"
            raise ValueError(message)
        branch, minor, patch = match.groups()
        return cls(text, (int(branch), int(minor), int(patch or 0)))

    @property
    def branch(self) -> str:
        """Return the number before the first dot, which NVIDIA calls the branch."""
        return self.text.partition(".")[0]

    def __lt__(self, other: DriverVersion) -> bool:
        return self.parts < other.parts

    def __str__(self) -> str:
        return self.text


def is_windows_numbering(text: str, linux_branches: t.Collection[str]) -> bool:
    """Tell a Windows driver number: NNN.NN of a branch that Linux never had (NVIDIA pairs 572.61 with 570.124.06)."""
    try:
        version = DriverVersion.parse(text)
    except ValueError:
        return False
    pieces = text.split(".")
    return version.branch not in linux_branches and len(pieces) == 2 and len(pieces[1]) == _WINDOWS_MINOR_DIGITS  # noqa: PLR2004


def release_key(text: str) -> tuple[tuple[int, ...], int, int]:
    """Order 2.9.1, 2.10.0, 0.0.33.post2, 26.3.2-3 and 2.9.1+cu128 (PEP 440 without pre-releases; conda's build)."""
    match = _RELEASE.fullmatch(text)
    if match is None:
        message = f"{text!r} is not a release number"
        raise ValueError(message)
    numbers, post, build = match.groups()
    release = [int(number) for number in numbers.split(".")]
    while len(release) > 1 and release[-1] == 0:
        release.pop()
    return tuple(release), int(post or 0), int(build or 0)


def is_release(text: str) -> bool:
    """Tell whether :func:`release_key` can order the text."""
    return _RELEASE.fullmatch(text) is not None


def series(text: str) -> tuple[int, int]:
    """Return major and minor of a longer number: a kernel's 6.8.0-51-generic, a glibc's 2.36, a CUDA's 12.9.1."""
    match = _LEADING.match(text)
    if match is None:
        message = f"{text!r} does not begin with a number such as 6.8"
        raise ValueError(message)
    return int(match[1]), int(match[2])


def nearest_spelling(word: str, known: t.Iterable[str]) -> str | None:
    """Return the known word that was probably meant (difflib); None when nothing is like it."""
    matches = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return matches[0] if matches else None


def nearest_release(word: str, known: t.Iterable[str]) -> str | None:
    """Return the known release that was probably meant: of its two neighbours the one that begins alike, else newer."""
    candidates = list(known)
    if not is_release(word):
        return nearest_spelling(word, candidates)
    ordered = sorted((name for name in candidates if is_release(name)), key=release_key)
    place = bisect.bisect_left([release_key(name) for name in ordered], release_key(word))
    neighbours = ordered[max(place - 1, 0) : place + 1]
    return max(neighbours, key=lambda name: (_common(name, word), release_key(name)), default=None)


def _common(one: str, other: str) -> int:
    """Count the numbers that two releases have in common from the left."""
    pairs = zip(release_key(one)[0], release_key(other)[0], strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


__all__ = [
    "DriverVersion",
    "is_release",
    "is_windows_numbering",
    "nearest_release",
    "nearest_spelling",
    "release_key",
    "series",
]
