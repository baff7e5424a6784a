# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A kernel update outside Ansible: no start of a kernel without the driver's modules, and one once it has them.

Then the machine has two kernels, and what goes wrong for one of them is told, cured or taken back.
"""

from __future__ import annotations

import subprocess
import typing as t

import pytest
from driverdamages import WHOLE_DKMS, failing_for_one_kernel
from labhost import LabHost
from vmfixtures import (
    LIMIT_S,
    NEW,
    NewMachine,
    drift,
    driver_version,
    following_kernel,
    kernel_fact,
    look,
    provision,
    untouched_after,
    update_kernel,
)

from gpulab.lab import Lab

KBUILD = "/usr/src/nvidia-*/Kbuild"


@pytest.fixture(scope="module")
def machine(driven_machine: NewMachine) -> LabHost:
    return driven_machine("vm-kernel")


@pytest.fixture(scope="module")
def present(machine: LabHost) -> str:
    return look(machine).kernel


@pytest.fixture(scope="module")
def following(machine: LabHost) -> str:
    return following_kernel(machine)


def versions(machine: LabHost, *kernels: str) -> list[str]:
    """Tell which driver each kernel has."""
    return [machine.sh(f"modinfo -k {kernel} -F version nvidia", check=False).stdout.strip() for kernel in kernels]


def said_at_login(machine: LabHost) -> str:
    """Log in at a terminal, and out again; return what was shown."""
    command = machine.lab.ssh_command(machine.name)
    done = subprocess.run(
        [command[0], "-tt", *command[1:]], input="exit\n", capture_output=True, text=True, timeout=300, check=False
    )
    return done.stdout.replace("\r\n", "\n")


def test_a_kernel_that_the_driver_does_not_compile_for_is_not_started(
    lab: Lab, machine: LabHost, present: str, following: str
) -> None:
    assert kernel_fact(machine)["state"] == "ok"
    machine.sh(f"cp -a {KBUILD} /root/Kbuild")
    refuse = f"'ifeq ($(KERNELRELEASE),{following})' '$(error this driver knows no such kernel)' endif"
    machine.sh(f"printf '%s\\n' {refuse} >> {KBUILD}")
    assert machine.sh("apt-mark showhold").stdout == "", "kernels are never held back"
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
    assert message in said_at_login(machine)
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


def test_modules_that_are_gone_from_one_of_two_kernels_are_named_and_built_again(
    machine: LabHost, present: str, following: str
) -> None:
    machine.sh(f"rm /lib/modules/{present}/updates/dkms/nvidia*.ko")
    outcome, why = drift(machine)
    assert outcome == "fail"
    assert f"the module of kernel {present}: " in why
    assert f"the module of kernel {following}" not in why
    cured = provision(machine).wait(LIMIT_S)
    assert cured.rc == 0, cured.stdout
    assert versions(machine, present, following) == [driver_version()] * 2
    assert drift(machine)[0] == "pass"


def test_a_driver_that_does_not_compile_for_one_of_two_kernels_is_not_begun(
    machine: LabHost, present: str, following: str, new: dict[str, t.Any]
) -> None:
    configuration = f"/usr/src/linux-headers-{present}/include/generated/autoconf.h"
    machine.sh(f"mv {configuration} /root")
    refused = untouched_after(machine, gpu_driver_release=new)
    machine.sh(f"mv /root/autoconf.h {configuration}")
    assert f"of driver {NEW} cannot be built for {present}: " in refused.message
    assert "The present driver is as it was." in refused.message
    assert versions(machine, present, following) == [driver_version()] * 2


def test_a_driver_that_dkms_cannot_build_for_one_of_two_kernels_is_taken_back(
    machine: LabHost, present: str, following: str, new: dict[str, t.Any]
) -> None:
    machine.sh(failing_for_one_kernel(NEW).replace("KERNEL", present))
    failed = provision(machine, gpu_driver_release=new).wait(LIMIT_S)
    machine.sh(WHOLE_DKMS)
    assert failed.failed == 1, failed.stdout
    assert f"DKMS could not build nvidia/{NEW} for {present}" in failed.message
    assert f"Driver {driver_version()} (open) was put back; the host works as before" in failed.message
    assert versions(machine, present, following) == [driver_version()] * 2
    assert NEW not in machine.sh("dkms status").stdout
    assert f" {driver_version()} " in look(machine).driver
    assert drift(machine)[0] == "pass"
