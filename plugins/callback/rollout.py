# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: rollout
type: aggregate
short_description: Keeps the ledger of a rollout and gives the account at its end
description:
  - Notes in C(rollout.json) of the records directory which hosts of a play with the role C(rollout) have failed, so
    that the role stops the waves that have not begun. A resumed rollout goes on with the same ledger. In check mode
    there is no ledger.
  - At the end it says of every host whether it is done, failed or was not started, and why. Other plays are left alone.
author: gpulab contributors
requirements:
  - enabled in ansible.cfg by O(ignore:callbacks_enabled)
"""

import fcntl
import json
import os
import time
import typing as t
import uuid
from pathlib import Path

from ansible import context
from ansible.plugins.callback import CallbackBase
from ansible.template import Templar

from ansible_collections.gpulab.workstation.plugins.plugin_utils import _records, _rollout
from ansible_collections.gpulab.workstation.plugins.plugin_utils._files import write_whole

if t.TYPE_CHECKING:
    from ansible.executor.stats import AggregateStats
    from ansible.executor.task_result import CallbackTaskResult
    from ansible.playbook.play import Play

_ROLE = "rollout"


class CallbackModule(CallbackBase):
    """The only writer of the ledger; the role's module on each host reads it."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "gpulab.workstation.rollout"

    def __init__(self, *args: t.Any, **kwargs: t.Any) -> None:
        super().__init__(*args, **kwargs)
        self._ledger: _rollout.Ledger | None = None
        self._path = Path()
        self._wave = 0
        self._hosts: list[str] = []
        self._known: set[str] = set()
        self._held: t.IO[str] | None = None
        self._decisions: dict[str, _rollout.Decision] = {}

    def v2_playbook_on_play_start(self, play: Play) -> None:
        """Begin or take up the ledger with the first wave, and count the waves: the play starts once for each."""
        gated = any(role.get_name().rpartition(".")[2] == _ROLE for role in play.roles)
        if not gated or context.CLIARGS.get("check"):
            return
        self._wave += 1
        if self._ledger:
            return
        manager = play.get_variable_manager()
        inventory = manager._inventory  # noqa: SLF001 - callbacks have no public way to it
        # The restriction is the wave; the limit of the command line still holds.
        self._hosts = [host.name for host in inventory.get_hosts(play.hosts, ignore_restrictions=True)]
        self._path = self._directory(manager, play) / _rollout.LEDGER
        self._known = {host.name for host in inventory.get_hosts(ignore_limits=True, ignore_restrictions=True)}
        os.environ[_rollout.RUN] = run = uuid.uuid4().hex
        if not self._lock():
            return  # the role refuses: the ledger is another run's
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        last = _rollout.Ledger.from_json(_records.load_json(self._path))
        self._ledger = _rollout.begin(last, now, self._hosts, run)
        self._write()

    def _lock(self) -> bool:
        """Hold the ledger for as long as this process lives, unless another one does."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._held = (self._path.parent / _rollout.LOCK).open("w", encoding="utf-8")
        try:
            fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    @staticmethod
    def _directory(manager: t.Any, play: Play) -> Path:
        """Return the records directory that the play's hosts use."""
        loader = manager._loader  # noqa: SLF001 - as above
        first = next(iter(manager._inventory.get_hosts(play.hosts)), None)  # noqa: SLF001 - as above
        variables = manager.get_vars(play=play, host=first)
        wanted = Templar(loader=loader, variables=variables).template(variables.get("gpulab_records_directory") or "")
        return _records.records_directory(str(wanted), loader.get_basedir())

    def _write(self) -> None:
        if self._ledger:
            text = json.dumps(self._ledger.to_json(), indent=2, sort_keys=True) + "\n"
            write_whole(self._path, text)

    def v2_runner_on_ok(self, result: CallbackTaskResult) -> None:
        """Remember what the role decided for a host."""
        decision = result.result.get("decision")
        if self._ledger and decision and str(result.task.action).rpartition(".")[2] == _ROLE:
            self._decisions[result.host.get_name()] = _rollout.Decision(decision, str(result.result.get("why", "")))

    def v2_runner_on_failed(self, result: CallbackTaskResult, ignore_errors: bool = False) -> None:  # noqa: FBT001, FBT002 - Ansible's signature
        """Note a failed host before any host of a later wave is looked at."""
        if not ignore_errors:
            self._failed(result)

    def v2_runner_on_unreachable(self, result: CallbackTaskResult) -> None:
        """Note a host that does not answer any more."""
        self._failed(result)

    def _failed(self, result: CallbackTaskResult) -> None:
        if self._ledger:
            why = _rollout.first_line(str(result.result.get("msg", "")))
            failure = _rollout.Failure(self._wave, result.task.get_name().strip(), why)
            self._ledger.failed.setdefault(result.host.get_name(), failure)
            self._write()

    def v2_playbook_on_stats(self, stats: AggregateStats) -> None:  # noqa: ARG002 - Ansible's signature
        """Give the account."""
        if self._ledger is None:
            return
        everybody = [host for host in self._ledger.hosts if host in self._known]
        self._ledger.finished = _rollout.is_finished(everybody, self._decisions, self._ledger)
        self._write()
        for line in _rollout.account(self._hosts, self._decisions, self._ledger):
            self._display.display(line)
