# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When .venv is up to date, and what is put into it."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from gpulab import _setup


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    path = tmp_path / "controller.txt"
    path.write_text("a==1\n")
    return path


def stamp(root: Path, lock: Path) -> dict[str, object]:
    return {"root": str(root), "locks": {lock.name: hashlib.sha256(lock.read_bytes()).hexdigest()}}


def test_the_same_lock_in_the_same_place_is_done(tmp_path: Path, lock: Path) -> None:
    assert _setup.is_done(stamp(tmp_path, lock), lock, tmp_path)


def test_a_changed_lock_another_place_and_no_stamp_are_not(tmp_path: Path, lock: Path) -> None:
    noted = stamp(tmp_path, lock)
    assert not _setup.is_done(noted, lock, tmp_path / "elsewhere")
    assert not _setup.is_done({}, lock, tmp_path)
    lock.write_text("a==2\n")
    assert not _setup.is_done(noted, lock, tmp_path)


@pytest.mark.parametrize("content", [None, "", "{", "[]"], ids=["none", "empty", "cut", "a-list"])
def test_a_stamp_that_says_nothing(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "stamp").write_text(content)
    assert _setup.read_stamp(tmp_path / "stamp") == {}


def test_dev_has_its_own_lock(tmp_path: Path) -> None:
    assert _setup.wanted(tmp_path, dev=True).name == "dev.txt"
    assert _setup.wanted(tmp_path, dev=False).name == "controller.txt"


def test_the_command_works_from_a_directory_with_a_blank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = tmp_path / "with blank/.venv"
    (environment / "bin").mkdir(parents=True)
    (environment / "bin/python").write_text('#!/bin/sh\necho "$*"\n')
    (environment / "bin/python").chmod(0o755)
    monkeypatch.setattr(_setup.sysconfig, "get_path", lambda _name: str(tmp_path))
    _setup.link_project(environment, tmp_path / "src")
    assert (tmp_path / "gpulab-checkout.pth").read_text() == f"{tmp_path / 'src'}\n"
    ran = subprocess.run([environment / "bin/gpulab", "lab", "a b"], check=True, capture_output=True, text=True)
    assert ran.stdout == "-m gpulab lab a b\n"
