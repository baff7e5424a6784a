# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A new machine with nouveau loaded gets its driver with one restart, and nothing a second time."""

from __future__ import annotations

from pathlib import Path

import pytest
from labhost import LabHost, Playbook, PlayResult
from vmfixtures import NewMachine

from gpulab.lab import Lab

TAGS = "host_preflight,gpu_driver,host_restart"


@pytest.fixture(scope="module")
def machine(new_machine: NewMachine) -> LabHost:
    return new_machine("vm-fresh", flavour="generic")


def provision(lab: Lab, machine: LabHost, directory: Path) -> PlayResult:
    arguments = ["-i", str(lab.inventory), "site.yml", "-l", machine.name, "--tags", TAGS, "--diff"]
    return Playbook(arguments, directory / "record.jsonl").wait(3600)


def test_nouveau_goes_with_one_restart(lab: Lab, machine: LabHost, tmp_path: Path) -> None:
    [version] = [standin.version for standin in lab.standins if standin.kind == "driver"]
    assert "nouveau" in machine.sh("lsmod").stdout
    assert "nouveau.ko" in machine.sh("lsinitramfs /boot/initrd.img-$(uname -r)").stdout
    before = len(lab.fleet.machine(machine.name).starts())
    first = provision(lab, machine, tmp_path)
    assert first.rc == 0, first.stdout
    assert len(lab.fleet.machine(machine.name).starts()) == before + 1
    loaded = machine.sh("lsmod").stdout
    assert "nouveau" not in loaded
    assert "nvidia_drm" in loaded
    assert machine.sh("cat /sys/module/nvidia/version").stdout.strip() == version
    assert "Open Kernel Module" in machine.sh("cat /proc/driver/nvidia/version").stdout
    assert machine.sh("cat /sys/module/nvidia_drm/parameters/modeset").stdout.strip() == "Y"
    assert "etc/modprobe.d/50-gpulab-nvidia.conf" in machine.sh("lsinitramfs /boot/initrd.img-$(uname -r)").stdout
    second = provision(lab, machine, tmp_path)
    assert second.rc == 0, second.stdout
    assert second.changed == 0, second.stdout
    assert len(lab.fleet.machine(machine.name).starts()) == before + 1
