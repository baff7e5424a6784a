# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines at 40 columns."""

from __future__ import annotations

from gpulab import _text


def test_a_long_line_goes_on_below_and_no_word_is_broken() -> None:
    line = "lab-1: not verified. NOT PROVEN: /a/path/that/is/longer/than/forty/columns/of/a/terminal.json; this"
    folded = _text.wrap(line, 40).splitlines()
    assert folded[0] == "lab-1: not verified. NOT PROVEN:"
    assert folded[1] == "  /a/path/that/is/longer/than/forty/columns/of/a/terminal.json;"
    assert " ".join(part.strip() for part in folded) == line


def test_an_empty_line_stays() -> None:
    assert _text.wrap("", 40) == ""


def test_sections_of_a_message() -> None:
    assert _text.sections("Found: a. Expected: b. To do: c.") == ["Found: a.", "Expected: b.", "To do: c."]
    assert _text.sections("plain words") == ["plain words"]
