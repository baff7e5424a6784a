# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The visit to the console by which a staged key is enrolled: shim's MokManager, answered over the serial console.

The texts and their order are those of shim's MokManager.c; its menus are moved in with the keys of a terminal.
"""

from __future__ import annotations

import itertools
import os
import re
import socket
import time
import typing as t
from dataclasses import dataclass

from gpulab._errors import OperatorError

if t.TYPE_CHECKING:
    from pathlib import Path

DOWN, ENTER, ANY = "\x1b[B", "\r", "x"  # the last means nothing in a menu, should it arrive there
QUIET_SECONDS = 0.5  # a screen that is still being drawn drops what is typed
ANSWER_SECONDS = 5.0
TRIES = 12
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True, slots=True)
class Answer:
    """What is typed once a text stands on the screen.

    The firmware drops keys on a busy machine, so each is typed again until the screen answers it: with anything at all,
    with the next text where the screen changes by itself (`until_next`; it is never quiet, so nothing is waited for),
    not at all where it shows nothing (`blind`).
    """

    text: str
    keys: tuple[str, ...]
    until_next: bool = False
    blind: bool = False


def enrolment(password: str) -> tuple[Answer, ...]:
    """Return the answers that enrol the one staged key.

    A busy machine drops what is shown but once, such as 'Press any key to perform MOK management' or the question
    'Enroll the key(s)?'. So a screen is known by the seconds that it counts down, or by what can be chosen on it.
    """
    return (
        Answer("Booting in ", (ANY,), until_next=True),
        Answer("Enroll MOK", (DOWN, ENTER)),
        Answer("View key 0", (DOWN, ENTER)),
        Answer("Yes", (DOWN, ENTER)),
        Answer("Password:", (password, ENTER), blind=True),
        Answer("Reboot", (ENTER,)),
    )


def plain(text: str) -> str:
    """Return what a screen says, without the sequences that move the cursor and set colours."""
    return _ESCAPES.sub("", text)


def answer(directory: Path, answers: t.Sequence[Answer], seconds: float) -> None:
    """Type at a machine's console, each answer when its text has appeared; refuse where one does not in time."""
    with socket.socket(socket.AF_UNIX) as console:
        handle = os.open(directory, os.O_PATH)
        try:
            console.connect(f"/proc/self/fd/{handle}/console.sock")  # a socket's path has at most 107 characters
        finally:
            os.close(handle)
        screen = _Screen(console)
        for wanted, following in itertools.zip_longest(answers, answers[1:]):
            screen.wait_for(wanted.text, seconds)
            for keys in wanted.keys:
                screen.press(keys, following.text if wanted.until_next and following else "", blind=wanted.blind)


class _Screen:
    """A console, and what it has shown since the last key was typed."""

    def __init__(self, console: socket.socket) -> None:
        self._console = console
        self._seen = ""

    def wait_for(self, text: str, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while text not in plain(self._seen):
            if not self._read(max(0.1, deadline - time.monotonic())):
                raise _nothing(f"no '{text}' on the console in time, but: {plain(self._seen)[-600:]}")

    def press(self, keys: str, until: str = "", *, blind: bool = False) -> None:
        while not until and self._read(QUIET_SECONDS):
            pass
        self._seen = ""
        for _ in range(TRIES):
            self._console.sendall(keys.encode())
            if blind or self._answers(until):
                return
        raise _nothing(f"the console does not answer the key {keys!r}, it shows: {plain(self._seen)[-600:]}")

    def _answers(self, until: str) -> bool:
        deadline = time.monotonic() + (ANSWER_SECONDS / 5 if until else ANSWER_SECONDS)
        while time.monotonic() < deadline and self._read(max(0.1, deadline - time.monotonic())):
            if until in plain(self._seen):
                return True
        return False

    def _read(self, seconds: float) -> bool:
        self._console.settimeout(seconds)
        try:
            shown = self._console.recv(4096).decode(errors="replace")
        except TimeoutError:
            return False
        self._seen += shown
        return bool(shown)


def _nothing(found: str) -> OperatorError:
    return OperatorError(
        found=found,
        expected="shim's MokManager, which comes once after 'mokutil --import' and a reboot.",
        action="look into the machine's console.log.",
    )


__all__ = ["Answer", "answer", "enrolment", "plain"]
