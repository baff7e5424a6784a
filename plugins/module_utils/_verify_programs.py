# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The test programs in CUDA: which there are for an architecture, and what a run of one has to say for itself.

A program is built for one target. What it is to do is the last word of its command line: numbers, and with the first
program also memory, bandwidth and host.
"""

from __future__ import annotations

import json
import re
import typing as t
from dataclasses import dataclass

MAIN = "gpu_verify"
FP4 = "gpu_verify_fp4"
CONTROL = "gpu_verify_control"

# The fp4 instruction exists for a target of its own only (PTX ISA, mma with .kind::mxf4nvf4).
_FP4_TARGETS = {"120": "120a"}


@dataclass(frozen=True)
class ProgramRun:
    """One run of a built program on one card."""

    device: int
    rc: int
    stdout: str
    stderr: str

    @property
    def report(self) -> dict[str, t.Any]:
        """Return what the program printed; empty where that is not one JSON object of its format."""
        try:
            data = json.loads(self.stdout.strip() or "{}")
        except ValueError:
            return {}
        return data if isinstance(data, dict) and data.get("format") == 1 else {}

    @property
    def figures(self) -> dict[str, t.Any]:
        """Return what the document keeps of it, also where the program broke off."""
        return self.report or {"device": self.device, "stderr": self.stderr[-500:]}


def digits(arch: str) -> int:
    """Return an architecture as a number: 120 for 120a."""
    return int(re.sub(r"\D", "", arch))


def programs_for(arch: str) -> dict[str, str]:
    """Return the programs for an architecture, and the target that each is built for."""
    fp4 = _FP4_TARGETS.get(arch.rstrip("af"))
    return {MAIN: arch, FP4: fp4} if fp4 else {MAIN: arch}


def run_problems(arch: str, run: ProgramRun) -> list[str]:
    """Say why a run proves nothing: no result, an error, or machine code for another architecture than the wanted."""
    report = run.report
    if not report:
        return [f"the test program ended with {run.rc} and no result: {(run.stderr or run.stdout).strip()[-300:]}"]
    if "error" in report:
        return [f"{report['error']} (at: {report.get('at')})"]
    if report.get("binary_arch") != digits(arch):
        return [f"the code that was loaded is for {report.get('binary_arch')}, not {arch}"]
    return []


__all__ = ["CONTROL", "FP4", "MAIN", "ProgramRun", "digits", "programs_for", "run_problems"]
