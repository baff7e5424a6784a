# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a component would do to a host, as data: the same plan serves check mode and the real run."""

from __future__ import annotations

import typing as t
from dataclasses import asdict, dataclass, field


@dataclass(frozen=True)
class Step:
    """One change to the host: ``action`` names the code that makes it, ``title`` says it to a person."""

    action: str
    title: str
    params: t.Mapping[str, t.Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """The ordered changes that bring a host from ``before`` to ``after`` (both JSON-able, for the diff)."""

    steps: tuple[Step, ...] = ()
    before: t.Mapping[str, t.Any] = field(default_factory=dict)
    after: t.Mapping[str, t.Any] = field(default_factory=dict)
    reboot_reasons: tuple[str, ...] = ()

    def to_json(self) -> dict[str, t.Any]:
        """Return the plan in the form that modules return and jobs read."""
        return {
            "steps": [asdict(step) for step in self.steps],
            "before": dict(self.before),
            "after": dict(self.after),
            "reboot_reasons": list(self.reboot_reasons),
        }

    @classmethod
    def from_json(cls, data: t.Mapping[str, t.Any]) -> Plan:
        """Read back what :meth:`to_json` wrote."""
        return cls(
            steps=tuple(Step(s["action"], s["title"], s["params"]) for s in data["steps"]),
            before=data["before"],
            after=data["after"],
            reboot_reasons=tuple(data["reboot_reasons"]),
        )


__all__ = ["Plan", "Step"]
