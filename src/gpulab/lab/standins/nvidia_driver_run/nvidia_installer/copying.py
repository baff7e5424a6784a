# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copying a file the way the original does: its size first, then the content through a memory map.

On a full disk the first fails with an error and the second with SIGBUS (installer.md, h1, h2 and h5).
"""

from __future__ import annotations

import mmap
import os
import signal
from pathlib import Path

from .ui import Ui

_PAGE = mmap.PAGESIZE


class BusError(Exception):
    """The memory map could not be written, because the disk is full."""


def copy(ui: Ui, source: str, destination: str, mode: int) -> bool:
    """Copy one file; False after an error that has been shown."""
    try:
        with Path(source).open("rb") as file:
            content = file.read()
    except OSError as error:
        ui.error(f"Unable to open '{source}' for copying ({error.strerror})")
        return False
    try:
        descriptor = os.open(destination, os.O_RDWR | os.O_CREAT | os.O_TRUNC, mode)
    except OSError as error:
        ui.error(f"Unable to create '{destination}' for copying ({error.strerror})")
        return False
    try:
        os.fchmod(descriptor, mode)
        if content:
            os.pwrite(descriptor, b"\0", len(content) - 1)
            _fill(descriptor, content)
    except OSError as error:
        ui.error(f"Unable to write file size for '{destination}' ({error.strerror})")
        return False
    finally:
        os.close(descriptor)
    return True


def _fill(descriptor: int, content: bytes) -> None:
    if len(content) <= _PAGE:
        os.pwrite(descriptor, content, 0)  # the page is there since the size was written
        return
    # In a child, because Python cannot catch the signal of its own memory access.
    child = os.fork()
    if child == 0:
        with mmap.mmap(descriptor, len(content)) as target:
            target[:] = content
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGBUS:
        raise BusError
