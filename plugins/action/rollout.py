# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide on the controller whether a host's turn in a rollout has come; the host is not connected to."""

from __future__ import annotations

import os
import typing as t

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.plugin_utils import _records, _rollout

display = Display()


class ActionModule(ActionBase):
    """Read the ledger and the host's record, and decide."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Return the decision."""
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        try:
            decision = self._decide(variables)
        except OperatorError as error:
            result.update(
                failed=True, msg=str(error), found=error.found, expected=error.expected, action=error.action
            )  # fmt: skip
            return result
        if decision.state != "go":
            display.display(f"{variables.get('inventory_hostname')} | rollout | {decision.state}: {decision.why}")
        result.update(decision=decision.state, why=decision.why, changed=False)
        return result

    def _decide(self, variables: t.Mapping[str, t.Any]) -> _rollout.Decision:
        args = self._task.args
        host = str(variables.get("inventory_hostname", "host"))
        hosts = [str(name) for name in variables.get("ansible_play_hosts_all", ())]
        budget = int(args.get("failure_budget") or 0)
        _rollout.check_wishes(args.get("batches") or [], budget, str(args.get("canary") or ""), hosts)
        if self._task.check_mode:
            return _rollout.Decision("go", "check mode rehearses every wave, whatever fails")
        directory = _records.records_directory(str(args.get("records_directory") or ""), self._loader.get_basedir())
        ledger = _rollout.Ledger.from_json(_records.load_json(directory / _rollout.LEDGER))
        if ledger is None or ledger.finished:
            raise OperatorError(
                found=f"no ledger of a rollout that is going on ({directory / _rollout.LEDGER}).",
                expected="the one that the callback gpulab.workstation.rollout begins with the play.",
                action="run from the repository, whose ansible.cfg enables it (callbacks_enabled).",
            )
        if ledger.run != os.environ.get(_rollout.RUN, ""):
            raise OperatorError(
                found=f"another run keeps the ledger of the rollout now ({directory / _rollout.LEDGER}).",
                expected="one rollout at a time.",
                action="wait until that one has ended, then run the same command again.",
            )
        record = _records.load_json(_records.record_path(directory, host))
        return _rollout.decide(ledger, budget, record, str(args["stack"]["fingerprint"]))


__all__ = ["ActionModule"]
