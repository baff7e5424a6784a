# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults that the depot plays on request, so that tests can see what a host makes of them.

A file `faults.json` beside the depot's files holds a list of rules, read anew for every request:
  {"path": "/files/*.run", "kind": "truncate", "bytes": 1000, "times": 1}
`path` is a shell pattern on the URL's path. `kind` is one of
  missing   404
  html      200 with a page of html instead of the file
  truncate  the true headers, then only `bytes` bytes of the body, then the connection is closed
  slow      the true answer at `bytes` bytes a second
  corrupt   the true length, the first `bytes` bytes with every bit turned round
`times` says how many requests a rule applies to; without it, all of them. HEAD sees only missing and html.
"""

from __future__ import annotations

import fnmatch
import json
import threading
import typing as t
from dataclasses import asdict, dataclass, field

if t.TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

KINDS = ("missing", "html", "truncate", "slow", "corrupt")


@dataclass(frozen=True, slots=True)
class Fault:
    """One rule."""

    path: str
    kind: str
    bytes: int = 1000
    times: int | None = None

    def __post_init__(self) -> None:
        """Refuse a kind that would never be played: a test would pass without its fault."""
        if self.kind not in KINDS:
            raise ValueError(f"fault kind {self.kind!r}: expected one of {', '.join(KINDS)}")


def write(path: Path, rules: Iterable[Fault]) -> None:
    """Replace the rules; counting starts again."""
    new = path.with_name(path.name + ".new")
    new.write_text(json.dumps([asdict(rule) for rule in rules], indent=1))
    new.replace(path)


@dataclass(slots=True)
class FaultPlayer:
    """Tells for each request which rule applies, and counts."""

    file: Path
    _seen: tuple[int, int] = (0, 0)
    _rules: list[Fault] = field(default_factory=list)
    _played: dict[int, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def match(self, url_path: str, *, body: bool = True) -> Fault | None:
        """Return the first rule for the path that is not used up; without a body, only one that changes the answer."""
        with self._lock:
            self._reload()
            for index, rule in enumerate(self._rules):
                used_up = rule.times is not None and self._played.get(index, 0) >= rule.times
                concerned = body or rule.kind in ("missing", "html")
                if concerned and not used_up and fnmatch.fnmatchcase(url_path, rule.path):
                    self._played[index] = self._played.get(index, 0) + 1
                    return rule
        return None

    def _reload(self) -> None:
        try:
            status = self.file.stat()
        except FileNotFoundError:
            self._rules, self._seen = [], (0, 0)
            return
        # A rewritten file has another inode: write() renames.
        seen = (status.st_ino, status.st_mtime_ns)
        if seen != self._seen:
            self._rules = [Fault(**rule) for rule in json.loads(self.file.read_text())]
            self._seen, self._played = seen, {}


__all__ = ["KINDS", "Fault", "FaultPlayer", "write"]
