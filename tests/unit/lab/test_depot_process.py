# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server is ended by its own process id only, and a reused id is not mistaken for it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from gpulab.lab import depot_process
from gpulab.lab.depot_process import DepotProcess


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


def note(lab: Path, process: DepotProcess) -> None:
    (lab / depot_process.STATE).write_text(json.dumps(asdict(process)))


def test_start_time_reads_past_a_name_with_brackets_and_blanks(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    fields = ["S", *map(str, range(4, 22)), "98765", "0"]
    (tmp_path / "7/stat").write_text(f"7 (a ) b) {' '.join(fields)}\n")
    assert depot_process.start_time(7, tmp_path) == 98765
    (tmp_path / "7/stat").write_text(f"7 (a ) b) {' '.join(['Z', *fields[1:]])}\n")
    assert depot_process.start_time(7, tmp_path) is None
    assert depot_process.start_time(8, tmp_path) is None


def test_another_process_with_the_same_id_is_left_alone(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    started = depot_process.start_time(sleeper.pid)
    assert started
    note(tmp_path, DepotProcess(sleeper.pid, started - 1, 1, ("127.0.0.1",)))
    assert depot_process.stop(tmp_path) is False
    assert sleeper.poll() is None


def test_a_depot_starts_is_reused_and_ends(tmp_path: Path) -> None:
    (tmp_path / "depot").mkdir()
    first = depot_process.ensure(tmp_path, ["127.0.0.1"])
    assert first.pid != os.getpid()
    assert depot_process.answers(first.url)
    assert depot_process.ensure(tmp_path, ["127.0.0.1"]) == first
    assert depot_process.stop(tmp_path) is True
    assert not depot_process.answers(first.url)
    again = depot_process.ensure(tmp_path, ["127.0.0.1"])
    assert again.port == first.port, "addresses that were handed out stay good"
    assert depot_process.stop(tmp_path) is True


def test_nothing_to_stop(tmp_path: Path) -> None:
    assert depot_process.stop(tmp_path) is False
    (tmp_path / depot_process.STATE).write_text("half a li")
    assert depot_process.load(tmp_path) is None
