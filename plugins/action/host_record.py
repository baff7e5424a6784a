# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's half of host_record: the record of each host is kept where a reinstalled host cannot lose it."""

from __future__ import annotations

import time
import typing as t
from pathlib import Path

from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase

from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._record import losses, render
from ansible_collections.gpulab.workstation.plugins.plugin_utils import _kept_keys
from ansible_collections.gpulab.workstation.plugins.plugin_utils._files import write_whole
from ansible_collections.gpulab.workstation.plugins.plugin_utils._records import (
    keys_path,
    load_json,
    record_path,
    records_directory,
)
from ansible_collections.gpulab.workstation.plugins.plugin_utils._vault import vault_of_run


class ActionModule(ActionBase):
    """Run host_record once and keep its record on the controller, with the host's private keys if that is wanted."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Return the module's result with the path of the record."""
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        try:
            self._record(result, task_vars or {})
        except OperatorError as error:
            result.update(
                failed=True, msg=str(error), found=error.found, expected=error.expected, action=error.action
            )  # fmt: skip
        return result

    def _record(self, result: dict[str, t.Any], variables: dict[str, t.Any]) -> None:
        """Let the module look and keep what it says; without a vault password no private key is even looked at."""
        name = str(variables.get("inventory_hostname", "host"))
        private_keys = boolean(self._task.args.get("private_keys") or False)
        vault = vault_of_run(f"the private ssh host keys of {name} are to be kept") if private_keys else None
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        roles = map(str, variables.get("ansible_play_role_names") or ())
        origin = "run" if any(role.endswith("host_preflight") for role in roles) else "capture"
        arguments = {"host_name": name, "time": now, "origin": origin, **self._task.args}
        result.update(
            self._execute_module(
                module_name="gpulab.workstation.host_record", module_args=arguments, task_vars=variables
            )
        )
        result["record_path"] = result["host_keys_path"] = None
        if result.get("failed"):
            return
        directory = records_directory(str(arguments.get("records_directory") or ""), self._loader.get_basedir())
        try:
            if not self._task.check_mode:
                result["record_path"] = str(_keep_record(record_path(directory, name), name, result["record"]))
            if vault:
                keys = _kept_keys.matching(self._read_keys(), result["record"]["ssh_host_keys"], name)
                path, text = keys_path(directory, name), _kept_keys.render(name, keys)
                changed = not vault.has(path, text) if self._task.check_mode else vault.write(path, text)
                result.update(changed=result["changed"] or changed, host_keys=list(keys))
                result["host_keys_path"] = None if self._task.check_mode else str(path)
        except OSError as error:
            raise OperatorError(
                found=f"{error}.",
                expected=f"a directory on the controller for records: {directory}.",
                action="set host_record_directory to one.",
            ) from error

    def _read_keys(self) -> dict[str, str]:
        """Return the host's private keys by kind; what comes back can be read by nobody else."""
        password = _kept_keys.new_password()
        done = self._low_level_execute_command(_kept_keys.READ, in_data=f"{password}\n".encode())
        return _kept_keys.parse_read(str(done.get("stdout") or ""), password)


def _keep_record(path: Path, name: str, record: dict[str, t.Any]) -> Path:
    """Write a host's record, unless it would overwrite that of a whole host with less."""
    lost = losses(load_json(path), record)
    if lost:
        raise OperatorError(
            found=f"{name} has lost what its record says: {'; '.join(lost)}.",
            expected=f"a host that still has it; {path} was left as it is.",
            action=f"if the host was reinstalled, bring it back with playbooks/rebuild.yml -l {name}; if it is meant to"
            f" be so, remove {path} first.",
        )
    write_whole(path, render(record))
    return path


__all__ = ["ActionModule"]
