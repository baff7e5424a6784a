# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""cuda_toolkit on hosts where something is wrong: refused before a change, undone, or finished by the next run."""

from __future__ import annotations

import hashlib
import json
import typing as t
from collections.abc import Iterator
from pathlib import Path

import pytest
from labhost import LabHost
from runfiles import own_runfile

from gpulab.lab import Lab
from gpulab.lab.faults import Fault

DRIVER_MARK = "/var/lib/gpulab-standin/driver-was-installed"
OLDER = "12.8.1"
# What an installation may leave: apt's and dpkg's own files, caches of the linker, logs, and ours to compare with.
IGNORED = (
    "/etc/ld.so.cache /etc/alternatives /var /usr/share /usr/lib /usr/bin /usr/include /usr/libexec"
    " /proc /sys /run /dev /root /boot /tmp"
)


BROKEN = "mkdir -p /usr/local/cuda-12.9; echo Extraction failed.; exit 1\n"
HALF = """mkdir -p /usr/local/cuda-12.9/bin
echo '{"cuda": {"version": "12.9.1"}}' >/usr/local/cuda-12.9/version.json
"""


@pytest.fixture(autouse=True)
def no_faults(lab: Lab) -> Iterator[None]:
    """Leave the depot as it should be."""
    yield
    lab.set_faults()


@pytest.fixture(scope="module")
def bare_host(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabHost]:
    """Start a host for the tests after which it must be as it was."""
    lab.add_host("cuda-bare")
    host = LabHost(lab, "cuda-bare", tmp_path_factory.mktemp("cuda-bare"))
    host.sh("apt-get -q install --yes --no-install-recommends libxml2 g++")
    yield host
    lab.remove_host("cuda-bare")


@pytest.fixture(scope="module")
def ready_host(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabHost]:
    """Start a host that has got the toolkit although its download broke off and somebody had spoiled /tmp."""
    lab.add_host("cuda-ready")
    host = LabHost(lab, "cuda-ready", tmp_path_factory.mktemp("cuda-ready"))
    lab.exec(host.name, "mount -t tmpfs -o noexec,mode=1777 none /tmp", privileged=True)
    host.sh("touch /tmp/cuda-installer.log; chown nobody /tmp/cuda-installer.log; mount | grep ' /tmp .*noexec'")
    lab.set_faults(Fault(f"/files/{release(lab)['file']}", "truncate", bytes=30_000_000, times=1))
    result = host.apply("cuda_toolkit")
    lab.set_faults()
    lab.exec(host.name, "umount /tmp", privileged=True)
    assert (result.failed, result.changed) == (0, 1), result.stdout
    yield host
    lab.remove_host("cuda-ready")


def release(lab: Lab, version: str = "", **changes: t.Any) -> dict[str, t.Any]:
    """Return a stand-in as the lookup would."""
    found = next(s for s in lab.standins if s.kind == "cuda" and version in ("", s.version))
    entry = {"version": found.version, "file": found.file, "size": found.size, "sha256": found.sha256}
    return {**entry, "sources": [found.url(lab.depot_url)], "standin": True, **changes}


def traces(host: LabHost) -> str:
    """List everything that a toolkit could leave."""
    prune = " -o ".join(f"-path {path}" for path in IGNORED.split())
    listed = host.sh(f"find / -xdev \\( {prune} \\) -prune -o -print | sort").stdout
    return listed + host.sh("ls -A -I jobs /var/lib/gpulab 2>/dev/null; ls -A /tmp").stdout


def nvcc(host: LabHost, path: str = "/usr/local/cuda") -> str:
    return host.sh(f"{path}/bin/nvcc --version").stdout


def test_never_the_driver_in_the_file(ready_host: LabHost) -> None:
    assert ready_host.sh(f"test -e {DRIVER_MARK}", check=False).returncode == 1
    # The same file without --toolkit does install it: the mark is a real tripwire.
    ready_host.sh("mkdir -p /srv/files /srv/else")
    found = next(s for s in ready_host.lab.standins if s.kind == "cuda")
    ready_host.put(ready_host.lab.depot_dir / "files" / found.file, "/srv/files/cuda.run")
    ready_host.sh("bash /srv/files/cuda.run --silent --override --toolkitpath=/srv/else")
    assert ready_host.sh(f"cat {DRIVER_MARK}").stdout.strip()
    ready_host.sh(f"rm -rf {DRIVER_MARK} /srv/else /etc/ld.so.conf.d/cuda-12-9.conf")
    ready_host.sh("ln -sfn /usr/local/cuda-12.9 /usr/local/cuda; ldconfig")


def test_the_second_run_changes_nothing_and_fetches_nothing(lab: Lab, ready_host: LabHost) -> None:
    asked = lab.requests.read_text() if lab.requests.exists() else ""
    assert ready_host.apply("cuda_toolkit").changed == 0
    assert (lab.requests.read_text() if lab.requests.exists() else "") == asked


def test_a_run_that_is_killed_in_the_installer_is_finished_by_the_next(lab: Lab, bare_host: LabHost) -> None:
    """The next run brings a second release as well; in the end both go without a trace."""
    lab.add_standin("cuda", OLDER)
    newer, older = release(lab, "12.9.1"), release(lab, OLDER)
    before = traces(bare_host)
    run = bare_host.start("cuda_toolkit", cuda_toolkit_releases=[newer])
    wait = "for i in $(seq 3000); do [ -e /usr/local/cuda-12.9/version.json ] && break; sleep 0.02; done"
    bare_host.sh(f"{wait}; systemctl kill --signal=KILL gpulab-cuda-toolkit")
    killed = run.wait()
    assert killed.failed == 1, killed.stdout
    assert "ended without a result" in killed.message
    assert '"installing"' in bare_host.sh("cat /var/lib/gpulab/cuda_toolkit/12.9.json").stdout

    both = bare_host.apply("cuda_toolkit", cuda_toolkit_releases=[newer, older])
    assert (both.failed, both.changed) == (0, 1), both.stdout
    assert bare_host.sh("ls -A /var/lib/gpulab/cuda_toolkit").stdout.split() == ["12.8.json", "12.9.json"]
    see_two_releases(bare_host)
    choose_and_remove(bare_host, newer, older)
    assert traces(bare_host) == before
    assert bare_host.apply("cuda_toolkit", cuda_toolkit_releases=[newer], cuda_toolkit_state="absent").changed == 0


def see_two_releases(host: LabHost) -> None:
    assert host.sh("readlink /usr/local/cuda").stdout == "/usr/local/cuda-12.9\n"
    for path in ("/usr/local/cuda-12.9", "/usr/local/cuda-12.8"):
        assert "Cuda compilation tools" in nvcc(host, path)
    order = host.sh("grep -v '^#' /etc/ld.so.conf.d/00-gpulab-cuda.conf").stdout.split()
    assert order == ["/usr/local/cuda-12.9/lib64", "/usr/local/cuda-12.8/lib64"]


def choose_and_remove(host: LabHost, newer: dict[str, t.Any], older: dict[str, t.Any]) -> None:
    """Make the older release the default, then remove it, then the other one."""
    other = host.apply("cuda_toolkit", cuda_toolkit_releases=[newer, older], cuda_toolkit_default=OLDER)
    assert (other.failed, other.changed) == (0, 1), other.stdout
    assert host.sh("readlink /usr/local/cuda").stdout == "/usr/local/cuda-12.8\n"
    first = host.sh("ldconfig -p | grep -m 1 'libcudart.so '").stdout
    assert "/usr/local/cuda-12.8/lib64/libcudart.so" in first

    gone = host.apply("cuda_toolkit", cuda_toolkit_releases=[{**older, "state": "absent"}, newer])
    assert (gone.failed, gone.changed) == (0, 1), gone.stdout
    assert host.sh("ls -d /usr/local/cuda*").stdout.split() == ["/usr/local/cuda", "/usr/local/cuda-12.9"]

    last = host.apply("cuda_toolkit", cuda_toolkit_releases=[newer], cuda_toolkit_state="absent")
    assert (last.failed, last.changed) == (0, 1), last.stdout


def test_a_compiler_that_was_broken_afterwards_is_repaired(ready_host: LabHost) -> None:
    ready_host.sh("rm /usr/local/cuda-12.9/bin/ptxas")
    result = ready_host.apply("cuda_toolkit")
    assert (result.failed, result.changed) == (0, 1), result.stdout
    assert "Cuda compilation tools" in ready_host.sh("/usr/local/cuda/bin/ptxas --version").stdout


def test_a_foreign_log_and_a_noexec_tmp_do_no_harm(ready_host: LabHost) -> None:
    assert "Cuda compilation tools" in nvcc(ready_host)


def test_a_truncated_download_goes_on_where_it_broke_off(lab: Lab, ready_host: LabHost) -> None:
    assert "Cuda compilation tools" in nvcc(ready_host)
    file = release(lab)["file"]
    asked = [line for line in lab.requests.read_text().splitlines() if file in line]
    assert any('"range": "bytes=30000000-"' in line and '"status": 206' in line for line in asked)


def refused(host: LabHost, *words: str, **variables: t.Any) -> None:
    """Apply the role, see it refused or undone in these words, and the host as it was."""
    before = traces(host)
    result = host.apply("cuda_toolkit", **variables)
    assert result.failed == 1, result.stdout
    for word in ("Found: ", "Expected: ", "To do: ", *words):
        assert word in result.message
    assert traces(host) == before


@pytest.mark.whole
def test_a_download_of_five_and_a_half_gigabytes_goes_on_behind_the_fourth(lab: Lab, bare_host: LabHost) -> None:
    """Where a number of 32 bits would have turned over. The file is an installer that does nothing, and holes."""
    served, size, cut = lab.depot_dir / "files/large.run", 5_500_000_000, 4_400_000_000
    with served.open("wb") as file:
        file.write(b"#!/bin/bash\nexit 0\n")
        for mark in (1 << 31, 1 << 32, cut, size - 1):
            file.seek(mark)
            file.write(b"#")
    with served.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    sources = [f"{lab.depot_url}/files/large.run"]
    chosen = release(lab, file="large.run", size=size, sha256=digest, sources=sources, tmp_bytes=1, target_bytes=1)
    lab.set_faults(Fault("/files/large.run", "truncate", bytes=cut, times=1))
    refused(bare_host, "ended with 0 and left", cuda_toolkit_releases=[chosen])
    served.unlink()
    asked = [json.loads(line) for line in lab.requests.read_text().splitlines()]
    parts = [(line["range"], line["sent"]) for line in asked if line["path"] == "/files/large.run"]
    assert parts == [(None, cut), (f"bytes={cut}-", size - cut)]


def test_a_small_and_a_noexec_work_directory_are_refused(lab: Lab, bare_host: LabHost) -> None:
    """And at once what needs more space than there is, and somebody else's toolkit."""
    bare_host.sh("mkdir -p /srv/work /usr/local/cuda-12.9/bin && echo theirs >/usr/local/cuda-12.9/bin/nvcc")
    lab.exec(bare_host.name, "mount -t tmpfs -o noexec,size=10m none /srv/work", privileged=True)
    huge = release(lab, "12.9.1", target_bytes=10**15)
    chosen = {"cuda_toolkit_releases": [huge], "cuda_toolkit_work_directory": "/srv/work/cuda"}
    words = ("0.0 GB free on /srv/work", "mounted noexec", "cuda_toolkit_work_directory", "GB free on /.", "1000000.")
    try:
        refused(bare_host, *words, "was not made by this role", "dpkg -S", **chosen)
        assert bare_host.sh("cat /usr/local/cuda-12.9/bin/nvcc").stdout == "theirs\n"
    finally:
        lab.exec(bare_host.name, "umount /srv/work", privileged=True)
        bare_host.sh("rm -r /usr/local/cuda-12.9")


def test_a_wrong_hash_is_refused(lab: Lab, bare_host: LabHost) -> None:
    wrong = release(lab, "12.9.1", sha256="0" * 64, size=None)
    refused(bare_host, "sha256 0000", release(lab, "12.9.1")["sha256"], cuda_toolkit_releases=[wrong])


def test_a_stand_in_is_no_real_toolkit(lab: Lab, bare_host: LabHost) -> None:
    """The file is what its hash says, but the catalogue does not call it a stand-in: found out, and taken away."""
    honest = release(lab, "12.9.1", standin=False, tmp_bytes=1, target_bytes=1)
    refused(bare_host, "it is a stand-in of the lab", cuda_toolkit_releases=[honest])


@pytest.mark.parametrize(
    ("script", "words"),
    [
        pytest.param(HALF, ["ended with 0 and left", "nvcc cannot be run"], id="leaves-half-of-it"),
        *[
            pytest.param(script, words, id=name, marks=pytest.mark.whole)
            for name, script, words in (
                ("does-nothing", "exit 0\n", ["ended with 0 and left", "bin/nvcc, bin/ptxas"]),
                ("crashes", "kill -SEGV $$\n", ["ended with -11", "/tmp/cuda-installer.log"]),
                ("no-gcc", "echo ' Missing gcc. gcc is required to continue.'; exit 1\n", ["install gcc"]),
            )
        ],
    ],
)
def test_an_installer_that_fails_leaves_nothing(
    bare_host: LabHost, tmp_path: Path, script: str, words: list[str]
) -> None:
    chosen = own_runfile(bare_host, tmp_path, script, "12.9.1")
    refused(bare_host, *words, cuda_toolkit_releases=[chosen])


def test_a_failed_upgrade_leaves_the_old_toolkit_working(ready_host: LabHost, tmp_path: Path) -> None:
    chosen = own_runfile(
        ready_host, tmp_path, "mkdir -p /usr/local/cuda-12.9; echo Extraction failed.; exit 1\n", "12.9.0"
    )
    result = ready_host.apply("cuda_toolkit", cuda_toolkit_releases=[chosen])
    assert result.failed == 1
    assert "Extraction failed" in result.message
    assert "Cuda compilation tools" in nvcc(ready_host)
    assert ready_host.apply("cuda_toolkit").changed == 0


def test_a_driver_that_comes_along_is_found_out(bare_host: LabHost, tmp_path: Path) -> None:
    chosen = own_runfile(bare_host, tmp_path, "echo driver >/usr/bin/nvidia-smi; exit 0\n", "12.9.1")
    result = bare_host.apply("cuda_toolkit", cuda_toolkit_releases=[chosen])
    bare_host.sh("rm -f /usr/bin/nvidia-smi")
    assert result.failed == 1
    assert "the driver changed: /usr/bin/nvidia-smi was absent" in result.message


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        (
            {"cuda_toolkit_state": "gone", "cuda_toolkit_releases": "12.9.1", "cuda_toolkit_keep_runfile": "perhaps"},
            ["value of cuda_toolkit_state must be one of", "cuda_toolkit_releases", "cuda_toolkit_keep_runfile"],
        ),
        ({"cuda_toolkit_releases": [{"version": 12.9}]}, ["'12.9'"]),
    ],
    ids=["three-types", "version-is-a-number"],
)
def test_wrong_types_are_refused(bare_host: LabHost, variables: dict[str, t.Any], words: list[str]) -> None:
    result = bare_host.apply("cuda_toolkit", **variables)
    assert result.failed == 1
    assert [word for word in words if word not in result.message] == []
