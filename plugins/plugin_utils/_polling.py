# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's half of a job: call the module until its job has ended, and tell what is going on meanwhile."""

from __future__ import annotations

import time
import typing as t

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

_RECONNECT_S = 8.0
_ASKED_S, _ASKED_AT_MOST_S = 10.0, 180.0  # how long a call waits for the end of a job before it tells how far it is
_PATIENCE = 20  # a call waits so many times what it costs by itself: its start takes a slow host seconds of computing
_FIRST_ANSWER_S = 1.0  # a job is known by its name soon after its start, so that a connection may be lost from then on

display = Display()


def _patience(cost_s: float) -> float:
    """Return how long to wait in the next call, after one that took so much longer than it was asked to wait."""
    return min(max(_ASKED_S, _PATIENCE * cost_s), _ASKED_AT_MOST_S)


class PollingAction(ActionBase):
    """Run the module of the same name; while it reports a running job, show its progress and ask again.

    One lost connection is forgiven: the job goes on without it. A second one in a row ends the task as
    unreachable, and the next run finds the job again.
    """

    TRANSFERS_FILES = False
    module_name: t.ClassVar[str]

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Return the module's last result, without the fields that only serve the polling."""
        result = super().run(tmp, task_vars)
        answer, wished = self._begin(self._arguments(task_vars or {}), task_vars)
        shown, patience = "", _ASKED_S
        while answer.get("job_running"):
            shown = self._show(answer.get("progress") or {}, shown, task_vars or {})
            asked = {"wait_seconds": patience, **wished, "job": answer["job"]}
            begun = time.monotonic()
            answer = self._ask(asked, task_vars)
            patience = _patience(time.monotonic() - begun - float(asked["wait_seconds"]))
        result.update(answer)
        for field in ("job_running", "job", "asked_otherwise"):
            result.pop(field, None)
        return result

    def _arguments(self, task_vars: dict[str, t.Any]) -> dict[str, t.Any]:  # noqa: ARG002
        """Return what the module is given."""
        return dict(self._task.args)

    def _begin(
        self, wished: dict[str, t.Any], task_vars: dict[str, t.Any] | None
    ) -> tuple[dict[str, t.Any], dict[str, t.Any]]:
        """Call the module for the first time; return its answer and what it is asked for from then on."""
        return self._ask({"wait_seconds": self._first_answer_s(), **wished}, task_vars), wished

    def _first_answer_s(self) -> float:
        """Return how long the first call waits: a job is known by its name once it has answered."""
        return _FIRST_ANSWER_S

    def _ask(self, arguments: dict[str, t.Any], task_vars: dict[str, t.Any] | None) -> dict[str, t.Any]:
        try:
            return self._call(arguments, task_vars)
        except AnsibleConnectionFailure:
            if "job" not in arguments:
                raise
            display.display(f"{self._host(task_vars or {})} | lost the connection, asking once more")
            self._connection.reset()
            time.sleep(_RECONNECT_S)
            return self._call(arguments, task_vars)

    def _call(self, arguments: dict[str, t.Any], task_vars: dict[str, t.Any] | None) -> dict[str, t.Any]:
        answer: dict[str, t.Any] = self._execute_module(
            module_name=self.module_name, module_args=arguments, task_vars=task_vars
        )
        return answer

    def _show(self, progress: dict[str, t.Any], shown: str, task_vars: dict[str, t.Any]) -> str:
        if not progress:
            return shown
        text = f"{progress['step']}/{progress['steps']} {progress['title']}"
        if progress.get("detail"):
            text += f": {progress['detail']}"
        if text != shown:
            self._say(text, task_vars)
        return text

    def _say(self, text: str, task_vars: dict[str, t.Any]) -> None:
        display.display(f"{self._host(task_vars)} | {self.module_name.rsplit('.', 1)[-1]} | {text}")

    @staticmethod
    def _host(task_vars: dict[str, t.Any]) -> str:
        return str(task_vars.get("inventory_hostname", "host"))


__all__ = ["PollingAction"]
