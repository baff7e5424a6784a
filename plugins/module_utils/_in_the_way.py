# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What keeps a host from being changed now: words for people, and kinds for who decides whether to wait for it."""

from __future__ import annotations

import typing as t
from dataclasses import asdict, dataclass

from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError


@dataclass(frozen=True)
class Blocker:
    """One thing that is in the way; some yield to force, others do not."""

    kind: str  # gpu_process, desktop, user, job, system_change: these pass; container, controller, host: these stay
    words: str
    yields_to_force: bool


class RefusalError(OperatorError):
    """A change that is not begun, with everything that is in its way."""

    def __init__(self, *, found: str, expected: str, cure: str, blockers: t.Sequence[Blocker]) -> None:
        self.cure = cure
        self.blockers = tuple(blockers)
        super().__init__(found=found, expected=expected, action=f"{cure} Nothing has been changed.")


def to_json(blockers: t.Sequence[Blocker]) -> list[dict[str, t.Any]]:
    """Return blockers as modules do."""
    return [asdict(blocker) for blocker in blockers]


__all__ = ["Blocker", "RefusalError", "to_json"]
