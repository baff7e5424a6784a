# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a test program in the environment's Python printed: JSON objects, one a line, each with the card it is about."""

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass

from ansible_collections.gpulab.workstation.plugins.module_utils._host import Completed

_OUT_OF_TIME = 124
_SHOWN = 300


@dataclass(frozen=True)
class Answer:
    """The objects that came before the program ended, and how it ended."""

    rc: int
    objects: tuple[t.Mapping[str, t.Any], ...] = ()
    words: str = ""  # the last line it wrote elsewhere

    @classmethod
    def of(cls, done: Completed) -> Answer:
        """Read what a program printed; a line that is cut off or of another format does not count."""
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        return cls(done.rc, tuple(_objects(done.stdout)), lines[-1].strip()[:_SHOWN] if lines else "")

    @property
    def ending(self) -> str:
        """Say how the program ended."""
        if self.rc == _OUT_OF_TIME:
            return "the test program was still running at its time limit and was killed"
        return f"the test program ended with {self.rc}: {self.words or 'it said nothing'}"

    @property
    def lacks(self) -> str:
        """Return the Python package that the environment lacks, empty where that is not the trouble."""
        _, found, name = self.words.partition("ModuleNotFoundError: No module named ")
        return name.strip("'\"") if found else ""

    def job(self, name: str) -> t.Mapping[str, t.Any]:
        """Return what a job of the program found, empty where it did not get so far."""
        return next((data for data in self.objects if data.get("job") == name), {})

    def part(self, name: str) -> t.Mapping[str, t.Any]:
        """Return a part of the only object, with the card it is about."""
        whole = self.objects[-1] if self.objects else {}
        part = whole.get(name)
        return {**part, "uuid": whole.get("uuid")} if isinstance(part, dict) else {}

    def trouble(self, found: t.Mapping[str, t.Any], card: str) -> str:
        """Say why nothing can be judged: no answer, an error, or the answer of another card than was asked."""
        if not found:
            return self.ending
        if "error" in found:
            return str(found["error"])
        told = found.get("uuid")
        return f"card {told} answered instead" if told and card.startswith("GPU-") and told != card else ""


def _objects(stdout: str) -> t.Iterator[t.Mapping[str, t.Any]]:
    for line in stdout.splitlines():
        if line.startswith("{"):
            try:
                data = json.loads(line)
            except ValueError:
                continue
            if isinstance(data, dict) and data.get("format") == 1:
                yield data


__all__ = ["Answer"]
