# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module host_rebuild on a host: it tells which machine this is and changes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.gpulab.workstation.plugins.modules import host_rebuild
from fakehost import FakeHost


@pytest.mark.parametrize("check_mode", [False, True], ids=["real", "check"])
def test_it_tells_the_machine_and_changes_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    check_mode: bool,  # noqa: FBT001
) -> None:
    host = FakeHost(tmp_path, {"systemd-detect-virt": (1, "none\n", "")})
    host.add("/sys/class/dmi/id/product_uuid", "u-1\n")
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr(host_rebuild, "LocalHost", lambda: host)
    with patch_module_args({"stage": "meet", "_ansible_check_mode": check_mode}), pytest.raises(SystemExit):
        host_rebuild.main()
    answer = json.loads(capsys.readouterr().out)
    assert answer["changed"] is False
    assert answer["machine"]["board"]["uuid"] == "u-1"
    assert sorted(tmp_path.rglob("*")) == before


def test_an_unknown_stage_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with patch_module_args({"stage": "guess"}), pytest.raises(SystemExit):
        host_rebuild.main()
    assert "value of stage must be one of: meet, compare" in json.loads(capsys.readouterr().out)["msg"]
