# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's half of module_signing: a host that waits for a visit to its console is not done."""

from __future__ import annotations

import typing as t

from ansible.plugins.action import ActionBase

CONSOLE_VISIT = "console_visit"


class ActionModule(ActionBase):
    """Run module_signing, and fail as long as somebody has to confirm the key at the console."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Return the module's result; a visit that is due fails the task, in check mode it warns."""
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        result.update(
            self._execute_module(
                module_name="gpulab.workstation.module_signing", module_args=self._task.args, task_vars=task_vars
            )
        )
        if result.get("failed") or result.get("outcome") != CONSOLE_VISIT:
            return result
        name = str((task_vars or {}).get("inventory_hostname", "this host"))
        words = visit(name, asked=not self._task.check_mode)
        if self._task.check_mode:
            result.setdefault("warnings", []).append(words)
        else:
            result.update(failed=True, msg=words)
        return result


def visit(name: str, *, asked: bool) -> str:
    """Say what somebody has to do at the console, once for this machine; ``asked`` in check mode is False."""
    request = "the request is on its list" if asked else "a run without --check puts the request on its list"
    return (
        f"Found: Secure Boot is on and the firmware of {name} does not trust the lab's key yet; {request}."
        " Expected: one visit to the console, ever: the key lies in the firmware and outlives a reinstallation."
        " To do: restart the machine, at its blue screen 'Perform MOK management' (10 seconds for the first key) choose"
        " Enroll MOK, Continue, Yes, type module_signing_password, reboot; then run again. The driver has not been"
        " touched."
    )


__all__ = ["CONSOLE_VISIT", "ActionModule", "visit"]
