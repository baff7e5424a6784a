# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module gpu_verify as Ansible calls it: a good host, check mode, and failures in an operator's words."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.gpulab.workstation.plugins.module_utils import _job
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_run import RESULT
from ansible_collections.gpulab.workstation.plugins.modules import gpu_verify
from fakehost import FakeHost


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    host = FakeHost(tmp_path)

    def worker(_argv: tuple[str, ...]) -> tuple[int, str, str]:
        _job.work(f"{_job.JOBS}/gpu_verify", host)
        return 0, "", ""

    host.commands["setsid --fork"] = worker
    monkeypatch.setattr(gpu_verify, "LocalHost", lambda: host)
    return host


def call(capsys: pytest.CaptureFixture[str], **options: t.Any) -> dict[str, t.Any]:
    arguments = {"arch": "12.0", "require": ["cards"], "expect_gpu": False, **options}
    with patch_module_args(arguments), pytest.raises(SystemExit):
        gpu_verify.main()
    answer: dict[str, t.Any] = json.loads(capsys.readouterr().out)
    return answer


def with_nvcc(host: FakeHost) -> None:
    version = "Cuda compilation tools, release 13.0, V13.0.88\n"
    host.commands["/usr/local/cuda/bin/nvcc"] = lambda command: (0, version if "--version" in command else "", "")


def test_a_run_changes_nothing_but_its_result(host: FakeHost, capsys: pytest.CaptureFixture[str]) -> None:
    with_nvcc(host)
    answer = call(capsys)
    assert (answer["changed"], answer["verified"], answer["result_path"]) == (False, False, RESULT)
    assert json.loads(host.read_text(RESULT) or "") == answer["document"]
    assert answer["msg"].startswith("NOT verified; proven: toolkit; not proven: ")


def test_check_mode_writes_no_result(host: FakeHost, capsys: pytest.CaptureFixture[str]) -> None:
    with_nvcc(host)
    answer = call(capsys, _ansible_check_mode=True)
    assert (answer["changed"], answer["result_path"]) == (False, None)
    assert host.read_text(RESULT) is None


@pytest.mark.usefixtures("host")
def test_check_mode_tells_what_would_fail_without_failing(capsys: pytest.CaptureFixture[str]) -> None:
    answer = call(capsys, require=["cards", "native_code"], _ansible_check_mode=True)
    assert answer.get("failed", False) is False
    assert answer["verified"] is False
    assert answer["msg"].startswith("NOT verified")
    assert answer["document"]["failure"]


def test_a_failure_says_what_was_found_and_keeps_the_document(
    host: FakeHost, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = call(capsys, expect_gpu=True, require=["cards", "native_code"])
    assert answer["failed"] is True
    assert answer["msg"].startswith("Found: toolkit failed: /usr/local/cuda/bin/nvcc cannot be run; cards is required")
    assert "Expected: cards, native_code proven." in answer["msg"]
    assert json.loads(host.read_text(RESULT) or "")["verified"] is False


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"arch": "sm_120"}, "the architecture 'sm_120'."),
        ({"require": ["everything"]}, "gpu_verify_require names everything."),
        ({"toolkit": {"version": "12"}}, "a toolkit release with version '12'"),
    ],
    ids=["arch", "check", "toolkit"],
)
def test_options_that_make_no_sense(
    host: FakeHost, capsys: pytest.CaptureFixture[str], options: dict[str, t.Any], found: str
) -> None:
    answer = call(capsys, **options)
    assert answer["failed"] is True
    assert answer["found"].startswith(found)
    assert host.ran == []
