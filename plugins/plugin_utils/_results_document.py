# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documents that gpu_verify wrote, read back: what has another form is refused with its place."""

from __future__ import annotations

import json
import math
import typing as t
from dataclasses import dataclass, field

from ansible_collections.gpulab.workstation.plugins.module_utils._verify import SCHEMA, Outcome

_BOUNDS = ("fail_below", "warn_below", "fail_above", "warn_above")
# What a page shows first is what somebody has to do something about.
SEVERITY = (Outcome.PASS, Outcome.WARN, Outcome.NOT_PROVEN, Outcome.FAIL)


@dataclass(frozen=True)
class Limit:
    """A limit of one figure, as it stood in the catalogue when the figure was judged."""

    figure: str
    unit: str
    source: str
    fail_below: float | None = None
    warn_below: float | None = None
    fail_above: float | None = None
    warn_above: float | None = None

    def bounds(self) -> list[tuple[str, float]]:
        """Return the bounds that it has, with their names."""
        return [(name, value) for name in _BOUNDS if (value := getattr(self, name)) is not None]


@dataclass(frozen=True)
class Check:
    """One check of a document; ``card`` is a uuid, empty where it is about the whole host."""

    name: str
    outcome: Outcome
    why: str
    card: str = ""
    required: bool = False
    excused: bool = False  # it needs a GPU, and the inventory says that the host has none
    figures: t.Mapping[str, t.Any] = field(default_factory=dict)
    limits: tuple[Limit, ...] = ()

    @property
    def fails(self) -> bool:
        """Whether it fails the task: the documented rule (docs/verification.md)."""
        unproven = self.outcome is Outcome.NOT_PROVEN and self.required and not self.excused
        return self.outcome is Outcome.FAIL or unproven

    def limit(self, figure: str) -> Limit | None:
        """Return the limit of a figure, where it has one."""
        return next((limit for limit in self.limits if limit.figure == figure), None)


@dataclass(frozen=True)
class Card:
    """A card as the document describes it; all is text, and empty where it is not known."""

    uuid: str
    name: str
    pci: str = ""
    pci_id: str = ""
    vbios: str = ""
    serial: str = ""
    memory_mib: str = ""
    limits_row: str = ""


@dataclass(frozen=True)
class Document:
    """What was measured on one host in one run."""

    host: str
    time: str
    level: str
    endurance_minutes: float
    arch: str
    verified: bool
    failure: str
    seconds: float | None
    stack: t.Mapping[str, str]
    machine: t.Mapping[str, str]
    cards: tuple[Card, ...]
    checks: tuple[Check, ...]

    @property
    def kind(self) -> str:
        """What was asked for; a quick run does not make up for an older full one."""
        return f"{self.level}-endurance" if self.endurance_minutes else self.level

    def of_card(self, uuid: str) -> tuple[Check, ...]:
        """Return the checks that were made on a card; on none ("") those of the whole host."""
        return tuple(check for check in self.checks if check.card == uuid)


def worst(outcomes: t.Iterable[Outcome]) -> Outcome:
    """Return the worst of some outcomes; nothing made is nothing proven."""
    return max(outcomes, key=SEVERITY.index, default=Outcome.NOT_PROVEN)


def number(value: object) -> float | None:
    """Return a finite number; what could not be measured (null, NaN) and what is none (true) is None."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # JSON knows whole numbers of any size
        return None


def load_document(text: str) -> Document:
    """Read a document's text; ValueError says what is wrong with it."""
    try:
        data = json.loads(text)
    except ValueError as error:
        raise ValueError(f"it is no JSON ({error}), as if it were cut off or from somewhere else") from None
    except RecursionError:
        raise ValueError("it is nested too deeply to be a result of gpu_verify") from None
    if not isinstance(data, dict) or "schema" not in data:
        raise ValueError("it is no result of gpu_verify: it names no schema")
    if data["schema"] != SCHEMA:
        raise ValueError(f"its schema is {data['schema']!r}, and {SCHEMA} is read: verify the host again")
    return _document(data)


def _document(data: dict[str, t.Any]) -> Document:
    expect_gpu = _get(data, "expect_gpu", bool)
    host = _get(data, "host", str)
    cards = tuple(_card(row, f"cards[{place}]", host) for place, row in enumerate(_get(data, "cards", list)))
    rows = enumerate(_get(data, "checks", list))
    checks = tuple(_check(row, f"checks[{place}]", expect_gpu=expect_gpu) for place, row in rows)
    strange = {check.card for check in checks} - {card.uuid for card in cards} - {""}
    if strange:
        raise ValueError(f"checks name a card that is not in its list of cards: {', '.join(sorted(strange))}")
    return Document(
        host=host,
        time=_get(data, "time", str),
        level=_get(data, "level", str),
        endurance_minutes=number(data.get("endurance_minutes")) or 0.0,
        arch=_get(data, "arch", str),
        verified=_get(data, "verified", bool),
        failure=_text(data.get("failure")),
        seconds=number(data.get("seconds")),
        stack={key: _text(value) for key, value in _get(data, "stack", dict).items()},
        machine={key: _text(value) for key, value in _get(data, "machine", dict).items()},
        cards=cards,
        checks=checks,
    )


def _card(data: object, where: str, host: str) -> Card:
    """Read a card; one that gave no uuid is known by its place in its host."""
    row = _mapping(data, where)
    names = ("pci", "pci_id", "vbios", "serial", "memory_mib", "limits_row")
    about = {name: _text(row.get(name)) for name in names}
    uuid = _text(row.get("uuid")) or f"uuid not read: {where} of {host}"
    return Card(uuid, _text(row.get("name")) or "unknown model", **about)


def _check(data: object, where: str, *, expect_gpu: bool) -> Check:
    row = _mapping(data, where)
    outcome = _get(row, "outcome", str, where)
    if outcome not in {known.value for known in Outcome}:
        raise ValueError(f"{where}.outcome is {outcome!r}, which is none of pass, warn, fail, not_proven")
    limits = enumerate(_get(row, "limits", list, where))
    return Check(
        name=_get(row, "name", str, where),
        outcome=Outcome(outcome),
        why=_get(row, "why", str, where),
        card=_text(row.get("card")),
        required=_get(row, "required", bool, where),
        excused=_get(row, "needs_gpu", bool, where) and not expect_gpu,
        figures=_get(row, "figures", dict, where),
        limits=tuple(_limit(limit, f"{where}.limits[{place}]") for place, limit in limits),
    )


def _limit(data: object, where: str) -> Limit:
    row = _mapping(data, where)
    bounds = {name: number(row.get(name)) for name in _BOUNDS}
    figure, unit, source = (_get(row, key, str, where) for key in ("figure", "unit", "source"))
    return Limit(figure, unit, source, **bounds)


def _mapping(data: object, where: str) -> dict[str, t.Any]:
    if not isinstance(data, dict):
        raise ValueError(f"{where} is no mapping")  # noqa: TRY004 - one kind of error for all that is wrong
    return data


_T = t.TypeVar("_T")


def _get(data: t.Mapping[str, t.Any], key: str, kind: type[_T], where: str = "") -> _T:
    place = f"{where}.{key}" if where else key
    if key not in data:
        raise ValueError(f"{place} is missing")
    value = data[key]
    if not isinstance(value, kind):
        raise ValueError(f"{place} is {str(value)[:60]!r}, not of type {kind.__name__}")  # noqa: TRY004 - as above
    return value


def _text(value: object) -> str:
    return "" if value is None else str(value)


__all__ = ["SEVERITY", "Card", "Check", "Document", "Limit", "load_document", "number", "worst"]
