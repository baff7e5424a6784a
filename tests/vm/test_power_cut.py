# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A machine that is switched off in the middle of an upgrade ends, by the next run, like one that was not disturbed.

So does one whose job is killed where only a machine can be killed: while modules are loaded.
"""

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

# modprobe starts this for the driver's modules. Before the driver is proven it loads none, so that its installer leaves
# that to the role; then it does, and kills the role's job where /run/kill-at says so, once.
UNIT = "gpulab-gpu-driver"
KILLING = f"""cat > /run/killing << 'END'
grep -q {NEW} /var/lib/gpulab/driver/proven.json || exit 1
strike() {{
  [ "$(cat /run/kill-at)" = "$1" ] && systemctl is-active --quiet {UNIT} || return 0
  rm /run/kill-at
  systemctl kill --signal=KILL {UNIT}
  sleep 60
}}
strike "before $1"
modprobe --ignore-install "$1" || exit
strike "after $1"
END
mkdir -p /run/modprobe.d
for module in nvidia nvidia-uvm nvidia-drm; do echo "install $module sh /run/killing $module"; done \
  > /run/modprobe.d/killing.conf"""
KILLS = ("before nvidia", "before nvidia-drm", "after nvidia-drm")
# A stand-in of the driver's other service; it opens nothing, but is stopped by its name.
SERVICE = """printf '%s\n' '[Service]' 'ExecStart=/bin/sleep infinity' > /run/systemd/system/nvidia-powerd.service
systemctl daemon-reload && systemctl start nvidia-powerd"""


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


def test_a_run_that_is_killed_while_it_loads_modules_ends_well(
    lab: Lab, driven_machine: NewMachine, new: dict[str, t.Any], undisturbed: dict[str, str]
) -> None:
    """At the start, in the middle and at the end; the others of its steps are killed on layers."""
    machine = prepared(driven_machine("vm-killed"))
    machine.sh(KILLING)
    machine.sh(SERVICE)
    for moment in KILLS:
        machine.sh(f"echo {moment} > /run/kill-at")
        killed = provision(machine, gpu_driver_release=new).wait(LIMIT_S)
        assert killed.failed == 1, f"{moment}: {killed.stdout}"
        assert "ended without a result" in killed.message
        account = json.loads(machine.sh("cat /var/lib/gpulab/driver/transaction.json").stdout)
        assert (account["phase"], account["target"]["version"]) == ("replacing", NEW)
    assert machine.sh("systemctl is-active nvidia-powerd", check=False).stdout == "inactive\n"
    finished = provision(machine, gpu_driver_release=new).wait(LIMIT_S)
    assert finished.rc == 0, finished.stdout
    assert {"nvidia", "nvidia_uvm", "nvidia_drm"} <= look(machine).loaded
    assert machine.sh("systemctl is-active nvidia-powerd").stdout == "active\n"
    assert differences(undisturbed, upgraded(lab, machine, new)) == []
