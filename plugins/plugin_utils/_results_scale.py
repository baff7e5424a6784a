# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Scales of charts: from figures to places on paper, also where there is hardly a figure."""

from __future__ import annotations

import math
import typing as t
from dataclasses import dataclass

_STEPS = (1.0, 2.0, 5.0, 10.0)
_KIB = 1024


@dataclass(frozen=True)
class Scale:
    """A straight or logarithmic way from ``low`` .. ``high`` to ``start`` .. ``end``, with its ticks."""

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[float, ...]
    log: bool = False

    def place(self, value: float) -> int:
        """Return where a value lies; what is outside lies at the edge."""
        inside = min(max(value, self.low), self.high)
        if self.log:
            share = math.log2(inside / self.low) / math.log2(self.high / self.low)
        else:
            share = (inside - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start))


def straight(values: t.Iterable[float], start: float, end: float, *, at_most: int = 5, zero: bool = False) -> Scale:
    """Return a scale that holds all values, from a round number to a round number."""
    found = [value for value in values if math.isfinite(value)] or [0.0]
    low, high = min([*found, 0.0] if zero else found), max(found)
    if low == high:  # one value only: put it in the middle
        room = max(abs(low) * 0.1, 1.0)
        low, high = (low if zero else low - room), high + room
    step = _round_step((high - low) / at_most)
    low, high = math.floor(low / step) * step, math.ceil(high / step) * step
    count = round((high - low) / step)
    return Scale(low, high, start, end, tuple(round(low + step * place, 9) for place in range(count + 1)))


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(step * power for step in _STEPS if step * power >= rough * 0.999)


def doubling(values: t.Iterable[float], start: float, end: float, *, at_most: int = 6) -> Scale:
    """Return a scale on which each doubling is as far as the last, for sizes in bytes."""
    found = [value for value in values if math.isfinite(value) and value > 0] or [float(_KIB)]
    low, high = math.floor(math.log2(min(found))), math.ceil(math.log2(max(found)))
    if low == high:
        low, high = low - 1, high + 1
    step = max(1, math.ceil((high - low) / at_most))
    return Scale(2.0**low, 2.0**high, start, end, tuple(2.0**power for power in range(low, high + 1, step)), log=True)


def size_label(size: float) -> str:
    """Write a size in the largest unit that keeps it whole."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < _KIB:
            return f"{size:g}\u00a0{unit}"
        size /= _KIB
    return f"{size:g}\u00a0TiB"


def thinned(values: t.Sequence[float | None], buckets: int) -> list[tuple[int, float | None]]:
    """Return at most two points for each of so many stretches, its lowest and its highest: no peak is lost."""
    if len(values) <= 2 * buckets:
        return list(enumerate(values))
    points: list[tuple[int, float | None]] = []
    for first, last in stretches(len(values), buckets):
        known = [(place, value) for place in range(first, last) if (value := values[place]) is not None]
        if not known:
            points.append((first, None))
            continue
        ends = {min(known, key=lambda point: point[1]), max(known, key=lambda point: point[1])}
        points += sorted(ends)
    return points


def stretches(count: int, buckets: int) -> list[tuple[int, int]]:
    """Split ``count`` samples into at most so many stretches of neighbours."""
    number = max(1, min(count, buckets))
    return [(count * place // number, count * (place + 1) // number) for place in range(number)] if count else []


__all__ = ["Scale", "doubling", "size_label", "straight", "stretches", "thinned"]
