# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the test kernels, run them, and read every layer: the part of a verification that touches the host.

Everything is built in a working directory that is removed again.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.gpulab.workstation.plugins.module_utils._cuda_toolkit import Toolkit, toolkit_path
from ansible_collections.gpulab.workstation.plugins.module_utils._cuda_toolkit_component import (
    known_series,
    read_toolkit,
    tool_version,
)
from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._fatbin import read_device_code, summarise
from ansible_collections.gpulab.workstation.plugins.module_utils._host import Completed, Host
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_context import Context
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_layers import (
    SMI_FIELDS,
    Card,
    SmiAnswer,
    parse_smi,
)
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_native import (
    Build,
    compiler_words,
    parse_code_list,
    parse_cuobjdump,
)
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_programs import ProgramRun
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_torch import (
    SCRIPT,
    TorchAnswer,
    cuda_library,
    parse_answer,
)

_BUILD_LIMIT_S = 180.0
_READ_LIMIT_S = 60.0
_TORCH_LIMIT_S = 180.0
_SPARE_S = 15.0  # what a run may take beyond its own limit before it is killed from outside
# The cards in the order of PCI, all of them, and no compilation of PTX on the fly (CUDA programming guide, "CUDA
# environment variables").
GPU_ENVIRONMENT = ("env", "-u", "CUDA_VISIBLE_DEVICES", "-u", "CUDA_FORCE_PTX_JIT")
GPU_SETTINGS = ("CUDA_DEVICE_ORDER=PCI_BUS_ID", "CUDA_DISABLE_PTX_JIT=1", "CUDA_CACHE_DISABLE=1")


@dataclass(frozen=True)
class Compiler:
    """The nvcc of a toolkit directory and the architectures it knows."""

    path: str
    version: str | None
    architectures: tuple[str, ...] = ()
    toolkit: Toolkit | None = None


def read_compiler(host: Host, path: str) -> Compiler:
    """Look at the toolkit that a path (mostly the link /usr/local/cuda) leads to."""
    nvcc = f"{path}/bin/nvcc"
    found = tool_version(host, nvcc)
    known = host.run([nvcc, "--list-gpu-code"], timeout_s=_READ_LIMIT_S).stdout if found else ""
    target = host.realpath(path)  # a release's own directory may be a link as well
    series = [name for name in known_series(host) if host.realpath(toolkit_path(name)) == target]
    return Compiler(path, found, parse_code_list(known), read_toolkit(host, series[0]) if series else None)


def build(host: Host, compiler: Compiler, directory: str, program: str, arch: str, flags: t.Sequence[str]) -> Build:
    """Compile a program in the directory for one architecture and list what came out, by both readers."""
    path = program_path(directory, program, arch)
    code = f"arch=compute_{arch},code=sm_{arch}"
    command = [f"{compiler.path}/bin/nvcc", "-std=c++17", "-O2", "-gencode", code, *flags]
    command += ["-o", path, f"{directory}/{program}.cu"]
    done = host.run(command, cwd=directory, env={"TMPDIR": directory}, timeout_s=_BUILD_LIMIT_S)
    output = compiler_words(done.stderr or done.stdout)
    if not done.ok:
        return Build(program, arch, done.rc, output)
    try:
        found, read_error = read_device_code(host, path), ""
    except OperatorError as error:
        found, read_error = None, str(error)
    listed, list_error = _list_code(host, compiler, path)
    return Build(program, arch, done.rc, output, found, read_error, listed, list_error)


def program_path(directory: str, program: str, arch: str) -> str:
    """Return where a program is built for an architecture."""
    return f"{directory}/{program}-{arch}"


def _list_code(host: Host, compiler: Compiler, program: str) -> tuple[frozenset[str] | None, str]:
    tool = f"{compiler.path}/bin/cuobjdump"
    answers: list[Completed] = []
    for option in ("-lelf", "-lptx"):
        done = host.run([tool, option, program], timeout_s=_READ_LIMIT_S)
        if not done.ok:
            return None, f"{tool} {option} ended with {done.rc}: {done.stderr.strip()[:200]}"
        answers.append(done)
    return parse_cuobjdump(answers[0].stdout, answers[1].stdout), ""


def run_program(context: Context, card: Card, program: str, arch: str, what: str) -> ProgramRun:
    """Have a program built for an architecture do something on one card; it ends itself after the limit."""
    wish, device = context.wish, card.index
    path = program_path(wish.work_directory, program, arch)
    command = [*GPU_ENVIRONMENT, *GPU_SETTINGS, path, str(device), str(context.seed), str(wish.time_limit_s), what]
    done = context.host.run(command, cwd=wish.work_directory, timeout_s=wish.time_limit_s + _SPARE_S)
    return ProgramRun(device, done.rc, done.stdout, done.stderr)


def ask_smi(host: Host) -> SmiAnswer:
    """Ask NVML for the cards, by nvidia-smi."""
    command = ["nvidia-smi", f"--query-gpu={','.join(SMI_FIELDS)}", "--format=csv,noheader,nounits"]
    done = host.run(command, timeout_s=_READ_LIMIT_S)
    return parse_smi(done.rc, done.stdout, done.stderr)


def ask_torch(host: Host, python: str) -> TorchAnswer:
    """Ask an environment's Python about torch; isolated from the user's own packages (python -I)."""
    done = host.run([*GPU_ENVIRONMENT, *GPU_SETTINGS, python, "-I", "-c", SCRIPT], timeout_s=_TORCH_LIMIT_S)
    answer = parse_answer(done.stdout)
    if "directory" not in answer:
        return TorchAnswer(python, done.rc, answer, done.stderr, library_error="torch was not found")
    library = cuda_library(str(answer["directory"]))
    try:
        return TorchAnswer(python, done.rc, answer, done.stderr, library, summarise(read_device_code(host, library)))
    except OperatorError as error:
        return TorchAnswer(python, done.rc, answer, done.stderr, library, None, error.found)


__all__ = [
    "Compiler",
    "ask_smi",
    "ask_torch",
    "build",
    "program_path",
    "read_compiler",
    "run_program",
]
