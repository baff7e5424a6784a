# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's half of host_record: the record of each host is kept where a reinstalled host cannot lose it."""

from __future__ import annotations

import time
import typing as t

from ansible.plugins.action import ActionBase

from ansible_collections.gpulab.workstation.plugins.module_utils._record import losses, render
from ansible_collections.gpulab.workstation.plugins.plugin_utils._files import write_whole
from ansible_collections.gpulab.workstation.plugins.plugin_utils._records import (
    load_json,
    record_path,
    records_directory,
)


class ActionModule(ActionBase):
    """Run host_record once and keep its record on the controller."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Return the module's result with the path of the record."""
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        name = str(variables.get("inventory_hostname", "host"))
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        roles = map(str, variables.get("ansible_play_role_names") or ())
        origin = "run" if any(role.endswith("host_preflight") for role in roles) else "capture"
        arguments = {"host_name": name, "time": now, "origin": origin, **self._task.args}
        result.update(
            self._execute_module(
                module_name="gpulab.workstation.host_record", module_args=arguments, task_vars=variables
            )
        )
        result["record_path"] = None
        if result.get("failed") or self._task.check_mode:
            return result
        directory = records_directory(str(arguments.get("records_directory") or ""), self._loader.get_basedir())
        path = record_path(directory, name)
        lost = losses(load_json(path), result["record"])
        if lost:
            result.update(
                failed=True,
                msg=f"Found: {name} has lost what its record says: {'; '.join(lost)}. Expected: a host that still has"
                f" it; {path} was left as it is. To do: if the host was reinstalled, bring it back with"
                f" playbooks/rebuild.yml -l {name}; if it is meant to be so, remove {path} first.",
            )
            return result
        try:
            write_whole(path, render(result["record"]))
        except OSError as error:
            result.update(
                failed=True,
                msg=f"Found: {error}. Expected: a directory on the controller for records: {directory}."
                " To do: set host_record_directory to one.",
            )
            return result
        result["record_path"] = str(path)
        return result


__all__ = ["ActionModule"]
