# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether somebody is using the cards: figures taken beside another's work say nothing, and disturb him."""

from __future__ import annotations

import typing as t

from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._gpu_facts import Holder
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_layers import Card

_MOST = 0.5  # of a card's memory; a desktop takes a few per cent


class InUseError(OperatorError):
    """A card is in use: the host is as good as it was, it is only not the time."""


def in_use(holders: t.Iterable[Holder], cards: t.Iterable[Card]) -> list[str]:
    """Return who is using a card, in words: jobs (not desktops or the driver's services), and memory without owner.

    Most of a card's memory may be taken by a process that cannot be seen from here: in another container, or of
    another user where this one may not look.
    """
    jobs = [holder for holder in holders if holder.kind == "job"]
    words = [f"process {job.pid} ({job.command}) of {job.user} has {', '.join(job.devices)} open" for job in jobs]
    for card in cards:
        used, total = card.memory_used_mib, card.memory_mib
        if used is not None and total and used > _MOST * total:
            hidden = "" if jobs else ", by a process that cannot be seen from here"
            words.append(f"{used} of {total} MiB of the memory of card {card.index} are taken{hidden}")
    return words


def refuse_in_use(holders: t.Sequence[Holder], cards: t.Sequence[Card]) -> None:
    """Refuse a verification of cards that somebody is using."""
    found = in_use(holders, cards)
    if found:
        raise InUseError(
            found=f"a card is in use: {'; '.join(found)}.",
            expected="cards that nobody is using; nothing was run.",
            action="wait until they are done, or set gpu_verify_force to verify all the same: the figures are then"
            " worth little.",
        )


__all__ = ["InUseError", "in_use", "refuse_in_use"]
