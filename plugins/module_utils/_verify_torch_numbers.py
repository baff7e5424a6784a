# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge torch's attention and its matrix product on one card; what the program printed in, checks out."""

from __future__ import annotations

import typing as t

from ansible_collections.gpulab.workstation.plugins.module_utils._verify import (
    Check,
    Limit,
    failed,
    judge_figures,
    passed,
    warned,
)
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_answer import Answer

_FAST = ("flash", "cudnn", "efficient")  # what is left without them takes memory with the square of the length


def judge_attention(answer: Answer, card: str) -> Check:
    """Judge every back end that torch has for this card, forward and backward, and torch's own choice among them."""
    found = answer.part("attention")
    if words := answer.trouble(found, card):
        return failed("torch_attention", words, card=card)
    runs = found.get("runs", [])
    made = [run for run in runs if "worst_error_over_bound" in run]
    unavailable = {run["backend"]: run["unavailable"] for run in runs if "unavailable" in run}
    right = sorted({run["backend"] for run in made if run["backend"] != "own"})
    figures: dict[str, t.Any] = {
        "enabled": found.get("enabled", []),
        "chosen": sorted({run["chosen"] for run in made if "chosen" in run}),
        "worst_error_over_bound": {name: _worst(made, name) for name in ("own", *right)},
        "unavailable": unavailable,
        "runs": runs,
    }
    wrong = [
        f"{run['backend']} ({run['shape']}, {run['type']}): {name} is off by {ratio:.3g} times its error bound"
        for run in made
        for name, ratio in run["worst_error_over_bound"].items()
        if not ratio <= 1
    ]
    if "own" not in {run["backend"] for run in made}:
        wrong.append("torch has no attention of its own choice for this card")
    if wrong:
        return failed("torch_attention", "; ".join(wrong), card=card, **figures)
    chosen = ", ".join(figures["chosen"])
    why = f"{', '.join(right)} right, forward and backward, in bf16 and fp16; torch itself takes {chosen}"
    if not set(right) & set(_FAST):
        return warned("torch_attention", f"only {why}; none of {', '.join(_FAST)} runs here", card=card, **figures)
    return passed("torch_attention", why, card=card, **figures)


def _worst(runs: t.Iterable[t.Mapping[str, t.Any]], backend: str) -> float:
    return max(
        (x for run in runs if run["backend"] == backend for x in run["worst_error_over_bound"].values()), default=0
    )


def judge_matmul(answer: Answer, card: str, limits: tuple[Limit, ...] | None, dense_tflops: float | None) -> Check:
    """Judge the product of two bf16 matrices: right and the same each time, then its speed against the limits."""
    found = answer.part("matmul")
    if words := answer.trouble(found, card):
        return failed("torch_matmul", words, card=card)
    tflops, ratio = found["tflops"], found["worst_error_over_bound"]
    figures: dict[str, t.Any] = {**found, "dense_tflops": dense_tflops, "percent_of_dense": None}
    why = f"{tflops:.0f} TFLOP/s in bf16"
    if dense_tflops:
        figures["percent_of_dense"] = 100 * tflops / dense_tflops
        why += f", {figures['percent_of_dense']:.0f} % of the card's dense {dense_tflops:g}"
    wrong = [] if ratio <= 1 else [f"the product is off by {ratio:.3g} times its error bound"]
    wrong += [] if found["repeatable"] else ["two products of the same matrices differ"]
    if wrong:
        return failed("torch_matmul", "; ".join(wrong), card=card, **figures)
    return judge_figures("torch_matmul", why, card=card, limits=limits, **figures)


__all__ = ["judge_attention", "judge_matmul"]
