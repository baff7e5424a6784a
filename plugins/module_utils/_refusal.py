# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A reason not to touch a host, and how a list of them is set for a terminal."""

from __future__ import annotations

import textwrap
import typing as t
from dataclasses import dataclass

_WIDTH = 78
_LABELS = {"found": "Found:", "expected": "Expected:", "action": "To do:"}


@dataclass(frozen=True)
class Refusal:
    """One reason not to touch this host, in an operator's words."""

    found: str
    expected: str
    action: str


def render(refusals: t.Sequence[Refusal], host: str = "This host") -> str:
    """Set the reasons for a terminal of 80 columns, each on its own lines."""
    count = f"{len(refusals)} reasons" if len(refusals) > 1 else "1 reason"
    blocks = [f"{host} is refused for {count}; nothing was changed."]
    for number, refusal in enumerate(refusals, start=1):
        lines = [_line(f"{number}." if key == "found" else "", key, getattr(refusal, key)) for key in _LABELS]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def _line(number: str, key: str, words: str) -> str:
    label = f"{number:<3} {_LABELS[key]:<10}"
    return textwrap.fill(
        words, _WIDTH, initial_indent=label, subsequent_indent=" " * len(label), break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip


__all__ = ["Refusal", "render"]
