# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module's account: nothing to do, check mode, installation, removal, and the words of a failure."""

from __future__ import annotations

import json
import typing as t
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.gpulab.workstation.plugins.module_utils import _converge
from ansible_collections.gpulab.workstation.plugins.module_utils import _kernel_gate as gate
from ansible_collections.gpulab.workstation.plugins.modules import kernel_gate
from fakehost import FakeHost

PROGRAM = "print('the gate')\n"
OK = {
    "format": 1,
    "state": "ok",
    "newest": "6.1.0-50",
    "choice": "6.1.0-50",
    "problems": {},
    "changes": [],
    "error": "",
}
Run = Callable[..., dict[str, t.Any]]


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    host = FakeHost(tmp_path)
    host.make_dirs("/run/systemd/system")
    host.commands[gate.PROGRAM] = (0, json.dumps(OK) + "\n", "")
    return host


@pytest.fixture
def run(host: FakeHost, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs the module against the host and returns its result."""

    def run_module(*, check: bool = False, **arguments: t.Any) -> dict[str, t.Any]:
        monkeypatch.setattr(_converge, "LocalHost", lambda: host)
        with (
            patch_module_args({"program": PROGRAM, "_ansible_check_mode": check, **arguments}),
            pytest.raises(SystemExit),
        ):
            kernel_gate.main()
        result: dict[str, t.Any] = json.loads(capsys.readouterr().out)
        return result

    return run_module


def component(state: str = "present") -> gate.KernelGate:
    return gate.KernelGate.from_params({"state": state, "program": PROGRAM})


def bring_about(host: FakeHost, wanted: gate.KernelGate) -> list[str]:
    """Do what the plan says, as the job would, and return its titles."""
    plan = wanted.plan(wanted.read(host))
    for step in plan.steps:
        wanted.apply(host, step, lambda _: None)
    return [step.title for step in plan.steps]


def install(host: FakeHost) -> None:
    host.commands["systemctl"] = (0, "", "")
    bring_about(host, component())
    host.symlink(gate.UNIT, f"/etc/systemd/system/multi-user.target.wants/{gate.UNIT_NAME}")


def test_nothing_to_do(run: Run, host: FakeHost) -> None:
    install(host)
    host.ran.clear()
    result = run()
    assert (result["changed"], result["steps"], result["state"]) == (False, [], "ok")
    assert host.ran == [(gate.PROGRAM, "--dry-run")]


def test_check_mode_tells_the_plan_and_does_nothing(run: Run, host: FakeHost) -> None:
    result = run(check=True)
    assert result["changed"] is True
    assert result["steps"][0] == f"Write {gate.PROGRAM}"
    assert result["steps"][-1].startswith("Look at the modules")
    assert "zzz-gpulab-kernel-gate" in result["diff"]["after"]
    assert (host.ran, host.exists(gate.PROGRAM)) == ([], False)


def test_what_is_installed_can_be_run(host: FakeHost) -> None:
    install(host)
    assert host.read_text(gate.PROGRAM) == f"#!/usr/bin/python3\n{PROGRAM}"
    for path in (gate.PROGRAM, *gate.HOOKS):
        found = host.status(path)
        assert found is not None
        assert found.mode == 0o755, path
    assert ("systemctl", "enable", gate.UNIT_NAME) in host.ran


@pytest.mark.parametrize("path", [gate.PROGRAM, *gate.HOOKS, gate.UNIT])
def test_a_changed_file_is_written_again(host: FakeHost, path: str) -> None:
    install(host)
    host.add(path, "changed", mode=0o755)
    assert f"Write {path}" in bring_about(host, component())
    assert component().plan(component().read(host)).steps == ()


def test_a_hook_that_cannot_be_run_is_written_again(host: FakeHost) -> None:
    install(host)
    host.chmod(gate.HOOKS[0], 0o644)
    assert bring_about(host, component()) == [f"Write {gate.HOOKS[0]}"]


def test_removal_leaves_nothing_and_gives_the_choice_back(host: FakeHost) -> None:
    install(host)
    host.commands["update-grub"] = (0, "", "")
    for path in (gate.SELECTION, gate.MESSAGE, gate.FACT):
        host.add(path, "left by the program")
    titles = bring_about(host, component("absent"))
    assert titles[0] == f"Disable {gate.UNIT_NAME}"
    assert titles[-2:] == ["Give GRUB its own choice back", f"Remove {gate.FACT}"]
    assert not host.exists("/etc/motd.d")
    host.remove(f"/etc/systemd/system/multi-user.target.wants/{gate.UNIT_NAME}")  # systemctl's part
    assert bring_about(host, component("absent")) == []


def test_a_removal_killed_before_update_grub_is_finished_by_the_next(host: FakeHost) -> None:
    install(host)
    host.commands["update-grub"] = (1, "", "disk full")
    host.add(gate.SELECTION, "x")
    host.add(gate.FACT, json.dumps({"state": "held", "selection": "gnulinux-6.1.0-50"}))
    for _ in range(2):
        with pytest.raises(gate.OperatorError, match="update-grub"):
            bring_about(host, component("absent"))
    host.commands["update-grub"] = (0, "", "")
    assert bring_about(host, component("absent"))[-2:] == ["Give GRUB its own choice back", f"Remove {gate.FACT}"]
    assert "Give GRUB its own choice back" not in bring_about(host, component("absent"))


def test_a_choice_that_cannot_be_made_fails_in_every_run(host: FakeHost) -> None:
    """What the program could say has been written by the first of them; that GRUB does not follow is still so."""
    install(host)
    host.commands[gate.PROGRAM] = (1, json.dumps({**OK, "state": "held", "error": "/boot has no entry for x"}), "")
    for _ in range(2):
        with pytest.raises(gate.OperatorError, match="no entry for x"):
            bring_about(host, component())


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            (0, json.dumps({**OK, "error": "update-grub ended with 1: full", "changes": ["x"]}), ""),
            "ended with 1: full",
        ),
        ((1, "", "SyntaxError"), "gave no account: SyntaxError"),
    ],
    ids=["update-grub", "no-answer"],
)
def test_a_gate_that_cannot_choose_is_an_error(host: FakeHost, answer: tuple[int, str, str], words: str) -> None:
    host.commands[gate.PROGRAM] = answer
    host.commands["systemctl"] = (0, "", "")
    with pytest.raises(gate.OperatorError, match=words):
        bring_about(host, component())


def test_a_failure_says_what_was_found_expected_and_to_do(run: Run, host: FakeHost) -> None:
    install(host)
    host.commands[gate.PROGRAM] = (126, "", "bad interpreter")
    result = run()
    assert result["failed"] is True
    assert result["msg"].startswith(f"Found: {gate.PROGRAM} gave no account: bad interpreter.")
    assert " To do: cure what it says" in result["msg"]
