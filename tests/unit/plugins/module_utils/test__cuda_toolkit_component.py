# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading toolkits from a host's files and tools, and what is left when an installer does what it should not."""

from __future__ import annotations

import hashlib
import json
import typing as t
from collections.abc import Callable
from pathlib import Path

import pytest

from ansible_collections.gpulab.workstation.plugins.module_utils._cuda_toolkit import (
    ESSENTIAL,
    LINKER_FILE,
    PROFILE_FILE,
)
from ansible_collections.gpulab.workstation.plugins.module_utils._cuda_toolkit_component import CudaToolkit
from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from fakehost import FakeHost

RUNFILE = b"#!/bin/bash\nthe runfile\n"
DIGEST = hashlib.sha256(RUNFILE).hexdigest()
CACHED = f"/var/cache/gpulab/{DIGEST[:12]}/cuda.run"
VERSION = "Cuda compilation tools, release {series}, V{series}.86\n"


def release(version: str, **more: t.Any) -> dict[str, t.Any]:
    return {"version": version, "file": "cuda.run", "sha256": DIGEST, "sources": ["/mnt/cuda.run"], **more}


def component(*releases: dict[str, t.Any], **more: t.Any) -> CudaToolkit:
    params = {
        "releases": list(releases),
        "state": "present",
        "default": "",
        "packages": ["libxml2", "g++"],
        "cache_directory": "/var/cache/gpulab",
        "work_directory": "/var/lib/gpulab/cuda_toolkit/work",
        "keep_runfile": False,
    }
    return CudaToolkit.from_params({**params, **more})


def put_toolkit(host: FakeHost, version: str, *, without: str = "") -> None:
    series = version.rsplit(".", 1)[0]
    path = f"/usr/local/cuda-{series}"
    host.add(f"{path}/version.json", json.dumps({"cuda": {"name": "CUDA SDK", "version": version}}))
    for name in ESSENTIAL:
        if name != without:
            host.add(f"{path}/{name}")
    for tool in ("nvcc", "ptxas"):
        host.commands[f"{path}/bin/{tool} --version"] = _answer(host, f"{path}/bin/{tool}", series)


def _answer(host: FakeHost, path: str, series: str) -> Callable[[tuple[str, ...]], tuple[int, str, str]]:
    def answer(_command: tuple[str, ...]) -> tuple[int, str, str]:
        return (0, VERSION.format(series=series), "") if host.exists(path) else (127, "", "not found")

    return answer


Installer = Callable[[FakeHost, tuple[str, ...]], tuple[int, str, str]]


def good_installer(host: FakeHost, command: tuple[str, ...]) -> tuple[int, str, str]:
    path = next(word.split("=", 1)[1] for word in command if word.startswith("--toolkitpath="))
    series = path.rsplit("-", 1)[1]
    put_toolkit(host, {"12.9": "12.9.20250531", "12.8": "12.8.20250303"}[series])  # as NVIDIA's runfiles write it
    host.symlink(path, "/usr/local/cuda")
    host.add(f"/etc/ld.so.conf.d/cuda-{series.replace('.', '-')}.conf")
    return 0, "***WARNING: Incomplete installation!", ""


def use(host: FakeHost, installer: Installer) -> None:
    host.commands["bash"] = lambda command: installer(host, command)


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    host = FakeHost(tmp_path)
    host.commands["dpkg-query"] = (0, "libxml2\tii \ng++\tii \n", "")
    host.commands["ldconfig"] = (0, "", "")
    host.commands["modinfo"] = (1, "", "modinfo: ERROR: Module nvidia not found.")
    host.add("/etc/ld.so.cache")
    host.add("/lib/modules/6.1.0-56-amd64/modules.dep")
    host.add("/mnt/cuda.run", RUNFILE)
    host.urls["/mnt/cuda.run"] = lambda _offset: host._real.open_url(host.path("/mnt/cuda.run"))
    use(host, good_installer)
    return host


def converge(host: FakeHost, wanted: CudaToolkit) -> list[str]:
    """Apply the plan and return its actions; the plan after it must be empty."""
    plan = wanted.plan(wanted.read(host))
    for step in plan.steps:
        wanted.apply(host, step, lambda _text: None)
    host.add("/etc/ld.so.cache")
    assert wanted.plan(wanted.read(host)).steps == ()
    return [step.action for step in plan.steps]


def tree(host: FakeHost, *without: str) -> list[str]:
    files = [
        str(path.relative_to(host.root)) for path in host.root.rglob("*") if not path.is_dir() or path.is_symlink()
    ]
    return sorted(name for name in files if not name.startswith(("mnt", "var/log", "etc/ld.so.cache", *without)))


def test_a_fresh_host_gets_the_toolkit_and_nothing_else(host: FakeHost) -> None:
    host.add("/tmp/cuda-installer.log", "somebody else's")
    assert converge(host, component(release("12.9.1"))) == ["fetch", "install", "link", "linker", "profile"]
    run = next(command for command in host.ran if command[0] == "bash")
    assert run == (
        "bash",
        CACHED,
        "--silent",
        "--toolkit",
        "--toolkitpath=/usr/local/cuda-12.9",
        "--tmpdir=/var/lib/gpulab/cuda_toolkit/work",
    )
    assert not host.exists("/tmp/cuda-installer.log")
    assert not host.exists(CACHED)
    assert not host.exists("/var/lib/gpulab/cuda_toolkit/work")
    assert host.listdir("/etc/ld.so.conf.d") == ["00-gpulab-cuda.conf"]
    assert host.readlink("/usr/local/cuda") == "/usr/local/cuda-12.9"


def test_a_toolkit_on_another_disk_converges(host: FakeHost) -> None:
    """Its directory is a link of the administrator's; /usr/local/cuda leads to it all the same."""
    put_toolkit(host, "12.9.20250531")
    host.make_dirs("/data")
    host.rename("/usr/local/cuda-12.9", "/data/cuda-12.9")
    host.symlink("../../data/cuda-12.9", "/usr/local/cuda-12.9")
    assert converge(host, component(release("12.9.1"))) == ["adopt", "link", "linker", "profile"]
    assert component(release("12.9.1")).read(host).link_target == "/usr/local/cuda-12.9"


def test_an_adopted_toolkit_that_its_owner_has_removed_is_none(host: FakeHost) -> None:
    put_toolkit(host, "12.9.1")
    assert converge(host, component(release("12.9.1")))[0] == "adopt"
    host.remove("/usr/local/cuda-12.9")
    assert converge(host, component(release("12.9.1"), state="absent")) == ["forget"]
    assert converge(host, component(release("12.9.1"))) == ["fetch", "install", "linker", "profile"]


def test_what_a_kill_has_left_counts_as_done_or_as_room(host: FakeHost) -> None:
    wanted = component(release("12.9.1"))
    before = wanted.read(host)
    assert (before.fetched, before.halves, before.unpacked) == ({"12.9.1": 0}, {}, 0)
    host.add(CACHED, RUNFILE)
    host.add(f"{CACHED}.part", "xx")
    host.add("/var/lib/gpulab/cuda_toolkit/work/payload")
    host.add("/var/lib/gpulab/cuda_toolkit/12.9.json", '{"version": "12.9.1", "state": "installing"}')
    host.add("/usr/local/cuda-12.9/half")
    host.commands["du --summarize --bytes /usr/local/cuda-12.9"] = (0, "700\t/usr/local/cuda-12.9\n", "")
    host.commands["du --summarize --bytes /var/lib/gpulab/cuda_toolkit/work"] = (0, "900\twork\n", "")
    found = wanted.read(host)
    assert (found.fetched, found.halves, found.unpacked) == ({"12.9.1": len(RUNFILE)}, {"12.9.1": 700}, 900)


def test_the_second_run_runs_no_installer(host: FakeHost) -> None:
    converge(host, component(release("12.9.1")))
    host.ran.clear()
    assert converge(host, component(release("12.9.1"))) == []
    assert not [command for command in host.ran if command[0] in ("bash", "apt-get", "ldconfig")]


def test_the_runfile_can_be_kept(host: FakeHost) -> None:
    converge(host, component(release("12.9.1"), keep_runfile=True))
    assert host.exists(CACHED)


def test_a_second_release_leaves_the_default_alone(host: FakeHost) -> None:
    converge(host, component(release("12.9.1")))
    assert converge(host, component(release("12.9.1"), release("12.8.1"))) == ["fetch", "install", "linker"]
    assert host.readlink("/usr/local/cuda") == "/usr/local/cuda-12.9"
    assert host.listdir("/etc/ld.so.conf.d") == ["00-gpulab-cuda.conf"]


def test_removal_leaves_no_trace(host: FakeHost) -> None:
    before = tree(host)
    converge(host, component(release("12.9.1"), release("12.8.1")))
    actions = converge(host, component({"version": "12.9.1"}, {"version": "12.8.1"}, state="absent"))
    assert actions == ["remove", "remove", "unlink", "forget"]
    assert tree(host) == before


def test_missing_packages_come_first(host: FakeHost) -> None:
    host.commands["dpkg-query"] = (1, "libxml2\trc \n", "dpkg-query: no packages found matching g++")
    wanted = component(release("12.9.1"))
    step = wanted.plan(wanted.read(host)).steps[0]
    assert (step.action, step.title) == ("packages", "Install libxml2 g++")


def fails_with(rc: int, output: str) -> Installer:
    return lambda _host, _command: (rc, output, "")


def claims_success(host: FakeHost, command: tuple[str, ...]) -> tuple[int, str, str]:
    good_installer(host, command)
    host.remove("/usr/local/cuda-12.9/bin/nvcc")
    return 0, "Toolkit:  Installed in /usr/local/cuda-12.9/", ""


def installs_a_driver(host: FakeHost, command: tuple[str, ...]) -> tuple[int, str, str]:
    host.add("/usr/bin/nvidia-smi", "575")
    return good_installer(host, command)


@pytest.mark.parametrize(
    ("installer", "found", "action"),
    [
        pytest.param(fails_with(139, "Segmentation fault"), "ended with 139", "/tmp/cuda-installer.log", id="crash"),
        pytest.param(fails_with(0, ""), "ended with 0 and left", "/var/log/cuda-installer.log", id="does-nothing"),
        pytest.param(claims_success, "bin/nvcc missing", "run again", id="says-0-without-nvcc"),
        pytest.param(
            installs_a_driver, "the driver changed: /usr/bin/nvidia-smi was absent", "gpu_driver", id="driver"
        ),
    ],
)
@pytest.mark.parametrize("before", [None, "12.9.0"], ids=["fresh", "upgrade"])
def test_a_failed_installation_leaves_what_was_there(
    host: FakeHost, installer: Installer, found: str, action: str, before: str | None
) -> None:
    if before:
        put_toolkit(host, before)
        host.add("/var/lib/gpulab/cuda_toolkit/12.9.json", json.dumps({"version": before, "state": "installed"}))
        host.symlink("/usr/local/cuda-12.9", "/usr/local/cuda")
    trees = tree(host, "var/cache", "usr/bin")
    use(host, installer)
    with pytest.raises(OperatorError) as error:
        converge(host, component(release("12.9.1")))
    assert found in error.value.found
    assert action in error.value.action
    assert tree(host, "var/cache", "usr/bin") == trees
    if before:
        assert component(release("12.9.1")).read(host).found["12.9"].version == before
        assert host.readlink("/usr/local/cuda") == "/usr/local/cuda-12.9"
    use(host, good_installer)
    converge(host, component(release("12.9.1")))


def test_a_run_that_was_killed_during_an_upgrade_keeps_the_old_one_in_reserve(host: FakeHost) -> None:
    """Killed in the installer: the old toolkit is set aside; the next installer fails; the old one comes back."""
    put_toolkit(host, "12.9.0")
    host.add("/var/lib/gpulab/cuda_toolkit/12.9.json", json.dumps({"version": "12.9.0", "state": "installed"}))
    host.rename("/usr/local/cuda-12.9", "/usr/local/.cuda-12.9.gpulab-old")
    host.add("/var/lib/gpulab/cuda_toolkit/12.9.json", json.dumps({"version": "12.9.1", "state": "installing"}))
    put_toolkit(host, "12.9.1", without="bin/nvcc")
    use(host, fails_with(1, "Extraction failed."))
    with pytest.raises(OperatorError, match=r"Extraction failed"):
        converge(host, component(release("12.9.1")))
    assert component(release("12.9.1")).read(host).found["12.9"].version == "12.9.0"
    use(host, good_installer)
    converge(host, component(release("12.9.1")))
    assert not host.exists("/usr/local/.cuda-12.9.gpulab-old")


def test_a_toolkit_made_by_somebody_else_is_used_and_never_removed(host: FakeHost) -> None:
    put_toolkit(host, "12.9.1")
    assert converge(host, component(release("12.9.1"))) == ["adopt", "link", "linker", "profile"]
    with pytest.raises(OperatorError, match="was not made by this role"):
        converge(host, component({"version": "12.9.1"}, state="absent"))
    assert host.exists("/usr/local/cuda-12.9/bin/nvcc")


def test_a_broken_package_database_is_not_taken_for_missing_packages(host: FakeHost) -> None:
    host.commands["dpkg-query"] = (2, "", "dpkg-query: error: parsing file '/var/lib/dpkg/status'")
    with pytest.raises(OperatorError, match="package database"):
        component(release("12.9.1")).read(host)


def test_report(host: FakeHost) -> None:
    wanted = component(release("12.9.1"))
    converge(host, wanted)
    put_toolkit(host, "11.8.0")
    report = wanted.report(wanted.read(host))
    assert report["default"] == "/usr/local/cuda-12.9"
    assert [(toolkit["version"], toolkit["owner"], toolkit["missing"]) for toolkit in report["toolkits"]] == [
        ("11.8.0", "unknown", []),
        ("12.9.1", "gpulab", []),
    ]
    assert host.exists(LINKER_FILE)
    assert host.exists(PROFILE_FILE)
