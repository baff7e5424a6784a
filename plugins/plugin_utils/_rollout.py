# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose turn it is in a rollout, and the account at its end."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, field

from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError

LEDGER = "rollout.json"
LOCK = "rollout.lock"
RUN = "GPULAB_ROLLOUT_RUN"  # in the environment of a run's processes: what its ledger is known by
_WAVE = re.compile(r"[1-9]\d*|(?:[1-9]\d?|100)%")


@dataclass(frozen=True)
class Failure:
    """A host that has failed in this run: in which wave, at what, and the first line of why."""

    wave: int
    task: str
    why: str


@dataclass
class Ledger:
    """A rollout from its begin to the run in which every host is done; a run that is resumed keeps ``begun``.

    ``hosts`` are all that it was ever run for, so that a run for one of them does not end it; ``run`` is who writes.
    """

    begun: str
    finished: bool = False
    failed: dict[str, Failure] = field(default_factory=dict)
    hosts: tuple[str, ...] = ()
    run: str = ""

    @classmethod
    def from_json(cls, data: t.Mapping[str, t.Any]) -> Ledger | None:
        """Read a ledger; None where there is none, or one that is not whole."""
        try:
            failed = {host: Failure(**failure) for host, failure in data["failed"].items()}
            hosts = tuple(map(str, data.get("hosts", ())))
            return cls(str(data["begun"]), bool(data["finished"]), failed, hosts, str(data.get("run", "")))
        except (KeyError, TypeError, AttributeError):
            return None

    def to_json(self) -> dict[str, t.Any]:
        """Return it as it is written."""
        failed = {host: vars(failure) for host, failure in sorted(self.failed.items())}
        told = {"begun": self.begun, "finished": self.finished, "failed": failed}
        return {**told, "hosts": list(self.hosts), "run": self.run}


@dataclass(frozen=True)
class Decision:
    """What becomes of a host: go, done (nothing is left to do) or stopped, and why."""

    state: str
    why: str


def begin(last: Ledger | None, now: str, hosts: t.Sequence[str] = (), run: str = "") -> Ledger:
    """Return the ledger for a run: that of an unfinished rollout goes on, and its failures get another chance."""
    if last is None or last.finished:
        return Ledger(now, hosts=tuple(hosts), run=run)
    return Ledger(last.begun, hosts=tuple(dict.fromkeys((*last.hosts, *hosts))), run=run)


def check_wishes(batches: t.Sequence[object], budget: int, canary: str, hosts: t.Collection[str]) -> None:
    """Refuse waves that mean nothing, before the first host is touched."""
    wrong = [str(size) for size in batches if not _WAVE.fullmatch(str(size))]
    if wrong or not batches:
        raise OperatorError(
            found=f"rollout_batches has {', '.join(wrong) or 'no wave'}.",
            expected="the sizes of the waves, each a number of hosts or a percentage: [1, '20%', '100%'].",
            action="correct rollout_batches.",
        )
    if budget < 0:
        raise OperatorError(
            found=f"rollout_failure_budget is {budget}.",
            expected="how many hosts may fail before no further wave is started: 0 or more.",
            action="correct rollout_failure_budget.",
        )
    if canary and canary not in hosts:
        raise OperatorError(
            found=f"rollout_canary names {canary}, which is not among the hosts of this run.",
            expected=f"one of {', '.join(sorted(hosts)[:8])}.",
            action="correct rollout_canary, or the limit (-l).",
        )


def decide(ledger: Ledger, budget: int, record: t.Mapping[str, t.Any], fingerprint: str) -> Decision:
    """Say whether a host whose wave has come is to be touched.

    The first wave is the canary: one failure there stops everything. Later waves may cost ``budget`` hosts in all.
    """
    stack = record.get("stack") or {}
    whole = record.get("origin") == "run" and str(record.get("time", "")) >= ledger.begun
    if whole and stack.get("fingerprint") == fingerprint:
        return Decision("done", f"it was completed with this stack at {record['time']}")
    canaries = sorted(host for host, failure in ledger.failed.items() if failure.wave == 1)
    if canaries:
        return Decision("stopped", f"the first wave failed: {', '.join(canaries)}")
    if len(ledger.failed) > budget:
        failed = ", ".join(sorted(ledger.failed))
        return Decision("stopped", f"{len(ledger.failed)} failed, the budget is {budget}: {failed}")
    return Decision("go", "its wave has come")


def account(hosts: t.Sequence[str], decisions: t.Mapping[str, Decision], ledger: Ledger) -> list[str]:
    """Say of every host what became of it; hosts without a decision were never reached."""
    done = [host for host in hosts if _state(decisions, host) == "go" and host not in ledger.failed]
    before = [host for host in hosts if _state(decisions, host) == "done"]
    left = [host for host in hosts if host not in (*done, *before, *ledger.failed)]
    counts = f"{len(done)} done, {len(before)} done before, {len(ledger.failed)} failed, {len(left)} not started"
    lines = [f"Rollout begun {ledger.begun}: {counts}."]
    lines += [f"  done:         {', '.join(done)}"] if done else []
    lines += [f"  done before:  {', '.join(before)} (not touched)"] if before else []
    lines += [f"  failed:       {host} at '{failure.task}': {failure.why}" for host, failure in ledger.failed.items()]
    reasons: dict[str, list[str]] = {}
    for host in left:
        reasons.setdefault(_why_left(decisions.get(host), ledger), []).append(host)
    lines += [f"  not started:  {', '.join(names)} ({why})" for why, names in reasons.items()]
    if ledger.failed or left:
        lines.append("To do: cure what failed and run the same command again; hosts that are done are not touched.")
    return lines


def is_finished(hosts: t.Sequence[str], decisions: t.Mapping[str, Decision], ledger: Ledger) -> bool:
    """Tell whether every host of the rollout is done."""
    return not ledger.failed and all(_state(decisions, host) in ("go", "done") for host in hosts)


def _state(decisions: t.Mapping[str, Decision], host: str) -> str:
    return decisions[host].state if host in decisions else ""


def _why_left(decision: Decision | None, ledger: Ledger) -> str:
    if decision:
        return decision.why
    first = sorted(host for host, failure in ledger.failed.items() if failure.wave == 1)
    if first:
        return f"the first wave failed: {', '.join(first)}"
    return "a whole wave failed" if ledger.failed else "the run ended before its wave"


def first_line(message: str) -> str:
    """Return what fits an account: the first line that says something, shortened."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return (lines[0] if lines else "no words")[:200]


__all__ = [
    "LEDGER",
    "LOCK",
    "RUN",
    "Decision",
    "Failure",
    "Ledger",
    "account",
    "begin",
    "check_wishes",
    "decide",
    "first_line",
    "is_finished",
]
