# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's half of module_signing: a visit to the console ends the play of its host, and no other outcome does.

The driver comes after this role, so that it is not touched before the firmware would take its modules.
"""

from __future__ import annotations

import typing as t
from types import SimpleNamespace

import pytest

from ansible_collections.gpulab.workstation.plugins.action import module_signing

pytestmark = pytest.mark.usefixtures("said")


class Scripted(module_signing.ActionModule):
    """The action with a module that answers what it is told to."""

    def __init__(self, answer: dict[str, t.Any], *, check_mode: bool = False) -> None:
        self.answer = answer
        self._task = SimpleNamespace(args={}, check_mode=check_mode)

    def _execute_module(self, **_call: t.Any) -> dict[str, t.Any]:
        return dict(self.answer)


def run(answer: dict[str, t.Any], *, check_mode: bool = False) -> dict[str, t.Any]:
    return Scripted(answer, check_mode=check_mode).run(task_vars={"inventory_hostname": "ws-01"})


def test_a_visit_that_is_due_fails_with_what_to_do_at_the_console() -> None:
    result = run({"changed": True, "outcome": "console_visit"})
    assert (result["failed"], result["changed"]) == (True, True)
    for words in (
        "Found: Secure Boot is on and the firmware of ws-01",
        "the request is on its list",
        "Enroll MOK",
        "The driver has not been touched.",
    ):
        assert words in result["msg"]


def test_check_mode_tells_the_visit_and_goes_on() -> None:
    result = run({"changed": True, "outcome": "console_visit"}, check_mode=True)
    assert "failed" not in result
    assert "Enroll MOK" in result["warnings"][0]
    assert "a run without --check puts the request on its list" in result["warnings"][0]


@pytest.mark.parametrize("outcome", ["off", "enrolled", "unmanaged", "unreadable"])
def test_no_other_outcome_ends_anything(outcome: str) -> None:
    assert run({"changed": False, "outcome": outcome}) == {"changed": False, "outcome": outcome}


def test_a_failure_keeps_its_words() -> None:
    answer = {"failed": True, "msg": "half a pair", "outcome": "console_visit"}
    assert run(answer) == answer
