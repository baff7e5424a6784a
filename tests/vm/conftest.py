# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests on virtual machines."""

from __future__ import annotations

from vmfixtures import (
    driven_machine,
    installation,
    lab,
    new,
    new_machine,
    plain_machine,
)

__all__ = [
    "driven_machine",
    "installation",
    "lab",
    "new",
    "new_machine",
    "plain_machine",
]
