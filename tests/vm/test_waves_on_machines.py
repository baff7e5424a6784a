# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A rollout in waves that changes the driver of machines whose kernel has one loaded; jobs on them make it fail.

The tests build upon each other, in the order of this file.
"""

from __future__ import annotations

import json
import typing as t

import pytest
from driverdamages import HOLDER
from labhost import LabHost, Playbook, PlayResult
from vmfixtures import DRIVER_PARTS, LIMIT_S, NEW, NewMachine, driver_version, starts

from gpulab.lab import Lab

CANARY, OTHER = "vm-second", "vm-first"  # in the inventory, which is sorted, the canary comes last
IDLE = "systemctl stop job; rm /dev/nvidiactl"


@pytest.fixture(scope="module")
def machines(driven_machine: NewMachine) -> dict[str, LabHost]:
    return {name: driven_machine(name) for name in (OTHER, CANARY)}


def roll_out(machines: dict[str, LabHost], new: dict[str, t.Any]) -> PlayResult:
    canary = machines[CANARY]
    waves = {"rollout_canary": CANARY, "rollout_batches": [1], "rollout_failure_budget": 0}
    variables = {**waves, "gpulab_records_directory": str(canary.directory), "gpu_driver_release": new}
    target = ["-i", str(canary.lab.inventory), "playbooks/rollout.yml", "-l", f"{OTHER},{CANARY}"]
    target += ["--tags", f"{DRIVER_PARTS},host_record", "-e", json.dumps(variables)]
    return Playbook(target, canary.directory / "record.jsonl").wait(LIMIT_S)


def begun(result: PlayResult) -> set[str]:
    """Return the machines on which more was done than to decide."""
    return {task["host"] for task in result.tasks if task["action"] == "gpulab.workstation.host_preflight"}


def loaded(machines: dict[str, LabHost]) -> dict[str, str]:
    return {name: host.sh("cat /sys/module/nvidia/version").stdout.strip() for name, host in machines.items()}


def test_a_job_on_the_canary_stops_the_rest(machines: dict[str, LabHost], new: dict[str, t.Any]) -> None:
    machines[CANARY].sh(HOLDER)
    stopped = roll_out(machines, new)
    assert stopped.rc == 2, stopped.stdout
    assert begun(stopped) == {CANARY}
    assert "0 done, 0 done before, 1 failed, 1 not started" in stopped.stdout
    assert f"not started:  {OTHER} (the first wave failed: {CANARY})" in stopped.stdout
    assert loaded(machines) == {OTHER: driver_version(), CANARY: driver_version()}


def test_the_canary_gets_its_driver_before_the_others(
    lab: Lab, machines: dict[str, LabHost], new: dict[str, t.Any]
) -> None:
    machines[CANARY].sh(IDLE)
    machines[OTHER].sh(HOLDER)
    before = {name: starts(lab, host) for name, host in machines.items()}
    went_on = roll_out(machines, new)
    assert went_on.rc == 2, went_on.stdout
    assert "1 done, 0 done before, 1 failed, 0 not started" in went_on.stdout
    assert "here are: sleep (pid " in went_on.message
    assert loaded(machines) == {OTHER: driver_version(), CANARY: NEW}
    assert {name: starts(lab, host) for name, host in machines.items()} == before


def test_the_same_command_goes_on_and_leaves_the_canary_alone(
    machines: dict[str, LabHost], new: dict[str, t.Any]
) -> None:
    machines[OTHER].sh(IDLE)
    resumed = roll_out(machines, new)
    assert resumed.rc == 0, resumed.stdout
    assert begun(resumed) == {OTHER}
    assert "1 done, 1 done before, 0 failed, 0 not started" in resumed.stdout
    assert loaded(machines) == {OTHER: NEW, CANARY: NEW}
