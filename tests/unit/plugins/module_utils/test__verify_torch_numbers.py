# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Torch's attention and matrix product: as an H100 did them, and done wrong."""

from __future__ import annotations

import copy
import json
import typing as t
from dataclasses import replace

import pytest

from ansible_collections.gpulab.workstation.plugins.module_utils._host import Completed
from ansible_collections.gpulab.workstation.plugins.module_utils._verify import Limit, Outcome
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_answer import Answer
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_torch_numbers import (
    judge_attention,
    judge_matmul,
)
from recorded import text

PASS, WARN, FAIL, OPEN = Outcome.PASS, Outcome.WARN, Outcome.FAIL, Outcome.NOT_PROVEN
GOOD = Answer.of(Completed((), 0, text("gpu_verify/h100-torch.txt"), ""))
CARD = "GPU-00000000-0000-0000-0000-000000000000"
LIMITS = (Limit("torch_matmul", "tflops", "TFLOP/s", "measured", fail_below=600, warn_below=690),)


def changed(change: t.Callable[[dict[str, t.Any]], None]) -> Answer:
    data = copy.deepcopy(json.loads(json.dumps(GOOD.objects[0])))
    change(data)
    return replace(GOOD, objects=(data,))


def without(*names: str) -> Answer:
    def change(data: dict[str, t.Any]) -> None:
        for run in data["attention"]["runs"]:
            if run["backend"] in names:
                del run["worst_error_over_bound"]
                run["unavailable"] = "no kernel"

    return changed(change)


def off(backend: str, result: str, ratio: float) -> Answer:
    def change(data: dict[str, t.Any]) -> None:
        run = next(run for run in data["attention"]["runs"] if run["backend"] == backend)
        run["worst_error_over_bound"][result] = ratio

    return changed(change)


def test_attention_of_an_h100() -> None:
    check = judge_attention(GOOD, CARD)
    assert (check.outcome, check.card) == (PASS, CARD)
    assert check.why.startswith("cudnn, efficient, flash, math right, forward and backward")
    assert check.figures["chosen"] == ["cudnn"]
    assert max(check.figures["worst_error_over_bound"].values()) < 0.5
    assert len(check.figures["runs"]) == 20


@pytest.mark.parametrize(
    ("answer", "outcome", "words"),
    [
        pytest.param(off("flash", "dk", 1.5), FAIL, "flash (self, bf16): dk is off by 1.5 times", id="gradient"),
        pytest.param(off("own", "out", 1e30), FAIL, "own (self, bf16): out is off by 1e+30", id="not-finite"),
        pytest.param(off("math", "out", float("nan")), FAIL, "out is off by nan", id="nan"),
        pytest.param(without("cudnn"), PASS, "efficient, flash, math right", id="one-is-missing"),
        pytest.param(without("cudnn", "flash", "efficient"), WARN, "only math right", id="only-the-slow-one"),
        pytest.param(without("own"), FAIL, "no attention of its own choice", id="none-by-itself"),
        pytest.param(
            changed(lambda data: data.update(attention={"error": "CUDA error: no kernel image"})),
            FAIL,
            "no kernel image",
            id="error",
        ),
        pytest.param(Answer(124), FAIL, "time limit", id="hang"),
    ],
)
def test_attention(answer: Answer, outcome: Outcome, words: str) -> None:
    check = judge_attention(answer, CARD)
    assert (check.outcome, words in check.why) == (outcome, True), check.why


def test_product_of_an_h100() -> None:
    check = judge_matmul(GOOD, CARD, LIMITS, 989.4)
    assert (check.outcome, check.limits) == (PASS, LIMITS)
    assert check.why == "770 TFLOP/s in bf16, 78 % of the card's dense 989.4"


def product(**values: t.Any) -> Answer:
    return changed(lambda data: data["matmul"].update(values))


@pytest.mark.parametrize(
    ("answer", "limits", "outcome", "words"),
    [
        pytest.param(product(tflops=650.0), LIMITS, WARN, "tflops is 650 TFLOP/s, below 690 (measured)", id="slowish"),
        pytest.param(product(tflops=500.0), LIMITS, FAIL, "below 600", id="slow"),
        pytest.param(product(tflops=float("nan")), LIMITS, OPEN, "tflops could not be measured", id="no-time"),
        pytest.param(GOOD, None, OPEN, "there are no limits for this card: 770 TFLOP/s", id="unknown-card"),
        pytest.param(product(worst_error_over_bound=3.0), LIMITS, FAIL, "off by 3 times", id="wrong"),
        pytest.param(product(repeatable=False), LIMITS, FAIL, "two products", id="not-the-same-twice"),
        pytest.param(product(repeatable=False), None, FAIL, "two products", id="wrong-on-an-unknown-card"),
        pytest.param(Answer(-9), LIMITS, FAIL, "ended with -9", id="killed"),
    ],
)
def test_product(answer: Answer, limits: tuple[Limit, ...] | None, outcome: Outcome, words: str) -> None:
    check = judge_matmul(answer, CARD, limits, None)
    assert (check.outcome, words in check.why) == (outcome, True), check.why
