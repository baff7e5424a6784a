# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting for those who use a host: who will be gone by himself some time, and asking again until the time is over."""

from __future__ import annotations

import time
import typing as t

from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError

Answer = dict[str, t.Any]

LOOK_AGAIN_S = 15.0  # how soon after the last user has gone the work goes on
_PASSING = ("user", "gpu_process", "desktop", "job", "system_change")  # the others stay: a container, a full disk


def will_pass(answer: t.Mapping[str, t.Any]) -> bool:
    """Whether a refusal is worth waiting for: everybody in the way will be gone by himself some time."""
    kinds = [blocker["kind"] for blocker in answer.get("blockers", [])]
    return bool(answer.get("failed")) and bool(kinds) and all(kind in _PASSING for kind in kinds)


def _yields(answer: t.Mapping[str, t.Any]) -> bool:
    """Whether force would overcome a refusal that waiting does not."""
    blockers = answer.get("blockers", [])
    return bool(answer.get("failed")) and bool(blockers) and all(b.get("yields_to_force") for b in blockers)


def who_is_in_the_way(answer: t.Mapping[str, t.Any]) -> str:
    """Return the words about everybody in the way."""
    return "; ".join(str(blocker["words"]) for blocker in answer.get("blockers", []))


def ask_until_free(
    ask: t.Callable[[bool], Answer], minutes: int, announce: t.Callable[[str], None], *, force: bool
) -> Answer:
    """Ask until the host is free, give it up at once where waiting cannot help, and ask a last time when time is over.

    ``ask`` is told whether this is the last time: only then may ``force`` count. Whoever is waited for is announced
    once.
    """
    deadline = time.monotonic() + 60 * minutes
    shown = ""
    while time.monotonic() < deadline:
        answer = ask(False)  # noqa: FBT003 - not the last time
        if not will_pass(answer):
            if not (force and _yields(answer)):
                return answer
            if not any(blocker["kind"] in _PASSING for blocker in answer["blockers"]):
                break  # what is left does not go, and yields
        words = who_is_in_the_way(answer)
        if words != shown:
            announce(f"waiting up to {max(1, round((deadline - time.monotonic()) / 60))} min: {words}")
            shown = words
        time.sleep(min(LOOK_AGAIN_S, max(0.0, deadline - time.monotonic())))
    return after_waiting(ask(True), minutes)  # noqa: FBT003 - the last time


def after_waiting(answer: Answer, minutes: int) -> Answer:
    """Return a refusal with how long those in the way were waited for; every other answer as it is."""
    if not minutes or not will_pass(answer):
        return answer
    error = OperatorError(
        found=f"{answer['found']} They were waited for, {minutes} min long.",
        expected=str(answer["expected"]),
        action=str(answer["action"]),
    )
    return {**answer, "found": error.found, "msg": str(error)}


__all__ = ["LOOK_AGAIN_S", "after_waiting", "ask_until_free", "who_is_in_the_way", "will_pass"]
