# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The five moves: what is told in check mode, what an ended, dead, foreign or still running job leads to."""

from __future__ import annotations

import json
import typing as t
from collections.abc import Callable
from pathlib import Path

import pytest

from ansible_collections.gpulab.workstation.plugins.module_utils import _converge, _job
from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._host import Host
from ansible_collections.gpulab.workstation.plugins.module_utils._in_the_way import Blocker, RefusalError
from ansible_collections.gpulab.workstation.plugins.module_utils._plan import Plan, Step
from fakehost import FakeHost

DIRECTORY = f"{_job.JOBS}/motto"


class Motto:
    """A component of two steps: it keeps a sentence in a file and a copy of it."""

    name = "motto"

    def __init__(self, text: str, behaviour: str) -> None:
        self.text, self.behaviour = text, behaviour

    @classmethod
    def from_params(cls, params: t.Mapping[str, t.Any]) -> Motto:
        return cls(params["text"], params.get("behaviour", ""))

    def read(self, host: Host) -> dict[str, str]:
        return {name: host.read_text(f"/etc/{name}") or "" for name in ("motto", "copy")}

    def plan(self, state: dict[str, str]) -> Plan:
        if self.behaviour == "unreadable" and state["copy"] == self.text:
            blocker = Blocker("host", "a fog", yields_to_force=False)
            raise RefusalError(found="a fog.", expected="a view.", cure="blow.", blockers=[blocker])
        steps = [Step("write", f"Write /etc/{n}", {"name": n}) for n in ("motto", "copy") if state[n] != self.text]
        reasons = ("the motto is read at boot",) if self.behaviour == "restart" else ()
        return Plan(tuple(steps), state, {"motto": self.text, "copy": self.text}, reasons)

    def apply(self, host: Host, step: Step, progress: Callable[[str], None]) -> None:
        progress("writing")
        if self.behaviour == "refuse":
            raise OperatorError(found="a wall.", expected="a door.", action="build one.")
        if self.behaviour == "crash":
            message = "out of luck"
            raise RuntimeError(message)
        if self.behaviour == "lie" and step.params["name"] == "copy":
            return
        host.write_text(f"/etc/{step.params['name']}", self.text)

    def report(self, state: dict[str, str]) -> dict[str, t.Any]:
        return {"motto": state["motto"]}


def call(
    host: FakeHost, text: str = "YAML says what", *, check_mode: bool = False, job: str | None = None, **params: str
) -> dict[str, t.Any]:
    values = {"text": text, **params}
    asked = {**values, "job": job, "wait_seconds": 1.0}
    return _converge._converge(host, Motto.from_params(values), values, asked, check_mode=check_mode)


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    """Start jobs in this process: what setsid would do in another one."""
    fake = FakeHost(tmp_path)

    def worker(_argv: tuple[str, ...]) -> tuple[int, str, str]:
        _job.work(DIRECTORY, fake)
        return 0, "", ""

    fake.commands["setsid --fork"] = worker
    return fake


def test_brings_about_and_then_changes_nothing(host: FakeHost) -> None:
    first, second = call(host), call(host)
    assert (first["changed"], second["changed"]) == (True, False)
    assert first["steps"] == ["Write /etc/motto", "Write /etc/copy"]
    assert second["steps"] == []
    assert second["motto"] == "YAML says what"
    assert len(host.ran) == 1, "the second call must not start a job"


def test_check_mode_tells_the_same_plan_and_touches_nothing(host: FakeHost) -> None:
    told = call(host, check_mode=True)
    assert host.ran == []
    assert host.listdir("/") == []
    done = call(host)
    assert {k: told[k] for k in ("changed", "steps", "diff")} == {k: done[k] for k in ("changed", "steps", "diff")}


class LateHost(FakeHost):
    """A host on which a job begins a minute after it was asked for, as after a restart or beside much other work."""

    asked: float | None = None
    begun = False

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        if self.asked is not None and self.now() > self.asked + 60 and not self.begun:
            self.begun = True
            _job.work(DIRECTORY, self)


def test_a_job_that_begins_late_is_waited_for(tmp_path: Path) -> None:
    late = LateHost(tmp_path)

    def ask(_argv: tuple[str, ...]) -> tuple[int, str, str]:
        late.asked = late.now()
        return 0, "", ""

    late.commands["setsid --fork"] = ask
    assert call(late)["motto"] == "YAML says what"
    assert late.begun


class WatchedHost(FakeHost):
    """A host whose lock of a job is in the hands of somebody who looks at its status, or of another worker."""

    held: t.Callable[[], None] | None = None
    until = 0.0

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        if self.held and self.now() >= self.until:
            self.held()
            self.held = None


@pytest.mark.parametrize(
    ("seconds", "result", "done"),
    [(0.1, None, True), (0.1, {"ok": True}, False), (60, None, False)],
    ids=["looked-at", "done-by-another", "another-at-work"],
)
def test_a_worker_is_not_sent_away_by_who_only_looks(
    tmp_path: Path, seconds: float, result: dict[str, t.Any] | None, *, done: bool
) -> None:
    watched = WatchedHost(tmp_path)
    request = {"job": "motto-1", "entry": [Motto.__module__, "Motto"], "params": {"text": "YAML says what"}}
    plan = Motto("YAML says what", "").plan({"motto": "", "copy": ""})
    watched.write_text(f"{DIRECTORY}/request.json", json.dumps({**request, "plan": plan.to_json()}))
    if result is not None:
        watched.write_text(f"{DIRECTORY}/result.json", json.dumps(result))
    watched.held, watched.until = watched.hold_lock(f"{DIRECTORY}/lock"), watched.now() + seconds
    _job.work(DIRECTORY, watched)
    assert watched.exists("/etc/motto") == done


def test_a_job_that_never_begins_is_given_up_in_words(host: FakeHost) -> None:
    host.commands["setsid --fork"] = (0, "", "")
    with pytest.raises(OperatorError, match="the job motto did not start within 120 s"):
        call(host)


def test_a_step_that_only_says_it_worked_is_found_out(host: FakeHost) -> None:
    with pytest.raises(OperatorError, match=r"still to do: Write /etc/copy"):
        call(host, behaviour="lie")


def test_a_result_that_cannot_be_judged_is_not_told_as_a_change_that_was_refused(host: FakeHost) -> None:
    with pytest.raises(OperatorError) as caught:
        call(host, behaviour="unreadable")
    assert not isinstance(caught.value, RefusalError)
    assert caught.value.found == "every step ended well, but what they have left cannot be judged: a fog."
    assert caught.value.action == "blow. Then run again."
    with pytest.raises(RefusalError, match="a fog. Expected: a view. To do: blow. Nothing has been changed."):
        call(host, behaviour="unreadable")


def test_the_words_of_a_refusal_survive_the_way_through_the_job(host: FakeHost) -> None:
    with pytest.raises(OperatorError, match="a wall. Expected: a door. To do: build one."):
        call(host, behaviour="refuse")


def test_a_crash_names_the_log_that_has_its_traceback(host: FakeHost) -> None:
    with pytest.raises(OperatorError, match=r"out of luck.*gpulab/motto.log"):
        call(host, behaviour="crash")
    assert "Traceback" in (host.read_text(_job.log_path("motto")) or "")


def test_a_failure_is_reported_once_and_the_next_call_tries_again(host: FakeHost) -> None:
    with pytest.raises(OperatorError):
        call(host, behaviour="refuse")
    assert call(host)["changed"] is True


def leave_job(host: FakeHost, *, result: dict[str, t.Any] | None, text: str = "YAML says what") -> str:
    """Put down what a job of another run leaves in its directory."""
    plan = Motto("YAML says what", "").plan({"motto": "", "copy": ""})
    request = {"job": "motto-1", "plan": plan.to_json(), "params": {"text": text}}
    host.write_text(f"{DIRECTORY}/request.json", json.dumps(request))
    host.write_text(
        f"{DIRECTORY}/progress.json", json.dumps({"step": 2, "steps": 2, "title": "Write /etc/copy", "detail": "50 %"})
    )
    if result is not None:
        host.write_text(f"{DIRECTORY}/result.json", json.dumps(result))
    return "motto-1"


@pytest.mark.parametrize(
    ("text", "otherwise"), [("YAML says what", {}), ("another", {"text": "another"})], ids=["the-same", "another-wish"]
)
def test_a_running_job_is_waited_for_and_not_started_twice(
    host: FakeHost, text: str, otherwise: dict[str, str]
) -> None:
    job = leave_job(host, result=None, text=text)
    release = host.hold_lock(f"{DIRECTORY}/lock")
    assert release is not None
    answer = call(host)
    assert (answer["job_running"], answer["job"], answer["progress"]["detail"]) == (True, job, "50 %")
    assert answer["asked_otherwise"] == otherwise
    assert host.ran == []
    release()


def test_a_job_that_was_killed_is_named_to_the_run_that_waits_for_it(host: FakeHost) -> None:
    job = leave_job(host, result=None)
    with pytest.raises(OperatorError, match="ended without a result at: Write /etc/copy"):
        call(host, job=job)


def test_a_job_killed_in_an_earlier_run_is_done_again_from_the_state_it_left(host: FakeHost) -> None:
    leave_job(host, result=None)
    host.write_text("/etc/motto", "YAML says what")
    answer = call(host)
    assert answer["steps"] == ["Write /etc/copy"]
    assert call(host)["changed"] is False


def test_a_job_that_ended_while_nobody_was_connected_is_reported(host: FakeHost) -> None:
    leave_job(host, result={"ok": True})
    for name in ("motto", "copy"):
        host.write_text(f"/etc/{name}", "YAML says what")
    answer = call(host)
    assert answer["changed"] is True
    assert call(host)["changed"] is False
    assert host.ran == []


def test_a_failure_nobody_saw_is_not_held_against_the_next_run(host: FakeHost) -> None:
    leave_job(host, result={"ok": False, "found": "x", "expected": "y", "action": "z"})
    assert call(host)["changed"] is True


def test_a_run_is_told_of_its_job_although_an_orphan_of_its_lost_connection_saw_the_end_first(host: FakeHost) -> None:
    job = leave_job(host, result={"ok": True})
    for name in ("motto", "copy"):
        host.write_text(f"/etc/{name}", "YAML says what")
    assert call(host)["changed"] is True
    assert call(host, job=job)["changed"] is True
    assert call(host)["changed"] is False


def test_a_job_that_another_run_has_reported_leaves_only_its_state(host: FakeHost) -> None:
    for name in ("motto", "copy"):
        host.write_text(f"/etc/{name}", "YAML says what")
    assert call(host, job="motto-7")["changed"] is False


def test_a_job_with_other_wishes_is_not_taken_for_ours(host: FakeHost) -> None:
    leave_job(host, result={"ok": True}, text="something else")
    for name in ("motto", "copy"):
        host.write_text(f"/etc/{name}", "something else")
    answer = call(host)
    assert answer["steps"] == ["Write /etc/motto", "Write /etc/copy"]
    assert host.read_text("/etc/motto") == "YAML says what"


def test_a_wish_for_a_restart_is_left_once_and_taken_back(host: FakeHost) -> None:
    path = f"{_converge.RESTART_REQUESTS}/motto"
    assert call(host, behaviour="restart")["reboot_reasons"] == ["the motto is read at boot"]
    assert host.read_text(path) == "the motto is read at boot\n"
    call(host)
    assert host.read_text(path) is None


def test_a_worker_that_cannot_be_started_is_an_error(host: FakeHost) -> None:
    host.commands["setsid --fork"] = (1, "", "setsid: failed to fork: Resource temporarily unavailable")
    with pytest.raises(OperatorError, match="Resource temporarily unavailable"):
        call(host)
