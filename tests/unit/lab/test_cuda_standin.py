# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The wrapper of the CUDA stand-in, around a payload of a few bytes: checks, options and endings like the original's.

The payload with the real nvcc is tried on a host in tests/faults/test_cuda_toolkit.py.
"""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from gpulab.lab.standins import cuda

# Says what it was called with, from where, and ends with the status that it is told to.
INSTALLER = b"""#!/bin/bash
echo "$PWD: $*"
for word in "$@"; do case $word in --end=*) exit "${word#--end=}";; esac; done
"""


def runfile(directory: Path) -> Path:
    archive = cuda._archive({"toolkit/x": b"data"}, {}) + cuda._archive({"cuda-installer": INSTALLER}, {})
    path = directory / "cuda_x_linux.run"
    path.write_bytes(cuda._wrapper(path.name, "x", archive) + archive)
    return path


def run(path: Path, *options: str, interpreter: str = "bash") -> subprocess.CompletedProcess[str]:
    return subprocess.run([interpreter, str(path), *options], capture_output=True, text=True, check=False)


def test_an_archive_has_the_same_bytes_each_time() -> None:
    members = {"b/two": b"2", "a": b"#!/bin/sh\n"}
    assert cuda._archive(members, {"l": "a"}) == cuda._archive(dict(reversed(members.items())), {"l": "a"})
    with tarfile.open(fileobj=io.BytesIO(cuda._archive(members, {"l": "a"}))) as archive:
        found = {member.name: (member.mode, member.mtime, member.uid) for member in archive}
    assert found["a"][0] == 0o755
    assert found["b/two"] == (0o644, cuda._EPOCH, 0)


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("nvidia/cu13/bin/nvcc", "bin/nvcc"),
        ("nvidia/cu13/nvvm/bin/cicc", "nvvm/bin/cicc"),
        ("nvidia/cu13/include/crt/host_config.h", "targets/x86_64-linux/include/crt/host_config.h"),
        ("nvidia/cu13/lib/libcudart_static.a", "targets/x86_64-linux/lib/libcudart_static.a"),
        ("nvidia/cu13/lib/libnvvm.so.4", None),
        ("nvidia/cu13/bin/", None),
        ("nvidia_cuda_nvcc-13.0.88.dist-info/RECORD", None),
    ],
)
def test_where_a_wheels_file_goes(name: str, target: str | None) -> None:
    assert cuda._place(name) == target


def test_check(tmp_path: Path) -> None:
    done = run(runfile(tmp_path), "--check")
    assert (done.returncode, done.stdout) == (0, "Verifying archive integrity... MD5 checksums are OK. All good.\n")


def test_a_truncated_file_ends_with_2_and_unpacks_nothing(tmp_path: Path) -> None:
    path = runfile(tmp_path)
    path.write_bytes(path.read_bytes()[:-20])
    done = run(path, "--silent", f"--tmpdir={tmp_path / 'work'}")
    assert done.returncode == 2
    assert "Error in MD5 checksums" in done.stderr
    assert not (tmp_path / "work").exists()


def test_the_installer_gets_every_option_in_a_directory_of_its_own(tmp_path: Path) -> None:
    work = tmp_path / "work"
    done = run(runfile(tmp_path), "--silent", "--toolkit", f"--tmpdir={work}")
    assert done.stdout.startswith(f"{work}/selfgz")
    assert done.stdout.endswith(f": --silent --toolkit --tmpdir={work}\n")
    assert list(work.iterdir()) == []


@pytest.mark.parametrize("status", [0, 1, 139])
def test_the_installers_status_is_the_files(tmp_path: Path, status: int) -> None:
    assert run(runfile(tmp_path), f"--end={status}", f"--tmpdir={tmp_path / 'w'}").returncode == status


@pytest.mark.skipif(not shutil.which("dash"), reason="this machine has no dash")
def test_dash_cannot_read_it(tmp_path: Path) -> None:
    done = run(runfile(tmp_path), "--help", interpreter="dash")
    assert done.returncode == 2
    assert "Syntax error" in done.stderr


def test_help_says_that_it_is_a_stand_in(tmp_path: Path) -> None:
    assert "stand-in" in run(runfile(tmp_path), "--help").stdout


def test_a_release_that_the_catalogue_does_not_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the catalogue has no CUDA 12.9.7; it has: 12.8.0"):
        cuda.build_cuda_run("12.9.7", tmp_path)


def test_what_it_says_of_itself() -> None:
    with tarfile.open(fileobj=io.BytesIO(cuda._release_member("12.9.1", cuda._original("12.9.1")))) as archive:
        texts = {member.name: archive.extractfile(member) for member in archive}
        data = {name: stream.read().decode() for name, stream in texts.items() if stream}
    standin = json.loads(data["standin.json"])
    assert (standin["claims"], standin["carries"]) == ("12.9.1", standin["packages"]["nvidia-cuda-nvcc"])
    assert json.loads(data["version.json"])["cuda"] == {"name": "CUDA SDK", "version": "12.9.20250531"}
    assert data["release.env"] == "CUDA_VERSION=12.9.1\nBUNDLED_DRIVER=575.57.08\n"
