# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's half of host_restart: it waits for another boot, and knows when waiting is useless."""

from __future__ import annotations

import typing as t
from types import SimpleNamespace

import pytest
from ansible.errors import AnsibleConnectionFailure

import recorded
from ansible_collections.gpulab.workstation.plugins.action import host_restart

pytestmark = pytest.mark.usefixtures("said")

BOOT_ID = "1e410534-c31e-4565-8265-836766a5dc92"
NOTHING = {"changed": False, "required": False, "reasons": [], "restarting": False, "boot_identity": f"{BOOT_ID}/41"}
STARTED = {**NOTHING, "changed": True, "required": True, "reasons": ["gpu_driver: x"], "restarting": True}
DONE = {**NOTHING, "boot_identity": f"{BOOT_ID}/99"}
GONE = AnsibleConnectionFailure("Failed to connect to the host via ssh: Connection refused")


def sight(started: int, state: str = "running") -> str:
    stat = f"1 (systemd) S 0 1 1 0 -1 4194560 3715 13476 0 4 7 2 8 5 20 0 1 0 {started} 20271104 2929 0"
    return f"gpulab-probe\n{BOOT_ID}\n{stat}\n{state}\n"


class Scripted(host_restart.ActionModule):
    """The action with a module and a host that answer from lists; the last answer of the host stays."""

    def __init__(self, answers: list[dict[str, t.Any]], sights: list[t.Any], transport: str = "ssh") -> None:
        self.answers, self.sights, self.sent, self.resets = answers, sights, list[dict[str, t.Any]](), 0
        self._task = SimpleNamespace(args={"timeout_seconds": 60}, check_mode=False)
        self._connection = SimpleNamespace(transport=transport, reset=self.count_reset)

    def count_reset(self) -> None:
        self.resets += 1

    def _execute_module(self, **call: t.Any) -> dict[str, t.Any]:
        self.sent.append(call["module_args"])
        return dict(self.answers.pop(0))

    def _low_level_execute_command(self, *_arguments: t.Any, **_options: t.Any) -> dict[str, t.Any]:
        answer = self.sights.pop(0) if len(self.sights) > 1 else self.sights[0]
        if isinstance(answer, Exception):
            raise answer
        return {"stdout": answer}


def run(action: Scripted) -> dict[str, t.Any]:
    return action.run(task_vars={"inventory_hostname": "ws-01"})


def test_nothing_to_do_is_one_call() -> None:
    action = Scripted([NOTHING], [])
    assert run(action)["changed"] is False
    assert (len(action.sent), action.resets) == (1, 0)


@pytest.mark.parametrize(("transport", "local"), [("local", True), ("ssh", False)])
def test_the_module_is_told_whose_machine_it_is(transport: str, local: bool) -> None:  # noqa: FBT001
    action = Scripted([NOTHING], [], transport)
    run(action)
    assert action.sent[0]["local_connection"] is local


USER = {"kind": "user", "words": "alice is logged in (desktop on seat0)", "yields_to_force": True}
CONTAINER = {"kind": "container", "words": "this host is a container", "yields_to_force": False}


def refused(*blockers: dict[str, t.Any]) -> dict[str, t.Any]:
    words = {"msg": "no", "found": "a user.", "expected": "none.", "action": "wait."}
    return {**NOTHING, "restarted": False, "required": True, "failed": True, **words, "blockers": list(blockers)}


def patient(answers: list[dict[str, t.Any]], **arguments: t.Any) -> Scripted:
    action = Scripted(answers, [sight(99)])
    action._task.args = {"timeout_seconds": 60, "wait_minutes": 1, "force": False, **arguments}
    return action


def test_a_user_is_waited_for_and_told_of_once(said: list[str]) -> None:
    action = patient([refused(USER), refused(USER), STARTED, DONE])
    assert run(action)["restarted"] is True
    assert said[0] == f"ws-01 | host_restart | waiting up to 1 min: {USER['words']}"
    assert len(said) == 1
    assert [sent.get("force") for sent in action.sent[:3]] == [False, False, False]


@pytest.mark.parametrize("force", [False, True])
def test_after_the_minutes_force_decides(force: bool) -> None:  # noqa: FBT001
    """Four looks in a minute, 15 s apart, then the last call says what force says."""
    ending = [STARTED, DONE] if force else [refused(USER)]
    action = patient([*[refused(USER)] * 4, *ending], force=force)
    result = run(action)
    assert [sent.get("force") for sent in action.sent[:5]] == [False] * 4 + [force]
    assert (result.get("failed", False), result["restarted"]) == (not force, force)
    assert force or result["found"] == "a user. They were waited for, 1 min long."


@pytest.mark.parametrize(
    "answer", [refused(CONTAINER), refused(USER, CONTAINER), refused(), {**refused(), "msg": "no python"}]
)
def test_what_will_not_pass_is_not_waited_for(answer: dict[str, t.Any]) -> None:
    action = patient([answer])
    assert run(action)["failed"] is True
    assert len(action.sent) == 1


def test_check_mode_does_not_wait() -> None:
    action = patient([refused(USER)])
    action._task.check_mode = True
    assert run(action)["failed"] is True
    assert len(action.sent) == 1


def test_only_another_boot_that_is_over_counts(said: list[str]) -> None:
    sights = [sight(41), sight(41, "stopping"), GONE, GONE, "System is booting up.", sight(99, "starting"), sight(99)]
    action = Scripted([STARTED, DONE], sights)
    result = run(action)
    assert (result["changed"], result["restarted"], result["required"]) == (True, True, False)
    assert result["elapsed_seconds"] == 16.0
    assert result["boot_identity"] == f"{BOOT_ID}/99"
    assert action.resets == 7
    assert said[0] == "ws-01 | host_restart | it answers, but it has not gone down yet"
    assert len(said) == 4  # each piece of news once


def test_a_changed_key_ends_the_wait_at_once() -> None:
    failure = AnsibleConnectionFailure(recorded.text("ssh/9.2-debian12-key-changed.txt"))
    result = run(Scripted([STARTED], [GONE, failure]))
    assert (result["failed"], result["changed"]) == (True, True)
    assert "another host key" in result["found"]


def test_a_host_that_stays_away_is_given_up() -> None:
    result = run(Scripted([STARTED], [GONE]))
    assert result["failed"] is True
    assert result["found"].startswith("60 s after the restart was asked for, it does not answer (")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({**DONE, "required": True, "reasons": ["gpu_driver: still"]}, "gpu_driver: still"),
        ({"failed": True, "msg": "no python"}, "no python"),
    ],
    ids=["still-asked-for", "no-answer"],
)
def test_a_restart_that_did_not_help_is_no_success(answer: dict[str, t.Any], words: str) -> None:
    result = run(Scripted([STARTED, answer], [sight(99)]))
    assert result["failed"] is True
    assert words in result["found"]
