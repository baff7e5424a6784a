# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What gpu_verify left on the controller: one JSON document per host, and the line that a person reads of it."""

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass

if t.TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

SCHEMA = "gpu_verify-2"
# In this order, so that the last thing read is what is wrong.
_HEADINGS = {"pass": "Proven", "warn": "Warning", "not_proven": "NOT PROVEN", "fail": "FAILED"}


@dataclass(frozen=True, slots=True)
class Check:
    """One check: `outcome` is pass, warn, not_proven or fail; `why` says on what grounds."""

    name: str
    outcome: str
    why: str
    card: str = ""  # how the line calls the card; empty where the check is about the whole host


@dataclass(frozen=True, slots=True)
class Result:
    """What was measured on a host."""

    host: str
    verified: bool
    checks: tuple[Check, ...]


def parse_result(data: Mapping[str, t.Any]) -> Result:
    """Read a document; an outcome that this program does not know is no pass, another schema is refused."""
    if data["schema"] != SCHEMA:
        raise ValueError(f"its schema is {data['schema']}, and this program reads {SCHEMA}")
    cards = {card["uuid"]: str(card["index"]) for card in data["cards"]}
    checks = tuple(_check(check, cards) for check in data["checks"])
    return Result(str(data["host"]), data["verified"] is True, checks)


def _check(data: Mapping[str, t.Any], cards: Mapping[str, str]) -> Check:
    name, outcome, why = str(data["name"]).replace("_", " "), str(data["outcome"]), str(data["why"])
    card = "" if data["card"] is None else cards.get(data["card"], str(data["card"]))
    if outcome not in _HEADINGS:
        return Check(name, "not_proven", f"unknown outcome {outcome}: {why}", card)
    return Check(name, outcome, why, card)


def read_results(directory: Path, since: float) -> dict[str, Result]:
    """Return the results that were written since then, by host; older ones say nothing about this run."""
    found = {}
    for path in sorted(directory.glob("*.json")):
        if path.stat().st_mtime < since:
            continue
        try:
            result = parse_result(json.loads(path.read_text()))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            why = f"{path} cannot be read: {error!r}"
            result = Result(path.stem, verified=False, checks=(Check("the result", "fail", why),))
        found[path.stem] = result
    return found


def describe(result: Result) -> str:
    """Return the line of a host: verified or not, what was proven, what was not, and why."""
    parts = [f"{result.host}: {'VERIFIED' if result.verified else 'not verified'}."]
    for outcome, heading in _HEADINGS.items():
        checks = [check for check in result.checks if check.outcome == outcome]
        if checks:
            parts.append(f"{heading}: {'; '.join(_by_reason(checks))}.")
    return " ".join(parts)


def _by_reason(checks: Iterable[Check]) -> list[str]:
    """Name checks together that share their reason, and each once, with the cards it was made on."""
    reasons: dict[str, dict[str, list[str]]] = {}
    for check in checks:
        cards = reasons.setdefault(check.why.rstrip("."), {}).setdefault(check.name, [])
        cards += [check.card] if check.card else []
    return [_group(why, names) for why, names in reasons.items()]


def _group(why: str, names: Mapping[str, Sequence[str]]) -> str:
    words = ", ".join(name + _on(cards) for name, cards in names.items())
    return f"{words} ({why})" if why else words


def _on(cards: Sequence[str]) -> str:
    if not cards:
        return ""
    return f" on card {cards[0]}" if len(cards) == 1 else f" on cards {', '.join(cards)}"


__all__ = ["SCHEMA", "Check", "Result", "describe", "parse_result", "read_results"]
