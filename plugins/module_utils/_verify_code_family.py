# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The test programs: built for one architecture and for another one, read, and their numbers on every card."""

from __future__ import annotations

from ansible_collections.gpulab.workstation.plugins.module_utils import _verify_native as native
from ansible_collections.gpulab.workstation.plugins.module_utils import _verify_reader as reader
from ansible_collections.gpulab.workstation.plugins.module_utils._verify import Check, parse_arch
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_context import Context, Family
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_numbers import judge_results, kernels_for
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_programs import (
    CONTROL,
    MAIN,
    programs_for,
)


def checks(context: Context) -> list[Check]:
    """Build the right programs and a wrong one, and run on every card what computes numbers."""
    host, wish = context.host, context.wish
    arch = parse_arch(wish.arch)
    compiler = reader.read_compiler(host, wish.toolkit_path)
    toolkit = native.judge_toolkit(compiler.toolkit, compiler.version, wish.toolkit_path, wish.toolkit)
    known = compiler.architectures
    builds: list[native.Build] = []
    control = None
    other = native.other_architecture(arch, known)
    if compiler.version is not None and native.knows(known, arch):
        for program, target in programs_for(arch).items():
            context.progress(f"compiling {program} for sm_{target}")
            builds.append(reader.build(host, compiler, wish.work_directory, program, target, wish.nvcc_flags))
        control = reader.build(host, compiler, wish.work_directory, CONTROL, other, ()) if other else None
    code, negative = native.judge_code(arch, known, builds, control)
    built = {build.program: build for build in builds if build.rc == 0}
    why_none = context.why_no_gpu or ("" if MAIN in built else "the test program could not be built")
    return [toolkit, code, negative, *_results(context, arch, built, why_none), *_foreign(context, control, why_none)]


def _results(context: Context, arch: str, built: dict[str, native.Build], why_none: str) -> list[Check]:
    if why_none:
        return context.on_every_card("kernel_results", why_none)
    found = []
    for card in context.cards:
        context.progress(f"right numbers on card {card.index}")
        runs = {
            program: reader.run_program(context, card, program, built[program].arch, "numbers")
            for program in kernels_for(arch)
            if program in built
        }
        found.append(judge_results(arch, runs, card.key))
    return found


def _foreign(context: Context, control: native.Build | None, why_none: str) -> list[Check]:
    if why_none or control is None or control.rc != 0:
        why = why_none or "the program for another architecture could not be built"
        return context.on_every_card("foreign_code_refused", why)
    found = []
    for card in context.cards:
        context.progress(f"foreign code on card {card.index}")
        run = reader.run_program(context, card, control.program, control.arch, "numbers")
        found.append(native.judge_foreign(run, control.arch, card.key))
    return found


FAMILY = Family(
    "native code and right numbers",
    ("toolkit", "native_code", "negative_control", "kernel_results", "foreign_code_refused"),
    checks,
)

__all__ = ["FAMILY"]
