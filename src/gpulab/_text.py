# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines for a terminal of any width: what does not fit goes on below, indented."""

from __future__ import annotations

import shutil
import textwrap

NARROWEST = 30


def width() -> int:
    """Return the terminal's width; 100 where the output is no terminal."""
    return max(NARROWEST, shutil.get_terminal_size((100, 24)).columns)


def wrap(text: str, columns: int, indent: str = "  ") -> str:
    """Return a line folded at blanks; a word that is longer than the line (a path, an address) stays whole."""
    lines = text.splitlines() or [""]
    folded = [
        textwrap.fill(line, columns, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
        for line in lines
    ]
    return "\n".join(folded)


def sections(message: str) -> list[str]:
    """Return an operator's message as its parts: found, expected, to do."""
    for mark in (" Expected: ", " To do: "):
        message = message.replace(mark, f"\n{mark.strip()} ")
    return message.splitlines()


__all__ = ["sections", "width", "wrap"]
