# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module's account: nothing to do, check mode, and the words of a failure."""

from __future__ import annotations

import json
import typing as t
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.gpulab.workstation.plugins.module_utils import _converge, _job
from ansible_collections.gpulab.workstation.plugins.modules import torch_stack
from fakehost import FakeHost
from wheelhost import ENV, UV_LOCK, FakeUv, Files, add_env, add_uv, fatbin, lock_line, torch_answer

Run = Callable[..., tuple[dict[str, t.Any], FakeHost]]
LOCK = lock_line("torch", "2.9.1") + lock_line("idna", "3.20")
TORCH: Files = {"torch/version.py": "__version__ = '2.9.1+cu128'\n", "torch/lib/libtorch_cuda.so": fatbin(90, 120)}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs the module against a fake host; jobs run in this process."""
    host = FakeHost(tmp_path)
    add_env(host)
    add_uv(host)
    host.commands[f"{ENV}/bin/python -I -c"] = (0, torch_answer(), "")
    FakeUv(host, {"torch==2.9.1": TORCH}).install()

    def worker(_argv: tuple[str, ...]) -> tuple[int, str, str]:
        _job.work(f"{_job.JOBS}/torch_stack", host)
        return 0, "", ""

    host.commands["setsid --fork"] = worker

    def run_module(*, check: bool = False, **changes: t.Any) -> tuple[dict[str, t.Any], FakeHost]:
        monkeypatch.setattr(_converge, "LocalHost", lambda: host)
        arguments = {
            "env": ENV,
            "lock": LOCK,
            "uv_lock": UV_LOCK,
            "cuda": "12.8",
            **changes,
            "_ansible_check_mode": check,
        }
        with patch_module_args(arguments), pytest.raises(SystemExit):
            torch_stack.main()
        return json.loads(capsys.readouterr().out), host

    return run_module


def test_brings_about_and_then_changes_nothing(run: Run) -> None:
    first, host = run()
    assert first["changed"] is True
    assert first["steps"][-2:] == ["Prove machine code sm_120 in torch", "Import torch"]
    assert first["native_code"]["torch"]["outcome"] == "pass"
    assert first["packages"] == {"idna": "3.20", "torch": "2.9.1"}
    before = len(host.ran)
    second, host = run()
    assert (second["changed"], second["steps"], len(host.ran)) == (False, [], before)
    assert second["native_code"] == first["native_code"]


def test_check_mode_tells_the_same_plan_and_does_nothing(run: Run) -> None:
    told, host = run(check=True)
    assert told["changed"] is True
    assert '"torch": "is not installed"' in told["diff"]["before"]
    assert '"torch": "2.9.1"' in told["diff"]["after"]
    assert host.ran == []
    assert host.status(f"{ENV}/pip.conf") is None
    done, _host = run()
    assert (told["steps"], told["diff"]) == (done["steps"], done["diff"])


def test_a_refusal_says_what_was_found_expected_and_to_do(run: Run) -> None:
    result, host = run(lock="torch>=2.9\n")
    assert result["failed"] is True
    assert result["msg"].startswith("Found: torch_stack_lock, line 1: 'torch>=2.9'. Expected: name==version --hash")
    assert " To do: write the lock" in result["msg"]
    assert host.ran == []
