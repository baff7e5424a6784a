# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which refusals pass by themselves, and what is said after a wait."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.gpulab.workstation.plugins.plugin_utils import _waiting

WORDS = {"found": "a user.", "expected": "none.", "action": "wait."}


def answer(*kinds: str, failed: bool = True) -> dict[str, t.Any]:
    blockers = [{"kind": kind, "words": f"a {kind}", "yields_to_force": True} for kind in kinds]
    return {"failed": failed, "msg": "no", **WORDS, "blockers": blockers}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (answer("user"), True),
        (answer("gpu_process", "desktop", "user", "job", "system_change"), True),
        (answer("user", "host"), False),
        (answer("container"), False),
        (answer("controller", "user"), False),
        (answer(), False),
        (answer("user", failed=False), False),
        ({"failed": True, "msg": "no python"}, False),
    ],
    ids=["user", "all-that-pass", "mixed", "container", "controller", "nobody", "not-refused", "no-answer"],
)
def test_only_a_refusal_for_people_alone_passes(given: dict[str, t.Any], expected: bool) -> None:  # noqa: FBT001
    assert _waiting.will_pass(given) is expected


def test_everybody_is_named() -> None:
    assert _waiting.who_is_in_the_way(answer("user", "desktop")) == "a user; a desktop"


@pytest.mark.parametrize(
    ("given", "minutes", "told"),
    [(answer("user"), 30, True), (answer("user"), 0, False), (answer("user", "host"), 30, False)],
    ids=["waited", "no-minutes", "mixed"],
)
def test_a_refusal_says_how_long_it_waited(given: dict[str, t.Any], minutes: int, told: bool) -> None:  # noqa: FBT001
    found = _waiting.after_waiting(given, minutes)
    assert (found != given) is told
    if told:
        assert found["found"] == "a user. They were waited for, 30 min long."
        assert found["msg"] == "Found: a user. They were waited for, 30 min long. Expected: none. To do: wait."
        assert found["blockers"] == given["blockers"]
