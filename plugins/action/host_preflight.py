# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's half of host_preflight: variables that mean nothing, and hosts that cannot run a module."""

from __future__ import annotations

import dataclasses
import typing as t
from pathlib import Path

from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase

from ansible_collections.gpulab.workstation.plugins.module_utils._catalogue_reader import read_catalogue
from ansible_collections.gpulab.workstation.plugins.module_utils._refusal import Refusal, render
from ansible_collections.gpulab.workstation.plugins.module_utils._rules import check
from ansible_collections.gpulab.workstation.plugins.module_utils._stack import Stack, resolve
from ansible_collections.gpulab.workstation.plugins.module_utils._stack_facts import read_facts
from ansible_collections.gpulab.workstation.plugins.plugin_utils._interpreter import recognise
from ansible_collections.gpulab.workstation.plugins.plugin_utils._stack_on_host import (
    as_refusal,
    stack_facts,
    standins,
    without_standins,
)
from ansible_collections.gpulab.workstation.plugins.plugin_utils._variables import complaints, vocabulary

_ROOT = Path(__file__).resolve().parents[2]


class ActionModule(ActionBase):
    """Run the module once and join its refusals with those that only the controller can see."""

    TRANSFERS_FILES = False
    _requires_connection = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Return the module's facts, or every reason against this host at once."""
        variables = task_vars or {}
        name = str(variables.get("inventory_hostname", "This host"))
        result: dict[str, t.Any] = super().run(tmp, variables)
        arguments = dict(self._task.args)
        stack = self._stack(arguments.pop("stack", None))
        if stack:
            arguments["space"] = without_standins(arguments.get("space") or [], standins(stack))
        refusals = complaints(variables, vocabulary(_ROOT), self._templar.template)
        answer: dict[str, t.Any] = self._execute_module(module_args=arguments, task_vars=variables)
        if "refusals" in answer:
            refusals += [Refusal(**item) for item in answer["refusals"]]
            refusals += self._of_stack(stack, arguments, answer)
        elif answer.get("failed"):
            reason = recognise(answer, self._interpreter(variables), name, self._os_release)
            refusals += [reason] if reason else []
        if not refusals:
            result.update(answer)
            return result
        result.update(
            failed=True,
            changed=False,
            msg=render(refusals, name),
            refusals=[dataclasses.asdict(refusal) for refusal in refusals],
            warnings=answer.get("warnings", []),
            unreadable=answer.get("unreadable", []),
        )
        return result

    @staticmethod
    def _stack(described: t.Mapping[str, t.Any] | None) -> Stack | None:
        """Build the stack that the lookup has described, which has refused one that cannot be built."""
        if not described:
            return None
        return resolve(read_catalogue(described["catalogue"]), described["name"], described["overrides"])

    @staticmethod
    def _of_stack(
        stack: Stack | None, arguments: t.Mapping[str, t.Any], answer: t.Mapping[str, t.Any]
    ) -> list[Refusal]:
        if stack is None:
            return []
        expect_gpu = boolean(arguments.get("expect_gpu", True))
        facts, wrong = read_facts(stack_facts(answer["host"], answer["gpu"], expect_gpu=expect_gpu))
        return [as_refusal(finding) for finding in (*wrong, *check(stack, facts))]

    def _interpreter(self, variables: t.Mapping[str, t.Any]) -> str:
        used = str(getattr(self, "_used_interpreter", "") or "").removeprefix("#!").strip()
        return used or str(variables.get("ansible_python_interpreter", "/usr/bin/python3"))

    def _os_release(self) -> str:
        return str(self._low_level_execute_command("cat /etc/os-release", sudoable=False).get("stdout", ""))
