# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A kernel update outside Ansible: no start of a kernel without the driver's modules, and one once it has them."""

from __future__ import annotations

import pytest
from labhost import LabHost
from vmfixtures import LIMIT_S, NewMachine, following_kernel, kernel_fact, look, provision, update_kernel

from gpulab.lab import Lab

KBUILD = "/usr/src/nvidia-*/Kbuild"


@pytest.fixture(scope="module")
def machine(driven_machine: NewMachine) -> LabHost:
    return driven_machine("vm-kernel")


@pytest.fixture(scope="module")
def following(machine: LabHost) -> str:
    return following_kernel(machine)


def test_a_kernel_that_the_driver_does_not_compile_for_is_not_started(
    lab: Lab, machine: LabHost, following: str
) -> None:
    present = look(machine).kernel
    assert kernel_fact(machine)["state"] == "ok"
    machine.sh(f"cp -a {KBUILD} /root/Kbuild")
    refuse = f"'ifeq ($(KERNELRELEASE),{following})' '$(error this driver knows no such kernel)' endif"
    machine.sh(f"printf '%s\\n' {refuse} >> {KBUILD}")
    updated = update_kernel(machine)
    assert "this driver knows no such kernel" in machine.sh("cat /var/lib/dkms/nvidia/*/build/make.log").stdout
    assert following in machine.sh("dpkg --audit").stdout, updated.stdout
    assert kernel_fact(machine)["state"] == "held", updated.stdout
    assert following in machine.sh("cat /boot/grub/grub.cfg").stdout
    lab.reboot(machine.name)
    seen = look(machine)
    assert seen.kernel == present
    assert "nvidia_drm" in seen.loaded
    machine.sh("until systemctl is-system-running --wait; do sleep 1; done", check=False)
    told = kernel_fact(machine)
    assert (told["state"], told["newest"], told["choice"]) == ("held", following, present), updated.stdout
    assert following in told["problems"]
    message = machine.sh("cat /etc/motd.d/50-gpulab-kernel").stdout
    assert f"This machine starts {present} until that is cured." in message
    lab.reboot(machine.name)  # by the drop-in of the gate, should the package's own hooks not have come to GRUB
    assert look(machine).kernel == present


def test_it_is_started_as_soon_as_it_has_modules(lab: Lab, machine: LabHost, following: str) -> None:
    machine.sh(f"cp -a /root/Kbuild {KBUILD}")
    cured = provision(machine).wait(LIMIT_S)
    assert cured.rc == 0, cured.stdout
    assert kernel_fact(machine)["state"] == "ok"
    assert machine.sh("ls /etc/motd.d", check=False).stdout == ""
    assert machine.sh("dpkg --audit").stdout == ""
    lab.reboot(machine.name)
    seen = look(machine)
    assert seen.kernel == following
    assert "nvidia_drm" in seen.loaded
    again = provision(machine).wait(LIMIT_S)
    assert (again.rc, again.changed) == (0, 0), again.stdout
