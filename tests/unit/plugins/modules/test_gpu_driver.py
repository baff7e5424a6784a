# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module as Ansible calls it: nothing to do, check mode, and a refusal in an operator's words."""

from __future__ import annotations

import json
import typing as t
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible.module_utils.testing import patch_module_args

import driverhost
from ansible_collections.gpulab.workstation.plugins.module_utils import _converge
from ansible_collections.gpulab.workstation.plugins.module_utils._host import Filesystem
from ansible_collections.gpulab.workstation.plugins.modules import gpu_driver
from driver_states import OLD, RELEASE, VERSION
from fakehost import FakeHost

Run = Callable[..., tuple[dict[str, t.Any], FakeHost]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs the module against a fake host and returns its result."""

    def run_module(
        prepare: Callable[[FakeHost], object], *, check: bool = False, **arguments: t.Any
    ) -> tuple[dict[str, t.Any], FakeHost]:
        host = FakeHost(tmp_path)
        prepare(host)
        monkeypatch.setattr(_converge, "LocalHost", lambda: host)
        asked = {"release": RELEASE, **arguments, "_ansible_check_mode": check}
        with patch_module_args(asked), pytest.raises(SystemExit):
            gpu_driver.main()
        return json.loads(capsys.readouterr().out), host

    return run_module


def test_nothing_to_do(run: Run) -> None:
    result, host = run(driverhost.add_driver)
    assert (result["changed"], result["steps"], result["reboot_reasons"]) == (False, [], [])
    assert driverhost.changes(host) == []
    assert result["driver"]["installed_version"] == VERSION
    assert result["driver"]["kernels"] == [
        {"kernel": driverhost.KERNEL, "version": VERSION, "flavour": "open", "signer": ""}
    ]
    assert result["driver"]["standin"] is False
    assert "nothing was proven to load" in " ".join(result["notes"])


def test_check_mode_tells_the_plan_and_does_nothing(run: Run) -> None:
    result, host = run(driverhost.add_base, check=True)
    assert result["changed"] is True
    assert result["steps"][0] == f"Fetch NVIDIA-Linux-x86_64-{VERSION}.run and check its sha256"
    assert f"Install driver {VERSION} (open modules) for {driverhost.KERNEL}" in " ".join(result["steps"])
    assert '"installed": null' in result["diff"]["before"]
    assert f'"installed": "{VERSION}"' in result["diff"]["after"]
    assert driverhost.changes(host) == []
    assert not host.exists("/etc/modprobe.d/50-gpulab-nvidia.conf")
    assert not host.exists("/var/lib/gpulab")


def test_a_refusal_says_what_was_found_expected_and_to_do(run: Run) -> None:
    def prepare(host: FakeHost) -> None:
        driverhost.add_base(host)
        host.filesystems["/"] = Filesystem("/", "ext4", ("rw", "noexec"), 10**9, 9 * 10**9)

    result, host = run(prepare)
    assert result["failed"] is True
    assert "/opt on / (noexec, 1,000 MB free)" in result["found"]
    assert "3,200 MB free on a file system without noexec" in result["expected"]
    assert "gpu_driver_work_directories" in result["action"]
    assert result["msg"].startswith("Found: ")
    assert driverhost.changes(host) == []


@pytest.mark.parametrize("check", [False, True], ids=["real", "check"])
def test_who_is_in_the_way_is_told_for_who_waits(run: Run, *, check: bool) -> None:
    def prepare(host: FakeHost) -> None:
        driverhost.add_base(host)
        driverhost.add_program(host, OLD)

    result, host = run(prepare, check=check)
    assert result["failed"] is True
    assert result["blockers"] == [{"kind": "gpu_process", "words": "python3 (pid 77, root)", "yields_to_force": True}]
    assert "here are: python3 (pid 77, root)" in result["found"]
    assert "gpu_driver_wait_minutes" in result["action"]
    assert driverhost.changes(host) == []


def test_what_stays_is_told_beside_who_passes(run: Run) -> None:
    def prepare(host: FakeHost) -> None:
        driverhost.add_base(host)
        driverhost.add_program(host, OLD)
        host.commands["dkms status"] = (1, "", "Error! no\n")

    result, host = run(prepare)
    assert [blocker["kind"] for blocker in result["blockers"]] == ["gpu_process", "host"]
    assert driverhost.changes(host) == []


def test_a_driver_that_should_be_there_needs_a_release(run: Run) -> None:
    result, host = run(driverhost.add_base, release=None)
    assert "no release is named" in result["msg"]
    assert host.ran == []
