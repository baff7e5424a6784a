# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Recorded outputs of real machines: text without its header, or a tree of files to plant on a fake host."""

from __future__ import annotations

import re
from pathlib import Path

from fakehost import FakeHost

_FIXTURES = Path(__file__).parent / "fixtures"


def text(name: str) -> str:
    """Return a recorded output without the header lines that tell where it is from."""
    lines = (_FIXTURES / name).read_text(encoding="utf-8").splitlines(keepends=True)
    while lines and lines[0].startswith("# "):
        lines.pop(0)
    return "".join(lines)


def data(name: str) -> bytes:
    """Return recorded bytes."""
    return (_FIXTURES / name).read_bytes()


def plant(host: FakeHost, name: str) -> None:
    """Put a recorded tree on a host: ``== PATH`` starts a file, ``== PATH -> TARGET`` is a link."""
    for block in re.split(r"^== ", text(name), flags=re.MULTILINE)[1:]:
        head, _, body = block.partition("\n")
        path, _, target = head.partition(" -> ")
        if target:
            host.symlink(target, path)
        else:
            host.add(path, body)


__all__ = ["data", "plant", "text"]
