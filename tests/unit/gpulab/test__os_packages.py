# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packages are found by what they carry, named before they are installed, and refused where that cannot be done."""

from __future__ import annotations

import concurrent.futures
from pathlib import Path

import pytest

from gpulab import _os_packages
from gpulab._errors import OperatorError
from gpulab._os_packages import Requirement


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPULAB_CACHE", str(tmp_path / "cache"))


SH = Requirement("dash", ("sh",), "a shell")
NONE = Requirement("frobnicator", ("frobnicate", "/opt/frob"), "frobnicates")


def test_what_is_missing() -> None:
    assert _os_packages.missing([SH, NONE]) == [NONE]
    assert _os_packages.missing([NONE], there=lambda name: name == "/opt/frob") == []


def test_nothing_is_said_when_nothing_is_missing() -> None:
    said: list[str] = []
    _os_packages.ensure("The lab", [SH], said.append)
    assert said == []


def test_a_machine_without_apt_is_told_the_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr(_os_packages, "_SBIN", "/nonexistent")
    with pytest.raises(OperatorError, match="no apt-get") as refused:
        _os_packages.ensure("The lab", [NONE], print)
    assert "frobnicator (frobnicates)" in refused.value.expected


def test_packages_are_named_before_apt_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log"
    for name, line in (
        ("apt-get", f'echo "apt $*" >> {log}; exit 100'),
        ("sudo", 'exec "$@"'),
        ("env", 'shift; exec "$@"'),
    ):
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(OperatorError, match="ended with 100"):
        _os_packages.ensure("The lab", [NONE], lambda line: log.open("a").write(line + "\n"))
    assert log.read_text().splitlines() == [
        "The lab needs operating-system packages that are not here yet, and installs them with apt now:",
        "  frobnicator: frobnicates",
        "apt --option=DPkg::Lock::Timeout=300 install --yes --no-install-recommends frobnicator",
        "apt update",
        "apt --option=DPkg::Lock::Timeout=300 install --yes --no-install-recommends frobnicator",
    ]


def test_two_at_once_install_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As two parts of a test run that want the same package: the second waits and finds it there."""
    there, log = tmp_path / "frobnicate", tmp_path / "log"
    (tmp_path / "apt-get").write_text(f"#!/bin/sh\necho starts >> {log}; sleep 0.3; touch {there}\n")
    (tmp_path / "apt-get").chmod(0o755)
    (tmp_path / "sudo").symlink_to("/usr/bin/env")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    wanted = [Requirement("frobnicator", (str(there),), "frobnicates")]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(_os_packages.ensure, "The lab", wanted, lambda _line: None) for _ in range(2)]
    assert [call.result() for call in calls] == [None, None]
    assert log.read_text() == "starts\n"


def test_apt_that_says_0_and_brings_nothing_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "apt-get").write_text("#!/bin/sh\nexit 0\n")
    (tmp_path / "apt-get").chmod(0o755)
    (tmp_path / "sudo").symlink_to("/usr/bin/env")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(OperatorError, match="apt installed frobnicator, but none of its files was found"):
        _os_packages.ensure("The lab", [NONE], lambda _line: None)
