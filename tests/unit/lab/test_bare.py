# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""python3 goes by its packages' names, and a host that keeps it is no bare one."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from gpulab import cli
from gpulab._errors import OperatorError
from gpulab.lab import bare

KNOWN_TO_DPKG = """installed libpython3-stdlib
installed python3
config-files python3-old
not-installed python3-venv
installed python3-apt
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return a PATH of its own with a python3, a dpkg that knows packages and an apt that notes what it is to do."""
    (tmp_path / "known").write_text(KNOWN_TO_DPKG)
    program(tmp_path / "dpkg-query", f"cat {tmp_path / 'known'}")
    program(tmp_path / "apt-get", f'echo "$DEBIAN_FRONTEND $*" > {tmp_path / "asked"}; rm -f {tmp_path / "python3"}')
    program(tmp_path / "python3", "true")
    for tool in ("cat", "rm", "sed"):
        (tmp_path / tool).symlink_to(shutil.which(tool) or "")
    return tmp_path


def program(path: Path, line: str) -> None:
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)


def run(place: Path, line: str) -> subprocess.CompletedProcess[str]:
    bash = shutil.which("bash") or ""
    return subprocess.run([bash, "-c", line], check=False, text=True, capture_output=True, env={"PATH": str(place)})


def test_what_is_installed_is_purged_by_name(place: Path) -> None:
    bare.remove_python("vm-1", lambda line: run(place, line))
    assert (place / "asked").read_text() == "noninteractive -q --yes purge libpython3-stdlib python3 python3-apt\n"


@pytest.mark.parametrize(
    ("apt", "told"),
    [
        pytest.param("echo E: Could not get lock >&2; exit 100", "E: Could not get lock", id="apt-fails"),
        pytest.param("echo 0 to remove", "0 to remove", id="python3-stays"),
    ],
)
def test_a_host_that_keeps_python3_is_told(place: Path, apt: str, told: str) -> None:
    program(place / "apt-get", apt)
    with pytest.raises(OperatorError, match="python3 could not be removed from vm-1") as refused:
        bare.remove_python("vm-1", lambda line: run(place, line))
    assert told in str(refused.value)


@pytest.mark.parametrize(("words", "wanted"), [([], False), (["--bare"], True)], ids=["as-the-image", "bare"])
def test_a_reinstallation_is_bare_only_if_asked(words: list[str], wanted: bool) -> None:  # noqa: FBT001
    assert cli.parser().parse_args(["lab", "reinstall", "vm-1", *words]).bare is wanted
