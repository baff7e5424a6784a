# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A card beside its fleet and beside its own past: medians over cards of its model, and what changed."""

from __future__ import annotations

import statistics
import typing as t
from dataclasses import dataclass

from ansible_collections.gpulab.workstation.plugins.plugin_utils._results_document import (
    Card,
    Check,
    Document,
    number,
)
from ansible_collections.gpulab.workstation.plugins.plugin_utils._results_figures import label_and_unit, with_unit

_FEWEST = 2  # a median of one card is the card
# A figure changed if it is further from its last value than runs on one healthy card are from each other.
_SHARE = 0.03
_APART = {"°C": 4.0}  # a scale without a meaningful zero: degrees, not a share
# What may change on its own, and what says nothing about a card.
_FREE_UNITS = ("s", "min", "bytes", "MiB", "GiB", "")


@dataclass(frozen=True)
class Change:
    """One thing that is not as it was; ``worse`` is what to look at."""

    what: str
    before: str
    now: str
    worse: bool = False


Key = tuple[str, str, str]  # model of card, check, figure


def medians(documents: t.Iterable[Document], homes: t.Mapping[str, Document]) -> dict[Key, tuple[float, int]]:
    """Return the median of each figure over the cards of one model, and over how many.

    A card counts once, where it was seen last (``homes``).
    """
    values: dict[Key, list[float]] = {}
    for document in documents:
        for card in document.cards:
            if homes.get(card.uuid) is not document:
                continue
            for check in document.of_card(card.uuid):
                for name, value in check.figures.items():
                    if (measured := number(value)) is not None:
                        values.setdefault((card.name, check.name, name), []).append(measured)
    return {key: (statistics.median(found), len(found)) for key, found in values.items() if len(found) >= _FEWEST}


def newest_homes(documents: t.Iterable[Document]) -> dict[str, Document]:
    """Return the newest document of each card: one that moved is in the old host's document too."""
    homes: dict[str, Document] = {}
    for document in sorted(documents, key=lambda document: document.time):
        for card in document.cards:
            homes[card.uuid] = document
    return homes


def versus(value: float, other: float, unit: str) -> str:
    """Say how far a figure is from another: in percent, or in degrees, whose zero means nothing."""
    if unit in _APART:
        return _signed(value - other, unit)
    return _signed((value / other - 1) * 100, "%") if other else ""


def _signed(step: float, unit: str) -> str:
    text = "\u00b10" if abs(step) < 0.05 else f"{step:+.1f}".replace("-", "\u2212")  # noqa: PLR2004 - as it is rounded
    return f"{text}\u00a0{unit}"


def changes(current: Document, card: Card | None, earlier: t.Sequence[Document]) -> list[Change]:
    """Return what changed since the last result of a card, or of a host without one.

    ``earlier`` is newest first. A check is compared with the newest earlier result that has it: a quick run after a
    full one says nothing about what only the full one measured.
    """
    if not earlier:
        return []
    last, uuid = earlier[0], card.uuid if card else ""
    found = _surroundings(current, last)
    if card is not None:
        before = next((other for other in last.cards if other.uuid == uuid), card)
        pairs = (("PCI address", before.pci, card.pci), ("VBIOS", before.vbios, card.vbios))
        found += [Change(what, old, new) for what, old, new in pairs if old != new]
    for check in [*current.of_card(""), *(current.of_card(uuid) if uuid else ())]:
        before_check = _newest(check, earlier)
        if before_check is not None:
            found += _of_check(check, before_check)
    return found


def _surroundings(now: Document, before: Document) -> list[Change]:
    pairs = [("host", before.host, now.host), ("cards in the host", str(len(before.cards)), str(len(now.cards)))]
    pairs += [
        ("stack" if name == "name" else name, before.stack.get(name, ""), now.stack.get(name, ""))
        for name in sorted({**before.stack, **now.stack})
    ]
    pairs += [(name, before.machine.get(name, ""), now.machine.get(name, "")) for name in ("os", "kernel")]
    fewer = len(now.cards) < len(before.cards) and now.host == before.host
    return [
        Change(what, old or "none", new or "none", worse=what == "cards in the host" and fewer)
        for what, old, new in pairs
        if old != new
    ]


def _newest(check: Check, earlier: t.Iterable[Document]) -> Check | None:
    found = (other for document in earlier for other in document.of_card(check.card) if other.name == check.name)
    return next(found, None)


def _of_check(now: Check, before: Check) -> list[Change]:
    name = now.name.replace("_", " ")
    found = []
    if now.outcome is not before.outcome:
        worse = now.fails or now.outcome.value in ("fail", "not_proven")
        found.append(Change(name, words(before.outcome.value), words(now.outcome.value), worse=worse))
    for figure, value in now.figures.items():
        new, old = number(value), number(before.figures.get(figure))
        limit = now.limit(figure)
        label, unit = label_and_unit(figure)
        unit = limit.unit if limit else unit
        if new is None or old is None or (limit is None and unit in _FREE_UNITS):
            continue
        if abs(new - old) > _APART.get(unit, _SHARE * abs(old)):
            far = f" ({versus(new, old, unit)})" if old else ""
            worse = limit is not None and _worse(limit.fail_below is None and limit.warn_below is None, new - old)
            found.append(Change(f"{name}: {label}", with_unit(old, unit), with_unit(new, unit) + far, worse=worse))
    return found


def _worse(less_is_better: bool, step: float) -> bool:  # noqa: FBT001 - private, and read at its only call
    return step > 0 if less_is_better else step < 0


def words(outcome: str) -> str:
    """Return an outcome as people read it."""
    return {"pass": "passed", "warn": "warning", "fail": "failed", "not_proven": "not proven"}[outcome]


__all__ = ["Change", "changes", "medians", "newest_homes", "versus", "words"]
