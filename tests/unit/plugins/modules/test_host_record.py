# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module host_record as Ansible calls it: first and second call, check mode, a broken local fact, failure."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.gpulab.workstation.plugins.module_utils._record import FACT
from ansible_collections.gpulab.workstation.plugins.modules import host_record
from fakehost import FakeHost
from records import record


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    host = FakeHost(tmp_path, {"uname -m": (0, "x86_64\n", "")})
    host.add("/etc/os-release", 'ID=debian\nVERSION_ID="12"\n')
    monkeypatch.setattr(host_record, "LocalHost", lambda: host)
    return host


def call(capsys: pytest.CaptureFixture[str], **options: t.Any) -> dict[str, t.Any]:
    with patch_module_args({"host_name": "ws-01", "stack": record()["stack"], **options}), pytest.raises(SystemExit):
        host_record.main()
    answer: dict[str, t.Any] = json.loads(capsys.readouterr().out)
    return answer


def test_the_second_call_changes_nothing(host: FakeHost, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = call(capsys, time="2026-11-25T10:00:00Z"), call(capsys, time="2026-11-25T11:00:00Z", origin="run")
    assert (first["changed"], second["changed"]) == (True, False)
    assert json.loads(host.read_text(FACT) or "") == second["record"]


def test_check_mode_tells_the_change_and_writes_nothing(host: FakeHost, capsys: pytest.CaptureFixture[str]) -> None:
    answer = call(capsys, _ansible_check_mode=True)
    assert answer["changed"] is True
    assert host.read_text(FACT) is None


def test_a_local_fact_that_is_cut_off_is_written_anew(host: FakeHost, capsys: pytest.CaptureFixture[str]) -> None:
    host.add(FACT, '{"schema": "host_rec')
    assert call(capsys)["changed"] is True
    assert json.loads(host.read_text(FACT) or "")["host"] == "ws-01"


def test_a_failure_is_told_in_words(host: FakeHost, capsys: pytest.CaptureFixture[str]) -> None:
    host.add("/etc/ansible/facts.d", "a file where a directory should be")
    answer = call(capsys)
    assert answer["failed"] is True
    assert answer["msg"].startswith("Found: ")
    assert "To do: run as root" in answer["msg"]


def test_what_is_no_certificate_is_told(host: FakeHost, capsys: pytest.CaptureFixture[str]) -> None:
    answer = call(capsys, signing_certificate="-----BEGIN CERTIFICATE-----\nnothing\n-----END CERTIFICATE-----\n")
    assert answer["failed"] is True
    assert "is no certificate" in answer["found"]
    assert host.read_text(FACT) is None
