# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs of the memory test and of the copies in, outcomes out: recorded ones of an H100, and what must go red."""

from __future__ import annotations

import dataclasses
import json
import typing as t
from pathlib import Path

import pytest

from ansible_collections.gpulab.workstation.plugins.module_utils._verify import Limit, Outcome
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_memory import (
    TorchCopy,
    judge_bandwidth,
    judge_test,
    parse_torch_copy,
)
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_programs import ProgramRun

FIXTURES = Path(__file__).parents[2] / "fixtures/gpu_verify"
PASS, WARN, FAIL, OPEN = Outcome.PASS, Outcome.WARN, Outcome.FAIL, Outcome.NOT_PROVEN


def text(name: str) -> str:
    return (FIXTURES / f"h100-{name}.txt").read_text().split("\n", 1)[1]


def recorded(name: str, rc: int = 0, **changes: t.Any) -> ProgramRun:
    return ProgramRun(0, rc, json.dumps({**json.loads(text(name)), **changes}), "")


@pytest.mark.parametrize(
    ("run", "outcome", "words"),
    [
        pytest.param(recorded("memory-test"), PASS, "78.1 of 79.2 GiB (99%) kept 6 patterns", id="good"),
        pytest.param(
            recorded("plant-5-flipped-word", 1),
            FAIL,
            "2 words came back another; first at 0x00007f",
            id="flipped-word",
        ),
        pytest.param(recorded("plant-6-hangs", 4), FAIL, "out of time (at: time limit)", id="hangs"),
        pytest.param(
            recorded("memory-test-60-gib-held"),
            OPEN,
            "only 17.6 of 79.2 GiB (22%) could be tested, 18.2 GiB were free: another process holds the rest",
            id="another-process-holds-60-gib",
        ),
        pytest.param(
            recorded("memory-test-all-held", 1), OPEN, "only 0.0 of 79.2 GiB", id="another-process-holds-nearly-all"
        ),
        pytest.param(
            recorded("bandwidth-memory-held", 3), OPEN, "holds the card's memory: out of memory", id="no-memory-at-all"
        ),
        pytest.param(
            recorded("memory-test-60-gib-held", 1, errors=1, ok=False), FAIL, "1 words came back", id="fault-in-a-part"
        ),
        pytest.param(recorded("memory-test", 1), FAIL, "ended with 1 and ok=True", id="status-and-words-differ"),
        pytest.param(recorded("memory-test", binary_arch=89), FAIL, "is for 89, not 90", id="other-code-loaded"),
        pytest.param(ProgramRun(0, -9, "", "Killed"), FAIL, "ended with -9 and no result: Killed", id="killed"),
    ],
)
def test_judge_test(run: ProgramRun, outcome: Outcome, words: str) -> None:
    check = judge_test("90", run, "GPU-1")
    assert (check.outcome, check.card, words in check.why) == (outcome, "GPU-1", True), check.why


TORCH = parse_torch_copy(0, text("torch-copy"), "")
FACTS = {"memory_bandwidth_gb_s": 3352.0}
ROW = (Limit("memory_bandwidth", "copy_gb_s", "GB/s", "measured", fail_below=2500, warn_below=2900),)
OWN_SHARE = Limit("memory_bandwidth", "share_of_theoretical", "of it", "measured", fail_below=0.75)
GOOD = recorded("bandwidth")


@pytest.mark.parametrize(
    ("run", "torch", "limits", "facts", "outcome", "words"),
    [
        pytest.param(
            GOOD, TORCH, ROW, FACTS, PASS, "91% of 3352 GB/s, 101% of the best public copy (torch_copy)", id="good"
        ),
        pytest.param(
            GOOD, TorchCopy({}, "no torch"), ROW, FACTS, PASS, "best public copy (cuda_memcpy)", id="without-torch"
        ),
        pytest.param(GOOD, TORCH, None, {}, OPEN, "there are no limits for this card", id="unknown-card"),
        pytest.param(
            recorded("bandwidth", copy_gb_s=2000.0),
            TORCH,
            None,
            {},
            FAIL,
            "below 0.85",
            id="unknown-card-at-60-percent",
        ),
        pytest.param(
            recorded("bandwidth", copy_gb_s=2848.0),
            TORCH,
            ROW,
            FACTS,
            FAIL,
            "share_of_theoretical is 0.8496",
            id="slow",
        ),
        pytest.param(
            recorded("bandwidth", copy_gb_s=2848.0, cuda_memcpy_gb_s=2900.0, nvbandwidth_like_gb_s=2800.0),
            TorchCopy({}, "no torch"),
            (dataclasses.replace(ROW[0], warn_below=2600), OWN_SHARE),
            FACTS,
            PASS,
            "85% of 3352 GB/s",
            id="slow-for-others-and-well-for-its-model",
        ),
        pytest.param(
            recorded("bandwidth", copy_gb_s=2880.0),
            TORCH,
            ROW,
            FACTS,
            WARN,
            "2880 GB/s, below 2900",
            id="below-its-row",
        ),
        pytest.param(
            GOOD, TorchCopy({1 << 30: 3320.0}), ROW, FACTS, FAIL, "share_of_best_public is 0.9173", id="torch-is-faster"
        ),
        pytest.param(
            recorded("bandwidth", memory_clock_khz=1309500),
            TORCH,
            ROW,
            FACTS,
            OPEN,
            "clock and bus width give 1676 GB/s, the model's data sheet says 3352",
            id="clock-of-another-kind",
        ),
        pytest.param(
            recorded("bandwidth", memory_clock_khz=0),
            TORCH,
            ROW,
            FACTS,
            OPEN,
            "share_of_theoretical could not be measured",
            id="no-clock",
        ),
        pytest.param(
            recorded("bandwidth", 1, wrong_words=7, ok=False),
            TORCH,
            ROW,
            FACTS,
            FAIL,
            "7 words of the copies",
            id="wrong",
        ),
        pytest.param(
            recorded("bandwidth-memory-held", 3), TORCH, ROW, FACTS, OPEN, "(at: allocate 3 GiB)", id="memory-is-held"
        ),
        pytest.param(ProgramRun(0, 124, "", ""), TORCH, ROW, FACTS, FAIL, "ended with 124", id="killed-from-outside"),
    ],
)
def test_judge_bandwidth(
    run: ProgramRun,
    torch: TorchCopy,
    limits: tuple[Limit, ...] | None,
    facts: dict[str, float],
    outcome: Outcome,
    words: str,
) -> None:
    check = judge_bandwidth("90", run, torch, "GPU-1", limits=limits, facts=facts)
    assert (check.outcome, check.card, words in check.why) == (outcome, "GPU-1", True), check.why


def test_the_chart_has_torch_beside_our_own() -> None:
    rows = judge_bandwidth("90", GOOD, TORCH, "GPU-1", limits=ROW, facts=FACTS).figures["over_size"]
    assert (rows[0]["bytes"], rows[-1]["bytes"], len(rows)) == (1 << 16, 1 << 32, 9)
    assert all(isinstance(row[key], float) for row in rows for key in ("copy_gb_s", "triad_gb_s", "torch_copy_gb_s"))


def test_an_rtx_5090s_clock_and_bus_give_its_data_sheet() -> None:
    """14001 MHz and 512 bit are what deviceQuery shows on one (github.com/NVIDIA/nccl/issues/1637)."""
    run = recorded("bandwidth", memory_clock_khz=14001000, memory_bus_bits=512, copy_gb_s=1560.0)
    figures = judge_bandwidth("90", run, TORCH, "GPU-1", limits=ROW, facts={}).figures
    assert (figures["theoretical_gb_s"], figures["share_of_theoretical"]) == (1792.1, 0.8705)


@pytest.mark.parametrize(
    ("rc", "out", "err", "words"),
    [
        pytest.param(1, "", "No module named 'torch'", "ended with 1: No module named 'torch'", id="no-torch"),
        pytest.param(124, "", "", "ended with 124: no words", id="killed"),
        pytest.param(0, '{"format": 1}', "", "ended with 0", id="cut-off"),
    ],
)
def test_torch_copy_that_was_not_measured(rc: int, out: str, err: str, words: str) -> None:
    found = parse_torch_copy(rc, out, err)
    assert (found.gb_s, words in found.why) == ({}, True)
