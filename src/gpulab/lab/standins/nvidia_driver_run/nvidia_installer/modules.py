# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kernel modules in the running kernel: which are loaded, unloading them, and the test load of a new one."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

from . import commands, texts
from .ui import Ui

_UNLOAD_ORDER = ("nvidia-peermem", "nvidia-drm", "nvidia-modeset", "nvidia-uvm", "nvidia")
_SYS_FINIT_MODULE = 313  # x86_64
_KERNEL_MESSAGES = 25


def loaded() -> list[str]:
    """Return the NVIDIA modules that are loaded, in the order in which they can be unloaded."""
    try:
        with Path("/proc/modules").open(encoding="ascii") as file:
            names = {line.split()[0].replace("_", "-") for line in file}
    except OSError:
        return []
    return [name for name in _UNLOAD_ORDER if name in names]


def _are_our_own() -> bool:
    """Tell whether the loaded modules are the stand-in's; a real driver is never touched."""
    try:
        return "gpulab stand-in" in Path("/proc/driver/nvidia/version").read_text(encoding="utf-8")
    except OSError:
        return False


def unload() -> str | None:
    """Unload what is loaded; the name of the first module that stays, or None."""
    for name in loaded() if _are_our_own() else ():
        commands.capture(["rmmod", name.replace("-", "_")])
    remaining = loaded()
    return remaining[0] if remaining else None


def _load(path: str) -> int:
    """Load one module file; 0 or the error number."""
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        return error.errno or errno.EIO
    try:
        failed: int = libc.syscall(_SYS_FINIT_MODULE, descriptor, b"", 0)
        return ctypes.get_errno() if failed != 0 else 0
    finally:
        os.close(descriptor)


def test_load(ui: Ui, build_directory: str, names: list[str]) -> bool:
    """Load and unload the new modules once; a kernel that refuses one ends the installation."""
    for name in names:
        number = _load(f"{build_directory}/{name}.ko")
        if number == 0:
            continue
        unload()
        ui.error(texts.LOAD_FAILED.format(module=name, log=ui.log_file.path))
        ui.log(f"Kernel module load error: {os.strerror(number)}")
        ui.log("Kernel messages:")
        _, messages = commands.capture(["dmesg"])
        for line in messages.splitlines()[-_KERNEL_MESSAGES:]:
            ui.note(line)
        return False
    unload()
    return True


def load_for_use(ui: Ui) -> None:
    """Load the installed modules at the end."""
    for name in ("nvidia-uvm", "nvidia-drm"):
        status, output = commands.capture(["modprobe", name])
        if status != 0:
            ui.error(f"Unable to load the {name} kernel module: '{output}'")
