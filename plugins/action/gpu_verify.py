# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's half of gpu_verify: it sends the test programs, and keeps the document of each host, good or bad."""

from __future__ import annotations

import datetime as dt
import typing as t
from pathlib import Path

from ansible.utils.display import Display

from ansible_collections.gpulab.workstation.plugins.plugin_utils._polling import PollingAction
from ansible_collections.gpulab.workstation.plugins.plugin_utils._results_store import (
    keep_document,
    results_directory,
)

_QUICK_S = 90.0

display = Display()


class ActionModule(PollingAction):
    """Run gpu_verify until its job has ended, and keep its document on the controller."""

    module_name = "gpulab.workstation.gpu_verify"

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Return the module's result with the path of the document."""
        result = super().run(tmp, task_vars)
        name = self._host(task_vars or {})
        if not result.get("failed"):
            display.display(f"{name} | gpu_verify | {result.get('msg', '')}")
        result["results_path"] = None
        if "document" in result and not self._task.check_mode:
            wanted = str(self._task.args.get("results_directory") or "")
            directory = results_directory(wanted, self._loader.get_basedir())
            try:
                now = dt.datetime.now(dt.timezone.utc)
                path, aside = keep_document(directory, name, result["document"], now)
                result["results_path"] = str(path)
                if aside:
                    display.warning(aside)
            except OSError as error:
                result["failed"] = True
                result["msg"] = (
                    f"Found: {error}. Expected: a directory on the controller for results: {directory}."
                    f" To do: set gpu_verify_results_directory to one. The host said: {result.get('msg')}"
                )
        return result

    def _arguments(self, task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        arguments = {"host_name": self._host(task_vars), **super()._arguments(task_vars)}
        if arguments.get("programs_directory"):
            arguments["programs"] = read_programs(Path(arguments["programs_directory"]))
        return arguments

    def _first_answer_s(self) -> float:
        """Return how long the first call waits: a quick verification ends within it, so that it is the only one."""
        return _QUICK_S if is_quick(self._task.args) else super()._first_answer_s()


def is_quick(arguments: t.Mapping[str, t.Any]) -> bool:
    """Whether a verification takes no minutes."""
    return arguments.get("level") != "full" and not float(arguments.get("endurance_minutes") or 0)


def read_programs(directory: Path) -> dict[str, str]:
    """Return the sources of the tests by file name."""
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(directory.iterdir()) if path.is_file()}


__all__ = ["ActionModule", "is_quick", "read_programs"]
