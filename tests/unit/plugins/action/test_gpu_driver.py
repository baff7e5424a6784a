# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's half of gpu_driver: whom it waits for, for how long, and what it asks the host for meanwhile."""

from __future__ import annotations

import time
import typing as t
from types import SimpleNamespace

import pytest

from ansible_collections.gpulab.workstation.plugins.action import gpu_driver

pytestmark = pytest.mark.usefixtures("said")

JOB = {"kind": "gpu_process", "words": "python3 (pid 4711, ada)", "yields_to_force": True}
GDM = {"kind": "desktop", "words": "the desktop (gdm3)", "yields_to_force": True}
DISK = {"kind": "host", "words": "/usr is read-only", "yields_to_force": False}
FOREIGN = {"kind": "host", "words": "the kernel module nvidia_fs, which uses it", "yields_to_force": True}
RUNNING = {"changed": True, "job_running": True, "job": "gpu_driver-1", "progress": {}}
DONE = {"changed": True, "job_running": False, "steps": ["Load the kernel module"]}


def refused(*blockers: dict[str, t.Any]) -> dict[str, t.Any]:
    words = {"found": "here is somebody.", "expected": "nobody.", "action": "wait. Nothing has been changed."}
    return {"changed": False, "failed": True, "msg": "no", **words, "blockers": list(blockers)}


class Scripted(gpu_driver.ActionModule):
    """The action with a module that answers from a list."""

    def __init__(self, answers: list[dict[str, t.Any]], *, check_mode: bool = False, **arguments: t.Any) -> None:
        self.answers, self.sent = answers, list[dict[str, t.Any]]()
        self._task = SimpleNamespace(
            args={"state": "present", "allow_running": False, **arguments}, check_mode=check_mode
        )

    def _execute_module(self, **call: t.Any) -> dict[str, t.Any]:
        self.sent.append(call["module_args"])
        return dict(self.answers.pop(0))


def run(action: Scripted) -> dict[str, t.Any]:
    return action.run(task_vars={"inventory_hostname": "ws-01"})


def test_a_free_host_is_asked_once_and_not_waited_for(said: list[str]) -> None:
    action = Scripted([DONE], wait_minutes=5)
    assert run(action) == {"changed": True, "steps": ["Load the kernel module"]}
    assert (len(action.sent), time.monotonic(), said) == (1, 0.0, [])


def test_a_host_that_becomes_free_goes_on_at_once_and_whoever_was_waited_for_is_named_once(said: list[str]) -> None:
    action = Scripted([refused(JOB, GDM), refused(JOB, GDM), refused(GDM), RUNNING, DONE], wait_minutes=120)
    result = run(action)
    assert (result["changed"], "failed" in result) == (True, False)
    assert time.monotonic() == 45.0
    assert said == [
        "ws-01 | gpu_driver | waiting up to 120 min: python3 (pid 4711, ada); the desktop (gdm3)",
        "ws-01 | gpu_driver | waiting up to 120 min: the desktop (gdm3)",
    ]
    assert action.sent[-1]["job"] == "gpu_driver-1"


def test_nobody_who_is_gone_for_good_is_waited_for_longer_than_promised() -> None:
    action = Scripted([refused(JOB)] * 5, wait_minutes=1)
    result = run(action)
    assert (time.monotonic(), len(action.sent), action.answers) == (60.0, 5, [])
    assert result["failed"] is True
    assert result["found"] == "here is somebody. They were waited for, 1 min long."
    assert result["msg"].startswith("Found: here is somebody. They were waited for, 1 min long. Expected: nobody.")


@pytest.mark.parametrize(
    ("answer", "minutes", "check_mode"),
    [
        (refused(JOB, DISK), 5, False),
        (refused(DISK), 5, False),
        ({"failed": True, "msg": "no python"}, 5, False),
        (refused(JOB), 0, False),
        (refused(JOB), 5, True),
    ],
    ids=["mixed", "stays", "no-answer", "no-minutes", "check-mode"],
)
def test_what_is_refused_at_once_in_the_words_of_the_host(
    answer: dict[str, t.Any], minutes: int, *, check_mode: bool
) -> None:
    action = Scripted([answer], wait_minutes=minutes, check_mode=check_mode)
    assert run(action) == answer
    assert (len(action.sent), time.monotonic()) == (1, 0.0)


def test_another_reason_that_comes_up_meanwhile_ends_the_wait() -> None:
    action = Scripted([refused(JOB), refused(JOB, DISK)], wait_minutes=5)
    assert run(action)["found"] == "here is somebody."
    assert time.monotonic() == 15.0


def test_force_only_counts_when_the_minutes_are_over() -> None:
    action = Scripted([*[refused(JOB)] * 4, RUNNING, DONE], wait_minutes=1, allow_running=True)
    assert run(action)["changed"] is True
    assert [sent["allow_running"] for sent in action.sent] == [False] * 4 + [True] * 2


def test_what_does_not_go_and_yields_is_forced_at_once_where_force_is_given(said: list[str]) -> None:
    action = Scripted([refused(FOREIGN), RUNNING, DONE], wait_minutes=60, allow_running=True)
    assert run(action)["changed"] is True
    assert [sent["allow_running"] for sent in action.sent] == [False, True, True]
    assert (time.monotonic(), said) == (0.0, [])
    action = Scripted([refused(FOREIGN)], wait_minutes=60)
    assert run(action)["failed"] is True
    assert len(action.sent) == 1


def test_who_goes_is_waited_for_also_beside_what_does_not() -> None:
    action = Scripted([refused(JOB, FOREIGN), refused(FOREIGN), RUNNING, DONE], wait_minutes=60, allow_running=True)
    assert run(action)["changed"] is True
    assert [sent["allow_running"] for sent in action.sent] == [False, False, True, True]
    assert time.monotonic() == 15.0


def test_a_host_that_becomes_free_is_not_forced_and_its_job_is_asked_for_as_it_was_started() -> None:
    action = Scripted([refused(JOB), RUNNING, DONE], wait_minutes=5, allow_running=True)
    run(action)
    assert [sent["allow_running"] for sent in action.sent] == [False] * 3


@pytest.mark.parametrize(
    ("otherwise", "asked"),
    [({"allow_running": True}, True), ({"allow_running": True, "state": "absent"}, False), ({}, False)],
    ids=["forced", "another-wish", "the-same"],
)
def test_a_job_that_an_earlier_run_has_forced_is_asked_for_as_it_was_started(
    otherwise: dict[str, t.Any],
    asked: bool,  # noqa: FBT001
) -> None:
    action = Scripted([{**RUNNING, "asked_otherwise": otherwise}, DONE], wait_minutes=5, allow_running=True)
    assert run(action) == {"changed": True, "steps": ["Load the kernel module"]}
    assert [sent["allow_running"] for sent in action.sent] == [False, asked]


def test_the_host_is_not_told_of_minutes_that_it_does_not_wait() -> None:
    """What a job was asked for tells it from another one; longer patience is no other wish."""
    action = Scripted([RUNNING, DONE], wait_minutes=5)
    run(action)
    assert [set(sent) for sent in action.sent] == [
        {"state", "allow_running", "wait_seconds"}, {"state", "allow_running", "wait_seconds", "job"},
    ]  # fmt: skip


def test_people_who_come_while_the_job_is_at_work_end_nothing_and_are_not_waited_for() -> None:
    action = Scripted([RUNNING, refused(JOB)], wait_minutes=5)
    assert run(action)["failed"] is True
    assert len(action.sent) == 2
