# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module gpu_info: it reads, tells, and writes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.gpulab.workstation.plugins.module_utils import _survey
from ansible_collections.gpulab.workstation.plugins.modules import gpu_info
from fakehost import FakeHost


@pytest.mark.parametrize("check_mode", [False, True], ids=["real", "check"])
def test_it_tells_and_changes_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    check_mode: bool,  # noqa: FBT001
) -> None:
    host = FakeHost(tmp_path, {"uname -m": (0, "x86_64\n", "")})
    host.add("/etc/os-release", 'ID=debian\nVERSION_ID="12"\n')
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr(gpu_info, "LocalHost", lambda: host)
    with patch_module_args({"paths": ["/opt"], "_ansible_check_mode": check_mode}), pytest.raises(SystemExit) as end:
        gpu_info.main()
    answer = json.loads(capsys.readouterr().out)
    assert end.value.code == 0
    assert answer["changed"] is False
    assert answer["host"]["os"]["version"] == "12"
    assert answer["host"]["clock"] == "2027-01-15T08:00:00Z"
    assert [place["path"] for place in answer["host"]["places"]] == ["/opt"]
    assert answer["gpu"]["driver_loaded"] is None
    assert {item["what"] for item in answer["unreadable"]} >= {"PCI devices", "running kernel"}
    assert sorted(tmp_path.rglob("*")) == before


def test_wrong_arguments_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    with patch_module_args({"path": ["/opt"]}), pytest.raises(SystemExit) as end:
        gpu_info.main()
    assert end.value.code == 1
    assert "Unsupported parameters" in json.loads(capsys.readouterr().out)["msg"]


def test_the_documented_default_is_the_real_one() -> None:
    for path in _survey.PLACES:
        assert path in gpu_info.DOCUMENTATION
