# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's half of host_restart: wait until the host has really restarted, and know when to stop waiting."""

from __future__ import annotations

import time
import typing as t

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.plugin_utils import _restart
from ansible_collections.gpulab.workstation.plugins.plugin_utils._waiting import ask_until_free

_MODULE = "gpulab.workstation.host_restart"
_FIRST_LOOK_S = 4.0
_PAUSE_S = 2.0

display = Display()


class ActionModule(ActionBase):
    """Call the module; if it has started a restart, look for another boot identity until the time is over."""

    TRANSFERS_FILES = False
    _requires_connection = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Return the module's account, and of a restart how it ended."""
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        local = self._connection.transport == "local"
        started = time.monotonic()
        name = str((task_vars or {}).get("inventory_hostname", "host"))
        answer = self._ask_until_free({**self._task.args, "local_connection": local}, task_vars, name)
        result.update(answer)
        if not result.pop("restarting", False):
            return result
        before = str(answer["boot_identity"])
        limit_s = float(self._task.args.get("timeout_seconds") or 900)
        try:
            self._wait(before, limit_s, name)
            self._confirm(result, task_vars)
        except OperatorError as error:
            result.update(
                failed=True, msg=str(error), found=error.found, expected=error.expected, action=error.action
            )  # fmt: skip
            return result
        result.update(restarted=True, elapsed_seconds=round(time.monotonic() - started, 1))
        return result

    def _ask_until_free(
        self, arguments: dict[str, t.Any], task_vars: dict[str, t.Any] | None, name: str
    ) -> dict[str, t.Any]:
        """Give those who use the host the minutes they were promised; force only counts when these are over."""
        patient = {**arguments, "force": False}
        minutes = 0 if self._task.check_mode else int(arguments.get("wait_minutes") or 0)
        return ask_until_free(
            lambda last: self._ask(arguments if last else patient, task_vars),
            minutes,
            lambda words: display.display(f"{name} | host_restart | {words}"),
            force=bool(arguments.get("force")),
        )

    def _ask(self, arguments: dict[str, t.Any], task_vars: dict[str, t.Any] | None) -> dict[str, t.Any]:
        answer: dict[str, t.Any] = self._execute_module(
            module_name=_MODULE, module_args=arguments, task_vars=task_vars
        )  # fmt: skip
        return answer

    def _wait(self, before: str, limit_s: float, name: str) -> None:
        deadline = time.monotonic() + limit_s
        time.sleep(_FIRST_LOOK_S)
        shown, sight = "", None
        while time.monotonic() < deadline:
            sight = self._look()
            if _restart.verdict(before, sight) == "back":
                return
            words = _restart.describe(before, sight)
            if words != shown:
                display.display(f"{name} | host_restart | {words}")
                shown = words
            time.sleep(_PAUSE_S)
        raise _restart.never_back(before, sight, limit_s)

    def _look(self) -> _restart.Sight:
        """Try once over a connection of its own; a shared one may belong to the boot that has ended."""
        try:
            self._connection.reset()
            answer = self._low_level_execute_command(_restart.PROBE)
        except AnsibleConnectionFailure as error:
            return _restart.Sight(failure=str(error))
        return _restart.parse_probe(str(answer.get("stdout", "")))

    def _confirm(self, result: dict[str, t.Any], task_vars: dict[str, t.Any] | None) -> None:
        after = self._ask({"enabled": False}, task_vars)
        if after.get("failed") or after.get("required"):
            rest = "; ".join(map(str, after.get("reasons", []))) or str(after.get("msg", "no answer"))
            raise OperatorError(
                found=f"the host has restarted, and it still asks for a restart or does not say: {rest}.",
                expected="an empty /run/gpulab/restart-required.d after the restart.",
                action="look whether /run of this host is a file system in memory ('findmnt /run'), then run again.",
            )
        result.update(required=False, boot_identity=after["boot_identity"])
