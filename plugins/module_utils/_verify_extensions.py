# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge whether the libraries of an environment carry machine code for an architecture; counts in, a check out."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from ansible_collections.gpulab.workstation.plugins.module_utils._native_code import native_names
from ansible_collections.gpulab.workstation.plugins.module_utils._verify import (
    Check,
    failed,
    not_proven,
    passed,
    warned,
)

# NVSHMEM's own code for clusters of data-centre cards, which no program of a workstation loads.
LEFT_OUT = ("torch/lib/libtorch_nvshmem.so",)
_VARIANT = re.compile(r"(?<=cuda)\d{2,3}|(?<=cu)\d{3}")  # libbitsandbytes_cuda128.so beside libbitsandbytes_cuda130.so


@dataclass(frozen=True)
class Extension:
    """A library of the environment: its path in site-packages and its device code by name, None where unreadable."""

    path: str
    codes: t.Mapping[str, int] | None
    error: str = ""


def used_variants(extensions: t.Iterable[Extension], torch_cuda: str) -> tuple[tuple[Extension, ...], tuple[str, ...]]:
    """Split into libraries that can be loaded and those for another CUDA than torch's, of which one lies beside.

    A package such as bitsandbytes brings one library for each CUDA and loads the one that fits torch.
    """
    every = tuple(extensions)
    digits = torch_cuda.replace(".", "")
    present = {extension.path for extension in every}
    others = tuple(
        extension.path
        for extension in every
        if (twin := _VARIANT.sub(digits, extension.path)) != extension.path and twin in present and digits
    )
    return tuple(extension for extension in every if extension.path not in others), others


def judge_extensions(extensions: t.Sequence[Extension], arch: str, torch_cuda: str) -> Check:
    """Judge every library with device code: native is right, PTX alone a warning, neither fails.

    A library with PTX for an older architecture works only where the driver compiles it at the first start: slow once,
    and refused with CUDA_DISABLE_PTX_JIT=1. One with neither cannot run on the card at all.
    """
    used, others = used_variants((x for x in extensions if x.path not in LEFT_OUT), torch_cuda)
    own, *older = native_names(arch.rstrip("af"))
    native = {own, f"{own}a", f"{own}f", *older, *(f"{name}f" for name in older)}  # "a": for that one card only
    coded = {x.path: dict(x.codes) for x in used if x.codes}
    lacking = {path: codes for path, codes in coded.items() if not native & set(codes)}
    from_ptx = sorted(path for path, codes in lacking.items() if _has_older_ptx(codes, arch))
    without = sorted(set(lacking) - set(from_ptx))
    unreadable = {x.path: x.error for x in used if x.codes is None}
    figures: dict[str, t.Any] = {
        "read": len(extensions),
        "with_device_code": coded,
        "ptx_only": from_ptx,
        "not_for_this_card": without,
        "for_another_cuda": list(others),
        "unreadable": unreadable,
    }
    if without:
        return failed("extension_code", f"no code that runs on {own}: {_some(without)}", **figures)
    if unreadable:
        return not_proven("extension_code", f"could not be read: {_some(sorted(unreadable))}", **figures)
    if from_ptx:
        why = f"no machine code for {own}, only PTX that the driver compiles at the first start: {_some(from_ptx)}"
        return warned("extension_code", why, **figures)
    if not coded:
        return not_proven("extension_code", f"none of {len(extensions)} libraries carries device code", **figures)
    why = f"{len(coded)} of {len(extensions)} libraries carry device code, all of them for {own}"
    return passed("extension_code", why, **figures)


def _has_older_ptx(codes: t.Iterable[str], arch: str) -> bool:
    """Whether there is PTX that a driver can compile for the card: of its architecture or an older one."""
    own = int(re.sub(r"\D", "", arch))
    found = (re.fullmatch(r"compute_(\d+)", name) for name in codes)
    return any(match and int(match[1]) <= own for match in found)


def _some(paths: t.Sequence[str]) -> str:
    more = len(paths) - 3
    return ", ".join(paths[:3]) + (f" and {more} more" if more > 0 else "")


__all__ = ["LEFT_OUT", "Extension", "judge_extensions", "used_variants"]
