# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Small documents of gpu_verify for the tests of what becomes of them; figures are made up and round."""

from __future__ import annotations

import json
import typing as t

from ansible_collections.gpulab.workstation.plugins.module_utils._verify import SCHEMA
from ansible_collections.gpulab.workstation.plugins.plugin_utils._results_document import Document, load_document

MODEL = "NVIDIA Test 5090"


def limit(figure: str, unit: str = "GB/s", **bounds: float) -> dict[str, t.Any]:
    """Return a limit's row."""
    empty = dict.fromkeys(("fail_below", "warn_below", "fail_above", "warn_above"))
    return {"figure": figure, "unit": unit, "source": "a data sheet", **empty, **bounds}


def check(name: str = "toolkit", outcome: str = "pass", card: str | None = None, **more: t.Any) -> dict[str, t.Any]:
    """Return a check's row."""
    return {
        "name": name, "card": card, "outcome": outcome, "required": True, "needs_gpu": card is not None,
        "level": "quick", "why": f"{name} says so", "figures": {}, "limits": [], **more,
    }  # fmt: skip


def card(uuid: str | None, **more: t.Any) -> dict[str, t.Any]:
    """Return a card's row."""
    return {
        "index": 0, "uuid": uuid, "name": MODEL, "pci": "00000000:01:00.0", "pci_id": "10de:2b85", "vbios": "98.02",
        "serial": None, "compute_capability": "12.0", "memory_mib": 32607, "limits_row": MODEL, **more,
    }  # fmt: skip


def raw(host: str = "ws-01", uuids: t.Sequence[str] = (), **more: t.Any) -> dict[str, t.Any]:
    """Return a document as it is in a file."""
    return {
        "schema": SCHEMA, "host": host, "time": "2026-11-20T10:00:00Z", "seconds": 31.5, "level": "quick",
        "endurance_minutes": 0, "arch": "12.0", "expect_gpu": True, "verified": True, "failure": None,
        "stack": {"name": "cu128", "driver": "580.1", "cuda": None, "torch": None},
        "cards": [card(uuid) for uuid in uuids], "checks": [check()],
        "machine": {"os": "debian 12", "kernel": "6.1.0-28", "kind": "bare_metal"},
        "nvcc_flags": [], "unreadable": [], **more,
    }  # fmt: skip


def read(**more: t.Any) -> Document:
    """Return a document as it is read back."""
    return load_document(json.dumps(raw(**more)))


def bandwidth(uuid: str, speed: float | None, **more: t.Any) -> dict[str, t.Any]:
    """Return a memory_bandwidth check."""
    limits = [limit("copy_gb_s", fail_below=1300)]
    return check("memory_bandwidth", card=uuid, figures={"copy_gb_s": speed}, limits=limits, **more)


__all__ = ["MODEL", "bandwidth", "card", "check", "limit", "raw", "read"]
