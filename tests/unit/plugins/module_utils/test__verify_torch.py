# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an environment's Python may say about its torch."""

from __future__ import annotations

import dataclasses
import json
import typing as t

import pytest

from ansible_collections.gpulab.workstation.plugins.module_utils import _verify_torch as torch
from ansible_collections.gpulab.workstation.plugins.module_utils._verify import Outcome
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_torch import TorchAnswer

PASS, FAIL = Outcome.PASS, Outcome.FAIL
ANSWER = {"format": 1, "version": "2.9.1+cu128", "cuda": "12.8", "directory": "/env/torch", "available": False,
          "arch_list": ["sm_90", "sm_120"], "cards": []}  # fmt: skip
GOOD = TorchAnswer("/env/bin/python", 0, ANSWER, library="/env/lib.so", library_code={"sm_90": 3, "sm_120": 3})


def answer(**changes: t.Any) -> TorchAnswer:
    return dataclasses.replace(GOOD, answer={**ANSWER, **changes})


@pytest.mark.parametrize(
    ("found", "version", "outcome", "words"),
    [
        pytest.param(GOOD, "2.9.1", PASS, "carries machine code for sm_120", id="local-part-does-not-count"),
        pytest.param(GOOD, "", PASS, "carries", id="none-asked-for"),
        pytest.param(GOOD, "2.9.0", FAIL, "torch is 2.9.1+cu128, not 2.9.0", id="other-version"),
        pytest.param(answer(version="2.9.1+cu130"), "2.9.1+cu128", FAIL, "not 2.9.1+cu128", id="other-build"),
        pytest.param(answer(cuda="12.6"), "2.9.1", FAIL, "CUDA 12.6, not 12.8", id="other-cuda"),
        pytest.param(answer(cuda=None), "2.9.1", FAIL, "CUDA None, not 12.8", id="cpu-build"),
        pytest.param(answer(arch_list=["sm_90"]), "2.9.1", FAIL, "lacks sm_120", id="arch-list"),
        pytest.param(
            dataclasses.replace(GOOD, library_code={"sm_90": 3}), "2.9.1", FAIL, "no machine code for sm_120", id="file"
        ),
        pytest.param(
            dataclasses.replace(GOOD, library_code=None, library_error="cut off"),
            "2.9.1",
            FAIL,
            "cut off",
            id="unreadable",
        ),
        pytest.param(
            TorchAnswer("/p", 0, {"format": 1, "error": "ImportError: libcudart"}),
            "2.9.1",
            FAIL,
            "libcudart",
            id="import",
        ),
        pytest.param(TorchAnswer("/p", -11, {}, "Segmentation fault"), "2.9.1", FAIL, "Segmentation fault", id="crash"),
        pytest.param(TorchAnswer("/p", 124, {}), "2.9.1", FAIL, "ended with 124: no answer", id="hang"),
    ],
)
def test_build(found: TorchAnswer, version: str, outcome: Outcome, words: str) -> None:
    check = torch.judge_build(found, "120", version, "12.8")
    assert (check.outcome, words in check.why) == (outcome, True), check.why


CARD = {"device": 0, "name": "NVIDIA H100", "worst_error_over_bound": 0.1, "ok": True}


@pytest.mark.parametrize(
    ("found", "outcome", "words"),
    [
        pytest.param(GOOD, FAIL, "the card answers, but", id="torch-sees-no-gpu"),
        pytest.param(answer(available=True, cards=[CARD]), PASS, "right numbers", id="right"),
        pytest.param(
            answer(available=True, cards=[{**CARD, "device": 1}]), FAIL, "does not see this card", id="another-card"
        ),
        pytest.param(answer(available=True, cards=[]), FAIL, "does not see this card", id="no-card-used"),
        pytest.param(
            answer(available=True, cards=[{**CARD, "ok": False, "worst_error_over_bound": 1e30}]),
            FAIL,
            "1e+30",
            id="wrong",
        ),
        pytest.param(answer(available=True, error="AcceleratorError: x"), FAIL, "AcceleratorError", id="error"),
    ],
)
def test_launch(found: TorchAnswer, outcome: Outcome, words: str) -> None:
    check = torch.judge_launch(found, 0, "GPU-1")
    assert (check.outcome, check.card, words in check.why) == (outcome, "GPU-1", True), check.why


@pytest.mark.parametrize(
    ("stdout", "expected"),
    [
        ("a warning\n\n" + json.dumps(ANSWER) + "\n", ANSWER),
        ("", {}),
        ('{"format": 1, "ver', {}),
        ('{"format": 2}', {}),
        ("[]", {}),
    ],
    ids=["behind-a-warning", "empty", "cut-off", "other-format", "list"],
)
def test_answer(stdout: str, expected: dict[str, t.Any]) -> None:
    assert torch.parse_answer(stdout) == expected
