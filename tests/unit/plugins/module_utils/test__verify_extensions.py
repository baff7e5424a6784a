# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Libraries of an environment with code for this card, with PTX only, with neither, and for another CUDA."""

from __future__ import annotations

import json
import typing as t

import pytest

from ansible_collections.gpulab.workstation.plugins.module_utils._verify import Outcome
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_extensions import (
    Extension,
    judge_extensions,
    used_variants,
)
from recorded import text

PASS, WARN, FAIL, OPEN = Outcome.PASS, Outcome.WARN, Outcome.FAIL, Outcome.NOT_PROVEN
TORCH = Extension("torch/lib/libtorch_cuda.so", {"sm_90": 397, "sm_120": 398})
PLAIN = Extension("numpy/core.so", {})


def library(*codes: str, path: str = "xformers/_C.so") -> Extension:
    return Extension(path, dict.fromkeys(codes, 1))


@pytest.mark.parametrize(
    ("more", "outcome", "words"),
    [
        pytest.param([], PASS, "1 of 2 libraries carry device code, all of them for sm_120", id="native"),
        pytest.param([library("sm_120a", "sm_90")], PASS, "2 of 3", id="for-this-card-alone"),
        pytest.param([library("sm_120f")], PASS, "2 of 3", id="family"),
        # xformers 0.0.33.post2: machine code for other cards and PTX of 8.0
        pytest.param([library("compute_80", "sm_80", "sm_90a")], WARN, "only PTX", id="xformers"),
        pytest.param([library("sm_80", "sm_90a")], FAIL, "no code that runs on sm_120: xformers/_C.so", id="older"),
        pytest.param([library("sm_100")], FAIL, "no code that runs on sm_120", id="the-other-blackwell"),
        pytest.param([library("compute_121")], FAIL, "no code that runs", id="ptx-of-a-newer-card"),
        pytest.param([Extension("a/b.so", None, "ends at byte 7")], OPEN, "could not be read: a/b.so", id="cut-off"),
        pytest.param(
            [Extension("a/b.so", None, "x"), library("sm_80")], FAIL, "no code that runs", id="cut-off-and-older"
        ),
        pytest.param(
            [library("compute_90", "sm_90", path="torch/lib/libtorch_nvshmem.so")], PASS, "1 of 3", id="left-out"
        ),
    ],
)
def test_outcomes(more: list[Extension], outcome: Outcome, words: str) -> None:
    check = judge_extensions([TORCH, PLAIN, *more], "12.0", "12.8")
    assert (check.outcome, words in check.why) == (outcome, True), check.why


def test_no_device_code_at_all_proves_nothing() -> None:
    assert judge_extensions([PLAIN], "12.0", "12.8").outcome is OPEN


@pytest.mark.parametrize(
    ("arch", "code", "outcome"),
    [("8.9", "sm_86", PASS), ("9.0", "sm_90a", PASS), ("9.0a", "sm_90", PASS), ("8.6", "sm_89", FAIL)],
    ids=["older-minor", "own", "arch-with-a-letter", "newer-minor"],
)
def test_what_runs_where(arch: str, code: str, outcome: Outcome) -> None:
    assert judge_extensions([library(code)], arch, "").outcome is outcome


def bitsandbytes(**codes: t.Sequence[str]) -> list[Extension]:
    return [library(*code, path=f"bitsandbytes/libbitsandbytes_{cuda}.so") for cuda, code in codes.items()]


def test_one_library_for_each_cuda() -> None:
    every = bitsandbytes(cuda118=["sm_80"], cuda128=["sm_120"], cuda130=["sm_75", "sm_120"])
    used, others = used_variants(every, "12.8")
    assert [x.path[-11:] for x in used] == ["_cuda128.so"]
    assert len(others) == 2
    check = judge_extensions([TORCH, *every], "12.0", "12.8")
    assert (check.outcome, check.figures["for_another_cuda"]) == (PASS, list(others))


def test_the_one_for_this_cuda_has_to_be_native() -> None:
    every = bitsandbytes(cuda118=["sm_120"], cuda128=["sm_80"])
    assert judge_extensions([TORCH, *every], "12.0", "12.8").outcome is FAIL


def test_without_one_for_this_cuda_all_count() -> None:
    every = bitsandbytes(cuda118=["sm_80"], cuda130=["sm_120"])
    assert judge_extensions([TORCH, *every], "12.0", "12.8").outcome is FAIL


def wheels(*packages: str) -> list[Extension]:
    """Return the libraries of real wheels, as they were read."""
    lines = text("extensions/torch-2.9.1-xformers-0.0.33.post2-bitsandbytes-0.49.2.txt").splitlines()
    pairs = (line.split(" ", 1) for line in lines)
    return [Extension(path, json.loads(codes)) for path, codes in pairs if path.split("/")[0] in packages]


@pytest.mark.parametrize(
    ("packages", "arch", "outcome", "words"),
    [
        pytest.param(("torch", "bitsandbytes"), "12.0", PASS, "3 of 31", id="the-stack"),
        pytest.param(("torch", "xformers"), "12.0", WARN, "xformers/_C.so, xformers/flash_attn_3/_C.so", id="xformers"),
        pytest.param(("torch", "xformers", "bitsandbytes"), "9.0", PASS, "for sm_90", id="on-an-h100"),
        pytest.param(("torch", "bitsandbytes"), "6.1", FAIL, "torch/lib/libtorch_cuda.so", id="older-than-torch"),
    ],
)
def test_real_wheels(packages: tuple[str, ...], arch: str, outcome: Outcome, words: str) -> None:
    check = judge_extensions(wheels(*packages), arch, "12.8")
    assert (check.outcome, words in check.why) == (outcome, True), check.why
