# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A copy of a virtual machine: only of one that is off, and never over another."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from gpulab._errors import OperatorError
from gpulab.lab import depot_process
from gpulab.lab.vms import fleet, machine


@pytest.fixture
def vms(tmp_path: Path) -> fleet.Fleet:
    """Have two machines as their directories describe them, without disks."""
    for name in ("one", "two"):
        (tmp_path / "vms" / name).mkdir(parents=True)
        noted = {"port": 2222, "spec": machine.asdict(machine.Spec()), "image": "/image.qcow2"}
        (tmp_path / "vms" / name / machine.STATE).write_text(json.dumps(noted))
    return fleet.Fleet(tmp_path, "10.0.2.2", "http://10.0.2.2:1", lambda _: None)


def test_a_running_machine_is_not_copied(vms: fleet.Fleet) -> None:
    this = {"pid": os.getpid(), "started": depot_process.start_time(os.getpid()), "port": 1, "addresses": []}
    (vms.lab / "vms/one" / depot_process.STATE).write_text(json.dumps(this))
    with pytest.raises(OperatorError, match="one is running; its disk is half written"):
        vms.clone("one", "three")
    assert [found.host for found in vms.machines()] == ["one", "two"]


def test_nothing_is_copied_over_another_machine(vms: fleet.Fleet) -> None:
    with pytest.raises(OperatorError, match="there is a virtual machine 'two' already"):
        vms.clone("one", "two")


def test_only_what_is_there_is_copied(vms: fleet.Fleet) -> None:
    with pytest.raises(OperatorError, match="no virtual machine 'four'"):
        vms.clone("four", "five")
