# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in's kernel modules are kernel modules: built, loaded, in use, unloaded."""

from __future__ import annotations

import pytest
from labhost import LabHost
from vmfixtures import build_modules, driver_version

from gpulab.lab import Lab

pytestmark = pytest.mark.quick_vm

BUILT = "/root/driver/kernel-open"


@pytest.fixture(scope="module")
def machine(lab: Lab, plain_machine: LabHost) -> LabHost:
    """Have a machine with the stand-in's modules built from source, by the kernel's own compiler."""
    build_modules(lab, plain_machine)
    return plain_machine


def load(host: LabHost) -> None:
    host.sh(f"cd {BUILT} && for name in nvidia nvidia-uvm nvidia-modeset nvidia-drm; do insmod $name.ko || exit; done")


def unload(host: LabHost) -> None:
    host.sh("rmmod nvidia_drm nvidia_modeset nvidia_uvm nvidia")


def test_it_loads_tells_its_version_and_unloads(machine: LabHost) -> None:
    version = driver_version()
    load(machine)
    assert machine.sh("cat /sys/module/nvidia/version").stdout.strip() == version
    said = machine.sh("cat /proc/driver/nvidia/version").stdout
    assert f"NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  {version}  " in said
    assert "gpulab stand-in, not NVIDIA software" in said
    unload(machine)
    assert machine.sh("test -e /proc/driver/nvidia", check=False).returncode == 1


def test_modules_depend_on_nvidia(machine: LabHost) -> None:
    load(machine)
    assert machine.sh("rmmod nvidia", check=False).returncode != 0
    unload(machine)


def test_an_open_control_device_keeps_the_module_in_use(machine: LabHost) -> None:
    machine.sh(f"insmod {BUILT}/nvidia.ko && mknod /dev/nvidiactl c 195 255")
    machine.sh("systemd-run --quiet --unit holder --property StandardInput=file:/dev/nvidiactl sleep 600 && sleep 1")
    refused = machine.sh("rmmod nvidia", check=False)
    assert "in use" in refused.stderr
    machine.sh("systemctl stop holder && rmmod nvidia")
    assert machine.sh("head -c1 /dev/nvidiactl", check=False).returncode != 0
    machine.sh("rm /dev/nvidiactl")


def test_it_never_reports_a_card(machine: LabHost) -> None:
    machine.sh(f"insmod {BUILT}/nvidia.ko")
    assert machine.sh("ls -d /proc/driver/nvidia/gpus /dev/nvidia0", check=False).stdout == ""
    machine.sh("rmmod nvidia")
