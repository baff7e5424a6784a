# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Put the rules of a stack to a host that host_preflight has looked at; both live on the controller."""

from __future__ import annotations

import typing as t

from ansible_collections.gpulab.workstation.plugins.module_utils._choice import Finding
from ansible_collections.gpulab.workstation.plugins.module_utils._gpu_facts import GPU_CLASSES, NVIDIA
from ansible_collections.gpulab.workstation.plugins.module_utils._refusal import Refusal
from ansible_collections.gpulab.workstation.plugins.module_utils._stack import Stack

_DISTRIBUTIONS = {"debian": "Debian", "ubuntu": "Ubuntu"}


def stack_facts(host: t.Mapping[str, t.Any], gpu: t.Mapping[str, t.Any], *, expect_gpu: bool) -> dict[str, t.Any]:
    """Return the facts that rules of stacks look at, from the module's ``host`` and ``gpu``.

    A container's kernel is not its own, so no rule may judge it; and where no GPU is expected, those of the machine
    that carries the container, which sysfs shows, are none of its business.
    """
    system = host["os"]
    own_kernel = host["machine"]["kind"] != "container"
    kernels = [kernel["release"] for kernel in host["kernels"]] or [host["running_kernel"]]
    cards = [device for device in gpu["devices"] if device["vendor"] == NVIDIA and device["class_code"] in GPU_CLASSES]
    return {
        "distribution": _DISTRIBUTIONS.get(system["id"], str(system["id"]).capitalize()),
        "distribution_version": system["version"] or None,
        "architecture": host["architecture"],
        "glibc": host["glibc"],
        "gcc": host["gcc"],
        "kernels": kernels if own_kernel else [],
        "pci_ids": [f"{card['vendor']}:{card['device']}" for card in cards] if expect_gpu else [],
    }


def standins(stack: Stack) -> frozenset[str]:
    """Return the components of a stack for which the lab stands in."""
    files = {"driver": stack.driver.artefact, "cuda": stack.cuda.artefact, "miniforge": stack.miniforge}
    return stack.standins | {name for name, file in files.items() if file.standin}


def without_standins(space: t.Sequence[t.Any], absent: t.Container[str]) -> list[t.Any]:
    """Leave out the room for components with a stand-in, which is a fraction of the real thing's size.

    Rows that are no mappings are left for the module to refuse.
    """
    return [row for row in space if not (isinstance(row, dict) and row.get("component") in absent)]


def as_refusal(finding: Finding) -> Refusal:
    """Return a broken rule as a reason to refuse a host."""
    if "=" in finding.nearest:
        action = f"set gpulab_stack_overrides to {finding.nearest}, or choose another stack with gpulab_stack."
    elif finding.nearest.startswith("the stack "):
        action = f"take {finding.nearest} (gpulab_stack), or change the host."
    elif finding.nearest:
        action = f"the nearest that works: {finding.nearest}."
    else:
        action = "choose another stack (gpulab_stack, gpulab_stack_overrides) or change the host."
    return Refusal(
        f"{finding.found}.", f"{finding.expected}. {finding.sentence} Source: {finding.source}.", action
    )  # fmt: skip


__all__ = ["as_refusal", "stack_facts", "standins", "without_standins"]
