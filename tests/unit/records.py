# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A composed record of a workstation with one card, for tests that change one thing in it."""

from __future__ import annotations

import copy
import typing as t

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFQ9ke5dfATkM/rgvR6pB/knABz6/oa0kGUJI5lLVtiG"
CARD = "GPU-11111111-2222-3333-4444-555555555555"
HASH = "a" * 64

_RECORD: dict[str, t.Any] = {
    "schema": "host_record-1",
    "host": "ws-01",
    "time": "2026-11-25T10:00:00Z",
    "origin": "run",
    "stack": {
        "name": "cu128",
        "overrides": {},
        "values": {"driver.version": "580.178.04", "cuda.version": "12.9.1", "torch.version": "2.9.1"},
        "sha256": {"driver.run": HASH},
        "fingerprint": "f" * 64,
    },
    "departures": [],
    "machine": {
        "kind": "bare_metal",
        "name": "Z890",
        "board": {"uuid": "u-1", "serial": "s-1", "vendor": "v", "name": "Z890", "firmware": "1.0"},
    },
    "system": {
        "os": {"id": "debian", "version": "12", "name": "Debian GNU/Linux 12 (bookworm)"},
        "architecture": "x86_64",
        "kernel": "6.1.0-41-amd64",
        "kernels": ["6.1.0-41-amd64"],
        "secure_boot": {"state": "off", "detail": "EFI variable", "keys": []},
    },
    "installed": {
        "driver": {"loaded": None, "on_disk": {"6.1.0-41-amd64": "580.178.04"}, "flavours": ["open"]},
        "cuda": ["12.9.1"],
        "environment": {
            "prefix": "/opt/miniforge3/envs/rtx5090",
            "conda_packages": 20,
            "conda_sha256": HASH,
            "python_packages": 60,
            "python_sha256": HASH,
            "torch": "2.9.1",
        },
    },
    "cards": [{"uuid": CARD, "serial": None, "vbios": "98.02", "name": "RTX 5090", "pci": "0000:01:00.0"}],
    "ssh_host_keys": [KEY],
    "verification": {
        "schema": "gpu_verify-2",
        "time": "2026-11-25T09:59:00Z",
        "verified": True,
        "checks": {
            f"memory_bandwidth@{CARD}": {"outcome": "pass", "figures": {"copy_gb_s": 1500.0, "seconds": 3.0}},
            "toolkit": {"outcome": "pass", "figures": {}},
            "diffusion_sdxl": {"outcome": "not_proven", "figures": {}},
        },
    },
    "unreadable": [],
}


def record(**parts: t.Any) -> dict[str, t.Any]:
    """Return a record of its own with these parts instead; a key may be a path: ``machine__board__uuid``."""
    made = copy.deepcopy(_RECORD)
    for key, value in parts.items():
        place: t.Any = made
        *way, last = key.split("__")
        for step in way:
            place = place[step]
        place[last] = value
    return made


__all__ = ["CARD", "HASH", "KEY", "record"]
