# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run playbooks against lab hosts and look at what every task returned."""

from __future__ import annotations

import json
import os
import subprocess
import time
import typing as t
from dataclasses import dataclass, field
from pathlib import Path

from gpulab.lab import Lab

CALLBACKS = (
    "gpulab.workstation.console_visits",
    "gpulab.workstation.no_hosts",
    "gpulab.workstation.rollout",
    "record",
)
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class PlayResult:
    """How a run of ansible-playbook ended; ``tasks`` are its results in the order in which they came in."""

    rc: int
    stdout: str
    seconds: float
    tasks: list[dict[str, t.Any]] = field(repr=False)

    @property
    def changed(self) -> int:
        """Number of tasks that report a change."""
        return sum(1 for task in self.tasks if task["status"] == "ok" and task["result"].get("changed"))

    @property
    def failed(self) -> int:
        """Number of failed tasks."""
        return sum(1 for task in self.tasks if task["status"] == "failed")

    @property
    def unreachable(self) -> int:
        """Number of hosts that were given up."""
        return sum(1 for task in self.tasks if task["status"] == "unreachable")

    @property
    def message(self) -> str:
        """The message of the first failure."""
        for task in self.tasks:
            if task["status"] in ("failed", "unreachable"):
                return str(task["result"].get("msg", ""))
        return ""

    def of(self, host: str) -> list[dict[str, t.Any]]:
        """Return the results of one host."""
        return [task for task in self.tasks if task["host"] == host]


class Playbook:
    """A run of ansible-playbook that can be watched, killed or waited for."""

    def __init__(self, arguments: list[str], record: Path, env: dict[str, str] | None = None) -> None:
        record.unlink(missing_ok=True)
        self.record, self.started = record, time.monotonic()
        full = {
            **os.environ,
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_CALLBACK_PLUGINS": str(ROOT / "tests/support/callback_plugins"),
            "ANSIBLE_CALLBACKS_ENABLED": ",".join(CALLBACKS),
            "ANSIBLE_NOCOLOR": "1",
            "GPULAB_TEST_RECORD": str(record),
            **(env or {}),
        }
        self.process = subprocess.Popen(
            [str(ROOT / ".venv/bin/ansible-playbook"), *arguments],
            cwd=ROOT, env=full, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def wait(self, limit_s: float = 900) -> PlayResult:
        """Wait for the end."""
        stdout, _ = self.process.communicate(timeout=limit_s)
        seconds = time.monotonic() - self.started
        lines = self.record.read_text(encoding="utf-8").splitlines() if self.record.exists() else []
        return PlayResult(self.process.returncode, stdout, seconds, [json.loads(line) for line in lines])


class LabHost:
    """One container host."""

    def __init__(self, lab: Lab, name: str, directory: Path) -> None:
        self.lab, self.name, self.directory = lab, name, directory

    def sh(self, command: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a bash line as root in the container, not over ssh."""
        done = self.lab.exec(self.name, command)
        if check and done.returncode:
            raise AssertionError(f"{command!r} on {self.name} ended with {done.returncode}: {done.stdout}{done.stderr}")
        return done

    def put(self, source: Path, target: str) -> None:
        """Copy a file into the container."""
        self.lab.put(self.name, source, target)

    def start(self, role: str, *, check: bool = False, **variables: t.Any) -> Playbook:
        """Start a play of one role and return at once."""
        return self._start(role, {"roles": [{"role": f"gpulab.workstation.{role}"}]}, check=check, **variables)

    def _start(self, role: str, content: dict[str, t.Any], *, check: bool, **variables: t.Any) -> Playbook:
        play = {"name": role, "hosts": self.name, "gather_facts": False, "become": True, **content}
        book = self.directory / f"{role}.yml"
        book.write_text(json.dumps([play]), encoding="utf-8")
        arguments = ["-i", str(self.lab.inventory), "-e", json.dumps(variables), str(book), "--diff"]
        return Playbook([*arguments, *(["--check"] if check else [])], self.directory / "record.jsonl")

    def apply(self, role: str, *, check: bool = False, **variables: t.Any) -> PlayResult:
        """Run a play of one role over ssh."""
        return self.start(role, check=check, **variables).wait()

    def apply_tasks(self, role: str, entry: str, **variables: t.Any) -> PlayResult:
        """Run one of a role's other entry points over ssh."""
        task = {"ansible.builtin.include_role": {"name": f"gpulab.workstation.{role}", "tasks_from": entry}}
        return self._start(role, {"tasks": [task]}, check=False, **variables).wait()


__all__ = ["ROOT", "LabHost", "PlayResult", "Playbook"]
