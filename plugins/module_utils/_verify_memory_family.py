# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A card's memory and its way to the host: the programs are run, and torch's copy beside them."""

from __future__ import annotations

from ansible_collections.gpulab.workstation.plugins.module_utils import _verify_reader as reader
from ansible_collections.gpulab.workstation.plugins.module_utils._verify import Check, Limit, parse_arch
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_context import Context, Family
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_layers import Card
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_memory import (
    TorchCopy,
    judge_bandwidth,
    judge_test,
    parse_torch_copy,
)
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_pcie import Link, judge_host, judge_link
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_programs import MAIN

_NAMES = ("memory_test", "pcie_link", "host_bandwidth", "memory_bandwidth")
_COPY = "gpu_verify_copy.py"
_TORCH_LIMIT_S = 120.0


def checks(context: Context) -> list[Check]:
    """Test and measure every card, one after another: two at once would share the host's memory."""
    why_none = context.why_no_gpu or _why_not_built(context)
    if why_none:
        return [check for name in _NAMES for check in context.on_every_card(name, why_none)]
    return [check for card in context.cards for check in _on_card(context, card)]


def _why_not_built(context: Context) -> str:
    arch, directory = parse_arch(context.wish.arch), context.wish.work_directory
    there = context.host.exists(reader.program_path(directory, MAIN, arch))
    return "" if there else "the test program could not be built"


def _on_card(context: Context, card: Card) -> list[Check]:
    arch = parse_arch(context.wish.arch)
    context.progress(f"testing the memory of card {card.index}")
    test = reader.run_program(context, card, MAIN, arch, "memory")
    context.progress(f"copying between host and card {card.index}")
    to_host = reader.run_program(context, card, MAIN, arch, "host")
    context.progress(f"memory bandwidth of card {card.index}")
    speed = reader.run_program(context, card, MAIN, arch, "bandwidth")
    facts = context.card_facts(card)

    def limits(link: Link) -> tuple[Limit, ...] | None:
        in_force = {"pcie_generation": link.generation, "pcie_width": link.width}
        return context.limits(card, "host_bandwidth", in_force)

    return [
        judge_test(arch, test, card.key),
        judge_link(arch, to_host, card.key, facts),
        judge_host(arch, to_host, card.key, limits),
        judge_bandwidth(
            arch,
            speed,
            _torch_copy(context, card),
            card.key,
            limits=context.limits(card, "memory_bandwidth"),
            facts=facts,
        ),
    ]


def _torch_copy(context: Context, card: Card) -> TorchCopy:
    """Let torch copy beside our own kernel, where there is an environment with torch."""
    host, wish = context.host, context.wish
    if not wish.python or not host.exists(wish.python):
        return TorchCopy({}, "there is no environment with torch")
    command = [*reader.GPU_ENVIRONMENT, *reader.GPU_SETTINGS, wish.python, "-I"]
    command += [f"{wish.work_directory}/{_COPY}", str(card.index)]
    done = host.run(command, cwd=wish.work_directory, timeout_s=_TORCH_LIMIT_S)
    return parse_torch_copy(done.rc, done.stdout, done.stderr)


FAMILY = Family("memory and PCIe", _NAMES, checks)

__all__ = ["FAMILY"]
