# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures as an H100 made them, and made wrong; and which attention would have been the best."""

from __future__ import annotations

import json
import typing as t
from dataclasses import replace

import pytest

from ansible_collections.gpulab.workstation.plugins.module_utils._host import Completed
from ansible_collections.gpulab.workstation.plugins.module_utils._verify import Limit, Outcome
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_answer import Answer
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_diffusion import (
    MODELS,
    judge_backends,
    judge_pictures,
    recommended,
)
from recorded import text

PASS, WARN, FAIL, OPEN = Outcome.PASS, Outcome.WARN, Outcome.FAIL, Outcome.NOT_PROVEN
GOOD = Answer.of(Completed((), 0, text("gpu_verify/h100-diffusion.txt"), ""))
COMPILED = Answer.of(Completed((), 0, text("gpu_verify/h100-diffusion-compiled.txt"), ""))
CARD = "GPU-00000000-0000-0000-0000-000000000000"
SDXL, SD15 = MODELS
LIMITS = (
    Limit(SDXL.check, "seconds_per_image", "s", "measured", fail_above=4.5, warn_above=3.2),
    Limit(SDXL.check, "seconds_per_image_batch_4", "s", "measured", fail_above=2.0, warn_above=1.5),
)
LACKING = Answer(1, words="ModuleNotFoundError: No module named 'diffusers'")


def changed(job: str, change: t.Callable[[dict[str, t.Any]], None]) -> Answer:
    objects = [json.loads(json.dumps(data)) for data in GOOD.objects]
    change(next(data for data in objects if data["job"] == job))
    return replace(GOOD, objects=tuple(objects))


def batch(number: int, **values: t.Any) -> Answer:
    return changed("sdxl", lambda data: data["batches"][number].update(values))


def test_pictures_of_an_h100() -> None:
    check = judge_pictures(SDXL, GOOD, CARD, LIMITS)
    assert (check.outcome, check.card) == (PASS, CARD)
    assert check.why == (
        "a picture of 1024 x 1024 in 30 guided steps takes 1.97 s in a batch of 1, 1.21 s in a batch of 4"
    )
    assert check.figures["peak_memory_mib"] == 22810


def test_both_models_are_the_published_ones() -> None:
    for model in MODELS:
        found = GOOD.job(model.job)
        assert (found["unet_parameters"], found["vae_parameters"]) == (model.unet_parameters, model.vae_parameters)


@pytest.mark.parametrize(
    ("answer", "outcome", "words"),
    [
        pytest.param(batch(0, seconds_per_image=3.5), WARN, "seconds_per_image is 3.5 s, above 3.2", id="slowish"),
        pytest.param(batch(1, seconds_per_image=2.5), FAIL, "seconds_per_image_batch_4 is 2.5 s", id="slow-batch"),
        pytest.param(batch(1, contrast=0.0), FAIL, "of batch 4 is of one colour", id="constant"),
        pytest.param(batch(1, contrast=float("nan")), FAIL, "of one colour", id="no-contrast"),
        pytest.param(batch(0, alike=True), FAIL, "two pictures of batch 1 are alike", id="alike"),
        pytest.param(
            changed("sdxl", lambda data: data.update(unet_parameters=5)), FAIL, "5 parameters, not 2,567", id="model"
        ),
        pytest.param(
            changed("sdxl", lambda data: data.update(error="ArithmeticError: not finite")),
            FAIL,
            "not finite",
            id="not-finite",
        ),
        pytest.param(LACKING, OPEN, "the environment has no diffusers", id="no-diffusers"),
        pytest.param(Answer(124), FAIL, "time limit", id="hang"),
    ],
)
def test_pictures(answer: Answer, outcome: Outcome, words: str) -> None:
    check = judge_pictures(SDXL, answer, CARD, LIMITS)
    assert (check.outcome, words in check.why) == (outcome, True), check.why


def test_an_unknown_card_is_not_proven() -> None:
    check = judge_pictures(SD15, GOOD, CARD, None)
    assert check.outcome is OPEN
    assert check.figures["seconds_per_image_batch_4"] == pytest.approx(0.3061, abs=1e-4)


def test_attention_of_an_h100_is_the_best_already() -> None:
    check = judge_backends(GOOD, COMPILED, CARD)
    assert (check.outcome, check.figures["best"], check.figures["environment"]) == (PASS, "cudnn", {})
    assert [row["what"] for row in check.figures["rows"]][-2:] == ["own_channels_last", "own_compiled"]
    assert "42.3 ms by torch's own choice; cudnn 42.3, flash 44.8, efficient 53.2, math 161.0" in check.why


def row(what: str, **values: t.Any) -> Answer:
    return changed("backends", lambda data: next(r for r in data["rows"] if r["what"] == what).update(values))


@pytest.mark.parametrize(
    ("answer", "outcome", "words"),
    [
        pytest.param(row("flash", ms_on_card=30.0), WARN, "flash would save 29 %", id="another-is-quicker"),
        pytest.param(row("flash", ms_on_card=41.0), PASS, "uses the best", id="within-the-noise"),
        pytest.param(row("cudnn", finite=False), FAIL, "cudnn: numbers that are not finite", id="not-finite"),
        pytest.param(row("own", ms_on_card=None, error="RuntimeError: x"), FAIL, "RuntimeError: x", id="own-fails"),
        pytest.param(LACKING, OPEN, "no diffusers", id="no-diffusers"),
        pytest.param(Answer(1, words="killed"), FAIL, "ended with 1: killed", id="crash"),
    ],
)
def test_backends(answer: Answer, outcome: Outcome, words: str) -> None:
    check = judge_backends(answer, COMPILED, CARD)
    assert (check.outcome, words in check.why) == (outcome, True), check.why


def test_without_torch_compile_its_row_says_why() -> None:
    rows = judge_backends(GOOD, Answer(124), CARD).figures["rows"]
    assert "time limit" in rows[-1]["error"]


@pytest.mark.parametrize(
    ("milliseconds", "expected"),
    [
        (
            {"flash": 30.0, "cudnn": 40.0},
            {"TORCH_CUDNN_SDPA_DEPRIORITIZED": "1", "TORCH_CUDNN_SDPA_PREFERRED": "0"},
        ),
        ({"flash": 38.0, "cudnn": 40.0}, {}),
        ({"flash": 40.0, "cudnn": 30.0}, {}),
        ({"flash": 30.0}, {}),
        ({"efficient": 10.0, "cudnn": 40.0}, {}),
    ],
    ids=["flash-is-quicker", "within-the-noise", "cudnn-is-quicker", "no-cudnn", "no-flash"],
)
def test_what_is_recommended(milliseconds: dict[str, float], expected: dict[str, str]) -> None:
    assert recommended(milliseconds) == expected


@pytest.mark.parametrize(
    ("answer", "advice"),
    [
        (row("flash", ms_on_card=30.0), "run the role diffusion_stack"),
        (row("cudnn", ms_on_card=30.0), "sdpa_kernel([SDPBackend.CUDNN_ATTENTION, ...], set_priority=True)"),
    ],
    ids=["by-a-variable", "by-hand"],
)
def test_how_to_take_the_best(answer: Answer, advice: str) -> None:
    assert advice in judge_backends(answer, COMPILED, CARD).why
