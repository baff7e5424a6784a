# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's half of gpu_driver: it waits for those who use the host, and shows progress while the job runs."""

from __future__ import annotations

import typing as t

from ansible_collections.gpulab.workstation.plugins.plugin_utils._polling import PollingAction
from ansible_collections.gpulab.workstation.plugins.plugin_utils._waiting import ask_until_free


class ActionModule(PollingAction):
    """Run gpu_driver as soon as nobody is in its way, until its job has ended."""

    module_name = "gpulab.workstation.gpu_driver"

    def _begin(
        self, wished: dict[str, t.Any], task_vars: dict[str, t.Any] | None
    ) -> tuple[dict[str, t.Any], dict[str, t.Any]]:
        """Give those in the way the minutes they were promised; allow_running only counts when these are over.

        A job is known again by what it was asked for, so the minutes are not among that.
        """
        minutes = int(wished.pop("wait_minutes", 0) or 0)
        asked = wished

        def ask(last: bool) -> dict[str, t.Any]:  # noqa: FBT001 - as ask_until_free calls it
            nonlocal asked
            asked = wished if last else {**wished, "allow_running": False}
            answer = super(ActionModule, self)._begin(asked, task_vars)[0]
            # An earlier run, whose controller has died, may have forced its job: it is asked for as it was started.
            otherwise = answer.get("asked_otherwise") or {}
            if set(otherwise) == {"allow_running"}:
                asked = {**asked, **otherwise}
            return answer

        answer = ask_until_free(
            ask,
            0 if self._task.check_mode else minutes,
            lambda words: self._say(words, task_vars or {}),
            force=bool(wished.get("allow_running")),
        )
        return answer, asked
