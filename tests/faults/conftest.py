# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fault tests run on lab hosts."""

from __future__ import annotations

from labfixtures import fresh_host, lab

__all__ = ["fresh_host", "lab"]
