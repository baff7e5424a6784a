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
from ansible_collections.gpulab.workstation.plugins.modules import diffusion_stack
from fakehost import FakeHost
from wheelhost import ENV, UV_LOCK, FakeUv, add_env, add_uv, lock_line

Run = Callable[..., tuple[dict[str, t.Any], FakeHost]]
IMAGE = "/var/lib/gpulab/diffusion/proof.png"
RESULT = {"device": "cpu", "seconds": 0.9, "finite": True, "versions": {"diffusers": "0.40.0"}}
# 2x2 pixels of the shades 9 and 200.
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d494844520000000200000002080000000057dd52f8"
    "0000000e49444154789c63e03cc1c0790200042d01a3daee0e55"
)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs the module against a fake host; jobs run in this process."""
    host = FakeHost(tmp_path)
    add_env(host)
    add_uv(host)
    FakeUv(host, {}).install()

    def worker(_argv: tuple[str, ...]) -> tuple[int, str, str]:
        _job.work(f"{_job.JOBS}/diffusion_stack", host)
        return 0, "", ""

    def painter(argv: tuple[str, ...]) -> tuple[int, str, str]:
        host.add(argv[argv.index("--image") + 1], PNG)
        return 0, json.dumps(RESULT), ""

    host.commands["setsid --fork"] = worker
    host.commands[f"{ENV}/bin/python -I /var/lib/gpulab/diffusion/tiny_pipeline.py"] = painter

    def run_module(*, check: bool = False, **changes: t.Any) -> tuple[dict[str, t.Any], FakeHost]:
        monkeypatch.setattr(_converge, "LocalHost", lambda: host)
        arguments: dict[str, t.Any] = {
            "env": ENV,
            "lock": lock_line("diffusers", "0.40.0"),
            "uv_lock": UV_LOCK,
            "script": "paint()",
        }
        arguments = {**arguments, "size": 2, **changes, "_ansible_check_mode": check}
        with patch_module_args(arguments), pytest.raises(SystemExit):
            diffusion_stack.main()
        return json.loads(capsys.readouterr().out), host

    return run_module


def test_brings_about_and_then_changes_nothing(run: Run) -> None:
    first, host = run()
    assert first["changed"] is True
    assert first["steps"][-1] == f"Make a picture on the CPU: {IMAGE}"
    assert first["proof"]["outcome"] == "pass"
    before = len(host.ran)
    second, host = run()
    assert (second["changed"], second["steps"], len(host.ran)) == (False, [], before)
    assert second["proof"] == first["proof"]


def test_check_mode_tells_the_same_plan_and_does_nothing(run: Run) -> None:
    told, host = run(check=True)
    assert told["changed"] is True
    assert told["proof"]["outcome"] == "not_proven"
    assert host.ran == []
    assert host.status(IMAGE) is None
    done, _host = run()
    assert (told["steps"], told["diff"]) == (done["steps"], done["diff"])


def test_a_refusal_says_what_was_found_expected_and_to_do(run: Run) -> None:
    result, host = run(size=4)
    assert result["failed"] is True
    assert result["msg"].startswith(f"Found: the picture in {IMAGE}.new is no good: it is 2x2. Expected: 4x4 pixels")
    assert " To do: look at it;" in result["msg"]
    assert host.status(IMAGE) is None
