# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules about the locks: they pin what the stack names, and one version of each package."""

from __future__ import annotations

from ansible_collections.gpulab.workstation.plugins.module_utils._rule import Broken, Rule
from ansible_collections.gpulab.workstation.plugins.module_utils._stack import Stack
from ansible_collections.gpulab.workstation.plugins.module_utils._stack_facts import StackFacts
from ansible_collections.gpulab.workstation.plugins.module_utils._versions import series


def _torch_lock(stack: Stack, _facts: StackFacts) -> Broken | None:
    suffix = "" if stack.index == "pypi" else f"+cu{stack.torch_cuda.replace('.', '')}"
    wanted = [("torch", "torch", stack.torch.version), ("torch", "torchvision", stack.torchvision)]
    wanted.append(("torch", "torchaudio", stack.torchaudio or ""))
    wrong = [_difference(stack, kind, name, version + suffix if version else "") for kind, name, version in wanted]
    if stack.xformers:
        wrong.append(_difference(stack, "xformers", "xformers", stack.xformers.version))
    if not any(wrong):
        return None
    return Broken(", ".join(filter(None, wrong)), "what the locks pin, or locks renewed with scripts/renew-locks")


def _difference(stack: Stack, kind: str, name: str, version: str) -> str:
    """Return how a lock differs from the stack in one package; empty where it does not."""
    lock = stack.locks.get(kind)
    held = lock.pins.get(name, "") if lock else ""
    if held == version:
        return ""
    return f"{name} is {held or 'not'} in {lock.path if lock else 'any lock'} and {version or 'not'} in the stack"


def _conda_python(stack: Stack, _facts: StackFacts) -> Broken | None:
    lock = stack.locks["conda"]
    python = lock.pins.get("python")
    if python is not None and series(python) == series(stack.python):
        return None
    return Broken(
        f"Python {stack.python} with {lock.path}, which has {python or 'no python'}",
        f"the Python of the lock, or a conda lock for Python {stack.python}",
    )


def _locks_agree(stack: Stack, _facts: StackFacts) -> Broken | None:
    first: dict[str, tuple[str, str]] = {}
    clashes = []
    for kind in ("conda", "torch", "xformers", "diffusion"):
        lock = stack.locks.get(kind)
        for name, version in lock.pins.items() if lock else ():
            path, held = first.setdefault(name, (lock.path if lock else "", version))
            if held != version:
                clashes.append(f"{name} is {held} in {path} and {version} in {lock.path if lock else ''}")
    if not clashes:
        return None
    return Broken(
        "; ".join(clashes), "one version of each package", nearest="locks renewed together (scripts/renew-locks)"
    )


RULES = (
    Rule(
        rule_id="torch-lock",
        sentence="What is installed comes from a lock with hashes, so the lock must pin what the stack names.",
        reads=(
            "torch.version",
            "torch.index",
            "torchvision.version",
            "torchaudio.version",
            "xformers.version",
        ),
        cures=(
            "torch.version",
            "torchvision.version",
            "torchaudio.version",
            "xformers.version",
            "torch.index",
        ),
        test=_torch_lock,
    ),
    Rule(
        rule_id="conda-python",
        sentence="The environment's Python is the one that its conda lock pins.",
        reads=("python.version",),
        cures=("python.version",),
        test=_conda_python,
    ),
    Rule(
        rule_id="locks-agree",
        sentence="Locks that go into one environment must not pin a package to two versions.",
        reads=(),
        cures=(),
        test=_locks_agree,
    ),
)

__all__ = ["RULES"]
