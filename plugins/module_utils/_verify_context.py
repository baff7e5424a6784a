# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every family of checks is given, and what a family is."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.gpulab.workstation.plugins.module_utils._gpu_facts import GpuFacts
from ansible_collections.gpulab.workstation.plugins.module_utils._host import Host
from ansible_collections.gpulab.workstation.plugins.module_utils._host_facts import HostFacts
from ansible_collections.gpulab.workstation.plugins.module_utils._reading import Reading
from ansible_collections.gpulab.workstation.plugins.module_utils._verify import CHECKS, Check, Limit, not_proven
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_kernel_log import KernelLog
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_layers import Card, SmiAnswer
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_limits import CardLimits, row_for
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_wish import Wish


@dataclass(frozen=True)
class Context:
    """The host, what is asked, what was read before anything was run, and the limits of its cards."""

    host: Host
    wish: Wish
    reading: Reading
    about: HostFacts
    gpu: GpuFacts
    smi: SmiAnswer
    why_no_gpu: str  # empty where programs may run on cards, else the sentence for what is not proven
    progress: t.Callable[[str], None]  # what is going on, for the person who waits
    seed: int
    kernel_log: KernelLog  # as it was before anything was run

    @property
    def cards(self) -> tuple[Card, ...]:
        """The cards that programs may run on, in the order of PCI."""
        return () if self.why_no_gpu else self.smi.cards

    def row(self, card: Card) -> CardLimits | None:
        """Return the row of the limits for a card, None where its model is unknown."""
        return row_for(self.wish.limits, card.pci_id, card.name)

    def limits(self, card: Card, check: str, when: t.Mapping[str, float] | None = None) -> tuple[Limit, ...] | None:
        """Return the limits of a check on a card; ``when`` are facts in force, such as the link's. None: no row."""
        row = self.row(card)
        return None if row is None else row.of(check, when or {})

    def card_facts(self, card: Card) -> t.Mapping[str, float]:
        """Return what is known of a card's model; empty where it is unknown."""
        row = self.row(card)
        return {} if row is None else row.facts

    def on_every_card(self, name: str, why: str) -> list[Check]:
        """Return a check that could not be made: once for each card, or once for a host without any."""
        cards = self.cards if CHECKS[name].per_card else ()
        return [not_proven(name, why, card=card.key) for card in cards] or [not_proven(name, why)]


@dataclass(frozen=True)
class Family:
    """Checks that are made together: what they are called, their names, and what makes them."""

    title: str
    names: tuple[str, ...]
    checks: t.Callable[[Context], list[Check]]


__all__ = ["Context", "Family"]
