# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What one attempt to reach a restarting host means."""

from __future__ import annotations

import pytest

import recorded
from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.plugin_utils._restart import (
    Sight,
    describe,
    never_back,
    parse_probe,
    verdict,
)

BOOT_ID = "1e410534-c31e-4565-8265-836766a5dc92"
STAT = "1 (systemd) S 0 1 1 0 -1 4194560 3715 13476 0 4 7 2 8 5 20 0 1 0 {started} 20271104 2929 0"
BEFORE = f"{BOOT_ID}/278757"
ANSWER = f"gpulab-probe\n{BOOT_ID}\n{STAT}\n{{state}}\n"


def sight(started: int, state: str = "running") -> Sight:
    return parse_probe(ANSWER.format(started=started, state=state))


def test_an_answer_is_read_behind_a_banner() -> None:
    assert parse_probe("Welcome!\n" + ANSWER.format(started=5, state="degraded")) == Sight(f"{BOOT_ID}/5", "degraded")


@pytest.mark.parametrize(
    "answer", ["", "gpulab-probe\n", "System is going down.\n", f"gpulab-probe\n{BOOT_ID}\nno stat\nrunning\n"]
)
def test_half_an_answer_is_a_failed_attempt(answer: str) -> None:
    found = parse_probe(answer)
    assert found.failure
    assert verdict(BEFORE, found) == "wait"


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (sight(278757), "wait"),
        (sight(278757, "stopping"), "wait"),
        (sight(283348, "starting"), "wait"),
        (sight(283348, "initializing"), "wait"),
        (sight(283348), "back"),
        (sight(283348, "degraded"), "back"),
        (Sight(failure="Failed to connect to the host via ssh: Connection refused"), "wait"),
        (Sight(failure="root@192.0.2.7: Permission denied (publickey)."), "wait"),
    ],
    ids=[
        "still-going-down",
        "stopping",
        "booting",
        "booting-early",
        "up",
        "up-with-a-failed-unit",
        "refused",
        "no-login-yet",
    ],
)
def test_only_another_boot_that_is_over_is_back(found: Sight, expected: str) -> None:
    assert verdict(BEFORE, found) == expected


def test_a_changed_host_key_ends_the_wait_at_once() -> None:
    failure = "Failed to connect to the host via ssh: " + recorded.text("ssh/9.2-debian12-key-changed.txt")
    with pytest.raises(OperatorError) as refusal:
        verdict(BEFORE, Sight(failure=failure))
    assert "another host key, SHA256:fXDqD2puKI37SqYTll7NJ2wjLfhUzWoAg4V5FvGKgBw" in refusal.value.found
    assert "line 3 of /home/admin/.ssh/known_hosts" in refusal.value.expected
    assert 'ssh-keygen -f "/home/admin/.ssh/known_hosts" -R "[127.0.0.1]:38595"' in refusal.value.action


def test_an_unknown_host_key_ends_the_wait_at_once() -> None:
    with pytest.raises(OperatorError) as refusal:
        verdict(BEFORE, Sight(failure=recorded.text("ssh/9.2-debian12-key-unknown.txt")))
    assert "does not accept" in refusal.value.found
    assert "add it to known_hosts" in refusal.value.action


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (None, "it has not been tried yet"),
        (Sight(failure="a\nConnection timed out\n"), "it does not answer (Connection timed out)"),
        (sight(278757), "it answers, but it has not gone down yet"),
        (sight(283348, "starting"), "it is up again and its state is starting"),
    ],
    ids=["untried", "silent", "not-down", "booting"],
)
def test_what_was_last_seen(found: Sight | None, words: str) -> None:
    assert describe(BEFORE, found) == words
    assert words in never_back(BEFORE, found, 900).found
