# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The charts of a card: memory bandwidth over size, and what was sampled during an endurance run."""

from __future__ import annotations

import typing as t

from ansible_collections.gpulab.workstation.plugins.plugin_utils._results_chart import (
    BOTTOM,
    LEFT,
    RIGHT,
    TOP,
    Chart,
    Line,
    Mark,
    Shade,
)
from ansible_collections.gpulab.workstation.plugins.plugin_utils._results_document import Check, Limit, number
from ansible_collections.gpulab.workstation.plugins.plugin_utils._results_figures import WORDS, plain
from ansible_collections.gpulab.workstation.plugins.plugin_utils._results_scale import doubling, size_label, straight

_MINUTE = 60.0
_LONG_RUN = 3 * _MINUTE
_COPIES = (
    ("copy_gb_s", "copy", "first"),
    ("triad_gb_s", "triad", "second"),
    ("torch_copy_gb_s", "torch copy", "third"),
)
# Title, unit, whether the axis begins at zero, and what is drawn: key, label, style.
_PANELS: tuple[tuple[str, str, bool, tuple[tuple[str, str, str], ...]], ...] = (
    ("Temperature", "°C", False, (("temperature_c", "temperature", "first"),)),
    ("Power", "W", True, (("power_w", "power", "first"), ("power_limit_w", "limit in force", "bound"))),
    ("SM clock", "MHz", True, (("sm_clock_mhz", "SM clock", "first"),)),
    ("Memory clock", "MHz", True, (("memory_clock_mhz", "memory clock", "first"),)),
)
# NVML's reasons, by what somebody does about them; an idle card or an application's own clocks are none.
_REASONS = (
    ("power cap", "power", ("sw_power_cap",)),
    ("thermal slowdown", "thermal", ("sw_thermal_slowdown", "hw_thermal_slowdown")),
    ("hardware brake", "brake", ("hw_slowdown", "hw_power_brake_slowdown")),
)


def bandwidth_chart(check: Check) -> Chart | None:
    """Return the chart of memory bandwidth over size; None where nothing was measured."""
    rows = [
        row
        for row in _list(check.figures.get("over_size"))
        if isinstance(row, dict) and (number(row.get("bytes")) or 0) > 0
    ]
    rows.sort(key=lambda row: float(row["bytes"]))
    lines = tuple(Line(label, style, [number(row.get(key)) for row in rows]) for key, label, style in _COPIES)
    lines = tuple(line for line in lines if any(value is not None for value in line.values))
    if not lines:
        return None
    limit = check.limit("copy_gb_s")
    marks = _marks(limit, 1.0) if limit else ()
    sizes = [float(row["bytes"]) for row in rows]
    values = [value for line in lines for value in line.values if value is not None]
    return Chart(
        "Memory bandwidth over size",
        "GB/s",
        "bytes read and written in one pass",
        sizes,
        doubling(sizes, LEFT, RIGHT),
        straight([*values, *(mark.value for mark in marks)], BOTTOM, TOP, zero=True),
        size_label,
        lines,
        marks,
    )


def endurance_charts(check: Check) -> list[Chart]:
    """Return a chart for each thing that was sampled, all over the same time and with the same shades."""
    samples = check.figures.get("samples")
    if not isinstance(samples, dict):
        return []
    seconds = [number(value) for value in _list(samples.get("seconds"))]
    kept = [place for place, second in enumerate(seconds) if second is not None]
    if not kept:
        return []
    x = [t.cast("float", seconds[place]) for place in kept]
    shades = throttling(samples, kept)
    charts = [_panel(panel, samples, kept, x, shades, check.limits) for panel in _PANELS]
    return [chart for chart in charts if chart is not None]


def throttling(samples: t.Mapping[str, t.Any], kept: t.Sequence[int]) -> tuple[Shade, ...]:
    """Return when which kind of throttling was in force; a sample that was not read is in none."""
    rows = _list(samples.get("reasons"))
    at = [{str(reason) for reason in _list(rows[place])} if place < len(rows) else set() for place in kept]
    shades = (Shade(label, style, [bool(reasons & set(names)) for reasons in at]) for label, style, names in _REASONS)
    return tuple(shade for shade in shades if any(shade.on))


def _panel(
    panel: tuple[str, str, bool, tuple[tuple[str, str, str], ...]],
    samples: t.Mapping[str, t.Any],
    kept: t.Sequence[int],
    x: t.Sequence[float],
    shades: tuple[Shade, ...],
    limits: t.Sequence[Limit],
) -> Chart | None:
    title, unit, zero, keys = panel
    lines = tuple(Line(label, style, _column(samples.get(key), kept)) for key, label, style in keys)
    values = [value for line in lines for value in line.values if value is not None]
    if not values:
        return None
    marks = tuple(mark for limit in limits for mark in _panel_marks(limit, unit, lines[-1]))
    long = x[-1] - x[0] > _LONG_RUN
    time = straight([value / _MINUTE if long else value for value in x], LEFT, RIGHT)
    return Chart(
        title,
        unit,
        "minutes" if long else "seconds",
        [value / _MINUTE if long else value for value in x],
        time,
        straight([*values, *(mark.value for mark in marks)], BOTTOM, TOP, zero=zero),
        plain,
        lines,
        marks,
        shades,
    )


def _panel_marks(limit: Limit, unit: str, last: Line) -> tuple[Mark, ...]:
    """Draw a limit where its unit is the axis's; one in percent of the power limit, at that power."""
    if limit.unit == unit:
        return _marks(limit, 1.0)
    bounds = [value for value in last.values if value is not None]
    if last.style == "bound" and limit.unit == "%" and limit.figure.startswith("power") and bounds:
        return _marks(limit, max(bounds) / 100)
    return ()


def _marks(limit: Limit, factor: float) -> tuple[Mark, ...]:
    return tuple(
        Mark(f"{WORDS[name]} {plain(value * factor)}", value * factor, name.partition("_")[0])
        for name, value in limit.bounds()
    )


def _column(values: object, kept: t.Sequence[int]) -> list[float | None]:
    found = _list(values)
    return [number(found[place]) if place < len(found) else None for place in kept]


def _list(value: object) -> list[t.Any]:
    return value if isinstance(value, list) else []


__all__ = ["bandwidth_chart", "endurance_charts", "throttling"]
