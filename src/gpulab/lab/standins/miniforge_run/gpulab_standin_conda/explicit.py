# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Explicit lists of packages, and what conda says when something is wrong."""

from __future__ import annotations

import re
from dataclasses import dataclass

_LINE = re.compile(
    r"(?P<url>\S+/(?P<subdir>[^/\s]+)/(?P<file>[^/#\s]+\.(?:conda|tar\.bz2)))"
    r"(?:#(?:(?P<md5>[0-9a-f]{32})|(?:sha256:)?(?P<sha256>[0-9a-f]{64})))?$"
)


class CondaError(Exception):
    """What conda prints and ends with exit status 1 for."""


@dataclass(frozen=True)
class Listed:
    """A line of an explicit list."""

    url: str
    subdir: str
    file: str
    sha256: str
    md5: str

    @property
    def distribution(self) -> str:
        """Name-version-build."""
        return self.file.removesuffix(".conda").removesuffix(".tar.bz2")

    @property
    def name(self) -> str:
        """The package's name."""
        return self.distribution.rsplit("-", 2)[0]


def parse_explicit(text: str) -> list[Listed]:
    """Read an explicit list; comments and the marker are skipped."""
    listed = []
    for line in (raw.strip() for raw in text.splitlines()):
        if not line or line.startswith("#") or line == "@EXPLICIT":
            continue
        found = _LINE.match(line)
        if found is None:
            message = f"ParseError: Could not parse explicit URL: {line}"
            raise CondaError(message)
        sha256, md5 = found["sha256"] or "", found["md5"] or ""
        listed.append(Listed(found["url"], found["subdir"], found["file"], sha256, md5))
    return listed


__all__ = ["CondaError", "Listed", "parse_explicit"]
