# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge what nvcc built, and that no card runs code for another architecture; text and figures in, checks out."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from ansible_collections.gpulab.workstation.plugins.module_utils._cuda_toolkit import Toolkit, Wanted, problems
from ansible_collections.gpulab.workstation.plugins.module_utils._fatbin import DeviceCode, not_native, summarise
from ansible_collections.gpulab.workstation.plugins.module_utils._verify import (
    Check,
    failed,
    not_proven,
    passed,
    warned,
)
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_programs import ProgramRun

NO_KERNEL_IMAGE = 209  # cudaErrorNoKernelImageForDevice, driver_types.h


@dataclass(frozen=True)
class Build:
    """One compilation of a test program: what came out and what two independent readers found in it."""

    program: str
    arch: str
    rc: int
    output: str
    code: tuple[DeviceCode, ...] | None = None  # read by _fatbin, None where it could not be read
    read_error: str = ""
    listed: frozenset[str] | None = None  # by cuobjdump, None where it could not be run
    list_error: str = ""


def parse_code_list(text: str) -> tuple[str, ...]:
    """Return the architectures in the output of ``nvcc --list-gpu-code``: 75, 90, 120."""
    return tuple(re.findall(r"^sm_(\d+[af]?)$", text, re.MULTILINE))


def parse_cuobjdump(elf: str, ptx: str) -> frozenset[str]:
    """Return the device code that ``cuobjdump -lelf`` and ``-lptx`` list, named as nvcc names it."""
    machine = re.findall(r"^ELF file\s+\d+: .*\.sm_(\d+[af]?)\.cubin$", elf, re.MULTILINE)
    virtual = re.findall(r"^PTX file\s+\d+: .*\.sm_(\d+[af]?)\.ptx$", ptx, re.MULTILINE)
    return frozenset([*(f"sm_{arch}" for arch in machine), *(f"compute_{arch}" for arch in virtual)])


def compiler_words(text: str) -> str:
    """Return the first lines of a compiler's output that name an error; else its first lines."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if re.search(r"\b(?:error|fatal|No such file)\b", line, re.IGNORECASE)]
    return " / ".join((errors or lines)[:3])


def other_architecture(arch: str, known: t.Sequence[str]) -> str | None:
    """Choose the architecture of the negative control: of another major version, so that no card runs both.

    Machine code runs on later minor versions of its own major version only (CUDA programming guide, "Binary
    compatibility").
    """
    plain = [int(name) for name in known if name.isdigit()]
    major = int(re.sub(r"\D", "", arch)) // 10
    older = [name for name in plain if name // 10 < major]
    newer = [name for name in plain if name // 10 > major]
    chosen = max(older) if older else min(newer) if newer else None
    return None if chosen is None else str(chosen)


def judge_toolkit(toolkit: Toolkit | None, nvcc: str | None, path: str, wanted: Wanted | None) -> Check:
    """Compare the toolkit at a path with the wanted release; without one, any that runs will do."""
    figures: dict[str, t.Any] = {"path": path, "nvcc": nvcc, "wanted": wanted.version if wanted else None}
    if nvcc is None:
        return failed("toolkit", f"{path}/bin/nvcc cannot be run", **figures)
    if toolkit is not None:
        figures.update(version=toolkit.version, standin_carries=toolkit.standin_carries)
    if wanted is None:
        return passed("toolkit", f"nvcc {nvcc}, no release was asked for", **figures)
    wrong = problems(toolkit, wanted) if toolkit else [f"{path} leads to no directory cuda-X.Y"]
    if wrong:
        return failed("toolkit", f"expected CUDA {wanted.version} at {path}: {'; '.join(wrong)}", **figures)
    if wanted.standin:
        return passed("toolkit", f"the lab's stand-in for CUDA {wanted.version}, which carries nvcc {nvcc}", **figures)
    return passed("toolkit", f"CUDA {wanted.version} with nvcc {nvcc}", **figures)


def judge_code(
    arch: str, known: t.Sequence[str], builds: t.Sequence[Build], control: Build | None
) -> tuple[Check, Check]:
    """Return native_code and negative_control; a control that is let through makes the first one void."""
    native = _judge_native(arch, known, builds)
    if control is None:
        why = "nothing was built for another architecture"
        return _void(native, why), not_proven("negative_control", why)
    figures = _figures(control)
    if control.rc != 0 or control.code is None:
        why = f"the program for sm_{control.arch} could not be built or read: {control.read_error or control.output}"
        return _void(native, why), not_proven("negative_control", why, **figures)
    refusals = _refusals(arch, control)
    if not refusals:
        why = f"the check lets a program for sm_{control.arch} through as sm_{arch}"
        return _void(native, why), failed("negative_control", why, **figures)
    return native, passed(
        "negative_control", f"a program for sm_{control.arch} is refused: {'; '.join(refusals)}", **figures
    )


def knows(known: t.Sequence[str], arch: str) -> bool:
    """Whether nvcc compiles for an architecture; its list leaves out the variants 90a and 120f."""
    return arch.rstrip("af") in known


def _judge_native(arch: str, known: t.Sequence[str], builds: t.Sequence[Build]) -> Check:
    if not builds:
        return _judge_not_built(arch, known)
    figures: dict[str, t.Any] = {"programs": {build.program: _figures(build) for build in builds}}
    words = [(_wrong(build), f"{build.program}: ") for build in builds]
    if any(wrong for wrong, _ in words):
        return failed("native_code", "; ".join(title + wrong for wrong, title in words if wrong), **figures)
    unlisted = [build for build in builds if build.listed is None]
    targets = _names({f"sm_{build.arch}" for build in builds})
    if unlisted:
        why = f"{targets} alone by our own reading, without cuobjdump as the second reader: {unlisted[0].list_error}"
        return warned("native_code", why, **figures)
    why = f"machine code for {targets} alone in {len(builds)} program(s), no PTX, by both readers"
    return passed("native_code", why, **figures)


def _wrong(build: Build) -> str:
    """Say why a program is no native code; empty where it is."""
    if build.rc != 0:
        return f"nvcc ended with {build.rc}: {build.output}"
    if build.code is None:
        return f"the program could not be read: {build.read_error}"
    refusals = _refusals(build.arch, build)
    return f"expected machine code for sm_{build.arch} alone: {'; '.join(refusals)}" if refusals else ""


def _judge_not_built(arch: str, known: t.Sequence[str]) -> Check:
    if not known:
        return not_proven("native_code", "there is no nvcc to build with")
    names = ", ".join(f"sm_{name}" for name in known)
    why = f"nvcc does not know sm_{arch}, only {names}; install a toolkit that does (12.8 is the first with sm_120)"
    return failed("native_code", why)


def _refusals(arch: str, build: Build) -> list[str]:
    """Say why a program is not native code for one architecture alone; both readers have a say and must agree."""
    code = build.code or ()
    found = not_native(code, arch)
    if build.listed is not None:
        found += [f"cuobjdump lists {name}" for name in sorted(build.listed - {f"sm_{arch.rstrip('f')}"})]
        ours = {name.rstrip("f") for name in summarise(code)}
        if ours != build.listed:
            found.append(f"the readers disagree: {', '.join(sorted(ours)) or 'nothing'} and {_names(build.listed)}")
    return found


def _void(check: Check, why: str) -> Check:
    """Turn a pass without a working control into what it is worth."""
    return not_proven(check.name, f"void: {why}", **check.figures) if check.good else check


def _figures(build: Build) -> dict[str, t.Any]:
    return {
        "built_for": f"sm_{build.arch}",
        "code": None if build.code is None else summarise(build.code),
        "cuobjdump": None if build.listed is None else sorted(build.listed),
    }


def _names(names: t.Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "nothing"


def judge_foreign(run: ProgramRun, arch: str, card: str) -> Check:
    """Judge a run of the program for another architecture: the card must say that it has no code for it."""
    report = run.report
    figures: dict[str, t.Any] = {"built_for": f"sm_{arch}", **run.figures}
    if run.rc == 0:
        why = f"it ran code for sm_{arch}: PTX JIT or another binary is in play"
        return failed("foreign_code_refused", why, card=card, **figures)
    if report.get("code") != NO_KERNEL_IMAGE:
        said = report.get("error") or run.stderr.strip()[-200:] or f"ended with {run.rc}"
        why = f"it was refused with other words than 'no kernel image': {said}"
        return failed("foreign_code_refused", why, card=card, **figures)
    return passed("foreign_code_refused", f"there is no kernel image in code for sm_{arch}", card=card, **figures)


__all__ = [
    "NO_KERNEL_IMAGE",
    "Build",
    "compiler_words",
    "judge_code",
    "judge_foreign",
    "judge_toolkit",
    "knows",
    "other_architecture",
    "parse_code_list",
    "parse_cuobjdump",
]
