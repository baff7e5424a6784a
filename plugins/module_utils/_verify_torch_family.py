# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The environment's torch: what it says of itself, what lies in its library, and what it computes on every card."""

from __future__ import annotations

from ansible_collections.gpulab.workstation.plugins.module_utils import _verify_reader as reader
from ansible_collections.gpulab.workstation.plugins.module_utils._verify import Check, not_proven, parse_arch
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_context import Context, Family
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_torch import judge_build, judge_launch


def checks(context: Context) -> list[Check]:
    """Ask the environment's Python, and judge its answer."""
    wish = context.wish
    if not context.host.exists(wish.python):
        why = f"there is no {wish.python}"
        return [not_proven("torch_build", why), *context.on_every_card("torch_launch", why)]
    context.progress("torch: build and launch")
    found = reader.ask_torch(context.host, wish.python)
    build = judge_build(found, parse_arch(wish.arch), wish.torch_version, wish.torch_cuda)
    if context.why_no_gpu:
        return [build, not_proven("torch_launch", context.why_no_gpu)]
    return [build, *(judge_launch(found, card.index, card.key) for card in context.cards)]


FAMILY = Family("torch", ("torch_build", "torch_launch"), checks)

__all__ = ["FAMILY"]
