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

import condahost
from ansible_collections.gpulab.workstation.plugins.module_utils import _converge
from ansible_collections.gpulab.workstation.plugins.modules import conda_env
from fakehost import FakeHost

Run = Callable[..., tuple[dict[str, t.Any], FakeHost]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs the module against a fake host and returns its result."""

    def run_module(
        prepare: Callable[[FakeHost], object], *, check: bool = False, **changes: t.Any
    ) -> tuple[dict[str, t.Any], FakeHost]:
        host = FakeHost(tmp_path)
        host.make_dirs("/opt")
        prepare(host)
        monkeypatch.setattr(_converge, "LocalHost", lambda: host)
        arguments = {**condahost.params(**changes), "_ansible_check_mode": check}
        with patch_module_args(arguments), pytest.raises(SystemExit):
            conda_env.main()
        return json.loads(capsys.readouterr().out), host

    return run_module


def test_nothing_to_do(run: Run) -> None:
    result, host = run(condahost.add_everything)
    assert (result["changed"], result["steps"], host.ran) == (False, [], [])
    assert result["packages"] == {"pip": "26.2", "python": "3.11.9", "tzdata": "2026c"}
    assert result["miniforge"] == {"version": "26.3.2-3", "owner": "ours", "standin": False}
    assert result["environment_prefix"] == condahost.ENVIRONMENT


def test_check_mode_tells_the_plan_and_does_nothing(run: Run) -> None:
    result, host = run(condahost.add_miniforge, check=True)
    assert result["changed"] is True
    assert "Create the environment rtx5090 with Python 3.11.9 (3 packages)" in result["steps"]
    assert '"pip": "pip-26.2-pyh0_0"' in result["diff"]["after"]
    assert host.ran == []
    assert host.status(condahost.ENVIRONMENT) is None


def test_a_refusal_says_what_was_found_expected_and_to_do(run: Run) -> None:
    result, host = run(
        lambda host: condahost.add_miniforge(host, ours="", channel="https://repo.anaconda.com/pkgs/main")
    )
    assert result["failed"] is True
    assert result["msg"].startswith("Found: /opt/miniforge3 is Miniconda or Anaconda")
    assert " Expected: " in result["msg"]
    assert " To do: move it away" in result["msg"]
    assert host.ran == []


def test_a_bad_lock_is_refused_before_the_host_is_read(run: Run) -> None:
    result, _host = run(condahost.add_everything, lock={"text": "numpy=2.1\n"})
    assert "the conda lock cannot be used: there is no line @EXPLICIT" in result["msg"]
