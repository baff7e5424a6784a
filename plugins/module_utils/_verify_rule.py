# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which checks a run makes, which of them it has to prove, and the one rule by which it ends well."""

from __future__ import annotations

import typing as t

from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._verify import (
    CHECKS,
    Check,
    Level,
    Outcome,
    not_proven,
)


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


def asked_checks(level: Level, endurance_minutes: float, *, python: bool) -> tuple[str, ...]:
    """Return the checks that a run makes: by its level, its minutes, and whether it has an environment with torch."""
    levels = {Level.QUICK, level} | ({Level.ENDURANCE} if endurance_minutes else set())
    return tuple(name for name, kind in CHECKS.items() if kind.level in levels and (python or not kind.needs_python))


def is_verified(checks: t.Sequence[Check], required: t.Iterable[str]) -> bool:
    """Whether every required check was made and went well on every card, and none of the others failed."""
    made = {check.name for check in checks}
    open_ones = {check.name for check in checks if not check.good}
    every = all(name in made and name not in open_ones for name in required)
    return every and all(check.outcome is not Outcome.FAIL for check in checks)


def verdict(checks: t.Sequence[Check], required: t.Sequence[str], *, expect_gpu: bool) -> str | None:
    """Return why the task fails, None where it does not: the documented rule (docs/verification.md).

    Anything failed fails. A required check that is not proven, be it on one card of many, fails, unless it needs a GPU
    and the inventory says that this host has none.
    """
    wrong = [f"{check.title} failed: {check.why}" for check in checks if check.outcome is Outcome.FAIL]
    for name in required:
        made = [check for check in checks if check.name == name] or [not_proven(name, "it was not made")]
        excused = not expect_gpu and CHECKS[name].needs_gpu
        if not excused:
            wrong += [
                f"{check.title} is required and not proven: {check.why}"
                for check in made
                if check.outcome is Outcome.NOT_PROVEN
            ]
    return "; ".join(wrong) or None


__all__ = ["asked_checks", "check_names", "is_verified", "verdict"]
