# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts to try gpulab on: containers, virtual machines, what they download, and an inventory that names them."""

from __future__ import annotations

from gpulab.lab._lab import Lab
from gpulab.lab.faults import Fault
from gpulab.lab.vms.machine import Spec as VmSpec

__all__ = ["Fault", "Lab", "VmSpec"]
