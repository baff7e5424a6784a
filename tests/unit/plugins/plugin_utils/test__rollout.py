# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waves: whose turn it is after failures, what a resumed rollout leaves alone, and the account."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.plugin_utils._rollout import (
    Decision,
    Failure,
    Ledger,
    account,
    begin,
    check_wishes,
    decide,
    first_line,
    is_finished,
)
from records import record

BEGUN = "2026-11-25T09:00:00Z"
STACK = "f" * 64
GO = Decision("go", "its wave has come")


def ledger(**failed: int) -> Ledger:
    """Return a ledger in which these hosts (w1 for ws-1) have failed in these waves."""
    return Ledger(BEGUN, failed={f"ws-{name[1:]}": Failure(wave, "task", "why") for name, wave in failed.items()})


@pytest.mark.parametrize(
    ("failed", "budget", "state", "why"),
    [
        ({}, 0, "go", "its wave has come"),
        ({"w1": 1}, 0, "stopped", "the first wave failed: ws-1"),
        ({"w1": 1}, 5, "stopped", "the first wave failed: ws-1"),
        ({"w2": 2}, 0, "stopped", "1 failed, the budget is 0: ws-2"),
        ({"w2": 2}, 1, "go", "its wave has come"),
        ({"w2": 2, "w3": 3}, 1, "stopped", "2 failed, the budget is 1: ws-2, ws-3"),
    ],
    ids=["none", "canary", "canary, whatever the budget", "over 0", "within the budget", "over 1"],
)
def test_failures_stop_the_waves_that_have_not_begun(failed: dict[str, int], budget: int, state: str, why: str) -> None:
    assert decide(ledger(**failed), budget, {}, STACK) == Decision(state, why)


@pytest.mark.parametrize(
    ("parts", "state"),
    [
        ({}, "done"),
        ({"time": BEGUN}, "done"),
        ({"time": "2026-11-25T08:59:59Z"}, "go"),
        ({"origin": "capture"}, "go"),
        ({"stack__fingerprint": "0" * 64}, "go"),
    ],
    ids=["completed", "in the same second", "before the rollout", "only captured", "another stack"],
)
def test_only_a_host_that_was_completed_with_this_stack_is_done(parts: dict[str, t.Any], state: str) -> None:
    assert decide(ledger(), 0, record(**parts), STACK).state == state


def test_a_host_that_is_done_is_not_stopped() -> None:
    assert decide(ledger(w1=1), 0, record(), STACK).state == "done"


def test_an_unfinished_rollout_is_taken_up_and_its_failures_get_another_chance() -> None:
    assert begin(None, "now") == Ledger("now")
    assert begin(ledger(w1=1), "now") == Ledger(BEGUN)
    everybody = Ledger(BEGUN, hosts=("a", "b"), run="1")
    assert begin(everybody, "now", ["b", "c"], "2") == Ledger(BEGUN, hosts=("a", "b", "c"), run="2")
    assert Ledger.from_json(everybody.to_json()) == everybody
    assert begin(Ledger(BEGUN, finished=True), "now") == Ledger("now")


def test_a_ledger_is_read_back() -> None:
    assert Ledger.from_json(ledger(w1=1, w2=3).to_json()) == ledger(w1=1, w2=3)


@pytest.mark.parametrize("data", [{}, {"begun": "x", "finished": False, "failed": {"a": {}}}, {"failed": None}])
def test_half_a_ledger_is_none(data: dict[str, t.Any]) -> None:
    assert Ledger.from_json(data) is None


@pytest.mark.parametrize(
    ("batches", "budget", "canary", "words"),
    [
        ([], 0, "", "rollout_batches has no wave"),
        ([0], 0, "", "rollout_batches has 0"),
        (["1", "half"], 0, "", "rollout_batches has half"),
        (["101%"], 0, "", "rollout_batches has 101%"),
        ([1], -1, "", "rollout_failure_budget is -1"),
        ([1], 0, "ws-9", "rollout_canary names ws-9"),
    ],
    ids=["no wave", "nobody", "a word", "too many", "budget", "canary"],
)
def test_waves_that_mean_nothing_are_refused(batches: list[t.Any], budget: int, canary: str, words: str) -> None:
    with pytest.raises(OperatorError, match=words):
        check_wishes(batches, budget, canary, ["ws-1", "ws-2"])


def test_waves_that_mean_something_pass() -> None:
    check_wishes([1, "5", "20%", "100%"], 3, "ws-2", ["ws-1", "ws-2"])


def test_the_account_names_every_host_once() -> None:
    hosts = [f"ws-{number}" for number in range(1, 7)]
    stopped = Decision("stopped", "1 failed, the budget is 0: ws-3")
    decisions = {"ws-1": GO, "ws-2": Decision("done", "it was"), "ws-3": GO, "ws-4": stopped, "ws-5": stopped}
    lines = account(hosts, decisions, ledger(w3=2))
    assert lines[0] == f"Rollout begun {BEGUN}: 1 done, 1 done before, 1 failed, 3 not started."
    assert lines[1:] == [
        "  done:         ws-1",
        "  done before:  ws-2 (not touched)",
        "  failed:       ws-3 at 'task': why",
        "  not started:  ws-4, ws-5 (1 failed, the budget is 0: ws-3)",
        "  not started:  ws-6 (a whole wave failed)",
        "To do: cure what failed and run the same command again; hosts that are done are not touched.",
    ]


def test_hosts_that_were_never_reached_are_told_why() -> None:
    assert "  not started:  ws-2 (the first wave failed: ws-1)" in account(["ws-1", "ws-2"], {"ws-1": GO}, ledger(w1=1))
    assert "  not started:  ws-2 (the run ended before its wave)" in account(["ws-1", "ws-2"], {"ws-1": GO}, ledger())


def test_a_rollout_is_finished_when_every_host_is_done() -> None:
    done = Decision("done", "it was")
    assert is_finished(["a", "b"], {"a": GO, "b": done}, ledger())
    assert not is_finished(["a", "b"], {"a": GO}, ledger())
    assert not is_finished(["ws-1"], {"ws-1": GO}, ledger(w1=1))


def test_the_first_line_of_a_message_is_kept() -> None:
    assert first_line("\n  ws-1 is refused for 1 reason.\n\n1. Found: x\n") == "ws-1 is refused for 1 reason."
    assert first_line("") == "no words"
