# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The visit to a machine's console, at a firmware that drops keys."""

from __future__ import annotations

import contextlib
import socket
import threading
import typing as t
from pathlib import Path

import pytest

from gpulab._errors import OperatorError
from gpulab.lab.vms import mok

PASSWORD = "a-password"  # noqa: S105
MENUS = (("Continue boot", "Enroll MOK"), ("View key 0", "Continue"), ("Enroll the key(s)? No", "Yes"))


class Firmware(threading.Thread):
    """Shim's MokManager as it looks to whoever types: it drops the first of each key on each screen."""

    def __init__(self, path: Path, *, drops: int) -> None:
        super().__init__(daemon=True)
        self.chosen: list[str] = []
        self._drops = drops
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen()

    def run(self) -> None:
        console, _ = self._server.accept()
        with console, contextlib.suppress(ConnectionError):  # nobody types any more
            self._key(console, "Press any\x1b[48;3HBooting in 10 seconds", {mok.ANY}, ticking=True)
            for menu in MENUS:
                at, key = 0, ""
                while key != mok.ENTER:
                    shown = "\x1b[2J" + "\x1b[37m\n".join(menu)
                    key = self._key(console, shown, {mok.DOWN, mok.ENTER})
                    at = min(at + (key == mok.DOWN), len(menu) - 1)
                self.chosen.append(menu[at])
            console.sendall(b"Password:")
            typed = ""
            while not typed.endswith(mok.ENTER):
                typed += console.recv(100).decode()
            self.chosen.append(typed.strip(mok.ENTER))
            self._key(console, "Reboot\nEnroll key from disk", {mok.ENTER})
            console.sendall(b"BdsDxe: loading")

    def _key(self, console: socket.socket, shown: str, known: set[str], *, ticking: bool = False) -> str:
        """Show a screen and return the key that it takes after those that it drops and those that mean nothing."""
        console.sendall(shown.encode())
        dropped: dict[str, int] = {}
        while True:
            key = console.recv(100).decode()
            if not key:
                raise ConnectionError
            if ticking:
                console.sendall(b"Booting in 9 seconds")
            if key in known and dropped.setdefault(key, 0) >= self._drops:
                return key
            dropped[key] = dropped.get(key, 0) + 1


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mok, "QUIET_SECONDS", 0.02)
    monkeypatch.setattr(mok, "ANSWER_SECONDS", 0.1)


def visit(tmp_path: Path, *, drops: int) -> list[str]:
    firmware = Firmware(tmp_path / "console.sock", drops=drops)
    firmware.start()
    mok.answer(tmp_path, mok.enrolment(PASSWORD), 2.0)
    firmware.join(5)
    return firmware.chosen


@pytest.mark.parametrize("drops", [0, 1, 3])
def test_the_key_is_enrolled_whatever_the_firmware_drops(tmp_path: Path, drops: int) -> None:
    assert visit(tmp_path, drops=drops) == ["Enroll MOK", "Continue", "Yes", PASSWORD]


def test_a_console_that_takes_no_key_is_told(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="does not answer the key 'x', it shows: "):
        visit(tmp_path, drops=1000)


def test_a_screen_that_never_comes_is_told_with_what_stands_there(tmp_path: Path) -> None:
    server: t.Any = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "console.sock"))
    server.listen()
    with pytest.raises(OperatorError, match="no 'Booting in ' on the console in time"):
        mok.answer(tmp_path, mok.enrolment(PASSWORD), 0.2)
