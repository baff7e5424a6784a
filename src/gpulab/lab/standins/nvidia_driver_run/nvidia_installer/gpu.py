# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which NVIDIA GPUs the PCI bus has, and which kernel module flavour that means."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from .options import BUILD_DIRECTORIES

TEST_VARIABLE = "GPULAB_STANDIN_SYSFS"  # tests only: another root than /sys, named on stderr whenever it is used
KIND_NAMES = {"kernel-open": "MIT/GPL", "kernel": "NVIDIA Proprietary"}
_FIRST_OPEN_DEVICE = 0x1E00  # Turing; everything before it has the proprietary flavour only (nvidia.md 5.1)


def sysfs_root() -> str:
    """``/sys``; a test may name another tree."""
    return os.environ.get(TEST_VARIABLE, "/sys")


def announce_test_sysfs() -> None:
    """Say it when the devices read are not those of this machine."""
    if TEST_VARIABLE in os.environ:
        print(f"gpulab stand-in: {TEST_VARIABLE} is set, devices are read from {sysfs_root()}", file=sys.stderr)


def _read_hex(path: str) -> int:
    try:
        with Path(path).open(encoding="ascii") as file:
            return int(file.read().strip(), 16)
    except (OSError, ValueError):
        return 0


def pci_devices() -> list[str]:
    """Return the directories of all PCI devices."""
    directory = f"{sysfs_root()}/bus/pci/devices"
    try:
        return sorted(map(str, Path(directory).iterdir()))
    except OSError:
        return []


def nvidia_gpus() -> list[int]:
    """Return the device ids of NVIDIA display controllers (class 03: VGA and 3D alike)."""
    return [
        _read_hex(f"{device}/device")
        for device in pci_devices()
        if _read_hex(f"{device}/vendor") == 0x10DE and _read_hex(f"{device}/class") >> 16 == 0x03  # noqa: PLR2004
    ]


def bound_driver(device: str) -> str:
    """Return the name of the kernel driver that owns a device; empty if none does."""
    try:
        return Path(f"{device}/driver").readlink().name
    except OSError:
        return ""


def open_is_supported(gpus: list[int]) -> bool:
    """Whether the open modules can drive what is there; with no GPU they count as incompatible, as recorded."""
    return bool(gpus) and all(gpu >= _FIRST_OPEN_DEVICE for gpu in gpus)


def recommended_kind(gpus: list[int]) -> str:
    """Return what ``--print-recommended-kernel-module-type`` prints."""
    return "open" if open_is_supported(gpus) else "proprietary"


def offered_directories(gpus: list[int]) -> list[str]:
    """Return the build directories of this package that fit the GPUs, the proprietary one first as in the question."""
    wanted = ["kernel", "kernel-open"] if open_is_supported(gpus) else ["kernel"]
    present = [directory for directory in wanted if Path(directory).is_dir()]
    return present or [directory for directory in BUILD_DIRECTORIES.values() if Path(directory).is_dir()]
