# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rollouts in waves on five hosts: a failing canary, failures within and over the budget, and resuming."""

from __future__ import annotations

import fcntl
import json
import typing as t
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from labhost import Playbook, PlayResult

from gpulab.lab import Lab

HOSTS = [f"wave-{number}" for number in range(1, 6)]
FACT = "/etc/ansible/facts.d/gpulab.fact"
DEBIAN_13 = 'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nID=debian\nVERSION_ID="13"\n'
BUDGET_0 = {"rollout_batches": [1, 2, "100%"], "rollout_failure_budget": 0}
BUDGET_1 = {**BUDGET_0, "rollout_failure_budget": 1}


@pytest.fixture(scope="module")
def fleet(lab: Lab) -> Iterator[Lab]:
    for name in HOSTS:
        lab.add_host(name)
    yield lab
    for name in HOSTS:
        lab.remove_host(name)


@pytest.fixture
def waves(fleet: Lab) -> Iterator[Lab]:
    """Return five hosts without a record, of which none is broken."""
    for name in HOSTS:
        fleet.exec(name, f"rm -f {FACT}; cp -n /usr/lib/os-release /root/os-release")
    yield fleet
    for name in HOSTS:
        mend(fleet, name)


def spoil(lab: Lab, name: str) -> None:
    """Make a host one that host_preflight refuses."""
    assert lab.exec(name, f"printf '{DEBIAN_13}' > /usr/lib/os-release").returncode == 0


def mend(lab: Lab, name: str) -> None:
    assert lab.exec(name, "cp /root/os-release /usr/lib/os-release").returncode == 0


def touched(lab: Lab) -> list[str]:
    """Return the hosts that a run has come to the end on."""
    return [name for name in HOSTS if lab.exec(name, f"test -e {FACT}").returncode == 0]


def roll_out(lab: Lab, directory: Path, hosts: Sequence[str] = HOSTS, **variables: t.Any) -> PlayResult:
    settings = {"gpulab_records_directory": str(directory), **variables}
    arguments = ["-i", str(lab.inventory), "playbooks/rollout.yml", "-l", ",".join(hosts)]
    arguments += ["--tags", "host_preflight,host_record", "-e", json.dumps(settings)]
    return Playbook(arguments, directory / "record.jsonl").wait()


def connected(result: PlayResult) -> set[str]:
    """Return the hosts on which more was done than to decide."""
    return {task["host"] for task in result.tasks if task["action"] == "gpulab.workstation.host_preflight"}


def test_a_failing_canary_stops_everybody_else(waves: Lab, tmp_path: Path) -> None:
    spoil(waves, "wave-4")
    result = roll_out(waves, tmp_path, rollout_canary="wave-4", **BUDGET_1)
    assert result.rc == 2
    assert connected(result) == {"wave-4"}
    assert touched(waves) == []
    assert "0 done, 0 done before, 1 failed, 4 not started" in result.stdout
    assert "not started:  wave-1, wave-2, wave-3, wave-5 (the first wave failed: wave-4)" in result.stdout
    assert "wave-4 is refused for 1 reason" in result.stdout


@pytest.mark.whole
def test_a_failure_within_the_budget_lets_the_others_go_on(waves: Lab, tmp_path: Path) -> None:
    spoil(waves, "wave-2")
    result = roll_out(waves, tmp_path, **BUDGET_1)
    assert result.rc == 2
    assert touched(waves) == ["wave-1", "wave-3", "wave-4", "wave-5"]
    assert "4 done, 0 done before, 1 failed, 0 not started" in result.stdout


def test_a_failure_over_the_budget_stops_the_rest_and_the_same_command_resumes(waves: Lab, tmp_path: Path) -> None:
    spoil(waves, "wave-3")
    result = roll_out(waves, tmp_path, **BUDGET_0)
    assert result.rc == 2
    assert touched(waves) == ["wave-1", "wave-2"]
    assert "2 done, 0 done before, 1 failed, 2 not started" in result.stdout
    assert "not started:  wave-4, wave-5 (1 failed, the budget is 0: wave-3)" in result.stdout
    assert connected(result) == {"wave-1", "wave-2", "wave-3"}

    mend(waves, "wave-3")
    cured = roll_out(waves, tmp_path, ["wave-3"], **BUDGET_0)
    assert (cured.rc, connected(cured)) == (0, {"wave-3"}), cured.stdout
    assert json.loads((tmp_path / "rollout.json").read_text())["finished"] is False, "it is not over for the others"
    resumed = roll_out(waves, tmp_path, **BUDGET_0)
    assert resumed.rc == 0, resumed.stdout
    assert connected(resumed) == {"wave-4", "wave-5"}
    assert touched(waves) == HOSTS
    assert "2 done, 3 done before, 0 failed, 0 not started" in resumed.stdout
    assert json.loads((tmp_path / "rollout.json").read_text())["finished"] is True

    anew = roll_out(waves, tmp_path, **BUDGET_0)
    assert anew.rc == 0
    assert connected(anew) == set(HOSTS), "a rollout that was finished is not resumed"


@pytest.mark.whole
def test_another_stack_is_another_wish(waves: Lab, tmp_path: Path) -> None:
    spoil(waves, "wave-3")
    assert roll_out(waves, tmp_path, **BUDGET_0).rc == 2
    mend(waves, "wave-3")
    resumed = roll_out(waves, tmp_path, gpulab_stack_overrides={"driver.version": "580.173.02"}, **BUDGET_0)
    assert connected(resumed) == set(HOSTS), resumed.stdout


@pytest.mark.whole
def test_a_lost_host_is_a_failed_one(waves: Lab, tmp_path: Path) -> None:
    waves.freeze("wave-2")
    try:
        result = roll_out(waves, tmp_path, **BUDGET_0)
    finally:
        waves.thaw("wave-2")
    assert result.rc == 4
    assert "2 done, 0 done before, 1 failed, 2 not started" in result.stdout


@pytest.mark.whole
@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"rollout_canary": "wave-9"}, "rollout_canary names wave-9, which is not among the hosts of this run"),
        ({"rollout_failure_budget": -1}, "rollout_failure_budget is -1"),
    ],
    ids=["canary", "budget"],
)
def test_wishes_that_mean_nothing_are_refused(
    waves: Lab, tmp_path: Path, variables: dict[str, t.Any], words: str
) -> None:
    result = roll_out(waves, tmp_path, **variables)
    assert result.rc == 2
    assert words in result.message
    assert connected(result) == set()


def test_a_second_rollout_at_the_same_time_touches_nobody(waves: Lab, tmp_path: Path) -> None:
    with (tmp_path / "rollout.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        (tmp_path / "rollout.json").write_text('{"begun": "2026-11-27T00:00:00Z", "finished": false, "failed": {}}')
        before = (tmp_path / "rollout.json").read_text()
        result = roll_out(waves, tmp_path, ["wave-1"])
    assert result.rc == 2
    assert "another run keeps the ledger of the rollout now" in result.message
    assert connected(result) == set()
    assert (tmp_path / "rollout.json").read_text() == before


def test_without_its_callback_a_rollout_is_refused(waves: Lab, tmp_path: Path) -> None:
    arguments = ["-i", str(waves.inventory), "playbooks/rollout.yml", "-l", "wave-1"]
    arguments += ["-e", json.dumps({"gpulab_records_directory": str(tmp_path)})]
    environment = {"ANSIBLE_CALLBACKS_ENABLED": "record"}
    result = Playbook(arguments, tmp_path / "record.jsonl", environment).wait()
    assert result.rc == 2
    assert "no ledger of a rollout that is going on" in result.message
    assert connected(result) == set()
