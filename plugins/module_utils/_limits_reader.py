# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read and validate catalogue/limits.yml: a typing error must not turn into a card without limits."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.gpulab.workstation.plugins.module_utils._fields import Fields
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_limits import FACTS, LIMITED, LINK_FACTS

_PCI_ID = re.compile(r"[0-9a-f]{4}:[0-9a-f]{4}")
_BELOW = ("fail_below", "warn_below")
_ABOVE = ("fail_above", "warn_above")


def read_limits(file: Fields) -> tuple[dict[str, t.Any], ...]:
    """Return a row per model of card, in the form that modules are given; a PCI id stands in one row only."""
    rows = tuple(_row(name, entry) for name, entry in file.entries("cards"))
    owners: dict[str, str] = {}
    for row in rows:
        for pci_id in row["pci_ids"]:
            if pci_id in owners:
                file.problems.add(file.where, f"{pci_id} stands at {owners[pci_id]} and at {row['name']}")
            owners[pci_id] = row["name"]
    return rows


def _row(name: str, entry: Fields) -> dict[str, t.Any]:
    pci_ids = entry.texts("pci_ids", _PCI_ID)
    if not pci_ids:
        entry.problems.add(entry.where, "pci_ids names no card")
    return {
        "name": name,
        "pci_ids": list(pci_ids),
        "facts": entry.figures("facts", FACTS),
        "source": entry.text("source"),
        "limits": [_limit(row) for row in entry.rows("limits")],
    }


def _limit(row: Fields) -> dict[str, t.Any]:
    check = row.named("check", LIMITED)
    bounds = {key: value for key in (*_BELOW, *_ABOVE) if (value := row.optional_figure(key)) is not None}
    if not bounds:
        row.problems.add(row.where, f"it has none of {', '.join((*_BELOW, *_ABOVE))}")
    if all(key in bounds for key in _BELOW) and bounds["fail_below"] > bounds["warn_below"]:
        row.problems.add(row.where, "fail_below is above warn_below: every figure that warns would fail")
    if all(key in bounds for key in _ABOVE) and bounds["fail_above"] < bounds["warn_above"]:
        row.problems.add(row.where, "fail_above is below warn_above: every figure that warns would fail")
    return {
        "check": check,
        "figure": row.named("figure", LIMITED[check]) if check else row.text("figure"),
        "unit": row.text("unit"),
        "source": row.text("source"),
        "when": row.figures("when", LINK_FACTS, required=False),
        **bounds,
    }


__all__ = ["read_limits"]
