# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge how fast a card makes pictures, and which attention serves it best; what the program printed in, checks out."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.gpulab.workstation.plugins.module_utils._verify import (
    Check,
    Limit,
    failed,
    judge_figures,
    not_proven,
    passed,
    warned,
)
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_answer import Answer

LEAST_CONTRAST = 1.0  # standard deviation over a picture, in steps of 255; noise has 40
WORTH_IT = 0.10  # how much quicker another attention must be to be recommended; runs differ by a few per cent
ATTENTION = ("flash", "cudnn", "efficient", "math")


@dataclass(frozen=True)
class Model:
    """A model by the job that measures it, and how many numbers its published configuration has."""

    check: str
    job: str
    unet_parameters: int
    vae_parameters: int = 83_653_863


# The numbers that the published weights have: a configuration with an error in it makes another model.
MODELS = (
    Model("diffusion_sdxl", "sdxl", 2_567_463_684),
    Model("diffusion_sd15", "sd15", 859_520_964),
)


def judge_pictures(model: Model, answer: Answer, card: str, limits: tuple[Limit, ...] | None) -> Check:
    """Judge the pictures of a model: the right model, finite, no two alike, and the seconds that one takes."""
    found = answer.job(model.job)
    if not found and answer.lacks:
        return not_proven(model.check, f"the environment has no {answer.lacks}", card=card)
    if words := answer.trouble(found, card):
        return failed(model.check, words, card=card)
    batches = found["batches"]
    figures: dict[str, t.Any] = {
        "size": found["size"],
        "steps": found["steps"],
        "unet_parameters": found["unet_parameters"],
        "vae_parameters": found["vae_parameters"],
        "peak_memory_mib": max(batch["peak_memory_mib"] for batch in batches),
        "batches": batches,
    }
    for batch in batches:
        suffix = "" if batch["batch"] == 1 else f"_batch_{batch['batch']}"
        figures[f"seconds_per_image{suffix}"] = batch["seconds_per_image"]
    wrong = []
    if (found["unet_parameters"], found["vae_parameters"]) != (model.unet_parameters, model.vae_parameters):
        wrong.append(f"the UNet has {found['unet_parameters']:,} parameters, not {model.unet_parameters:,}")
    for batch in batches:
        if not batch["contrast"] >= LEAST_CONTRAST:
            wrong.append(f"a picture of batch {batch['batch']} is of one colour")
        if batch["alike"]:
            wrong.append(f"two pictures of batch {batch['batch']} are alike")
    if wrong:
        return failed(model.check, "; ".join(wrong), card=card, **figures)
    times = ", ".join(f"{batch['seconds_per_image']:.2f} s in a batch of {batch['batch']}" for batch in batches)
    why = f"a picture of {found['size']} x {found['size']} in {found['steps']} guided steps takes {times}"
    return judge_figures(model.check, why, card=card, limits=limits, **figures)


def judge_backends(answer: Answer, compiled: Answer, card: str) -> Check:
    """Compare the attention that torch takes by itself with each of its back ends, by the time the card needs.

    The time of a step as a program sees it is in the table as well; with one picture at a time it is mostly the CPU's.
    """
    found = answer.job("backends")
    if not found and answer.lacks:
        return not_proven("attention_backends", f"the environment has no {answer.lacks}", card=card)
    if words := answer.trouble(found, card):
        return failed("attention_backends", words, card=card)
    rows = [*found["rows"], _compiled_row(compiled)]
    timed = {row["what"]: row["ms_on_card"] for row in rows if row.get("ms_on_card")}
    choices = {name: timed[name] for name in ATTENTION if name in timed}
    figures: dict[str, t.Any] = {
        "rows": rows,
        "batch": found["batch"],
        "best": None,
        "gain_percent": None,
        "environment": {},
    }
    wrong = [f"{row['what']}: numbers that are not finite" for row in rows if row.get("finite") is False]
    if "own" not in timed:
        error = next((row.get("error") for row in rows if row["what"] == "own"), "it was not measured")
        wrong.append(f"torch's own choice: {error}")
    if wrong or not choices:
        return failed("attention_backends", "; ".join(wrong) or "no back end runs on this card", card=card, **figures)
    best = min(choices, key=lambda name: choices[name])
    gain = 1 - choices[best] / timed["own"]
    environment = recommended(choices)
    figures.update(best=best, gain_percent=100 * gain, environment=environment)
    times = ", ".join(f"{name} {time:.1f}" for name, time in sorted(choices.items(), key=lambda item: item[1]))
    why = f"a guided step of SDXL on the card takes {timed['own']:.1f} ms by torch's own choice; {times}"
    if gain > WORTH_IT:
        advice = f"{best} would save {100 * gain:.0f} %: {_advice(best, environment)}"
        return warned("attention_backends", f"{why}; {advice}", card=card, **figures)
    return passed("attention_backends", f"{why}: the stack uses the best", card=card, **figures)


def recommended(milliseconds: t.Mapping[str, float]) -> dict[str, str]:
    """Return the environment variables by which every program takes a quicker attention; mostly none.

    On cards of compute capability 9.0 and 10.0 torch takes cuDNN first, on others flash (sdp_utils.cpp). Up to torch
    2.9 the one variable, from 2.10 on the other puts cuDNN last, and what only cuDNN can do still works. There is none
    the other way round. What is recommended does not depend on what is set.
    """
    cudnn, flash = milliseconds.get("cudnn"), milliseconds.get("flash")
    slower = cudnn is not None and flash is not None and flash < (1 - WORTH_IT) * cudnn
    return {"TORCH_CUDNN_SDPA_DEPRIORITIZED": "1", "TORCH_CUDNN_SDPA_PREFERRED": "0"} if slower else {}


def _advice(best: str, environment: t.Mapping[str, str]) -> str:
    """Say how to take the best attention."""
    if environment and best == "flash":
        return "run the role diffusion_stack, which makes it the default"
    first = f"SDPBackend.{best.upper()}_ATTENTION" if best != "math" else "SDPBackend.MATH"
    return f"no variable chooses it; around a pipeline: sdpa_kernel([{first}, ...], set_priority=True)"


def _compiled_row(answer: Answer) -> dict[str, t.Any]:
    """Return the row of torch.compile, which takes its time and a C compiler; without one, why there is none."""
    found = answer.job("compiled")
    return dict(found.get("row") or {"what": "own_compiled", "error": str(found.get("error") or answer.ending)})


__all__ = ["MODELS", "Model", "judge_backends", "judge_pictures", "recommended"]
