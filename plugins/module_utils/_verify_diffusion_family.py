# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures without a model on every card, and the attention that serves it best."""

from __future__ import annotations

from ansible_collections.gpulab.workstation.plugins.module_utils._verify import Check
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_context import Context, Family
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_diffusion import (
    MODELS,
    judge_backends,
    judge_pictures,
)
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_layers import Card
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_python import ask_python, why_no_python

PROGRAM = "verify_diffusion.py"
_LIMIT_S = 900.0  # an H100 needs 35 s, a card that is healthy and eight times slower still ends
_COMPILE_LIMIT_S = 180.0
_NAMES = ("diffusion_sdxl", "diffusion_sd15", "attention_backends")


def checks(context: Context) -> list[Check]:
    """Measure every card for itself, one after the other: they share the host's CPU."""
    if why := why_no_python(context):
        return [check for name in _NAMES for check in context.on_every_card(name, why)]
    return [check for card in context.cards for check in _on_card(context, card)]


def _on_card(context: Context, card: Card) -> list[Check]:
    context.progress(f"pictures on card {card.index}: SDXL and SD 1.5 with random weights")
    base = ("--device", card.index, "--seed", context.seed)
    answer = ask_python(context, PROGRAM, [*base, "backends", *(model.job for model in MODELS)], _LIMIT_S)
    context.progress(f"torch.compile on card {card.index}")
    compiled = ask_python(context, PROGRAM, [*base, "compiled"], _COMPILE_LIMIT_S)
    pictures = [judge_pictures(model, answer, card.key, context.limits(card, model.check)) for model in MODELS]
    return [*pictures, judge_backends(answer, compiled, card.key)]


FAMILY = Family("diffusion", _NAMES, checks)

__all__ = ["FAMILY", "PROGRAM"]
