# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Scales hold their values and have round ticks, also where there is hardly a value."""

from __future__ import annotations

import math

import pytest

from ansible_collections.gpulab.workstation.plugins.plugin_utils._results_scale import (
    doubling,
    size_label,
    straight,
    stretches,
    thinned,
)

NAN = float("nan")


@pytest.mark.parametrize(
    ("values", "zero", "ticks"),
    [
        pytest.param([0, 700], False, (0, 200, 400, 600, 800), id="power"),
        pytest.param([31, 88], False, (20, 40, 60, 80, 100), id="temperature"),
        pytest.param([2619, 2619], True, (0, 1000, 2000, 3000), id="constant-from-zero"),
        pytest.param([50], False, (44, 46, 48, 50, 52, 54, 56), id="one-value"),
        pytest.param([0], True, (0, 0.2, 0.4, 0.6, 0.8, 1), id="one-zero"),
        pytest.param([], False, (-1, -0.5, 0, 0.5, 1), id="none"),
        pytest.param([NAN, math.inf, 3, 4], False, (3, 3.2, 3.4, 3.6, 3.8, 4), id="not-finite"),
        pytest.param([-3, 3], False, (-4, -2, 0, 2, 4), id="below-zero"),
    ],
)
def test_straight(values: list[float], *, zero: bool, ticks: tuple[float, ...]) -> None:
    scale = straight(values, 0, 100, zero=zero)
    assert scale.ticks == pytest.approx(ticks)
    assert (scale.place(scale.low), scale.place(scale.high)) == (0, 100)
    for value in values:
        if math.isfinite(value):
            assert scale.low <= value <= scale.high


def test_what_is_outside_lies_at_the_edge() -> None:
    scale = straight([0, 10], 170, 26)
    assert [scale.place(value) for value in (-5, 0, 5, 10, 99)] == [170, 170, 98, 26, 26]


@pytest.mark.parametrize(
    ("sizes", "low", "high"),
    [
        pytest.param([1 << 20, 1 << 33], 1 << 20, 1 << 33, id="usual"),
        pytest.param([3000, 5000], 2048, 8192, id="no-powers"),
        pytest.param([1 << 20], 1 << 19, 1 << 21, id="one"),
        pytest.param([0, -1, NAN], 512, 2048, id="none"),
    ],
)
def test_doubling(sizes: list[float], low: float, high: float) -> None:
    scale = doubling(sizes, 0, 100)
    assert (scale.low, scale.high) == (low, high)
    assert len(scale.ticks) <= 7
    assert doubling([1024, 4096], 0, 100).place(2048) == 50


@pytest.mark.parametrize(
    ("size", "text"), [(512, "512 B"), (1 << 20, "1 MiB"), (1.5 * (1 << 30), "1.5 GiB"), (1 << 41, "2 TiB")]
)
def test_sizes(size: float, text: str) -> None:
    assert size_label(size).replace("\u00a0", " ") == text


def test_thinning_loses_no_peak_and_no_gap() -> None:
    values: list[float | None] = [1.0] * 1000
    values[333], values[777] = 99.0, -5.0
    values[500:600] = [None] * 100
    points = thinned(values, 50)
    assert len(points) <= 100
    assert (333, 99.0) in points
    assert (777, -5.0) in points
    assert any(value is None for place, value in points if 500 <= place < 600)
    assert [place for place, _ in points] == sorted(place for place, _ in points)
    assert thinned([1.0, None], 50) == [(0, 1.0), (1, None)]


@pytest.mark.parametrize(("count", "buckets"), [(0, 5), (1, 5), (7, 3), (1800, 130)])
def test_stretches_cover_all(count: int, buckets: int) -> None:
    assert [place for first, last in stretches(count, buckets) for place in range(first, last)] == list(range(count))
