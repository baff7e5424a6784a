# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks and their outcomes, what is known of each, and the one comparison of figures with limits."""

from __future__ import annotations

import enum
import math
import re
import typing as t
from dataclasses import asdict, dataclass, field

from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError

SCHEMA = "gpu_verify-2"


class Outcome(str, enum.Enum):
    """How a check ended; what was not run, could not be read or is not supported is not proven, never passed."""

    PASS = "pass"  # noqa: S105 - no password
    WARN = "warn"
    FAIL = "fail"
    NOT_PROVEN = "not_proven"


class Level(str, enum.Enum):
    """When a check is made: in every run, in a full one, or where minutes of endurance are asked for."""

    QUICK = "quick"
    FULL = "full"
    ENDURANCE = "endurance"


@dataclass(frozen=True)
class CheckKind:
    """What is known of a check before it is made."""

    needs_gpu: bool  # a host without a GPU with a working driver cannot prove it
    per_card: bool = False  # made on each card for itself, and proven only if it is proven on every one
    level: Level = Level.QUICK
    needs_python: bool = False  # made in the environment with torch


# Every check there is, in the order of documents and pages.
CHECKS: dict[str, CheckKind] = {
    "driver_loaded": CheckKind(needs_gpu=True),
    "driver_on_disk": CheckKind(needs_gpu=True),
    "driver_libraries": CheckKind(needs_gpu=True),
    "driver_drift": CheckKind(needs_gpu=False),
    "firmware": CheckKind(needs_gpu=True),
    "cards": CheckKind(needs_gpu=True),
    "kernel_log": CheckKind(needs_gpu=True),
    "toolkit": CheckKind(needs_gpu=False),
    "native_code": CheckKind(needs_gpu=False),
    "negative_control": CheckKind(needs_gpu=False),
    "kernel_results": CheckKind(needs_gpu=True, per_card=True),
    "foreign_code_refused": CheckKind(needs_gpu=True, per_card=True),
    "memory_test": CheckKind(needs_gpu=True, per_card=True),
    "pcie_link": CheckKind(needs_gpu=True, per_card=True),
    "host_bandwidth": CheckKind(needs_gpu=True, per_card=True),
    "memory_bandwidth": CheckKind(needs_gpu=True, per_card=True),
    "torch_build": CheckKind(needs_gpu=False, needs_python=True),
    "extension_code": CheckKind(needs_gpu=False, needs_python=True),
    "torch_launch": CheckKind(needs_gpu=True, per_card=True, needs_python=True),
    "torch_attention": CheckKind(needs_gpu=True, per_card=True, needs_python=True),
    "torch_matmul": CheckKind(needs_gpu=True, per_card=True, needs_python=True),
    "diffusion_sdxl": CheckKind(needs_gpu=True, per_card=True, level=Level.FULL, needs_python=True),
    "diffusion_sd15": CheckKind(needs_gpu=True, per_card=True, level=Level.FULL, needs_python=True),
    "attention_backends": CheckKind(needs_gpu=True, per_card=True, level=Level.FULL, needs_python=True),
    "endurance": CheckKind(needs_gpu=True, per_card=True, level=Level.ENDURANCE),
}


@dataclass(frozen=True)
class Limit:
    """A limit for one figure of a check, with the source it was taken from."""

    check: str
    figure: str
    unit: str
    source: str
    fail_below: float | None = None
    warn_below: float | None = None
    fail_above: float | None = None
    warn_above: float | None = None

    def to_json(self) -> dict[str, t.Any]:
        """Return it as it stands in the document, beside the check it is for."""
        return {key: value for key, value in asdict(self).items() if key != "check"}


@dataclass(frozen=True)
class Check:
    """One check: ``why`` is a sentence for a person, ``figures`` are what was measured or read."""

    name: str
    outcome: Outcome
    why: str
    figures: t.Mapping[str, t.Any] = field(default_factory=dict)
    card: str = ""  # uuid; empty where the check is about the whole host
    limits: tuple[Limit, ...] = ()

    @property
    def kind(self) -> CheckKind:
        """Return what is known of checks of this name."""
        return CHECKS[self.name]

    @property
    def good(self) -> bool:
        """Whether it counts as proven."""
        return self.outcome in (Outcome.PASS, Outcome.WARN)

    @property
    def title(self) -> str:
        """How messages call it."""
        return f"{self.name} of {self.card}" if self.card else self.name

    def to_json(self, required: t.Container[str]) -> dict[str, t.Any]:
        """Return it as it stands in the document."""
        return {
            "name": self.name,
            "card": self.card or None,
            "outcome": self.outcome.value,
            "required": self.name in required,
            "needs_gpu": self.kind.needs_gpu,
            "level": self.kind.level.value,
            "why": self.why,
            "figures": dict(self.figures),
            "limits": [limit.to_json() for limit in self.limits],
        }

    @classmethod
    def from_json(cls, data: t.Mapping[str, t.Any]) -> Check:
        """Read back what :meth:`to_json` wrote."""
        return cls(
            data["name"],
            Outcome(data["outcome"]),
            data["why"],
            data["figures"],
            data["card"] or "",
            tuple(Limit(data["name"], **limit) for limit in data["limits"]),
        )


def passed(name: str, why: str, /, *, card: str = "", limits: tuple[Limit, ...] = (), **figures: t.Any) -> Check:
    """Return a check that passed."""
    return Check(name, Outcome.PASS, why, figures, card, limits)


def warned(name: str, why: str, /, *, card: str = "", limits: tuple[Limit, ...] = (), **figures: t.Any) -> Check:
    """Return a check that passed with something to look at."""
    return Check(name, Outcome.WARN, why, figures, card, limits)


def failed(name: str, why: str, /, *, card: str = "", limits: tuple[Limit, ...] = (), **figures: t.Any) -> Check:
    """Return a check that found something wrong."""
    return Check(name, Outcome.FAIL, why, figures, card, limits)


def not_proven(name: str, why: str, /, *, card: str = "", limits: tuple[Limit, ...] = (), **figures: t.Any) -> Check:
    """Return a check that could not be made."""
    return Check(name, Outcome.NOT_PROVEN, why, figures, card, limits)


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


def judge_figures(
    name: str, why: str, /, *, card: str = "", limits: tuple[Limit, ...] | None, **figures: t.Any
) -> Check:
    """Compare figures with limits; the worst of them decides, and the sentence names it, its limit and its source.

    No limits (None: no row for this model of card) and a figure that is no number are not proven: a card of which
    nothing is known was not found healthy.
    """
    if limits is None:
        return not_proven(name, f"measured, but there are no limits for this card: {why}", card=card, **figures)
    if not limits:
        return not_proven(name, f"measured, but this check has no limits for this card: {why}", card=card, **figures)
    unread = [limit.figure for limit in limits if not _is_number(figures.get(limit.figure))]
    wrong = [words for limit in limits if (words := _words(limit, figures, limit.fail_below, limit.fail_above))]
    odd = [words for limit in limits if (words := _words(limit, figures, limit.warn_below, limit.warn_above))]
    if wrong:
        return failed(name, "; ".join(wrong), card=card, limits=limits, **figures)
    if unread:
        reason = f"{', '.join(unread)} could not be measured: {why}"
        return not_proven(name, reason, card=card, limits=limits, **figures)
    if odd:
        return warned(name, "; ".join(odd), card=card, limits=limits, **figures)
    return passed(name, why, card=card, limits=limits, **figures)


def _is_number(value: t.Any) -> t.TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _words(limit: Limit, figures: t.Mapping[str, t.Any], low: float | None, high: float | None) -> str:
    """Say how a figure breaks one of its limits; empty where it does not."""
    value = figures.get(limit.figure)
    if not _is_number(value):
        return ""
    for bound, broken, side in ((low, low is not None and value < low, "below"),
                                (high, high is not None and value > high, "above")):  # fmt: skip
        if broken:
            return f"{limit.figure} is {value:.4g} {limit.unit}, {side} {bound:g} ({limit.source})"
    return ""


__all__ = [
    "CHECKS",
    "SCHEMA",
    "Check",
    "CheckKind",
    "Level",
    "Limit",
    "Outcome",
    "failed",
    "judge_figures",
    "not_proven",
    "parse_arch",
    "passed",
    "warned",
]
