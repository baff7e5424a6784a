# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's half of a job: what it shows, what it forgives and what it hands on."""

from __future__ import annotations

import typing as t
from types import SimpleNamespace

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase

from ansible_collections.gpulab.workstation.plugins.plugin_utils import _polling

RUNNING = {
    "changed": True,
    "job_running": True,
    "job": "gpu_driver-1",
    "progress": {"step": 1, "steps": 9, "title": "Fetch the driver", "detail": "120 MB of 398 MB (30 %)"},
}
DONE = {"changed": True, "job_running": False, "steps": ["Fetch the driver"]}


class Scripted(_polling.PollingAction):
    """An action whose module answers come from a list; an exception in it is raised."""

    module_name = "gpulab.workstation.gpu_driver"

    def __init__(self, answers: list[t.Any]) -> None:
        self.answers, self.asked, self.resets = answers, list[dict[str, t.Any]](), 0
        self._task = SimpleNamespace(args={"state": "present"})
        self._connection = SimpleNamespace(reset=self.count_reset)

    def count_reset(self) -> None:
        self.resets += 1

    def _call(self, arguments: dict[str, t.Any], task_vars: dict[str, t.Any] | None) -> dict[str, t.Any]:
        assert task_vars is not None
        self.asked.append(dict(arguments))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return dict(answer)


class Timed(Scripted):
    """A clock that each call advances by what it waits and what it costs."""

    def __init__(self, answers: list[t.Any], cost: float) -> None:
        super().__init__(answers)
        self.cost, self.now = cost, 0.0

    def _call(self, arguments: dict[str, t.Any], task_vars: dict[str, t.Any] | None) -> dict[str, t.Any]:
        self.now += arguments["wait_seconds"] + self.cost
        return super()._call(arguments, task_vars)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines = list[str]()
    monkeypatch.setattr(_polling.display, "display", lambda text, *_a, **_k: lines.append(text))
    monkeypatch.setattr(_polling.time, "sleep", lambda _s: None)
    monkeypatch.setattr(ActionBase, "run", lambda *_a, **_k: {})
    return lines


def lost() -> AnsibleConnectionFailure:
    return AnsibleConnectionFailure("Timeout, server ws-01 not responding.")


def test_one_call_is_enough_where_no_job_is_left_running(said: list[str]) -> None:
    action = Scripted([DONE])
    assert action.run(task_vars={"inventory_hostname": "ws-01"}) == {"changed": True, "steps": ["Fetch the driver"]}
    assert (len(action.asked), said) == (1, [])


def test_a_running_job_is_asked_for_by_its_name_and_shown_once_per_news(said: list[str]) -> None:
    action = Scripted([RUNNING, RUNNING, DONE])
    action.run(task_vars={"inventory_hostname": "ws-01"})
    assert [asked.get("job") for asked in action.asked] == [None, "gpu_driver-1", "gpu_driver-1"]
    assert said == ["ws-01 | gpu_driver | 1/9 Fetch the driver: 120 MB of 398 MB (30 %)"]


@pytest.mark.parametrize(
    ("cost", "waited"), [(0.5, [10.0, 10.0, 10.0]), (3.0, [10.0, 60.0, 60.0]), (20.0, [10.0, 180.0, 180.0])]
)
def test_a_host_that_a_call_costs_seconds_is_asked_less_often(
    said: list[str], monkeypatch: pytest.MonkeyPatch, cost: float, waited: list[float]
) -> None:
    action = Timed([RUNNING, RUNNING, RUNNING, DONE], cost)
    monkeypatch.setattr(_polling.time, "monotonic", lambda: action.now)
    action.run(task_vars={"inventory_hostname": "ws-01"})
    assert [asked["wait_seconds"] for asked in action.asked[1:]] == waited
    assert len(said) == 1


def test_who_says_how_long_a_call_waits_is_followed(said: list[str]) -> None:
    action = Scripted([RUNNING, RUNNING, DONE])
    action._task.args["wait_seconds"] = "2"
    action.run(task_vars={"inventory_hostname": "ws-01"})
    assert [asked["wait_seconds"] for asked in action.asked] == ["2", "2", "2"]
    assert len(said) == 1


def test_a_lost_connection_is_forgiven_once_while_the_job_goes_on(said: list[str]) -> None:
    action = Scripted([RUNNING, lost(), DONE])
    assert action.run(task_vars={"inventory_hostname": "ws-01"})["changed"] is True
    assert action.resets == 1
    assert "lost the connection" in said[-1]


@pytest.mark.parametrize("answers", [[lost()], [RUNNING, lost(), lost()]], ids=["at first", "twice in a row"])
def test_a_host_that_stays_away_is_unreachable(said: list[str], answers: list[t.Any]) -> None:
    with pytest.raises(AnsibleConnectionFailure):
        Scripted(answers).run(task_vars={"inventory_hostname": "ws-01"})
    assert not any("None" in line for line in said)
