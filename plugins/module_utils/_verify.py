# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks and their outcomes, the document they make, and the one rule by which a verification ends well."""

from __future__ import annotations

import enum
import re
import typing as t
from dataclasses import dataclass, field

from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError

SCHEMA = "gpu_verify-1"


class Outcome(str, enum.Enum):
    """How a check ended; what was not run, could not be read or is not supported is not proven, never passed."""

    PASS = "pass"  # noqa: S105 - no password
    WARN = "warn"
    FAIL = "fail"
    NOT_PROVEN = "not_proven"


# Every check there is, and whether it takes a GPU with a working driver to prove it.
CHECKS: dict[str, bool] = {
    "driver_loaded": True,
    "driver_on_disk": True,
    "driver_libraries": True,
    "cards": True,
    "toolkit": False,
    "native_code": False,
    "negative_control": False,
    "kernel_results": True,
    "foreign_code_refused": True,
    "torch_build": False,
    "torch_launch": True,
}


@dataclass(frozen=True)
class Check:
    """One check: ``why`` is a sentence for a person, ``figures`` are what was measured or read."""

    name: str
    outcome: Outcome
    why: str
    figures: t.Mapping[str, t.Any] = field(default_factory=dict)

    @property
    def needs_gpu(self) -> bool:
        """Whether a host without a GPU cannot prove it."""
        return CHECKS[self.name]

    @property
    def good(self) -> bool:
        """Whether it counts as proven."""
        return self.outcome in (Outcome.PASS, Outcome.WARN)

    def to_json(self, required: t.Container[str]) -> dict[str, t.Any]:
        """Return it as it stands in the document."""
        return {
            "name": self.name,
            "outcome": self.outcome.value,
            "required": self.name in required,
            "needs_gpu": self.needs_gpu,
            "why": self.why,
            "figures": dict(self.figures),
        }


def passed(name: str, why: str, **figures: t.Any) -> Check:
    """Return a check that passed."""
    return Check(name, Outcome.PASS, why, figures)


def warned(name: str, why: str, **figures: t.Any) -> Check:
    """Return a check that passed with something to look at."""
    return Check(name, Outcome.WARN, why, figures)


def failed(name: str, why: str, **figures: t.Any) -> Check:
    """Return a check that found something wrong."""
    return Check(name, Outcome.FAIL, why, figures)


def not_proven(name: str, why: str, **figures: t.Any) -> Check:
    """Return a check that could not be made."""
    return Check(name, Outcome.NOT_PROVEN, why, figures)


def check_names(names: t.Iterable[str]) -> tuple[str, ...]:
    """Return the names of required checks; a name that is no check would silently require nothing."""
    wanted = tuple(dict.fromkeys(names))
    unknown = [name for name in wanted if name not in CHECKS]
    if unknown:
        raise OperatorError(
            found=f"gpu_verify_require names {', '.join(unknown)}.",
            expected=f"names of checks: {', '.join(CHECKS)}.",
            action="correct gpu_verify_require.",
        )
    return wanted


def parse_arch(text: str) -> str:
    """Return nvcc's digits for a compute capability: 120 for 12.0, 90a for 9.0a."""
    found = re.fullmatch(r"(\d{1,2})\.(\d)([af]?)", text)
    if not found:
        raise OperatorError(
            found=f"the architecture {text!r}.",
            expected="a compute capability such as 12.0 (RTX 50) or 9.0 (H100).",
            action="correct gpu_verify_arch.",
        )
    return "".join(found.groups())


def is_verified(checks: t.Iterable[Check], required: t.Iterable[str]) -> bool:
    """Whether every required check was made and went well, and none of the others failed."""
    by_name = {check.name: check for check in checks}
    every = all(name in by_name and by_name[name].good for name in required)
    return every and all(check.outcome is not Outcome.FAIL for check in by_name.values())


def verdict(checks: t.Sequence[Check], required: t.Sequence[str], *, expect_gpu: bool) -> str | None:
    """Return why the task fails, None where it does not: the documented rule (docs/verification.md).

    Anything failed fails. A required check that is not proven fails, unless it needs a GPU and the inventory says that
    this host has none.
    """
    wrong = [f"{check.name} failed: {check.why}" for check in checks if check.outcome is Outcome.FAIL]
    by_name = {check.name: check for check in checks}
    for name in required:
        check = by_name.get(name, not_proven(name, "it was not asked for: its role variable is empty"))
        excused = not expect_gpu and CHECKS[name]
        if check.outcome is Outcome.NOT_PROVEN and not excused:
            wrong.append(f"{name} is required and not proven: {check.why}")
    return "; ".join(wrong) or None


def unproven(checks: t.Iterable[Check]) -> list[str]:
    """Return a line for each check that is not proven."""
    return [f"{check.name}: {check.why}" for check in checks if check.outcome is Outcome.NOT_PROVEN]


__all__ = [
    "CHECKS",
    "SCHEMA",
    "Check",
    "Outcome",
    "check_names",
    "failed",
    "is_verified",
    "not_proven",
    "parse_arch",
    "passed",
    "unproven",
    "verdict",
    "warned",
]
