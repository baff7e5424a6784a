# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module cuda_toolkit as Ansible calls it: nothing to do, check mode, and a refusal in an operator's words."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.gpulab.workstation.plugins.module_utils import _converge
from ansible_collections.gpulab.workstation.plugins.module_utils._cuda_toolkit import ESSENTIAL, PROFILE
from ansible_collections.gpulab.workstation.plugins.module_utils._rules import judge
from ansible_collections.gpulab.workstation.plugins.module_utils._stack_components import component
from ansible_collections.gpulab.workstation.plugins.modules import cuda_toolkit
from ansible_collections.gpulab.workstation.plugins.plugin_utils._catalogue import load_catalogue
from fakehost import FakeHost

RELEASE = {"version": "12.9.1", "file": "cuda.run", "sha256": "0" * 64, "sources": ["/mnt/cuda.run"]}
TOOL = (0, "Cuda compilation tools, release 12.9, V12.9.86\n", "")


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    host = FakeHost(tmp_path)
    host.commands["dpkg-query"] = (0, "libxml2\tii \ng++\tii \n", "")
    monkeypatch.setattr(_converge, "LocalHost", lambda: host)
    return host


def install(host: FakeHost) -> None:
    path = "/usr/local/cuda-12.9"
    for name in ESSENTIAL:
        host.add(f"{path}/{name}")
    host.add(f"{path}/version.json", '{"cuda": {"version": "12.9.1"}}')
    host.add("/var/lib/gpulab/cuda_toolkit/12.9.json", '{"version": "12.9.1", "state": "installed"}')
    host.add("/etc/ld.so.conf.d/00-gpulab-cuda.conf", f"# Managed by gpulab (role cuda_toolkit).\n{path}/lib64\n")
    host.add("/etc/ld.so.cache")
    host.add("/etc/profile.d/gpulab-cuda.sh", PROFILE)
    host.symlink(path, "/usr/local/cuda")
    for tool in ("nvcc", "ptxas"):
        host.commands[f"{path}/bin/{tool} --version"] = TOOL


def call(capsys: pytest.CaptureFixture[str], **options: t.Any) -> dict[str, t.Any]:
    with patch_module_args({"releases": [RELEASE], **options}), pytest.raises(SystemExit):
        cuda_toolkit.main()
    answer: dict[str, t.Any] = json.loads(capsys.readouterr().out)
    return answer


def test_nothing_to_do(host: FakeHost, capsys: pytest.CaptureFixture[str]) -> None:
    install(host)
    answer = call(capsys)
    assert (answer["changed"], answer["steps"], answer["default"]) == (False, [], "/usr/local/cuda-12.9")
    assert answer["toolkits"] == [
        {
            "version": "12.9.1",
            "path": "/usr/local/cuda-12.9",
            "nvcc": "12.9.86",
            "ptxas": "12.9.86",
            "missing": [],
            "standin": False,
            "owner": "gpulab",
        }
    ]


def test_check_mode_tells_the_plan_and_runs_nothing(host: FakeHost, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(host.root.rglob("*"))
    answer = call(capsys, _ansible_check_mode=True)
    assert answer["changed"] is True
    assert answer["steps"][:2] == ["Fetch cuda.run", "Install CUDA 12.9.1 in /usr/local/cuda-12.9"]
    assert '"12.9": "12.9.1"' in answer["diff"]["after"]
    assert [command[0] for command in host.ran] == ["dpkg-query"]
    assert sorted(host.root.rglob("*")) == before


def test_a_refusal_names_what_to_do(host: FakeHost, capsys: pytest.CaptureFixture[str]) -> None:
    install(host)
    host.remove("/var/lib/gpulab/cuda_toolkit/12.9.json")
    host.remove("/usr/local/cuda-12.9/bin/ptxas")
    answer = call(capsys)
    assert answer["failed"] is True
    assert answer["found"].startswith("/usr/local/cuda-12.9 was not made by this role")
    assert "dpkg -S /usr/local/cuda-12.9" in answer["action"]
    assert answer["msg"].startswith("Found: /usr/local/cuda-12.9")


def test_the_lookups_result_is_accepted_as_it_is(host: FakeHost, capsys: pytest.CaptureFixture[str]) -> None:
    """What the lookup of the stack returns must fit the module's options, key by key."""
    stack = judge(load_catalogue(None), "cu128", {}).stack
    assert stack is not None
    answer = call(capsys, releases=[component(stack, "cuda")], _ansible_check_mode=True)
    assert answer.get("failed") is None
    assert host.ran
