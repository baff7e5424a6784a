# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's half of host_preflight: what only it can see joins what the module has found."""

from __future__ import annotations

import typing as t
from types import SimpleNamespace

import pytest
from ansible.plugins.action import ActionBase

from ansible_collections.gpulab.workstation.plugins.action.host_preflight import ActionModule
from ansible_collections.gpulab.workstation.plugins.plugin_utils._catalogue import catalogue_data

HOST: dict[str, t.Any] = {
    "os": {"id": "debian", "version": "12", "name": "Debian GNU/Linux 12 (bookworm)"},
    "machine": {"kind": "bare_metal", "name": ""},
    "architecture": "x86_64",
    "glibc": "2.36",
    "gcc": None,
    "running_kernel": "6.1.0-41-amd64",
    "kernels": [{"release": "6.1.0-41-amd64"}],
}
GOOD: dict[str, t.Any] = {
    "changed": False,
    "refusals": [],
    "unreadable": [],
    "host": HOST,
    "gpu": {"devices": [{"vendor": "10de", "device": "2b85", "class_code": "0300"}]},
}
NO_ROOT = {"found": "modules run as alice.", "expected": "root.", "action": "become."}
NO_PYTHON = {"failed": True, "rc": 127, "msg": "", "module_stderr": "/bin/sh: 1: /usr/bin/python3: not found\n"}
SPACE = [{"purpose": "CUDA", "component": "cuda", "path": "/usr/local", "gigabytes": 10}]


class Scripted(ActionModule):
    """The action with a module that answers what it is told to."""

    def __init__(self, answer: dict[str, t.Any], **arguments: t.Any) -> None:
        self.answer, self.sent = answer, dict[str, t.Any]()
        self._task = SimpleNamespace(args=arguments)
        self._templar = SimpleNamespace(template=lambda value: value)

    def _execute_module(self, **call: t.Any) -> dict[str, t.Any]:
        self.sent = call["module_args"]
        return dict(self.answer)

    def _low_level_execute_command(self, *_arguments: t.Any, **_options: t.Any) -> dict[str, t.Any]:
        return {"stdout": 'ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n'}


@pytest.fixture(autouse=True)
def _plain_base(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ActionBase, "run", lambda *_a, **_k: {})


@pytest.fixture(scope="module")
def stack() -> dict[str, t.Any]:
    """Return the default stack in the form in which the lookup hands it on."""
    return {"name": "cu128", "overrides": {}, "catalogue": catalogue_data()}


def run(action: Scripted, **variables: t.Any) -> dict[str, t.Any]:
    return action.run(task_vars={"inventory_hostname": "ws-01", **variables})


def test_a_good_host_passes_with_its_facts(stack: dict[str, t.Any]) -> None:
    action = Scripted(GOOD, stack=stack, expect_gpu=True, space=SPACE)
    assert run(action) == GOOD
    assert action.sent == {"expect_gpu": True, "space": SPACE}  # the catalogue does not travel


def test_all_kinds_of_reasons_are_joined(stack: dict[str, t.Any]) -> None:
    host = {**HOST, "os": {"id": "debian", "version": "13", "name": "x"}, "glibc": "2.41"}
    action = Scripted({**GOOD, "failed": True, "refusals": [NO_ROOT], "host": host}, stack=stack)
    result = run(action, gpulab_has_gpus=True)
    assert (result["failed"], result["changed"]) == (True, False)
    assert [refusal["found"].split(":")[0] for refusal in result["refusals"]] == [
        "the variable gpulab_has_gpus is set, and nothing reads it.",
        "modules run as alice.",
        "Debian 13",
        "CUDA 12.9.1 on glibc 2.41.",
    ]
    assert result["msg"].startswith("ws-01 is refused for 4 reasons; nothing was changed.")
    assert "host" not in result  # facts would bury the reasons on the terminal


def test_without_a_stack_its_rules_are_not_applied() -> None:
    host = {**HOST, "os": {"id": "debian", "version": "13", "name": "x"}}
    assert run(Scripted({**GOOD, "host": host}))["refusals"] == []


def test_a_host_without_python_is_told_with_the_misspelt_variable() -> None:
    result = run(Scripted(NO_PYTHON), host_preflight_expect_gpus=True)
    found = [refusal["found"] for refusal in result["refusals"]]
    assert found[1] == "Debian GNU/Linux 12 (bookworm) without /usr/bin/python3."
    assert "perhaps host_preflight_expect_gpu" in result["refusals"][0]["expected"]
    assert "ansible ws-01 -b -m ansible.builtin.raw" in result["refusals"][1]["action"]


def test_a_failure_of_another_kind_is_handed_on() -> None:
    crash = {"failed": True, "rc": 1, "msg": "MODULE FAILURE"}
    assert run(Scripted(crash)) == crash


def test_room_for_stand_ins_is_not_asked_for(stack: dict[str, t.Any]) -> None:
    catalogue = {**stack["catalogue"], "stacks": {**stack["catalogue"]["stacks"]}}
    cuda = catalogue["cuda"]
    releases = {name: {**release, "standin": True} for name, release in cuda["releases"].items()}
    catalogue["cuda"] = {**cuda, "releases": releases}
    action = Scripted(GOOD, stack={**stack, "catalogue": catalogue}, space=SPACE)
    run(action)
    assert action.sent["space"] == []
