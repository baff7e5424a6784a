# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge the numbers that a card computed: every kernel that its architecture has, right twice over."""

from __future__ import annotations

import typing as t

from ansible_collections.gpulab.workstation.plugins.module_utils._verify import Check, failed, passed
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_programs import (
    FP4,
    MAIN,
    ProgramRun,
    digits,
    programs_for,
    run_problems,
)

# The kernels of each program, and the first compute capability that has the instructions (PTX ISA, mma).
_KERNELS: t.Mapping[str, t.Mapping[str, int]] = {
    MAIN: {
        "fused_fp32": 0,
        "integer_mix": 0,
        "fp64": 0,
        "fp64_tensor": 80,
        "int8": 80,
        "fp16": 80,
        "fp16_exact": 80,
        "bf16": 80,
        "bf16_exact": 80,
        "tf32": 80,
        "tf32_exact": 80,
        "fp8_e4m3": 89,
        "fp8_e4m3_exact": 89,
    },
    FP4: {"nvfp4": 120, "nvfp4_exact": 120},
}


def kernels_for(arch: str) -> dict[str, tuple[str, ...]]:
    """Return the kernels that must have a result on an architecture, by their program."""
    targets = programs_for(arch)
    wanted = {
        program: tuple(name for name, first in kernels.items() if digits(arch) >= first)
        for program, kernels in _KERNELS.items()
    }
    return {program: names for program, names in wanted.items() if program in targets and names}


def absent(arch: str) -> list[str]:
    """Return the kernels that an architecture has no instructions for."""
    there = {name for names in kernels_for(arch).values() for name in names}
    return [name for kernels in _KERNELS.values() for name in kernels if name not in there]


def judge_results(arch: str, runs: t.Mapping[str, ProgramRun], card: str) -> Check:
    """Judge the runs of the right programs on a card: every kernel, no PTX JIT, right numbers twice."""
    wanted = kernels_for(arch)
    wrong = [words for program in wanted for words in _problems(program, arch, runs.get(program))]
    figures: dict[str, t.Any] = dict(runs[MAIN].figures) if MAIN in runs else {}
    figures["kernels"] = [kernel for run in runs.values() for kernel in run.report.get("kernels", [])]
    figures["absent"] = absent(arch)
    if wrong:
        return failed("kernel_results", "; ".join(wrong), card=card, **figures)
    why = f"right numbers ({figures.get('name')}) in {sum(map(len, wanted.values()))} kernels, PTX JIT disabled"
    if figures["absent"]:
        why += f"; this architecture has no {', '.join(name for name in figures['absent'] if '_exact' not in name)}"
    return passed("kernel_results", why, card=card, **figures)


def _problems(program: str, arch: str, run: ProgramRun | None) -> list[str]:
    if run is None:
        return [f"{program} could not be built"]
    wrong = run_problems(arch, run)
    if not run.report or "error" in run.report:
        return wrong
    kernels = {kernel.get("name"): kernel for kernel in run.report.get("kernels", [])}
    for name in kernels_for(arch)[program]:
        kernel = kernels.get(name)
        if kernel is None:
            wrong.append(f"{name} has no result")
        elif kernel.get("ok") is not True:
            wrong.append(
                f"{name}: {kernel.get('wrong')} wrong and {kernel.get('unwritten')} unwritten of"
                f" {kernel.get('elements')} elements, repeatable: {kernel.get('repeatable')}"
            )
    if not wrong and (run.rc != 0 or run.report.get("ok") is not True):
        wrong.append(f"the test program ended with {run.rc} and ok={run.report.get('ok')}")
    return wrong


__all__ = ["absent", "judge_results", "kernels_for"]
