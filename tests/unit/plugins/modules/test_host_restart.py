# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module host_restart: nothing asked, check mode, and refusals."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.gpulab.workstation.plugins.modules import host_restart
from fakehost import FakeHost

BOOT_ID = "1e410534-c31e-4565-8265-836766a5dc92"
REQUEST = "/run/gpulab/restart-required.d/gpu_driver"


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    """Return an idle host that the module takes for its own."""
    host = FakeHost(tmp_path, {"systemd-run": (0, "", ""), "systemd-detect-virt": (1, "none\n", "")})
    host.make_dirs("/run/systemd/system")
    host.add("/proc/sys/kernel/random/boot_id", f"{BOOT_ID}\n")
    host.add("/proc/1/stat", "1 (systemd) S 0 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 41 0 0\n")
    host.add("/proc/1/environ", "HOME=/\0")
    host.add("/run/utmp", b"")
    monkeypatch.setattr(host_restart, "LocalHost", lambda: host)
    return host


def call(capsys: pytest.CaptureFixture[str], **arguments: t.Any) -> dict[str, t.Any]:
    """Run the module and return what it prints."""
    with patch_module_args(arguments), pytest.raises(SystemExit):
        host_restart.main()
    answer: dict[str, t.Any] = json.loads(capsys.readouterr().out)
    return answer


def test_nothing_is_asked_for(host: FakeHost, capsys: pytest.CaptureFixture[str]) -> None:
    answer = call(capsys)
    assert (answer["changed"], answer["required"], answer["restarted"]) == (False, False, False)
    assert answer["boot_identity"] == f"{BOOT_ID}/41"
    assert host.ran == []


def test_check_mode_tells_and_does_nothing(host: FakeHost, capsys: pytest.CaptureFixture[str]) -> None:
    host.add(REQUEST, "nouveau is loaded\n")
    answer = call(capsys, _ansible_check_mode=True)
    assert (answer["changed"], answer["restarting"]) == (True, False)
    assert answer["reasons"] == ["gpu_driver: nouveau is loaded"]
    assert "systemd-run" not in {command[0] for command in host.ran}


def test_an_idle_host_is_restarted(host: FakeHost, capsys: pytest.CaptureFixture[str]) -> None:
    host.add(REQUEST, "nouveau is loaded\n")
    answer = call(capsys)
    assert (answer["changed"], answer["restarting"], answer["blockers"]) == (True, True, [])
    assert host.ran[-1][-2:] == ("systemctl", "reboot")


@pytest.mark.parametrize("check_mode", [False, True], ids=["real", "check"])
def test_a_gpu_process_refuses(host: FakeHost, capsys: pytest.CaptureFixture[str], check_mode: bool) -> None:  # noqa: FBT001
    host.add(REQUEST, "nouveau is loaded\n")
    host.add("/dev/nvidia0")
    host.add("/proc/77/comm", "python3\n")
    host.symlink("/dev/nvidia0", "/proc/77/fd/3")
    answer = call(capsys, _ansible_check_mode=check_mode)
    assert answer["failed"] is True
    assert "process 77 (python3)" in answer["found"]
    assert "host_restart_force" in answer["action"]
    assert [blocker["kind"] for blocker in answer["blockers"]] == ["gpu_process"]
    assert "systemd-run" not in {command[0] for command in host.ran}
    assert call(capsys, force=True, _ansible_check_mode=True)["changed"] is True


def test_a_site_that_restarts_by_itself_is_told(
    host: FakeHost, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = list[str]()
    monkeypatch.setattr(host_restart.AnsibleModule, "warn", lambda _self, words: said.append(words))
    host.add(REQUEST, "nouveau is loaded\n")
    answer = call(capsys, enabled=False)
    assert (answer["changed"], answer["required"], answer["restarting"]) == (False, True, False)
    assert said == ["A restart is due and host_restart_enabled is false: gpu_driver: nouveau is loaded"]
