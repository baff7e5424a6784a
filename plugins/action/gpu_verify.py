# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's half of gpu_verify: it sends the test programs, and keeps the document of each host, good or bad."""

from __future__ import annotations

import datetime as dt
import typing as t
from pathlib import Path

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.gpulab.workstation.plugins.plugin_utils._results_store import (
    keep_document,
    results_directory,
)

display = Display()


class ActionModule(ActionBase):
    """Run gpu_verify and keep its document on the controller."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Return the module's result with the path of the document."""
        result = super().run(tmp, task_vars)
        variables = task_vars or {}
        name = str(variables.get("inventory_hostname", "host"))
        arguments = {"host_name": name, **self._task.args}
        if arguments.get("programs_directory"):
            arguments["programs"] = read_programs(Path(arguments["programs_directory"]))
        result.update(
            self._execute_module(
                module_name="gpulab.workstation.gpu_verify", module_args=arguments, task_vars=variables
            )
        )
        if not result.get("failed"):
            display.display(f"{name} | gpu_verify | {result.get('msg', '')}")
        result["results_path"] = None
        if "document" in result and not self._task.check_mode:
            directory = results_directory(str(arguments.get("results_directory") or ""), self._loader.get_basedir())
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


def read_programs(directory: Path) -> dict[str, str]:
    """Return the sources of the tests by file name."""
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(directory.iterdir()) if path.is_file()}


__all__ = ["ActionModule", "read_programs"]
