# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Recorded events of ansible-runner, and what the rest of the package sees of them."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

from gpulab._runner import Difference, Ending, Event, HostRecap, Recap, Said, TaskEnded, environment, parse_event

RECORDED = Path(__file__).parents[1] / "fixtures/ansible-runner/2.4.3-core2.21.5-events.jsonl.txt"


def events() -> list[Event]:
    lines = RECORDED.read_text(encoding="utf-8").splitlines()[1:]
    return [event for line in lines for event in parse_event(json.loads(line))]


def of(kind: type[t.Any]) -> list[t.Any]:
    return [event for event in events() if isinstance(event, kind)]


def test_every_task_end_with_its_host_and_role() -> None:
    ended = [(event.host, event.role, event.task.partition(" - ")[0], event.ending) for event in of(TaskEnded)]
    assert ended == [
        ("lab-off", "", "One", Ending.UNREACHABLE),
        ("lab-1", "", "One", Ending.OK),
        ("lab-1", "", "Skipped", Ending.SKIPPED),
        ("lab-1", "", "Ignored", Ending.IGNORED),
        ("lab-1", "demo", "Validating arguments against arg spec 'main'", Ending.OK),
        ("lab-1", "demo", "Ensure something", Ending.CHANGED),
        ("lab-1", "demo", "Refuse", Ending.FAILED),
    ]


def test_messages_and_seconds() -> None:
    ended = of(TaskEnded)
    assert ended[-1].message == "Found: a. Expected: b. To do: c."
    assert "Connection refused" in ended[0].message
    assert 1.2 < ended[5].seconds < 1.3


def test_a_difference_is_shown_without_colours() -> None:
    (difference,) = of(Difference)
    assert (difference.host, difference.role) == ("lab-1", "demo")
    assert difference.text.splitlines() == ["--- before", "+++ after: /tmp/y", "@@ -0,0 +1 @@", "+hello 859"]


def test_the_recap_has_every_host() -> None:
    (recap,) = of(Recap)
    assert recap.hosts == {
        "lab-1": HostRecap(ok=4, changed=1, failed=1, unreachable=0, skipped=1),
        "lab-off": HostRecap(unreachable=1),
    }
    assert [host.good for host in recap.hosts.values()] == [False, False]


def test_words_outside_tasks() -> None:
    raw = {"event": "verbose", "stdout": "\x1b[1;35m[WARNING]: hm\x1b[0m\r\n\r\nlab-1 | gpu_driver | 2/6 Building"}
    assert parse_event(raw) == [Said("[WARNING]: hm"), Said("lab-1 | gpu_driver | 2/6 Building")]


def test_a_role_of_a_collection_is_named_without_it() -> None:
    data = {"host": "a", "role": "gpulab.workstation.gpu_driver", "task": "x", "res": {"changed": False}}
    (event,) = parse_event({"event": "runner_on_ok", "event_data": data})
    assert isinstance(event, TaskEnded)
    assert event.role == "gpu_driver"


def test_runner_does_not_turn_host_key_checking_off() -> None:
    changed = environment(Path("/checkout"), {"PATH": "/usr/bin"})
    assert changed["ANSIBLE_HOST_KEY_CHECKING"] == "True"
    assert changed["ANSIBLE_CONFIG"] == "/checkout/ansible.cfg"
    assert changed["PATH"].endswith(":/usr/bin")
