# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A virtual machine is recorded, reinstalled without python3 and met again: a stranger first, then brought back."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from labhost import Playbook, PlayResult
from vmfixtures import LIMIT_S, NewMachine, driver_version, look

from gpulab.lab import Lab

NAME = "vm-rebuilt"
# The whole site is tried on containers; emulation is slow, and the machine's disk is small.
PARTS = "gpu_driver,kernel_gate,conda_env,host_restart,host_record"


def play(lab: Lab, directory: Path, playbook: str, **variables: str) -> PlayResult:
    settings = {"gpulab_records_directory": str(directory / "records"), **variables}
    arguments = ["-i", str(lab.inventory), playbook, "-l", NAME, "--tags", PARTS, "-e", json.dumps(settings)]
    return Playbook(arguments, directory / "record.jsonl").wait(LIMIT_S)


def test_a_reinstalled_machine_is_a_stranger_until_its_fingerprint_is_given(
    lab: Lab, driven_machine: NewMachine, tmp_path: Path
) -> None:
    machine = driven_machine(NAME)
    first = play(lab, tmp_path, "site.yml")
    assert first.rc == 0, first.message
    record = json.loads((tmp_path / "records" / f"{NAME}.json").read_text())
    assert record["machine"]["kind"] == "vm"
    assert record["installed"]["environment"]["conda_packages"] > 0
    assert driver_version() in str(record["installed"]["driver"]["on_disk"])
    captured = play(lab, tmp_path, "playbooks/capture.yml")
    assert (captured.rc, captured.changed) == (0, 0), "a run has kept the record up to date"

    subprocess.run(["gpulab", "lab", "reinstall", NAME, "--bare", "--name", lab.name], check=True, capture_output=True)
    start = lab.fleet.machine(NAME).starts()[-1]
    assert machine.sh("test -e /opt/miniforge3 || lsmod | grep nvidia", check=False).returncode == 1
    assert machine.sh("command -v python3", check=False).returncode == 1
    assert "installed" not in machine.sh("dpkg-query -W -f '${db:Status-Status}' python3", check=False).stdout.split()
    known = (lab.directory / "known_hosts").read_text()
    refused = play(lab, tmp_path, "playbooks/rebuild.yml")
    assert refused.rc == 2
    assert "nothing speaks for any of these keys" in refused.message
    assert (lab.directory / "known_hosts").read_text() == known

    rebuilt = play(lab, tmp_path, "playbooks/rebuild.yml", host_rebuild_fingerprint=start.fingerprint)
    assert rebuilt.rc == 0, rebuilt.message
    assert machine.sh("dpkg-query -W -f '${db:Status-Status}' python3").stdout == "installed"
    assert f" {driver_version()} " in look(machine).driver
    compared = rebuilt.of(NAME)[-1]["result"]
    assert compared["differences"] == []
    assert compared["msg"].startswith("equal to its record of ")
