# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The wheels that a stand-in is made of, by name."""

from __future__ import annotations

import sys
import typing as t

from gpulab.lab import wheels

if t.TYPE_CHECKING:
    from pathlib import Path


def bring_wheels(lock: Path, cache: Path) -> dict[str, Path]:
    """Return the wheel of each package in a lock; downloaded once, taken only with the lock's hash."""
    brought = wheels.ensure(lock, cache, cache / "linked", lambda line: print(line, file=sys.stderr))
    return {wheel.name.split("-", 1)[0].replace("_", "-").lower(): wheel for wheel in brought}


def pinned_versions(lock: Path) -> dict[str, str]:
    """Return the version of each package that a lock names."""
    return {pin.name: pin.version for pin in wheels.parse_lock(lock.read_text())}


__all__ = ["bring_wheels", "pinned_versions"]
