# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Line charts as SVG text: axes with units, limits as lines, and shaded stretches. Colours are the page's business."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass
from html import escape

from ansible_collections.gpulab.workstation.plugins.plugin_utils._results_figures import plain
from ansible_collections.gpulab.workstation.plugins.plugin_utils._results_scale import Scale, stretches, thinned

WIDTH, HEIGHT = 460, 208
LEFT, RIGHT, TOP, BOTTOM = 54, 448, 26, 170
BUCKETS = 110  # stretches of a long run that are told apart: nearly four of the paper's units each


@dataclass(frozen=True)
class Line:
    """One figure over the chart's x: None where it could not be read. ``style`` is a class of the page."""

    label: str
    style: str
    values: t.Sequence[float | None]


@dataclass(frozen=True)
class Mark:
    """A limit or a theoretical value: a horizontal line with a word at it."""

    label: str
    value: float
    style: str


@dataclass(frozen=True)
class Shade:
    """Samples during which something was so; shaded over the whole height."""

    label: str
    style: str
    on: t.Sequence[bool]

    @property
    def share(self) -> float:
        """Return for how much of the samples, in percent."""
        return 100 * sum(self.on) / len(self.on) if self.on else 0.0


@dataclass(frozen=True)
class Chart:
    """A chart with all that is drawn; ``x`` holds the place of each value of each line."""

    title: str
    unit: str
    x_title: str
    x: t.Sequence[float]
    x_scale: Scale
    y_scale: Scale
    x_label: t.Callable[[float], str]
    lines: tuple[Line, ...]
    marks: tuple[Mark, ...] = ()
    shades: tuple[Shade, ...] = ()

    @property
    def summary(self) -> str:
        """Say in words what the lines show, for those who do not see them."""
        return f"{self.title}. " + " ".join(_in_words(line, self.unit) for line in self.lines)

    def svg(self) -> str:
        """Return the drawing."""
        parts = [
            f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(self.summary)}">',
            *(_shade(shade, self.x, self.x_scale) for shade in self.shades),
            *_y_axis(self.y_scale, self.unit),
            *_x_axis(self.x_scale, self.x_title, self.x_label),
            *_marks(self.marks, self.y_scale),
            *(_line(line, self.x, self.x_scale, self.y_scale) for line in self.lines),
            "</svg>",
        ]
        return "".join(parts)


def _in_words(line: Line, unit: str) -> str:
    known = [value for value in line.values if value is not None]
    if not known:
        return f"{line.label}: not read."
    missing = len(line.values) - len(known)
    gaps = f", {missing} of {len(line.values)} not read" if missing else ""
    return f"{line.label}: {plain(min(known))} to {plain(max(known))} {unit}{gaps}."


def _y_axis(scale: Scale, unit: str) -> t.Iterator[str]:
    yield f'<text class="unit" x="{LEFT - 6}" y="{TOP - 12}" text-anchor="end">{escape(unit)}</text>'
    path = "".join(f"M{LEFT} {scale.place(tick)}H{RIGHT}" for tick in scale.ticks)
    yield f'<path class="grid" d="{path}"/>'
    for tick in scale.ticks:
        yield f'<text x="{LEFT - 6}" y="{scale.place(tick) + 4}" text-anchor="end">{escape(plain(tick))}</text>'


def _x_axis(scale: Scale, title: str, label: t.Callable[[float], str]) -> t.Iterator[str]:
    path = f"M{LEFT} {BOTTOM}H{RIGHT}" + "".join(f"M{scale.place(tick)} {BOTTOM}v5" for tick in scale.ticks)
    yield f'<path class="axis" d="{path}"/>'
    for tick in scale.ticks:
        place = scale.place(tick)
        anchor = "end" if place > RIGHT - 12 else "middle"
        yield f'<text x="{min(place, RIGHT + 8)}" y="{BOTTOM + 17}" text-anchor="{anchor}">{escape(label(tick))}</text>'
    yield f'<text x="{(LEFT + RIGHT) // 2}" y="{HEIGHT - 5}" text-anchor="middle">{escape(title)}</text>'


def _marks(marks: t.Sequence[Mark], scale: Scale) -> t.Iterator[str]:
    """Draw the limits: words of failures at the right, of warnings at the left, so that they do not meet."""
    for mark in marks:
        place = scale.place(mark.value)
        x, anchor = (RIGHT - 2, "end") if mark.style == "fail" else (LEFT + 4, "start")
        yield f'<path class="mark {mark.style}" d="M{LEFT} {place}H{RIGHT}"/>'
        where = f'x="{x}" y="{place - 4}" text-anchor="{anchor}"'
        yield f'<text class="mark {mark.style}" {where}>{escape(mark.label)}</text>'


def _line(line: Line, x: t.Sequence[float], x_scale: Scale, y_scale: Scale) -> str:
    """Draw a line, a level stretch of it in one step; a point without neighbours becomes a dot."""
    steps, dots = [], []
    here: tuple[int, int] | None = None
    alone = False
    for index, value in [*thinned(line.values, BUCKETS), (0, None)]:
        if value is None:
            if here is not None and alone:
                dots.append(here)
            here = None
            continue
        point = (x_scale.place(x[index]), y_scale.place(value))
        if here is None:
            steps.append(f"M{point[0]} {point[1]}")
        elif here[1] != point[1]:
            steps.append(f"L{point[0]} {point[1]}")
        elif steps[-1].startswith("H"):
            steps[-1] = f"H{point[0]}"
        else:
            steps.append(f"H{point[0]}")
        alone, here = here is None, point
    circles = "".join(f'<circle class="{line.style}" cx="{cx}" cy="{cy}" r="3"/>' for cx, cy in dots)
    return f'<path class="line {line.style}" d="{"".join(steps)}"/>{circles}' if steps else ""


def _shade(shade: Shade, x: t.Sequence[float], scale: Scale) -> str:
    """Shade each stretch in which it was so for a sample at least, neighbours as one."""
    path, start = [], None
    spans = stretches(len(shade.on), BUCKETS)
    for first, last in [*spans, (len(shade.on), len(shade.on))]:
        on = any(shade.on[first:last])
        if on and start is None:
            start = scale.place(x[first])
        if not on and start is not None:
            end = scale.place(x[first]) if first < len(x) else RIGHT
            path.append(f"M{start} {TOP}H{max(end, start + 2)}V{BOTTOM}H{start}z")
            start = None
    return f'<path class="shade {shade.style}" d="{"".join(path)}"/>' if path else ""


__all__ = ["BOTTOM", "LEFT", "RIGHT", "TOP", "Chart", "Line", "Mark", "Shade"]
