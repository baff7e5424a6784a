# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a test program with the Python of the environment that has torch."""

from __future__ import annotations

import typing as t

from ansible_collections.gpulab.workstation.plugins.module_utils._verify_answer import Answer
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_context import Context
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_reader import GPU_ENVIRONMENT, GPU_SETTINGS

# The kernel kills the program when whoever started it ends (setpriv(1), util-linux): no load is left on a card.
_WITH_US = ("setpriv", "--pdeathsig", "KILL")


def ask_python(context: Context, program: str, arguments: t.Iterable[object], limit_s: float) -> Answer:
    """Run a program of the role on the host, and return what it printed.

    Isolated from the user's own packages (-I), without traces in the environment (-B), its caches and temporary files
    in the working directory, which is removed.
    """
    work = context.wish.work_directory
    settings = [*GPU_SETTINGS, f"HOME={work}", f"TMPDIR={work}", "HF_HUB_OFFLINE=1"]
    command = [*_WITH_US, *GPU_ENVIRONMENT, *settings, context.wish.python, "-I", "-B", f"{work}/{program}"]
    return Answer.of(context.host.run([*command, *map(str, arguments)], cwd=work, timeout_s=limit_s))


def why_no_python(context: Context) -> str:
    """Say why no program of the environment can be run on a card; empty where one can."""
    if context.why_no_gpu:
        return context.why_no_gpu
    if not context.wish.python:
        return "no environment with torch was named (gpu_verify_python)"
    return "" if context.host.exists(context.wish.python) else f"there is no {context.wish.python}"


__all__ = ["ask_python", "why_no_python"]
