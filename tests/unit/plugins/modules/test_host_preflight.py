# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module host_preflight: good hosts pass with their facts, bad ones fail with every reason."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.gpulab.workstation.plugins.modules import host_preflight
from fakehost import FakeHost


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    """Return a Debian host that the module takes for its own."""
    commands = {
        "uname -m": (0, "x86_64\n", ""),
        "getconf GNU_LIBC_VERSION": (0, "glibc 2.36\n", ""),
        "ldconfig -p": (0, "", ""),
        "dpkg-query -W": (1, "", ""),
    }
    host = FakeHost(tmp_path, commands)  # type: ignore[arg-type]
    host.add("/etc/os-release", 'ID=debian\nVERSION_ID="12"\n')
    host.add("/proc/self/status", "Pid:\t500\nPPid:\t1\nUid:\t0\t0\t0\t0\n")
    host.add("/proc/sys/kernel/osrelease", "6.1.0-41-amd64\n")
    host.add("/proc/1/environ", "container=podman\0")
    host.add("/run/utmp", b"")
    host.make_dirs("/sys/bus/pci/devices")
    monkeypatch.setattr(host_preflight, "LocalHost", lambda: host)
    return host


def call(capsys: pytest.CaptureFixture[str], **arguments: t.Any) -> dict[str, t.Any]:
    """Run the module and return what it prints."""
    with patch_module_args(arguments), pytest.raises(SystemExit):
        host_preflight.main()
    answer: dict[str, t.Any] = json.loads(capsys.readouterr().out)
    return answer


@pytest.mark.parametrize("check_mode", [False, True], ids=["real", "check"])
def test_a_good_host(host: FakeHost, capsys: pytest.CaptureFixture[str], check_mode: bool) -> None:  # noqa: FBT001
    before = sorted(host.root.rglob("*"))
    answer = call(capsys, expect_gpu=False, _ansible_check_mode=check_mode)
    assert (answer.get("failed", False), answer["changed"], answer["refusals"]) == (False, False, [])
    assert answer["host"]["machine"] == {"kind": "container", "name": "podman"}
    assert answer["unreadable"] == []
    assert sorted(host.root.rglob("*")) == before


def test_every_reason_at_once(host: FakeHost, capsys: pytest.CaptureFixture[str]) -> None:
    host.clock = 0.0
    space = [{"purpose": "wheels", "path": "/opt", "gigabytes": 1000}]
    answer = call(capsys, space=space)
    assert answer["failed"] is True
    assert [refusal["found"].split()[0] for refusal in answer["refusals"]] == ["the", "no", "500.0"]
    assert answer["msg"].startswith("This host is refused for 3 reasons; nothing was changed.")


def test_room_is_not_asked_for_twice(host: FakeHost, capsys: pytest.CaptureFixture[str]) -> None:
    host.add("/opt/done")
    space = [{"purpose": "wheels", "path": "/opt", "gigabytes": 1000, "unless": "/opt/done"}]
    assert call(capsys, expect_gpu=False, space=space)["refusals"] == []


def test_what_an_operator_should_know_is_a_warning(
    host: FakeHost, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = list[str]()
    monkeypatch.setattr(host_preflight.AnsibleModule, "warn", lambda _self, words: said.append(words))
    host.commands["dpkg-query -W"] = (0, "nvidia-driver-570-open\t570.86.10\tii \n", "")
    assert call(capsys, expect_gpu=False)["refusals"] == []
    assert said == ["The distribution's own NVIDIA driver is installed (nvidia-driver-570-open 570.86.10)."]


def test_wrong_types_are_told(host: FakeHost, capsys: pytest.CaptureFixture[str]) -> None:
    answer = call(capsys, space=[{"purpose": "x", "path": "/opt", "gigabytes": "lots"}])
    assert answer["failed"] is True
    assert "'gigabytes' is of type str" in answer["msg"]
    assert host.ran == []
