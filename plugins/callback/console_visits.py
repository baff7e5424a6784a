# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: console_visits
type: aggregate
short_description: Lists the machines whose console has to be visited to enrol the lab's key
description:
  - Each of them says so in its own failure; among many hosts the list is what somebody walks with.
author: gpulab contributors (@gpulab)
requirements:
  - enabled in ansible.cfg by O(ignore:callbacks_enabled)
"""

import typing as t

from ansible.plugins.callback import CallbackBase

from ansible_collections.gpulab.workstation.plugins.action.module_signing import CONSOLE_VISIT

if t.TYPE_CHECKING:
    from ansible.executor.stats import AggregateStats
    from ansible.executor.task_result import CallbackTaskResult


class CallbackModule(CallbackBase):
    """Collect the hosts that module_signing left waiting for a visit, and list them at the end."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "gpulab.workstation.console_visits"

    def __init__(self) -> None:
        super().__init__()
        self._hosts: set[str] = set()

    def v2_runner_on_ok(self, result: CallbackTaskResult) -> None:
        """Look at a task that ended well (check mode)."""
        self._note(result)

    def v2_runner_on_failed(self, result: CallbackTaskResult, ignore_errors: bool = False) -> None:  # noqa: FBT001, FBT002 - Ansible's signature
        """Look at a task that failed."""
        del ignore_errors
        self._note(result)

    def _note(self, result: CallbackTaskResult) -> None:
        if result.result.get("outcome") == CONSOLE_VISIT:
            self._hosts.add(str(result.host))

    def v2_playbook_on_stats(self, stats: AggregateStats) -> None:
        """Tell the list."""
        del stats
        if self._hosts:
            names = ", ".join(sorted(self._hosts))
            self._display.display(f"Machines to walk to, once, to enrol the lab's key at their console: {names}")
