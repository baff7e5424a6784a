# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Full load: 20 s of an H100 as they were, and what heat, a bad power supply or a blind sampler make of them."""

from __future__ import annotations

import json
import typing as t
from dataclasses import replace

import pytest

from ansible_collections.gpulab.workstation.plugins.module_utils._host import Completed
from ansible_collections.gpulab.workstation.plugins.module_utils._verify import Limit, Outcome
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_answer import Answer
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_endurance import (
    FIELDS,
    judge_endurance,
    parse_reasons,
    parse_samples,
)
from recorded import text

PASS, WARN, FAIL, OPEN = Outcome.PASS, Outcome.WARN, Outcome.FAIL, Outcome.NOT_PROVEN
GOOD = Answer.of(Completed((), 0, text("gpu_verify/h100-load.txt"), ""))
CARD = "GPU-00000000-0000-0000-0000-000000000000"
LIMITS = (Limit("endurance", "max_temperature_c", "degrees C", "NVIDIA", fail_above=87, warn_above=85),)


def changed(change: t.Callable[[dict[str, t.Any]], None]) -> Answer:
    data = json.loads(json.dumps(GOOD.objects[0]))
    change(data)
    return replace(GOOD, objects=(data,))


def samples(field: str, value: str, *seconds: int) -> Answer:
    """Change a field in the samples of some seconds, in all of them where none is named."""

    def change(data: dict[str, t.Any]) -> None:
        for number, sample in enumerate(data["samples"]):
            if not seconds or number in seconds:
                values = [part.strip() for part in sample[1].split(",")]
                values[FIELDS.index(field)] = value
                sample[1] = ", ".join(values)

    return changed(change)


def load(**values: t.Any) -> Answer:
    return changed(lambda data: data["cards"][0].update(values))


def without(*seconds: int) -> Answer:
    return changed(
        lambda data: data.update(samples=[s for number, s in enumerate(data["samples"]) if number not in seconds])
    )


def replays(*counts: int | None) -> Answer:
    def change(data: dict[str, t.Any]) -> None:
        for sample, count in zip(data["samples"][-len(counts) :], counts, strict=True):
            sample[2] = count

    return changed(change)


def test_an_h100() -> None:
    check = judge_endurance(GOOD, CARD, 20, LIMITS)
    assert check.outcome is PASS, check.why
    assert "588 TFLOP/s, median power 99 % of the limit" in check.why
    assert "held at the power limit in 19 samples, as full load should be" in check.why
    columns = check.figures["samples"]
    assert {len(column) for column in columns.values()} == {20}
    assert columns["temperature_c"][-1] == 63
    assert columns["reasons"][-1] == ("sw_power_cap",)
    assert columns["pcie_replays"] == [0] * 20


@pytest.mark.parametrize(
    ("answer", "outcome", "words"),
    [
        pytest.param(
            samples("clocks_event_reasons.active", "0x0000000000000080", 7),
            FAIL,
            "hw_power_brake_slowdown_seconds is 1 s",
            id="power-brake",
        ),
        pytest.param(
            samples("clocks_event_reasons.active", "0x0000000000000048", 7, 8),
            FAIL,
            "hw_thermal_slowdown_seconds is 2 s",
            id="too-hot-for-the-hardware",
        ),
        pytest.param(
            samples("clocks_event_reasons.active", "0x0000000000000020", 7),
            WARN,
            "sw_thermal_slowdown_seconds is 1 s",
            id="too-hot-for-the-driver",
        ),
        pytest.param(
            samples("clocks_event_reasons.active", "0x0000000000000008", 7), WARN, "hw_slowdown_seconds", id="slowdown"
        ),
        pytest.param(samples("temperature.gpu", "86"), WARN, "max_temperature_c is 86", id="warm"),
        pytest.param(samples("temperature.gpu", "90", 12), FAIL, "max_temperature_c is 90", id="hot"),
        pytest.param(samples("power.draw", "500.00"), FAIL, "power_percent_of_limit is 71.43 %", id="cable"),
        pytest.param(replays(0, 3), WARN, "pcie_replays_more is 3", id="replays"),
        pytest.param(
            samples("ecc.errors.uncorrected.volatile.total", "1", 19), FAIL, "uncorrected_ecc_errors_more", id="ecc"
        ),
        pytest.param(
            samples("ecc.errors.uncorrected.volatile.total", "[N/A]"), PASS, "samples without a reading", id="no-ecc"
        ),
        pytest.param(load(wrong=5), FAIL, "wrong_numbers is 5", id="a-wrong-number-under-heat"),
        pytest.param(load(worst_error_over_bound=2.0), FAIL, "off by 2 times", id="wrong-from-the-start"),
        pytest.param(load(error="CUDA error: unspecified launch failure"), FAIL, "launch failure", id="crash"),
        pytest.param(load(uuid="GPU-9"), FAIL, "ended with 0", id="a-card-is-missing"),
        pytest.param(load(checks=0), OPEN, "too short", id="not-looked-at-twice"),
        pytest.param(without(*range(8, 15)), OPEN, "nothing was sampled for 8 s", id="gap"),
        pytest.param(without(5, 9, 13), OPEN, "only 17 samples in 20 s", id="too-few"),
        pytest.param(changed(lambda data: data.update(samples=[])), OPEN, "no sample of this card", id="none"),
        pytest.param(samples("power.draw", "[N/A]", 3), PASS, "power_w 1", id="one-reading-is-missing"),
        pytest.param(samples("clocks.sm", "[Unknown Error]"), OPEN, "sm_clock_mhz in 20", id="a-field-is-missing"),
        pytest.param(samples("power.draw", "[Unknown Error]"), OPEN, "power_w in 20", id="no-power"),
        pytest.param(Answer(124), FAIL, "time limit", id="hang"),
    ],
)
def test_outcomes(answer: Answer, outcome: Outcome, words: str) -> None:
    check = judge_endurance(answer, CARD, 20, LIMITS)
    assert (check.outcome, words in check.why) == (outcome, True), check.why


def test_an_unknown_card_is_not_proven_but_can_fail() -> None:
    assert judge_endurance(GOOD, CARD, 20, None).outcome is OPEN
    assert judge_endurance(samples("power.draw", "100.00"), CARD, 20, None).outcome is FAIL


def test_limits_of_the_model_go_before_those_of_all() -> None:
    own = (*LIMITS, Limit("endurance", "power_percent_of_limit", "%", "measured", fail_below=60))
    assert judge_endurance(samples("power.draw", "500.00"), CARD, 20, own).outcome is PASS


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        ("0x0000000000000000", ()),
        ("0x0000000000000024", ("sw_power_cap", "sw_thermal_slowdown")),
        ("0x0000000000010000", ("0x10000",)),
        ("[N/A]", None),
        ("Unknown Error", None),
    ],
    ids=["none", "two", "without-a-name", "not-there", "error"],
)
def test_reasons(mask: str, expected: tuple[str, ...] | None) -> None:
    assert parse_reasons(mask) == expected


def test_lines_of_other_cards_and_broken_ones_are_left_out() -> None:
    line = GOOD.objects[0]["samples"][3][1]
    lines = [
        [0.5, line, 0],
        [1.5, line.replace(CARD, "GPU-9"), 0],
        [2.5, "No devices were found", None],
        [3.5, line, 0],
    ]
    assert parse_samples(lines, CARD).seconds == (0.5, 3.5)
