# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secure Boot under OVMF is enforced: a module loads with an enrolled key only, and the firmware keeps that key."""

from __future__ import annotations

import pytest
from labhost import LabHost
from vmfixtures import NewMachine, build_modules

from gpulab.lab import Lab

PASSWORD = "gpulab-lab"  # noqa: S105  # of a machine that lives for this test
MAKE_KEYS = """cd /root && for name in lab other; do
openssl req -new -x509 -newkey rsa:2048 -nodes -days 3650 -subj "/CN=$name/" -outform DER -out $name.der \\
    -keyout $name.key
done"""


@pytest.fixture(scope="module")
def machine(lab: Lab, new_machine: NewMachine) -> LabHost:
    """Have a machine with Secure Boot on, built modules and two key pairs."""
    host = new_machine("vm-secure", secure_boot=True)
    build_modules(lab, host)
    host.sh(MAKE_KEYS)
    return host


def load(host: LabHost, key: str = "") -> str:
    """Load nvidia.ko, signed with a key or not at all; return what insmod says."""
    sign = f"/usr/src/linux-headers-$(uname -r)/scripts/sign-file sha256 /root/{key}.key /root/{key}.der /root/try.ko"
    command = f"cp /root/driver/kernel-open/nvidia.ko /root/try.ko && {sign if key else 'true'} && insmod /root/try.ko"
    return host.sh(command, check=False).stderr


def test_secure_boot_is_on(machine: LabHost) -> None:
    assert machine.sh("mokutil --sb-state").stdout == "SecureBoot enabled\n"
    assert "[integrity]" in machine.sh("cat /sys/kernel/security/lockdown").stdout


def test_an_unsigned_module_is_refused(machine: LabHost) -> None:
    assert "Key was rejected by service" in load(machine)


def test_an_enrolled_key_outlives_a_reinstallation(lab: Lab, machine: LabHost) -> None:
    assert "Key was rejected by service" in load(machine, "lab")
    machine.sh(f"printf '%s\\n%s\\n' {PASSWORD} {PASSWORD} | mokutil --import /root/lab.der")
    lab.visit_console(machine.name, PASSWORD)
    assert load(machine, "lab") == ""
    machine.sh("rmmod nvidia")
    assert "Key was rejected by service" in load(machine, "other")
    certificate = machine.sh("base64 -w0 /root/lab.der").stdout
    lab.reinstall(machine.name)
    known = machine.sh(f"echo {certificate} | base64 -d > /root/lab.der; mokutil --test-key /root/lab.der", check=False)
    assert "is already enrolled" in known.stdout
