# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Several hosts at once: the bad ones are given up and named, the good ones do not notice."""

from __future__ import annotations

import configparser
import shlex
import time
from pathlib import Path

import pytest
from labhost import ROOT, Playbook

from gpulab.lab import Lab, hosts

GOOD = ("site-good-1", "site-good-2")
FROZEN, LOST = "site-frozen", "site-lost"


def test_the_settings_give_a_silent_host_up_within_twenty_seconds() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "ansible.cfg")
    options = dict(
        option.split("=", 1) for option in shlex.split(config["ssh_connection"]["ssh_args"]) if "=" in option
    )
    signs_of_life = int(options["ServerAliveInterval"]) * (int(options["ServerAliveCountMax"]) + 1)
    assert signs_of_life <= 20, "a connection that was open"
    assert int(config["defaults"]["timeout"]) <= 20, "a connection that is being made"
    assert options["StrictHostKeyChecking"] == "yes"
    assert config["connection"]["pipelining"] == "true"
    assert config["defaults"]["strategy"] == "free"


@pytest.fixture(scope="module")
def fleet(lab: Lab) -> Lab:
    for name in (*GOOD, FROZEN, LOST):
        lab.add_host(name)
    return lab


def test_a_frozen_and_a_lost_host_hold_nobody(fleet: Lab, tmp_path: Path) -> None:
    arguments = ["-i", str(fleet.inventory), "site.yml", "-l", "gpu-lab", "--tags", "host_preflight,kernel_gate"]
    fleet.podman.run("stop", "--time=0", hosts.container_name(fleet.directory, LOST))
    fleet.freeze(FROZEN)
    frozen_at = time.time()
    try:
        result = Playbook(arguments, tmp_path / "record.jsonl").wait()
    finally:
        fleet.thaw(FROZEN)
    for name in GOOD:
        statuses = [task["status"] for task in result.of(name)]
        assert statuses, result.stdout
        assert set(statuses) <= {"ok", "skipped"}, result.stdout
    given_up = {task["host"]: task for task in result.tasks if task["status"] == "unreachable"}
    assert set(given_up) == {FROZEN, LOST}, result.stdout
    frozen_until = given_up[FROZEN]["time"]
    meanwhile = [task for name in GOOD for task in result.of(name) if frozen_at < task["time"] < frozen_until]
    later = [task for task in meanwhile if ".kernel_gate : " in task["task"]]
    assert "host_preflight" in given_up[FROZEN]["task"]
    assert later, "the good hosts waited for the frozen one before they went on to the next role"
    print(f"the frozen host was given up after {frozen_until - frozen_at:.1f} s")  # noqa: T201 - a measurement
    assert result.rc == 4, "ansible-playbook's status for unreachable hosts"
