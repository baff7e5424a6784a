# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The document about a verified host (docs/schema/gpu_verify-2.json), and what is said of it in a line."""

from __future__ import annotations

import datetime as dt
import json
import typing as t

from ansible_collections.gpulab.workstation.plugins.module_utils._verify import CHECKS, SCHEMA, Check
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_context import Context
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_layers import Card
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_rule import is_verified, verdict
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_wish import Wish


def about_host(context: Context) -> dict[str, t.Any]:
    """Return the part of the document that was read before anything was run."""
    about = context.about
    return {
        "cards": [_card(context, card) for card in context.smi.cards],
        "machine": {"os": about.os.release, "kernel": about.running_kernel, "kind": about.machine.kind},
        "unreadable": [{"what": note.what, "why": note.why} for note in context.reading.unreadable],
    }


def make_document(
    wish: Wish, about: t.Mapping[str, t.Any], checks: t.Sequence[Check], now: float, seconds: float
) -> dict[str, t.Any]:
    """Return the document: what was asked, every check with its figures, and the verdict."""
    order = list(CHECKS)
    checks = sorted(checks, key=lambda check: order.index(check.name))
    return {
        "schema": SCHEMA,
        "host": wish.host_name,
        "time": dt.datetime.fromtimestamp(now, dt.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "seconds": round(seconds, 1),
        "level": wish.level.value,
        "endurance_minutes": wish.endurance_minutes,
        "arch": wish.arch,
        "expect_gpu": wish.expect_gpu,
        "verified": is_verified(checks, wish.required),
        "failure": verdict(checks, wish.required, expect_gpu=wish.expect_gpu),
        "stack": {
            "name": wish.stack or None,
            "driver": wish.driver or None,
            "cuda": wish.toolkit.version if wish.toolkit else None,
            "torch": wish.torch_version or None,
        },
        "checks": [check.to_json(wish.required) for check in checks],
        "nvcc_flags": list(wish.nvcc_flags),
        **about,
    }


def _card(context: Context, card: Card) -> dict[str, t.Any]:
    row = context.row(card)
    return {**card.to_json(), "limits_row": row.name if row else None}


def render(document: t.Mapping[str, t.Any]) -> str:
    """Return the document as the files hold it."""
    return json.dumps(document, indent=2, sort_keys=True) + "\n"


def expected_checks(document: t.Mapping[str, t.Any]) -> list[str]:
    """Return the checks that this host has to pass, less those that it is excused from."""
    excused = not document["expect_gpu"]
    names = [c["name"] for c in document["checks"] if c["required"] and not (excused and c["needs_gpu"])]
    return list(dict.fromkeys(names))


def message(document: t.Mapping[str, t.Any]) -> str:
    """Say in a line what was proven (on every card) and what was not, each reason once."""
    reasons: dict[str, list[str]] = {}
    good: dict[str, bool] = {}
    for check in document["checks"]:
        name = check["name"]
        good[name] = good.get(name, True) and check["outcome"] in ("pass", "warn")
        if check["outcome"] == "not_proven" and name not in reasons.setdefault(check["why"], []):
            reasons[check["why"]].append(name)
    proven = ", ".join(name for name, every in good.items() if every)
    words = ["Verified" if document["verified"] else "NOT verified", f"proven: {proven or 'nothing'}"]
    words += [f"not proven: {', '.join(names)} ({why})" for why, names in reasons.items()]
    return "; ".join(words) + "."


__all__ = ["about_host", "expected_checks", "make_document", "message", "render"]
