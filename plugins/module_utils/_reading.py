# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading a host without changing it, and keeping account of what could not be read."""

from __future__ import annotations

import typing as t

from ansible_collections.gpulab.workstation.plugins.module_utils._host import Completed, Host
from ansible_collections.gpulab.workstation.plugins.module_utils._host_facts import Unreadable

_COMMAND_LIMIT_S = 120.0  # "dkms status" took 25 s on a busy, emulated machine; a limit reached reads as a failure


class Reading:
    """One look at a host; whatever fails is noted in ``unreadable`` and never taken for absent."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.unreadable: list[Unreadable] = []

    def note(self, what: str, why: str) -> None:
        """Remember that something could not be read."""
        note = Unreadable(what, why)
        if note not in self.unreadable:
            self.unreadable.append(note)

    def text(self, path: str, what: str = "") -> str | None:
        """Return a file's text; None where there is none, and where it cannot be read, which is noted."""
        try:
            return self.host.read_text(path)
        except OSError as error:
            self.note(what or path, f"{path}: {error.strerror or error}")
            return None

    def required(self, path: str, what: str) -> str:
        """Return a file's text; empty where there is none, which is noted, since every host has it."""
        before = len(self.unreadable)
        text = self.text(path, what)
        if text is None and len(self.unreadable) == before:
            self.note(what, f"there is no {path}")
        return text or ""

    def names(self, path: str, what: str = "") -> list[str]:
        """Return the names in a directory; empty where there is none, and where it cannot be read, which is noted."""
        try:
            return self.host.listdir(path)
        except OSError as error:
            self.note(what or path, f"{path}: {error.strerror or error}")
            return []

    def output(self, argv: t.Sequence[str], what: str, *, good: t.Container[int] = (0,)) -> str | None:
        """Return what a command prints; None where it is missing or fails, which is noted."""
        done = self.host.run(argv, timeout_s=_COMMAND_LIMIT_S)
        if done.rc in good:
            return done.stdout
        self.note_failure(done, what)
        return None

    def ask(self, argv: t.Sequence[str], what: str) -> Completed:
        """Run a command that says something by failing; that it has not answered at all is noted."""
        done = self.host.run(argv, timeout_s=_COMMAND_LIMIT_S)
        if not done.answered:
            self.note_failure(done, what)
        return done

    def note_failure(self, done: Completed, what: str) -> None:
        """Remember why a command has not told what it was asked for."""
        program = done.argv[0]
        if done.timed_out:
            self.note(what, f"{program}: no answer within {_COMMAND_LIMIT_S:.0f} s")
            return
        words = (done.stderr.strip() or done.stdout.strip() or f"ended with {done.rc}").splitlines()[0]
        self.note(what, f"{program}: {words.removeprefix(f'{program}: ')}")


__all__ = ["Reading"]
