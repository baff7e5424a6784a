# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The visit to the console by which a staged key is enrolled: shim's MokManager, answered over the serial console.

The texts and their order are those of shim's MokManager.c; its menus are moved in with the keys of a terminal.
"""

from __future__ import annotations

import os
import re
import socket
import time
import typing as t
from dataclasses import dataclass

from gpulab._errors import OperatorError

if t.TYPE_CHECKING:
    from pathlib import Path

DOWN, ENTER = "\x1b[B", "\r"
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True, slots=True)
class Answer:
    """What is typed once a text stands on the screen."""

    text: str
    keys: tuple[str, ...]


def enrolment(password: str) -> tuple[Answer, ...]:
    """Return the answers that enrol the one staged key."""
    return (
        Answer("Press any key to perform MOK management", (ENTER,)),
        Answer("Enroll MOK", (DOWN, ENTER)),
        Answer("View key 0", (DOWN, ENTER)),
        Answer("Enroll the key(s)?", (DOWN, ENTER)),
        Answer("Password:", (password, ENTER)),
        Answer("Reboot", (ENTER,)),
    )


def plain(text: str) -> str:
    """Return what a screen says, without the sequences that move the cursor and set colours."""
    return _ESCAPES.sub("", text)


def answer(directory: Path, answers: t.Iterable[Answer], seconds: float) -> None:
    """Type at a machine's console, each answer when its text has appeared; refuse where one does not in time."""
    with socket.socket(socket.AF_UNIX) as console:
        handle = os.open(directory, os.O_PATH)
        try:
            console.connect(f"/proc/self/fd/{handle}/console.sock")  # a socket's path has at most 107 characters
        finally:
            os.close(handle)
        for wanted in answers:
            _wait_for(console, wanted.text, time.monotonic() + seconds)
            for keys in wanted.keys:
                time.sleep(0.5)  # a menu that is still being drawn drops what is typed
                console.sendall(keys.encode())


def _wait_for(console: socket.socket, text: str, deadline: float) -> None:
    seen = ""
    while text not in plain(seen):
        console.settimeout(max(0.1, deadline - time.monotonic()))
        try:
            seen += console.recv(4096).decode(errors="replace")
        except TimeoutError:
            raise OperatorError(
                found=f"no '{text}' on the console in time, but: {plain(seen)[-600:]}",
                expected="shim's MokManager, which comes once after 'mokutil --import' and a reboot.",
                action="look into the machine's console.log.",
            ) from None


__all__ = ["Answer", "answer", "enrolment", "plain"]
