# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Typing at a console that counts down, drops keys or shows nothing; tests/vm/test_secure_boot.py has the real one."""

from __future__ import annotations

import socket
import threading
import typing as t
from pathlib import Path

import pytest

from gpulab._errors import OperatorError
from gpulab.lab.vms import mok

TICK_S = mok.QUIET_SECONDS / 5  # on a busy machine the countdown is never quiet
TICKS = 20


def console(directory: Path, serve: t.Callable[[socket.socket], None]) -> threading.Thread:
    """Have something answer at a machine's console."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(directory / "console.sock"))
    listening.listen()

    def run() -> None:
        with listening, listening.accept()[0] as connection:
            serve(connection)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def counting_down(dropped: int, typed: list[bytes]) -> t.Callable[[socket.socket], None]:
    """Return a screen that counts down, loses the first keys, and shows a menu once it has got one."""

    def serve(connection: socket.socket) -> None:
        connection.settimeout(TICK_S)
        for tick in range(TICKS, 0, -1):
            connection.sendall(b"\x1b[2JBooting in %d seconds" % tick)
            try:
                typed.append(connection.recv(16))
            except TimeoutError:
                continue
            if len(typed) > dropped:
                connection.sendall(b"Continue boot  Enroll MOK")
                return
        connection.sendall(b"Welcome to GRUB!")

    return serve


FIRST = mok.Answer("Booting in ", ("x",), until_next=True)


@pytest.mark.parametrize("dropped", [0, 1])
def test_a_countdown_is_not_waited_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dropped: int) -> None:
    monkeypatch.setattr(mok, "ANSWER_SECONDS", 5 * 3 * TICK_S)
    typed: list[bytes] = []
    thread = console(tmp_path, counting_down(dropped, typed))
    mok.answer(tmp_path, (FIRST, mok.Answer("Enroll MOK", ())), seconds=10)
    thread.join()
    assert typed == [b"x"] * (dropped + 1)


def test_a_screen_that_does_not_come_is_told_with_what_is_there(tmp_path: Path) -> None:
    console(tmp_path, lambda connection: connection.sendall(b"Welcome to GRUB!"))
    with pytest.raises(OperatorError, match="no 'Booting in ' on the console in time, but: Welcome to GRUB!"):
        mok.answer(tmp_path, (FIRST,), seconds=0.2)
