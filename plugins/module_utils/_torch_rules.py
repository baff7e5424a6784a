# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules about torch: its build, the companions it pins, Python, the toolkit and xformers."""

from __future__ import annotations

from ansible_collections.gpulab.workstation.plugins.module_utils._rule import Broken, Rule, sm_names
from ansible_collections.gpulab.workstation.plugins.module_utils._stack import Stack
from ansible_collections.gpulab.workstation.plugins.module_utils._stack_facts import StackFacts
from ansible_collections.gpulab.workstation.plugins.module_utils._versions import release_key, series


def _index(stack: Stack) -> str:
    return {"pypi": "PyPI", "pytorch": "the PyTorch index"}[stack.index]


def _torch_build(stack: Stack, _facts: StackFacts) -> Broken | None:
    if stack.torch_build == stack.torch_cuda:
        return None
    built = f"is built with CUDA {stack.torch_build}" if stack.torch_build else "has no build that is on record"
    having = [
        v for v, torch in stack.catalogue.torch.items() if any(stack.torch_cuda in b for b in torch.builds.values())
    ]
    last = max(having, key=release_key, default="none")
    return Broken(
        f"torch {stack.torch.version} from {_index(stack)} {built}",
        f"a build with CUDA {stack.torch_cuda}; the last torch that has one is {last}",
    )


def _torch_arch(stack: Stack, _facts: StackFacts) -> Broken | None:
    build = stack.torch_build or stack.torch_cuda
    arches = stack.catalogue.torch_arches.get(build, ())
    if stack.arch in arches:
        return None
    return Broken(
        f"torch {stack.torch.version} from {_index(stack)} is built with CUDA {build} and has machine code for"
        f" {sm_names(arches)}",
        f"machine code for {sm_names([stack.arch])}",
    )


def _torch_driver(stack: Stack, _facts: StackFacts) -> Broken | None:
    build = stack.torch_build or stack.torch_cuda
    minimum = stack.catalogue.torch_minimum_driver.get(build.partition(".")[0])
    if minimum is None or stack.driver.number >= minimum:
        return None
    return Broken(
        f"driver {stack.driver.number} with torch {stack.torch.version}, which carries CUDA {build}",
        f"driver {minimum} or newer for CUDA {build}",
    )


def _torch_companions(stack: Stack, _facts: StackFacts) -> Broken | None:
    torch = stack.torch
    pairs = (
        ("torchvision", stack.torchvision, torch.torchvision),
        ("torchaudio", stack.torchaudio or "none", torch.torchaudio or "none"),
    )
    wrong = [(name, has, pinned) for name, has, pinned in pairs if has != pinned]
    if not wrong:
        return None
    return Broken(
        " and ".join(f"{name} {has}" for name, has, _ in wrong) + f" with torch {torch.version}",
        " and ".join(f"{name} {pinned}" for name, _, pinned in wrong),
    )


def _torch_python(stack: Stack, _facts: StackFacts) -> Broken | None:
    torch = stack.torch
    newest = torch.python_max or stack.python
    if series(torch.python_min) <= series(stack.python) <= series(newest):
        return None
    return Broken(
        f"Python {stack.python} with torch {torch.version}",
        f"Python {torch.python_min}" + (f" to {torch.python_max}" if torch.python_max else " or newer"),
    )


def _torch_glibc(stack: Stack, facts: StackFacts) -> Broken | None:
    minimum = stack.catalogue.torch_glibc_min
    if facts.glibc is None or series(facts.glibc) >= series(minimum):
        return None
    return Broken(f"glibc {facts.glibc}", f"glibc {minimum} or newer", nearest=f"glibc {minimum}")


def _torch_toolkit(stack: Stack, _facts: StackFacts) -> Broken | None:
    build, toolkit = stack.torch_build or stack.torch_cuda, stack.cuda.artefact.version
    if series(build)[0] == series(toolkit)[0]:
        return None
    return Broken(
        f"nvcc of CUDA {toolkit} with torch {stack.torch.version}, built with CUDA {build}",
        f"a toolkit of CUDA {series(build)[0]}",
    )


def _xformers_torch(stack: Stack, _facts: StackFacts) -> Broken | None:
    xformers = stack.xformers
    if xformers is None:
        return None
    oldest, newest = xformers.torch_min, xformers.torch_max
    if release_key(oldest) <= release_key(stack.torch.version) <= release_key(newest):
        return None
    return Broken(
        f"xformers {xformers.version} with torch {stack.torch.version}",
        f"torch {oldest}" if oldest == newest else f"torch {oldest} to {newest}",
    )


def _xformers_arch(stack: Stack, _facts: StackFacts) -> Broken | None:
    xformers = stack.xformers
    if xformers is None or stack.arch not in xformers.broken_on:
        return None
    return Broken(
        f"xformers {xformers.version} on {sm_names([stack.arch])}",
        f"an xformers that works on {sm_names([stack.arch])}, or none",
        xformers.broken_source or "",
    )


RULES = (
    Rule(
        rule_id="torch-build",
        sentence="A stack is one CUDA version throughout, so the index must have torch built with it.",
        reads=(
            "torch.version",
            "torch.index",
        ),
        cures=(
            "torch.version",
            "torch.index",
        ),
        test=_torch_build,
    ),
    Rule(
        rule_id="torch-arch",
        sentence="torch's wheels must carry machine code for the GPU, for they hold nothing else to run on it.",
        reads=(
            "torch.version",
            "torch.index",
            "arch",
        ),
        cures=(
            "torch.version",
            "torch.index",
        ),
        test=_torch_arch,
    ),
    Rule(
        rule_id="torch-driver",
        sentence="The CUDA runtime in torch's wheels needs a driver of its generation.",
        reads=(
            "driver.version",
            "torch.version",
            "torch.index",
        ),
        cures=(
            "driver.version",
            "torch.version",
        ),
        test=_torch_driver,
    ),
    Rule(
        rule_id="torch-companions",
        sentence="torchvision and torchaudio are built against one torch.",
        reads=(
            "torch.version",
            "torchvision.version",
            "torchaudio.version",
        ),
        cures=(
            "torchvision.version",
            "torchaudio.version",
            "torch.version",
        ),
        test=_torch_companions,
    ),
    Rule(
        rule_id="torch-python",
        sentence="torch has wheels only for the Python versions that its metadata names.",
        reads=(
            "torch.version",
            "python.version",
        ),
        cures=(
            "python.version",
            "torch.version",
        ),
        test=_torch_python,
    ),
    Rule(
        rule_id="torch-glibc",
        sentence="torch's wheels are manylinux_2_28.",
        reads=(),
        cures=(),
        test=_torch_glibc,
    ),
    Rule(
        rule_id="torch-toolkit",
        sentence="torch builds extensions only with an nvcc of its own CUDA major version.",
        reads=(
            "torch.version",
            "torch.index",
            "cuda.version",
        ),
        cures=(
            "cuda.version",
            "torch.version",
        ),
        test=_torch_toolkit,
    ),
    Rule(
        rule_id="xformers-torch",
        sentence="An xformers wheel is built against one torch.",
        reads=(
            "torch.version",
            "xformers.version",
        ),
        cures=(
            "xformers.version",
            "torch.version",
        ),
        test=_xformers_torch,
    ),
    Rule(
        rule_id="xformers-arch",
        sentence="xformers must have working attention on the GPU's architecture.",
        reads=(
            "xformers.version",
            "arch",
        ),
        cures=("xformers.version",),
        test=_xformers_arch,
    ),
)

__all__ = ["RULES"]
