# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Charts of a card: what is drawn, what is left out, and that every drawing is well-formed."""

from __future__ import annotations

import re
import typing as t
import xml.etree.ElementTree as ET

import pytest

from ansible_collections.gpulab.workstation.plugins.plugin_utils._results_chart import Chart
from ansible_collections.gpulab.workstation.plugins.plugin_utils._results_charts import (
    bandwidth_chart,
    endurance_charts,
)
from ansible_collections.gpulab.workstation.plugins.plugin_utils._results_document import Check
from resultdocuments import check, limit, read

NAN = float("nan")


def bandwidth(over_size: object, *limits: dict[str, t.Any]) -> Check:
    return read(checks=[check("memory_bandwidth", figures={"over_size": over_size}, limits=list(limits))]).checks[0]


def endurance(*limits: dict[str, t.Any], **samples: object) -> Check:
    return read(checks=[check("endurance", figures={"samples": samples}, limits=list(limits))]).checks[0]


def drawn(chart: Chart) -> ET.Element:
    """Return a drawing that is well-formed and has only numbers in its paths."""
    root = ET.fromstring(chart.svg())  # noqa: S314 - written by this test
    for path in root.iter("path"):
        assert re.fullmatch(r"[MHLVvz \d-]*", path.get("d", "")), path.get("d")
    assert root.get("aria-label")
    return root


def lines(chart: Chart) -> list[str]:
    return [path.get("d", "") for path in drawn(chart).iter("path") if path.get("class", "").startswith("line")]


@pytest.mark.parametrize(
    "over_size",
    [
        pytest.param(None, id="absent"),
        pytest.param([], id="empty"),
        pytest.param("text", id="text"),
        pytest.param([{"bytes": 1024, "copy_gb_s": None}], id="null"),
        pytest.param([{"bytes": NAN, "copy_gb_s": 5}, 7, {"copy_gb_s": 5}, {"bytes": 0, "copy_gb_s": 1}], id="no-size"),
    ],
)
def test_no_chart_without_a_figure(over_size: object) -> None:
    assert bandwidth_chart(bandwidth(over_size)) is None


def test_one_size_is_a_dot() -> None:
    chart = bandwidth_chart(bandwidth([{"bytes": 1 << 20, "copy_gb_s": 900.0, "triad_gb_s": None}]))
    assert chart is not None
    assert [line.label for line in chart.lines] == ["copy"]
    assert len(list(drawn(chart).iter("circle"))) == 1


def test_bandwidth_over_size_with_its_limits() -> None:
    rows = [
        {"bytes": 1 << power, "copy_gb_s": 1000.0 + power, "triad_gb_s": NAN if power == 21 else 990.0}
        for power in (22, 20, 21)
    ]
    chart = bandwidth_chart(bandwidth(rows, limit("copy_gb_s", fail_below=1300, warn_below=1450)))
    assert chart is not None
    assert list(chart.x) == [1 << 20, 1 << 21, 1 << 22]
    assert [mark.value for mark in chart.marks] == [1300, 1450]
    assert chart.y_scale.high >= 1450
    assert "triad: 990 to 990 GB/s, 1 of 3 not read." in chart.summary
    texts = [text.text for text in drawn(chart).iter("text")]
    assert {"GB/s", "fails below 1300", "warns below 1450", "1\u00a0MiB"} <= set(texts)


@pytest.mark.parametrize(
    "samples",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"seconds": []}, id="no-sample"),
        pytest.param({"seconds": [None, NAN]}, id="no-time"),
        pytest.param({"seconds": [0.0, 1.0], "temperature_c": [None, NAN]}, id="nothing-read"),
        pytest.param({"seconds": "text", "temperature_c": [1]}, id="text"),
    ],
)
def test_no_endurance_chart_without_a_sample(samples: dict[str, object]) -> None:
    assert endurance_charts(endurance(**samples)) == []


def test_one_sample_is_a_dot() -> None:
    (chart,) = endurance_charts(endurance(seconds=[0.0], temperature_c=[40]))
    assert len(list(drawn(chart).iter("circle"))) == 1
    assert chart.x_title == "seconds"


def test_a_gap_interrupts_the_line_and_a_lone_sample_is_a_dot() -> None:
    (chart,) = endurance_charts(endurance(seconds=[0, 1, 2, 3, 4], temperature_c=[40, 41, None, 42, NAN]))
    assert lines(chart)[0].count("M") == 2
    assert len(list(drawn(chart).iter("circle"))) == 1


def test_columns_shorter_than_the_time_are_gaps() -> None:
    (chart,) = endurance_charts(endurance(seconds=[0, 1, 2], temperature_c=[40, 41]))
    assert chart.lines[0].values == [40, 41, None]


def test_throttling_is_told_apart_by_reason() -> None:
    reasons = [
        ["gpu_idle"],
        ["sw_power_cap"],
        ["sw_power_cap", "hw_thermal_slowdown"],
        None,
        ["hw_power_brake_slowdown"],
    ]
    (chart,) = endurance_charts(endurance(seconds=[0, 1, 2, 3, 4], temperature_c=[40] * 5, reasons=reasons))
    assert [(shade.label, shade.share) for shade in chart.shades] == [
        ("power cap", 40.0), ("thermal slowdown", 20.0), ("hardware brake", 20.0),
    ]  # fmt: skip
    shaded = [path.get("class") for path in drawn(chart).iter("path") if path.get("class", "").startswith("shade")]
    assert shaded == ["shade power", "shade thermal", "shade brake"]


def test_limits_are_drawn_on_the_axis_of_their_unit() -> None:
    limits = [limit("max_temperature_c", "°C", fail_above=87), limit("power_percent_of_limit", "%", fail_below=90)]
    samples = {"seconds": [0, 1], "temperature_c": [40, 50], "power_w": [90, 99], "power_limit_w": [575, 575]}
    charts = endurance_charts(endurance(*limits, **samples))
    assert {chart.title: [mark.value for mark in chart.marks] for chart in charts} == {
        "Temperature": [87], "Power": [pytest.approx(517.5)],
    }  # fmt: skip
    assert charts[0].y_scale.high >= 87


def test_a_long_run_is_in_minutes_and_stays_small() -> None:
    count = 7200
    values = [40 + second % 17 for second in range(count)]
    (chart,) = endurance_charts(endurance(seconds=list(range(count)), temperature_c=values))
    assert chart.x_title == "minutes"
    assert len(chart.svg()) < 5000


def test_words_in_a_drawing_are_escaped() -> None:
    (chart,) = endurance_charts(endurance(seconds=[0], temperature_c=[40]))
    hostile = Chart("<b>", '"<', "x", [0.0], chart.x_scale, chart.y_scale, str, chart.lines)
    assert drawn(hostile).get("aria-label", "").startswith("<b>")
