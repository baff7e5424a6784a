# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one place that knows ansible-runner: runs a playbook and turns its events into typed ones.

Nothing else in this package sees runner's dictionaries. Settings that runner would change behind ansible.cfg's back (it
turns host key checking off) are put back here.
"""

from __future__ import annotations

import enum
import os
import re
import shlex
import sys
import tempfile
import typing as t
from dataclasses import dataclass, field
from pathlib import Path

import ansible_runner

if t.TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_COUNTS = {"ok": "ok", "changed": "changed", "failures": "failed", "dark": "unreachable", "skipped": "skipped"}


class Ending(enum.StrEnum):
    """How a task ended on a host."""

    OK = "ok"
    CHANGED = "changed"
    SKIPPED = "skipped"
    FAILED = "failed"
    IGNORED = "failed, ignored"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class TaskEnded:
    """A task's end on one host; `role` is without its collection, empty outside roles."""

    host: str
    role: str
    task: str
    action: str
    ending: Ending
    seconds: float
    message: str


@dataclass(frozen=True, slots=True)
class Difference:
    """What a task changes or would change, as --diff shows it."""

    host: str
    role: str
    text: str


@dataclass(frozen=True, slots=True)
class Said:
    """Words that belong to no task's end: progress of a long task, a warning, an error before the first task."""

    text: str


@dataclass(frozen=True, slots=True)
class Verbatim:
    """A line of Ansible's own output."""

    text: str


@dataclass(frozen=True, slots=True)
class Recap:
    """The counts of every host at the end of the play."""

    hosts: Mapping[str, HostRecap]


@dataclass(frozen=True, slots=True)
class HostRecap:
    """The counts of one host."""

    ok: int = 0
    changed: int = 0
    failed: int = 0
    unreachable: int = 0
    skipped: int = 0

    @property
    def good(self) -> bool:
        """Tell whether the host came to the end."""
        return not self.failed and not self.unreachable


Event = TaskEnded | Difference | Said | Verbatim | Recap


@dataclass(slots=True)
class Outcome:
    """How a run ended: ansible-playbook's exit code, whether it was interrupted, the hosts and what failed on them."""

    code: int = 0
    interrupted: bool = False
    hosts: Mapping[str, HostRecap] = field(default_factory=dict)
    failures: dict[str, TaskEnded] = field(default_factory=dict)


def parse_event(raw: Mapping[str, t.Any]) -> list[Event]:
    """Turn one event of runner into ours; most are of no interest."""
    kind, data, text = raw.get("event", ""), raw.get("event_data") or {}, _plain(raw.get("stdout") or "")
    if kind in _ENDINGS:
        return [_task_ended(kind, data)]
    if kind == "runner_on_file_diff":
        lines = [line for line in text.splitlines() if line.strip() and not line.startswith("TASK [")]
        return [Difference(str(data.get("host", "")), _role(data), "\n".join(lines))] if lines else []
    if kind == "playbook_on_stats":
        return [Recap(_recap(data))]
    if kind in ("verbose", "debug", "deprecated", "warning", "system_warning", "error"):
        return [Said(line) for line in text.splitlines() if line.strip()]
    return []


_ENDINGS = {
    "runner_on_ok": Ending.OK,
    "runner_on_skipped": Ending.SKIPPED,
    "runner_on_failed": Ending.FAILED,
    "runner_on_unreachable": Ending.UNREACHABLE,
}


def _task_ended(kind: str, data: Mapping[str, t.Any]) -> TaskEnded:
    result = data.get("res") or {}
    ending = _ENDINGS[kind]
    if ending is Ending.OK and result.get("changed"):
        ending = Ending.CHANGED
    if ending is Ending.FAILED and data.get("ignore_errors"):
        ending = Ending.IGNORED
    return TaskEnded(
        host=str(data.get("host", "")),
        role=_role(data),
        task=str(data.get("task", "")),
        action=str(data.get("task_action", "")),
        ending=ending,
        seconds=float(data.get("duration") or 0.0),
        message=str(result.get("msg", "")) if isinstance(result, dict) else str(result),
    )


def _role(data: Mapping[str, t.Any]) -> str:
    return str(data.get("role") or "").rpartition(".")[2]


def _recap(data: Mapping[str, t.Any]) -> dict[str, HostRecap]:
    names = {name for counted in _COUNTS for name in data.get(counted, {})}
    return {
        name: HostRecap(**{ours: int(data.get(theirs, {}).get(name, 0)) for theirs, ours in _COUNTS.items()})
        for name in sorted(names)
    }


def _plain(text: str) -> str:
    return _COLOUR.sub("", text).replace("\r", "")


def run_playbook(
    project: Path,
    playbook: str,
    arguments: Sequence[str],
    passwords: Mapping[str, str],
    on_event: Callable[[Event], None],
    *,
    verbatim: bool = False,
) -> Outcome:
    """Run a playbook of the checkout with ansible-playbook's own arguments and hand every event to `on_event`.

    `verbatim` hands over Ansible's own output line by line instead, for those who asked it to be verbose.
    """
    outcome = Outcome()

    def handle(raw: Mapping[str, t.Any]) -> bool:
        for event in parse_event(raw):
            if isinstance(event, Recap):
                outcome.hosts = event.hosts
            elif isinstance(event, TaskEnded) and event.ending in (Ending.FAILED, Ending.UNREACHABLE):
                outcome.failures[event.host] = event
            if not verbatim:
                on_event(event)
        if verbatim:
            for line in _plain(raw.get("stdout") or "").splitlines():
                on_event(Verbatim(line))
        return False

    with tempfile.TemporaryDirectory(prefix="gpulab-run-") as private:
        finished = ansible_runner.run(
            private_data_dir=private,
            project_dir=str(project),
            playbook=playbook,
            cmdline=shlex.join(arguments),
            passwords=dict(passwords),
            envvars=environment(project, os.environ),
            event_handler=handle,
            suppress_env_files=True,
            quiet=True,
        )
    outcome.code, outcome.interrupted = int(finished.rc or 0), finished.status == "canceled"
    return outcome


def environment(project: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Return what runner must not decide: this checkout's ansible.cfg, its programs, and strict host keys."""
    return {
        "ANSIBLE_CONFIG": str(project / "ansible.cfg"),
        "ANSIBLE_HOST_KEY_CHECKING": "True",
        "ANSIBLE_NOCOLOR": "1",
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), environ.get("PATH", os.defpath)]),
    }


__all__ = [
    "Difference",
    "Ending",
    "Event",
    "HostRecap",
    "Outcome",
    "Recap",
    "Said",
    "TaskEnded",
    "Verbatim",
    "environment",
    "parse_event",
    "run_playbook",
]
