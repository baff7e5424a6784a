# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: verify_report
type: aggregate
short_description: Makes the page and the JUnit file of the results at the end of a run
description:
  - After a run that was to verify hosts, writes C(index.html) and C(junit.xml) beside the documents that
    M(gpulab.workstation.gpu_verify) left on the controller, also when hosts failed or were not reached.
  - Names every file among the results that cannot be read, and says in the last line where the page is.
  - M(gpulab.workstation.verify_report) makes them again at any time.
author: gpulab contributors (@gpulab)
requirements:
  - enabled in ansible.cfg by O(ignore:callbacks_enabled)
"""

import datetime as dt
import typing as t
from pathlib import Path

from ansible import context
from ansible.plugins.callback import CallbackBase

from ansible_collections.gpulab.workstation.plugins.plugin_utils._results_report import Run, make_report
from ansible_collections.gpulab.workstation.plugins.plugin_utils._results_store import NoResult, results_directory

if t.TYPE_CHECKING:
    from ansible.executor.stats import AggregateStats
    from ansible.executor.task_result import CallbackTaskResult
    from ansible.playbook import Playbook
    from ansible.playbook.play import Play

_ROLE = "gpu_verify"
_ACTION = f"gpulab.workstation.{_ROLE}"
_LONGEST = 600


class CallbackModule(CallbackBase):
    """Remember which hosts brought a document and what kept the others from it; make the report at the end."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "gpulab.workstation.verify_report"

    def __init__(self) -> None:
        super().__init__()
        self._play: Play | None = None
        self._playbook_directory = "."
        self._kept: dict[str, Path] = {}
        self._broken: dict[str, NoResult] = {}

    def v2_playbook_on_start(self, playbook: Playbook) -> None:
        """Remember where the playbook is."""
        self._playbook_directory = str(playbook._basedir)  # noqa: SLF001 - there is no public way to it

    def v2_playbook_on_play_start(self, play: Play) -> None:
        """Remember whether this play verifies hosts."""
        verifies = any(role.get_name(include_role_fqcn=False).rpartition(".")[2] == _ROLE for role in play.roles)
        self._play = play if verifies and _asked_for() else None

    def v2_runner_on_ok(self, result: CallbackTaskResult) -> None:
        """Remember the document of a host."""
        self._keep(result)

    def v2_runner_on_failed(self, result: CallbackTaskResult, ignore_errors: bool = False) -> None:  # noqa: FBT001, FBT002 - Ansible's interface
        """Remember the document of a host that was found bad, or why it has none."""
        if not self._keep(result) and not ignore_errors:
            self._note(result, "failed")

    def v2_runner_on_unreachable(self, result: CallbackTaskResult) -> None:
        """Remember a host that could not be reached."""
        self._note(result, "unreachable")

    def _keep(self, result: CallbackTaskResult) -> bool:
        path = result.result.get("results_path") if result.task.action == _ACTION else None
        if path:
            self._kept[result.host.get_name()] = Path(path)
        return bool(path)

    def _note(self, result: CallbackTaskResult, ending: str) -> None:
        if self._play is None:
            return
        name = result.host.get_name()
        why = f"{result.task.get_name().strip()}: {result.result.get('msg') or 'no words'}"
        time = dt.datetime.now(dt.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        self._broken[name] = NoResult(name, time, ending, why[:_LONGEST])

    def v2_playbook_on_stats(self, stats: AggregateStats) -> None:  # noqa: ARG002 - Ansible's interface
        """Make the report of each directory that this run brought something for."""
        if context.CLIARGS.get("check"):
            return
        runs: dict[Path, tuple[set[str], list[NoResult]]] = {}
        for name, path in self._kept.items():
            runs.setdefault(path.parent, (set(), []))[0].add(name)
        for name, row in self._broken.items():
            if name not in self._kept:
                runs.setdefault(self._directory_of(name), (set(), []))[1].append(row)
        for directory, (verified, missing) in runs.items():
            self._make(directory, Run(frozenset(verified), tuple(missing)))

    def _directory_of(self, host: str) -> Path:
        wanted = ""
        if self._play is not None:
            manager = self._play.get_variable_manager()
            found = manager.get_vars(play=self._play, host=manager._inventory.get_host(host))  # noqa: SLF001 - as above
            wanted = str(found.get("gpu_verify_results_directory") or "")
        return results_directory("" if "{{" in wanted else wanted, self._playbook_directory)

    def _make(self, directory: Path, run: Run) -> None:
        try:
            made = make_report(directory, dt.datetime.now(dt.timezone.utc), run)
        except OSError as error:
            self._display.error(
                f"Found: {error}. Expected: a directory on the controller for results: {directory}. To do: set"
                " gpu_verify_results_directory to one."
            )
            return
        for warning in made.warnings:
            self._display.warning(warning)
        self._display.display(made.sentence)


def _asked_for() -> bool:
    """Tell whether the run's tags let gpu_verify run."""
    tags, skipped = context.CLIARGS.get("tags") or ("all",), context.CLIARGS.get("skip_tags") or ()
    return bool({"all", _ROLE} & set(tags)) and _ROLE not in skipped
