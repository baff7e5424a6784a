# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A machine that is switched off in the middle of an upgrade ends, by the next run, like one that was not disturbed."""

from __future__ import annotations

import json
import re
import typing as t

import pytest
from driverlayers import comparable, differences
from labhost import ROOT, LabHost
from vmfixtures import LIMIT_S, NEW, NewMachine, look, provision

from gpulab.lab import Lab

# What a machine writes by itself, on each of its starts or whenever it likes, and what this test does.
ITS_OWN = re.compile(
    r"/(root/since|run|tmp|var/tmp|var/log|var/lib/systemd|root/\.ansible|var/lib/gpulab/jobs)(/.*)?|/etc/(resolv\.conf|hostname|hosts)"
)
# The new driver's libraries are being copied, and the initramfs is being made; every other moment is on layers.
MOMENTS = {
    "copying": f"test -e /usr/lib/x86_64-linux-gnu/libcuda.so.{NEW}",
    "initramfs": f"test -e /usr/lib/x86_64-linux-gnu/libcuda.so.{NEW} && pgrep -x update-initramf",  # as comm is cut
}


def upgraded(lab: Lab, machine: LabHost, new: dict[str, t.Any]) -> dict[str, str]:
    """Upgrade a machine, start it once more, and return its files."""
    done = provision(machine, gpu_driver_release=new).wait(LIMIT_S)
    assert done.rc == 0, done.stdout
    again = provision(machine, gpu_driver_release=new).wait(LIMIT_S)
    assert (again.rc, again.changed) == (0, 0), again.stdout
    lab.reboot(machine.name)
    seen = look(machine)
    assert NEW in seen.driver
    assert "/nvidia.ko" in seen.initramfs
    machine.put(ROOT / "tests/support/driverchange/tree.py", "/root/tree.py")
    found = comparable(json.loads(machine.sh("python3 -B /root/tree.py $(cat /root/since)").stdout))
    return {path: told for path, told in found.items() if not ITS_OWN.fullmatch(path)}


def prepared(machine: LabHost) -> LabHost:
    """Have a machine load its driver in the initramfs, so that an upgrade has to renew that too."""
    machine.sh("printf '%s\\n' nvidia nvidia-modeset nvidia-drm >> /etc/initramfs-tools/modules && update-initramfs -u")
    machine.sh("date +%s > /root/since; sync")
    return machine


@pytest.fixture(scope="module")
def undisturbed(lab: Lab, driven_machine: NewMachine, new: dict[str, t.Any]) -> dict[str, str]:
    return upgraded(lab, prepared(driven_machine("vm-undisturbed")), new)


@pytest.mark.parametrize("moment", list(MOMENTS))
def test_a_power_cut_ends_well(
    lab: Lab, driven_machine: NewMachine, new: dict[str, t.Any], undisturbed: dict[str, str], moment: str
) -> None:
    machine = prepared(driven_machine(f"vm-cut-{moment}"))
    run = provision(machine, gpu_driver_release=new)
    machine.sh(f"timeout 1800 sh -c 'until {MOMENTS[moment]}; do sleep 0.1; done'")
    lab.power_cut(machine.name)
    cut = run.wait(LIMIT_S)
    assert cut.rc != 0, "it was over before the power was cut"
    lab.power_on(machine.name)
    account = json.loads(machine.sh("cat /var/lib/gpulab/driver/transaction.json").stdout)
    assert (account["phase"], account["target"]["version"]) == ("replacing", NEW)
    assert differences(undisturbed, upgraded(lab, machine, new)) == []
