# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The firmware of machines with Secure Boot: OVMF as Debian builds it, and the memory in which it keeps its keys."""

from __future__ import annotations

import shutil
import typing as t
from pathlib import Path

from gpulab import _os_packages
from gpulab.lab.vms.qemu import Firmware

if t.TYPE_CHECKING:
    from collections.abc import Callable

_CODE = Path("/usr/share/OVMF/OVMF_CODE_4M.secboot.fd")
_VARIABLES = Path("/usr/share/OVMF/OVMF_VARS_4M.ms.fd")  # Microsoft's keys enrolled, Secure Boot on
NVRAM = "nvram.fd"
REQUIREMENTS = (
    _os_packages.Requirement("ovmf", (str(_CODE),), "is the firmware of virtual machines with Secure Boot"),
)


def ensure(say: Callable[[str], None]) -> None:
    """Have the firmware on this machine."""
    _os_packages.ensure("A virtual machine with Secure Boot", REQUIREMENTS, say)


def flash() -> Firmware:
    """Return what QEMU needs to know."""
    return Firmware(_CODE, NVRAM)


def new_nvram(path: Path) -> None:
    """Make a machine's memory of firmware variables, as delivered: Secure Boot on, no key of one's own."""
    shutil.copyfile(_VARIABLES, path)


__all__ = ["NVRAM", "ensure", "flash", "new_nvram"]
