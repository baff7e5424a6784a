# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The environment's torch: what it says of itself, what lies in the files, and what it computes on every card."""

from __future__ import annotations

from ansible_collections.gpulab.workstation.plugins.module_utils import _verify_reader as reader
from ansible_collections.gpulab.workstation.plugins.module_utils._verify import Check, not_proven, parse_arch
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_context import Context, Family
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_extension_reader import read_extensions
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_extensions import judge_extensions
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_layers import Card
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_python import ask_python
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_torch import (
    TorchAnswer,
    judge_build,
    judge_launch,
)
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_torch_numbers import (
    judge_attention,
    judge_matmul,
)

PROGRAM = "verify_torch.py"
_LIMIT_S = 180.0  # an H100 needs 15 s, most of it for loading torch
_NAMES = ("torch_build", "extension_code", "torch_launch", "torch_attention", "torch_matmul")


def checks(context: Context) -> list[Check]:
    """Ask the environment's Python, read its libraries, and let it compute on every card."""
    wish = context.wish
    if not context.host.exists(wish.python):
        return [check for name in _NAMES for check in context.on_every_card(name, f"there is no {wish.python}")]
    context.progress("torch: build and launch")
    found = reader.ask_torch(context.host, wish.python)
    build = judge_build(found, parse_arch(wish.arch), wish.torch_version, wish.torch_cuda)
    made = [build, _extensions(context, found)]
    if context.why_no_gpu:
        return [*made, *(not_proven(name, context.why_no_gpu) for name in _NAMES[2:])]
    for card in context.cards:
        made += [judge_launch(found, card.index, card.key), *_numbers(context, card)]
    return made


def _extensions(context: Context, found: TorchAnswer) -> Check:
    context.progress("machine code in the environment's libraries")
    known = {} if found.library_code is None else {found.library: found.library_code}
    extensions = read_extensions(context.host, context.wish.python, known)
    if extensions is None:
        why = f"{context.wish.python} belongs to no environment with packages of its own"
        return not_proven("extension_code", why)
    return judge_extensions(extensions, context.wish.arch, str(found.answer.get("cuda") or ""))


def _numbers(context: Context, card: Card) -> list[Check]:
    context.progress(f"torch's attention and matrix product on card {card.index}")
    answer = ask_python(context, PROGRAM, ("--device", card.index, "--seed", context.seed), _LIMIT_S)
    dense = context.card_facts(card).get("bf16_dense_tflops")
    limits = context.limits(card, "torch_matmul")
    return [judge_attention(answer, card.key), judge_matmul(answer, card.key, limits, dense)]


FAMILY = Family("torch", _NAMES, checks)

__all__ = ["FAMILY", "PROGRAM"]
