# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs of the host: where they are, and running them the way the original does."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import typing as t
from pathlib import Path

_EXTRA_PATH = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"


def find(program: str) -> str | None:
    """Return the full path of a program, on the PATH or in the usual places."""
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:{_EXTRA_PATH}")


def capture(command: t.Sequence[str]) -> tuple[int, str]:
    """Return exit status and merged output of a command; as a shell does, 127 for one that is not there."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
        )
    except OSError as error:
        return 127, f"{command[0]}: {error.strerror}"
    return done.returncode, done.stdout.decode(errors="replace").strip("\n")


def stream(command: str, each_line: t.Callable[[str], None]) -> tuple[int, str]:
    """Run a shell line and hand its output on line by line."""
    lines = []
    shell = ["/bin/sh", "-c", f"{command} 2>&1"]
    with subprocess.Popen(shell, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        for raw in process.stdout or ():
            line = raw.decode(errors="replace").rstrip("\n")
            lines.append(line)
            each_line(line)
    return process.returncode, "\n".join(lines)


def temporary_directory(wanted: str | None) -> str:
    """Return the directory for transient files: ``--tmpdir``, else the first that exists of the documented list."""
    for directory in (wanted, os.environ.get("TMPDIR"), "/tmp", ".", os.environ.get("HOME")):  # noqa: S108
        if directory and Path(directory).is_dir():
            return directory
    return "."


class Scratch:
    """The file ``template-XXXXXX`` that a run keeps in the temporary directory; a killed run leaves it there."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self._path: str | None = None

    def write(self, text: str = "") -> str:
        """Create the file if it is not there, and give it this content; its path."""
        if self._path is None:
            descriptor, self._path = tempfile.mkstemp(prefix="template-", dir=self.directory)
            os.close(descriptor)
        with Path(self._path).open("w", encoding="utf-8") as file:
            file.write(text)
        return self._path

    def remove(self) -> None:
        """Delete it, at the end of a run that was not killed."""
        if self._path and Path(self._path).exists():
            Path(self._path).unlink()
