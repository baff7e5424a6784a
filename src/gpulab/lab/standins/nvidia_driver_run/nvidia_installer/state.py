# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is remembered of an installation: /var/lib/nvidia/{log,dirs} and the backups of replaced files.

Format of the log: two head lines (version, description), then two lines for each file ("1: path", checksum), link
("0: path", target), and replaced file or link (number from 100 or 2).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import zlib
from dataclasses import dataclass, field
from pathlib import Path

from .identity import digits_version
from .ui import Ui

DIRECTORY = "/var/lib/nvidia"
LOG = f"{DIRECTORY}/log"
DIRS = f"{DIRECTORY}/dirs"
LINK, FILE, OLD_LINK, FIRST_BACKUP = 0, 1, 2, 100


class MalformedLogError(Exception):
    """The log has its head and nothing after it, or a line that is none of the known kinds."""

    def __init__(self, line: int) -> None:
        super().__init__(line)
        self.line = line


@dataclass(frozen=True)
class Record:
    """One entry of the log: what was installed, and its checksum, target or backup attributes."""

    kind: int
    path: str
    detail: str


@dataclass(frozen=True)
class Installed:
    """The driver that the log describes."""

    version: str
    description: str
    records: tuple[Record, ...] = field(default=())


def checksum(path: str) -> int:
    """Return the CRC that is written down for a file."""
    with Path(path).open("rb") as file:
        return zlib.crc32(file.read())


def installed_driver() -> Installed | None:
    """Return the driver on this host by the head of the log alone, whatever follows."""
    try:
        with Path(LOG).open(encoding="utf-8") as file:
            version, description = file.readline().strip(), file.readline().strip()
    except OSError:
        return None
    if "(" not in version or not description:
        return None
    return Installed(version.partition("(")[2].rstrip(")"), description)


def read_records() -> Installed:
    """Return the whole log."""
    with Path(LOG).open(encoding="utf-8") as file:
        lines = file.read().splitlines()
    body = lines[2:]
    if not body:
        raise MalformedLogError(0)
    records = []
    for number in range(0, len(body), 2):
        kind, colon, path = body[number].partition(": ")
        if not colon or not kind.isdigit() or number + 1 >= len(body):
            raise MalformedLogError(number + 2)
        records.append(Record(int(kind), path, body[number + 1]))
    head = installed_driver()
    if head is None:
        raise MalformedLogError(0)
    return Installed(head.version, head.description, tuple(records))


class Recorder:
    """Writes the log while files are installed; each entry is on disk before the next file is touched."""

    def __init__(self, ui: Ui) -> None:
        self._ui = ui
        self._backups = FIRST_BACKUP

    def start(self, version: str, description: str) -> None:
        """Begin a new log: from here on the host counts as having this driver."""
        Path(DIRECTORY).mkdir(parents=True, mode=0o700, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            Path(LOG).unlink()
        self._append(f"{digits_version(version)}\n{description}\n")

    def _append(self, text: str) -> None:
        try:
            descriptor = os.open(LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                written = os.write(descriptor, text.encode())
                if written < len(text.encode()):
                    os.write(descriptor, text.encode()[written:])
            finally:
                os.close(descriptor)
        except OSError as error:
            self._ui.error(f"Error while closing backup log file '{LOG}' ({error.strerror}).")

    def file(self, path: str) -> None:
        """Note an installed file."""
        self._append(f"{FILE}: {path}\n{checksum(path)}\n")

    def link(self, path: str, target: str) -> None:
        """Note an installed link."""
        self._append(f"{LINK}: {path}\n{target}\n")

    def directories(self, path: str) -> None:
        """Create a directory with its parents and note those that are new."""
        missing = []
        path = os.path.normpath(path)
        while not Path(path).is_dir():
            missing.append(path)
            path = str(Path(path).parent)
        for directory in reversed(missing):
            with contextlib.suppress(OSError):
                Path(directory).mkdir(0o755)
        if missing:
            Path(DIRECTORY).mkdir(parents=True, mode=0o700, exist_ok=True)
            with contextlib.suppress(OSError), Path(DIRS).open("a", encoding="utf-8") as file:
                file.write("".join(f"{directory}\n" for directory in reversed(missing)))

    def put_aside(self, path: str) -> None:
        """Keep a file or link that is about to be replaced."""
        status = os.lstat(path)
        attributes = f"{status.st_mode & 0o7777:04o} {status.st_uid} {status.st_gid}"
        if Path(path).is_symlink():
            self._append(f"{OLD_LINK}: {path}\n{Path(path).readlink()} {attributes}\n")
            Path(path).unlink()
            return
        number = self._backups
        self._backups += 1
        self._append(f"{number}: {path}\n{checksum(path)} {attributes}\n")
        shutil.move(path, f"{DIRECTORY}/{number}")
