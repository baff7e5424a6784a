# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs of the kernels in, outcomes out: recorded ones of an H100, and every way in which numbers can be wrong."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest

from ansible_collections.gpulab.workstation.plugins.module_utils._verify import Outcome
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_numbers import (
    absent,
    judge_results,
    kernels_for,
)
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_programs import FP4, MAIN, ProgramRun

FIXTURES = Path(__file__).parents[2] / "fixtures/gpu_verify"
PASS, FAIL = Outcome.PASS, Outcome.FAIL


def recorded(name: str, rc: int = 0) -> ProgramRun:
    return ProgramRun(0, rc, (FIXTURES / f"h100-{name}.txt").read_text().split("\n", 1)[1], "")


def run(program: str, rc: int = 0, *, without: str = "", **changes: t.Any) -> ProgramRun:
    """Return a run on a 12.0 card; changes by the name of a kernel are made to that kernel, others to the report."""
    kernels = []
    for name in kernels_for("120")[program]:
        good = {"name": name, "elements": 10, "unwritten": 0, "wrong": 0, "repeatable": True, "ok": True}
        kernels.append({**good, **changes.pop(name, {})})
    kernels = [kernel for kernel in kernels if kernel["name"] != without]
    good_report = {"format": 1, "device": 0, "ok": True, "name": "RTX", "binary_arch": 120, "kernels": kernels}
    return ProgramRun(0, rc, json.dumps({**good_report, **changes}), "")


@pytest.mark.parametrize(
    ("name", "rc", "outcome", "words"),
    [
        pytest.param("numbers", 0, PASS, "in 13 kernels, PTX JIT disabled; this architecture has no nvfp4", id="right"),
        pytest.param("plant-1-wrong-number", 1, FAIL, "fused_fp32: 1 wrong and 0 unwritten of 262144", id="fp32"),
        pytest.param("plant-15-fp8", 1, FAIL, "fp8_e4m3_exact: 8 wrong and 0 unwritten of 16384", id="fp8"),
        pytest.param("foreign", 3, FAIL, "no kernel image is available", id="code-for-another-card"),
    ],
)
def test_recorded(name: str, rc: int, outcome: Outcome, words: str) -> None:
    check = judge_results("90", {MAIN: recorded(name, rc)}, "GPU-1")
    assert (check.outcome, check.card, words in check.why) == (outcome, "GPU-1", True), check.why


WRONG: dict[str, t.Any] = {"wrong": 2, "ok": False}


@pytest.mark.parametrize(
    ("numbers", "fp4", "outcome", "words"),
    [
        pytest.param(run(MAIN), run(FP4), PASS, "right numbers (RTX) in 15 kernels", id="right"),
        pytest.param(run(MAIN, 1, ok=False, bf16=WRONG), run(FP4), FAIL, "bf16: 2 wrong", id="wrong"),
        pytest.param(run(MAIN), run(FP4, 1, ok=False, nvfp4_exact=WRONG), FAIL, "nvfp4_exact: 2 wrong", id="fp4"),
        pytest.param(
            run(MAIN, 1, ok=False, tf32={"unwritten": 3, "ok": False}), run(FP4), FAIL, "3 unwritten", id="unwritten"
        ),
        pytest.param(
            run(MAIN, 1, ok=False, int8={"repeatable": False, "ok": False}),
            run(FP4),
            FAIL,
            "int8: 0 wrong and 0 unwritten of 10 elements, repeatable: False",
            id="not-repeatable",
        ),
        pytest.param(run(MAIN, without="fp64_tensor"), run(FP4), FAIL, "fp64_tensor has no result", id="missing"),
        pytest.param(run(MAIN), None, FAIL, "gpu_verify_fp4 could not be built", id="fp4-does-not-build"),
        pytest.param(None, None, FAIL, "gpu_verify could not be built", id="nothing-builds"),
        pytest.param(run(MAIN, binary_arch=90), run(FP4), FAIL, "is for 90, not 120", id="other-code-loaded"),
        pytest.param(run(MAIN, 1), run(FP4), FAIL, "ended with 1 and ok=True", id="status-and-words-differ"),
        pytest.param(ProgramRun(0, -11, "", "boom"), run(FP4), FAIL, "ended with -11", id="crashes"),
        pytest.param(
            run(MAIN, 3, at="run", error="an illegal memory access was encountered"),
            run(FP4),
            FAIL,
            "an illegal memory access was encountered (at: run)",
            id="cuda-error",
        ),
    ],
)
def test_judge_results(numbers: ProgramRun | None, fp4: ProgramRun | None, outcome: Outcome, words: str) -> None:
    runs = {name: made for name, made in ((MAIN, numbers), (FP4, fp4)) if made}
    check = judge_results("120", runs, "GPU-1")
    assert (check.outcome, words in check.why) == (outcome, True), check.why


@pytest.mark.parametrize(
    ("arch", "lacks"),
    [
        pytest.param("120", [], id="blackwell-has-all"),
        pytest.param("90", ["nvfp4", "nvfp4_exact"], id="hopper-has-no-fp4"),
        pytest.param("86", ["fp8_e4m3", "fp8_e4m3_exact", "nvfp4", "nvfp4_exact"], id="ampere-has-no-fp8"),
    ],
)
def test_what_an_architecture_lacks_is_named(arch: str, lacks: list[str]) -> None:
    assert absent(arch) == lacks
