# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The test kernels: built for one architecture and for another one, read, and run on every card."""

from __future__ import annotations

from ansible_collections.gpulab.workstation.plugins.module_utils import _verify_native as native
from ansible_collections.gpulab.workstation.plugins.module_utils import _verify_reader as reader
from ansible_collections.gpulab.workstation.plugins.module_utils._verify import Check, parse_arch
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_context import Context, Family


def checks(context: Context) -> list[Check]:
    """Build the right program and the wrong one, and run both on every card."""
    host, wish = context.host, context.wish
    arch = parse_arch(wish.arch)
    compiler = reader.read_compiler(host, wish.toolkit_path)
    toolkit = native.judge_toolkit(compiler.toolkit, compiler.version, wish.toolkit_path, wish.toolkit)
    known = compiler.architectures
    build = control = None
    other = native.other_architecture(arch, known)
    if compiler.version is not None and native.knows(known, arch):
        context.progress("compiling the test kernels")
        build = reader.build(host, compiler, wish.work_directory, arch, wish.nvcc_flags)
        control = reader.build(host, compiler, wish.work_directory, other, ()) if other else None
    code, negative = native.judge_code(arch, known, build, control)
    return [toolkit, code, negative, *_results(context, arch, build), *_foreign(context, build, control)]


def _results(context: Context, arch: str, build: native.Build | None) -> list[Check]:
    why_none = _why_no_run(context, build)
    if why_none:
        return context.on_every_card("kernel_results", why_none)
    found = []
    for card in context.cards:
        context.progress(f"right numbers on card {card.index}")
        run = reader.run_program(
            context.host, context.wish.work_directory, arch, card.index, context.seed, context.wish.time_limit_s
        )
        found.append(native.judge_results(arch, run, card.key))
    return found


def _foreign(context: Context, build: native.Build | None, control: native.Build | None) -> list[Check]:
    why_none = _why_no_run(context, build)
    if why_none or control is None or control.rc != 0:
        why = why_none or "the program for another architecture could not be built"
        return context.on_every_card("foreign_code_refused", why)
    found = []
    for card in context.cards:
        context.progress(f"foreign code on card {card.index}")
        run = reader.run_program(
            context.host, context.wish.work_directory, control.arch, card.index, context.seed, context.wish.time_limit_s
        )
        found.append(native.judge_foreign(run, control.arch, card.key))
    return found


def _why_no_run(context: Context, build: native.Build | None) -> str:
    built = build is not None and build.rc == 0
    return context.why_no_gpu or ("" if built else "the test program could not be built")


FAMILY = Family(
    "native code and right numbers",
    ("toolkit", "native_code", "negative_control", "kernel_results", "foreign_code_refused"),
    checks,
)

__all__ = ["FAMILY"]
