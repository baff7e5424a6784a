# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a rule of the stack is: words, source, the keys it reads, and a test that says how it is broken."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.gpulab.workstation.plugins.module_utils._stack import Stack
from ansible_collections.gpulab.workstation.plugins.module_utils._stack_facts import StackFacts


@dataclass(frozen=True)
class Broken:
    """How a rule is broken: what was found and expected; nearest only where no key of the stack can cure it."""

    found: str
    expected: str
    source: str = ""
    nearest: str = ""


@dataclass(frozen=True)
class Rule:
    """A rule; it ``reads`` some keys, ``cures`` are those that mend it, and the catalogue has its source by its id."""

    rule_id: str
    sentence: str
    reads: tuple[str, ...]
    cures: tuple[str, ...]
    test: t.Callable[[Stack, StackFacts], Broken | None]


def sm_names(arches: t.Iterable[str]) -> str:
    """Write compute capabilities as nvcc does: 12.0 is sm_120."""
    return " ".join(f"sm_{arch.replace('.', '')}" for arch in arches) or "nothing"


__all__ = ["Broken", "Rule", "sm_names"]
