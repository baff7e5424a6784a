# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures for people: which of a check's figures are numbers, their units, and how they are written."""

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass

from ansible_collections.gpulab.workstation.plugins.plugin_utils._results_document import Check, Limit, number

# The end of a figure's name says its unit; a limit's row says it too and goes first.
_UNITS = {
    "gb_s": "GB/s",
    "gib": "GiB",
    "mib": "MiB",
    "bytes": "bytes",
    "tflops": "TFLOP/s",
    "percent": "%",
    "mhz": "MHz",
    "seconds": "s",
    "minutes": "min",
    "ms": "ms",
    "us": "µs",
    "c": "°C",
    "w": "W",
    "s": "s",
}
_PER_IMAGE = "seconds_per_image"
# Drawn as charts, and far too long to be read.
_DRAWN = {("endurance", "samples"), ("memory_bandwidth", "over_size")}
_LONGEST_TEXT = 240
_LONGEST_JSON = 2000
_FEW_DIGITS, _MANY = 100, 10000


@dataclass(frozen=True)
class Figure:
    """One figure of a check: a number with its unit, or a text; ``long`` is what only fits behind a click."""

    name: str
    label: str
    unit: str
    value: float | None = None
    text: str = ""
    long: str = ""
    limit: Limit | None = None

    @property
    def shown(self) -> str:
        """Return the figure as a person reads it."""
        return with_unit(self.value, self.unit) if self.value is not None else self.text


def figures_of(check: Check) -> list[Figure]:
    """Return a check's figures, those with limits first, without what charts show."""
    found = [
        _figure(str(name), value, check.limit(str(name)))
        for name, value in check.figures.items()
        if (check.name, name) not in _DRAWN
    ]
    unmeasured = [_figure(limit.figure, None, limit) for limit in check.limits if limit.figure not in check.figures]
    return sorted([*found, *unmeasured], key=lambda figure: (figure.limit is None, bool(figure.long)))


def _figure(name: str, value: object, limit: Limit | None) -> Figure:
    label, unit = label_and_unit(name)
    unit = limit.unit if limit and limit.unit else unit
    if (measured := number(value)) is not None:
        return Figure(name, label, unit, value=measured, limit=limit)
    if isinstance(value, bool):
        return Figure(name, label, "", text="yes" if value else "no", limit=limit)
    if value is None or isinstance(value, (int, float)):
        return Figure(name, label, unit, text="not measured" if limit or value is not None else "none", limit=limit)
    if isinstance(value, str):
        return Figure(name, label, "", text=_cut(value, _LONGEST_TEXT), limit=limit)
    if isinstance(value, list) and all(isinstance(part, (str, int, float)) for part in value):
        return Figure(name, label, "", text=_cut(", ".join(map(str, value)), _LONGEST_TEXT), limit=limit)
    count = len(t.cast("list[object]", value))
    written = _cut(json.dumps(value, indent=1, ensure_ascii=False), _LONGEST_JSON)
    return Figure(name, label, "", text="1 entry" if count == 1 else f"{count} entries", long=written, limit=limit)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[:longest]} … (shortened; the document has all of it)"


def label_and_unit(name: str) -> tuple[str, str]:
    """Split a figure's name: copy_gb_s is "copy" in GB/s; a name that is all unit stays whole."""
    if name.startswith(_PER_IMAGE):
        return f"image{name.removeprefix(_PER_IMAGE)}".replace("_", " "), "s/image"
    for ending, unit in _UNITS.items():
        if name.endswith(f"_{ending}"):
            return name.removesuffix(f"_{ending}").replace("_", " "), unit
    return name.replace("_", " "), "%" if "percent_of_" in name else _UNITS.get(name, "")


def with_unit(value: float, unit: str) -> str:
    """Write a number in as many digits as people compare, with its unit behind a space that does not break."""
    return f"{plain(value)}\u00a0{unit}" if unit else plain(value)


def plain(value: float) -> str:
    """Write a number: four digits, thousands apart with a thin space, no exponent where none is needed."""
    size = abs(value)
    if value == int(value) and size < 1e15:  # noqa: PLR2004 - up to there every whole number is exact
        text = f"{int(value):,}" if size >= _MANY else str(int(value))
    elif size >= 1000:  # noqa: PLR2004 - four digits
        text = f"{value:,.0f}" if size >= _MANY else f"{value:.0f}"
    elif size >= _FEW_DIGITS:
        text = f"{value:.1f}"
    elif size >= 0.01:  # noqa: PLR2004 - below it, digits behind the point say nothing
        text = f"{value:.3g}" if size < 1 else f"{value:.4g}"
    else:
        text = f"{value:.2e}"
    return text.replace(",", "\u202f").replace("-", "\u2212", 1) if value < 0 else text.replace(",", "\u202f")


WORDS = {
    "fail_below": "fails below",
    "warn_below": "warns below",
    "fail_above": "fails above",
    "warn_above": "warns above",
}  # fmt: skip


def limit_words(limit: Limit) -> str:
    """Return a limit as words: "fails below 1300, warns below 1450 GB/s"."""
    bounds = ", ".join(f"{WORDS[name]} {plain(value)}" for name, value in limit.bounds())
    return f"{bounds}\u00a0{limit.unit}" if bounds and limit.unit else bounds


__all__ = ["WORDS", "Figure", "figures_of", "label_and_unit", "limit_words", "plain", "with_unit"]
