# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules about the system: distribution, release and architecture."""

from __future__ import annotations

from ansible_collections.gpulab.workstation.plugins.module_utils._rule import Broken, Rule
from ansible_collections.gpulab.workstation.plugins.module_utils._stack import Stack
from ansible_collections.gpulab.workstation.plugins.module_utils._stack_facts import StackFacts
from ansible_collections.gpulab.workstation.plugins.module_utils._versions import release_key


def _is_release(found: str, name: str) -> bool:
    """Tell whether a system is of a release: Debian 12.12 is of Debian 12, Debian 120 is not."""
    return f"{found.lower()}.".startswith(f"{name.lower()}.")


def _platform(stack: Stack, facts: StackFacts) -> Broken | None:
    if facts.distribution is None or facts.distribution_version is None:
        return None
    found = f"{facts.distribution} {facts.distribution_version}"
    supported = list(stack.catalogue.platforms)
    if any(_is_release(found, name) for name in supported):
        return None
    reasons = [reason for name, reason in stack.catalogue.refused_platforms.items() if _is_release(found, name)]
    same = [name for name in supported if name.split()[0].lower() == facts.distribution.lower()]
    return Broken(
        found + (f": {reasons[0]}" if reasons else ", on which nothing was tried"),
        ", ".join(supported),
        nearest=max(same or supported, key=lambda name: release_key(name.split()[1])),
    )


def _architecture(stack: Stack, facts: StackFacts) -> Broken | None:
    known = stack.catalogue.architectures
    if facts.architecture is None or facts.architecture in known:
        return None
    return Broken(f"a host of architecture {facts.architecture}", " or ".join(known), nearest=known[0])


RULES = (
    Rule(
        rule_id="platform-supported",
        sentence="Only systems on which the whole way was tried are changed.",
        reads=(),
        cures=(),
        test=_platform,
    ),
    Rule(
        rule_id="architecture-supported",
        sentence="Drivers, toolkits and wheels of the catalogue are for x86_64.",
        reads=(),
        cures=(),
        test=_architecture,
    ),
)

__all__ = ["RULES"]
