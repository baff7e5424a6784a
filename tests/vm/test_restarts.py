# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restarts of a machine that somebody uses, whose network dies in the middle, or that does not come back."""

from __future__ import annotations

import time
import typing as t

import pytest
from labhost import LabHost, PlayResult
from vmfixtures import ALICE, DESKTOP, LIMIT_S, NewMachine, log_in

from gpulab.lab import Lab

REQUEST = "mkdir -p /run/gpulab/restart-required.d && echo 'a test asks' > /run/gpulab/restart-required.d/gpu_driver"
# The network is gone, without a word to anybody, while the machine is still going down.
DEAF = """printf '%s\\n' '[Unit]' 'After=ssh.service systemd-networkd.service' '[Service]' 'Type=oneshot' \\
    'RemainAfterExit=yes' 'ExecStart=/bin/true' \\
    'ExecStop=/bin/sh -c "ip link set dev $(ls /sys/class/net | grep -v lo) down; sleep 20"' \\
    > /run/systemd/system/deaf.service
systemctl daemon-reload && systemctl start deaf.service"""
STAYS_OFF = "ln -s /lib/systemd/system/poweroff.target /etc/systemd/system/reboot.target && systemctl daemon-reload"


@pytest.fixture(scope="module")
def machine(new_machine: NewMachine) -> LabHost:
    return new_machine("vm-restart")


def boots(lab: Lab, machine: LabHost) -> int:
    return len(lab.fleet.machine(machine.name).starts())


def restart(machine: LabHost, **variables: t.Any) -> PlayResult:
    return machine.start("host_restart", **variables).wait(LIMIT_S)


def test_somebody_who_is_logged_in_is_asked_to_go_and_reads_why(lab: Lab, machine: LabHost) -> None:
    machine.sh(f"{ALICE}; {DESKTOP}; {REQUEST}")
    before = boots(lab, machine)
    terminal = log_in(machine)
    refused = restart(machine)
    assert refused.failed == 1, refused.stdout
    assert "alice is logged in (login on pts/" in refused.message
    assert boots(lab, machine) == before
    started = time.monotonic()
    forced = restart(machine, host_restart_wait_minutes=1, host_restart_force=True, host_restart_message="Save it now.")
    assert forced.rc == 0, forced.stdout
    assert time.monotonic() - started > 60
    assert "waiting up to 1 min: " in forced.stdout
    assert boots(lab, machine) == before + 1
    shown, _ = terminal.communicate(timeout=60)
    assert "Save it now." in shown
    assert machine.sh("systemctl is-active display-manager.service").stdout == "active\n"


def test_a_network_that_dies_during_the_restart_is_waited_out(lab: Lab, machine: LabHost) -> None:
    machine.sh(f"systemctl disable --now stand-in-dm.service; {DEAF}; {REQUEST}")
    before = boots(lab, machine)
    done = restart(machine)
    assert done.rc == 0, done.stdout
    assert boots(lab, machine) == before + 1
    assert "it does not answer" in done.stdout
    assert restart(machine).changed == 0


def test_a_machine_that_stays_away_is_given_up_in_time_and_in_words(lab: Lab, machine: LabHost) -> None:
    machine.sh(f"{STAYS_OFF}; {REQUEST}")
    gone = restart(machine, host_restart_timeout_seconds=90)
    assert gone.failed == 1, gone.stdout
    assert "90 s after the restart was asked for, it does not answer" in gone.message
    assert "look at its console" in gone.message
    assert lab.fleet.machine(machine.name).state == "off"
    lab.power_on(machine.name)
    machine.sh("rm /etc/systemd/system/reboot.target && systemctl daemon-reload")
    assert restart(machine).changed == 0
