# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures as people read them."""

from __future__ import annotations

import pytest

from ansible_collections.gpulab.workstation.plugins.plugin_utils._results_document import Limit
from ansible_collections.gpulab.workstation.plugins.plugin_utils._results_figures import (
    figures_of,
    label_and_unit,
    limit_words,
    plain,
)
from resultdocuments import check, limit, read


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"), (3.0, "3"), (1612.4, "1612"), (1234567.0, "1 234 567"), (81559.0, "81 559"), (694.26, "694.3"),
        (2.6021, "2.602"), (0.0138712, "0.0139"), (1.5e-7, "1.50e-07"), (-4.25, "\u22124.25"), (12345.6, "12 346"),
    ],
)  # fmt: skip
def test_numbers(value: float, text: str) -> None:
    assert plain(value).replace("\u202f", " ") == text


@pytest.mark.parametrize(
    ("name", "label", "unit"),
    [
        ("copy_gb_s", "copy", "GB/s"), ("tflops", "tflops", "TFLOP/s"), ("max_temperature_c", "max temperature", "°C"),
        ("seconds_per_image_batch_4", "image batch 4", "s/image"), ("percent_of_dense", "percent of dense", "%"),
        ("checks", "checks", ""), ("c", "c", "°C"),
    ],
)  # fmt: skip
def test_labels(name: str, label: str, unit: str) -> None:
    assert label_and_unit(name) == (label, unit)


def test_figures_with_limits_come_first_and_unmeasured_ones_are_told() -> None:
    row = check(
        figures={"seed": 7, "flavour": "open", "ok": True, "nan_c": float("nan"), "none": None, "copy_gb_s": 1500.0,
                 "names": ["a", "b"], "nested": {"a": [1]}},
        limits=[limit("copy_gb_s", fail_below=1300), limit("triad_gb_s", fail_below=1300)],
    )  # fmt: skip
    shown = {figure.name: figure.shown.replace("\u00a0", " ") for figure in figures_of(read(checks=[row]).checks[0])}
    assert list(shown)[:2] == ["copy_gb_s", "triad_gb_s"]
    assert shown == {
        "copy_gb_s": "1500 GB/s", "triad_gb_s": "not measured", "seed": "7", "flavour": "open", "ok": "yes",
        "nan_c": "not measured", "none": "none", "names": "a, b", "nested": "1 entry",
    }  # fmt: skip


@pytest.mark.parametrize(("name", "figure"), [("endurance", "samples"), ("memory_bandwidth", "over_size")])
def test_what_is_drawn_is_not_written(name: str, figure: str) -> None:
    assert figures_of(read(checks=[check(name, figures={figure: [1]})]).checks[0]) == []


def test_limits_in_words() -> None:
    found = Limit("copy_gb_s", "GB/s", "x", fail_below=1300, warn_above=2000)
    assert limit_words(found).replace("\u00a0", " ") == "fails below 1300, warns above 2000 GB/s"
