# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's half of gpu_verify: it sends the test programs, and keeps the document of each host, good or bad."""

from __future__ import annotations

import json
import os
import re
import tempfile
import typing as t
from pathlib import Path

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

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
                result["results_path"] = str(keep_document(directory, name, result["document"]))
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


def results_directory(wanted: str, playbook_directory: str) -> Path:
    """Return the directory asked for, else results/ of the checkout this file is in, else beside the playbook."""
    if wanted:
        return Path(wanted).expanduser().absolute()
    checkout = Path(__file__).resolve().parents[2]
    return (checkout if (checkout / "site.yml").is_file() else Path(playbook_directory)) / "results"


def keep_document(directory: Path, name: str, document: dict[str, t.Any]) -> Path:
    """Write a host's document whole or not at all; the name of the host must not lead out of the directory."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{re.sub(r'[^A-Za-z0-9._-]', '_', name).lstrip('.')}.json"
    handle, temporary = tempfile.mkstemp(prefix=".result-", dir=directory)
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(json.dumps(document, indent=2, sort_keys=True) + "\n")
    Path(temporary).chmod(0o644)
    Path(temporary).replace(path)
    return path


__all__ = ["ActionModule", "keep_document", "read_programs", "results_directory"]
