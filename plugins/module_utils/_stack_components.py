# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the lookup hands to the roles for each component of a stack."""

from __future__ import annotations

import hashlib
import json
import typing as t

from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._locks import Lock
from ansible_collections.gpulab.workstation.plugins.module_utils._stack import Stack
from ansible_collections.gpulab.workstation.plugins.module_utils._versions import nearest_spelling


def component(stack: Stack, name: str) -> dict[str, t.Any]:
    """Return one component; OperatorError for a name that is none."""
    if name not in _COMPONENTS:
        meant = nearest_spelling(name, _COMPONENTS)
        raise OperatorError(
            found=f"the stack has no component {name!r}.",
            expected=f"one of {', '.join(_COMPONENTS)}.",
            action=f"ask for {meant}." if meant else "ask for one of these.",
        )
    return _COMPONENTS[name](stack)


def _driver(stack: Stack) -> dict[str, t.Any]:
    return {**stack.driver.artefact.as_result(), "flavour": stack.flavour}


def _cuda(stack: Stack) -> dict[str, t.Any]:
    cuda = stack.cuda
    build = {"build": cuda.build} if cuda.build else {}
    return {**cuda.artefact.as_result(), "bundled_driver": str(cuda.bundled_driver), **build}


def _miniforge(stack: Stack) -> dict[str, t.Any]:
    return stack.miniforge.as_result()


def _conda_lock(stack: Stack) -> dict[str, t.Any]:
    lock = stack.locks["conda"]
    return {"name": lock.name, "python": stack.python, "text": lock.text, "standin": "conda_lock" in stack.standins}


def _torch(stack: Stack) -> dict[str, t.Any]:
    return {
        "torch": stack.torch.version,
        "torchvision": stack.torchvision,
        "torchaudio": stack.torchaudio,
        "cuda": stack.torch_cuda,
        "arch": stack.arch,
        "lock": "".join(lock.text for lock in _torch_locks(stack)),
    }


def _torch_locks(stack: Stack) -> list[Lock]:
    return [stack.locks["torch"], *([stack.locks["xformers"]] if stack.xformers else [])]


def _diffusion(stack: Stack) -> dict[str, t.Any]:
    lock = stack.locks["diffusion"]
    return {"lock": lock.text, "packages": dict(lock.pins)}


def _uv(stack: Stack) -> dict[str, t.Any]:
    lock = stack.locks["uv"]
    return {"version": lock.pins.get("uv"), "lock": lock.text}


def _verification(stack: Stack) -> dict[str, t.Any]:
    return {"stack": stack.name, "limits": [dict(row) for row in stack.catalogue.limits]}


_COMPONENTS: dict[str, t.Callable[[Stack], dict[str, t.Any]]] = {
    "driver": _driver,
    "cuda": _cuda,
    "miniforge": _miniforge,
    "conda_lock": _conda_lock,
    "torch": _torch,
    "diffusion": _diffusion,
    "uv": _uv,
    "verification": _verification,
}
COMPONENTS = tuple(_COMPONENTS)


def portable(stack: Stack, data: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Return what is needed to judge this stack elsewhere: its name, overrides and choices, and the catalogue."""
    return {
        "name": stack.name,
        "overrides": dict(stack.overrides),
        "values": stack.values(),
        "catalogue": dict(data),
    }


def wishes(stack: Stack) -> dict[str, t.Any]:
    """Return every version and sha256 of this stack, and one digest of them all; what a record keeps of it."""
    files = {"driver": stack.driver.artefact, "cuda": stack.cuda.artefact, "miniforge": stack.miniforge}
    chosen = {
        "values": stack.values(),
        "sha256": {
            **{release.file: release.sha256 for release in files.values()},
            **{lock.path: hashlib.sha256(lock.text.encode()).hexdigest() for lock in stack.locks.values()},
        },
    }
    digest = hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()
    return {"name": stack.name, "overrides": dict(stack.overrides), **chosen, "fingerprint": digest}


__all__ = ["COMPONENTS", "component", "portable", "wishes"]
