# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stand-ins in the catalogue's schema: what is true of the real file only does not stay."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from gpulab import _paths
from gpulab._errors import OperatorError
from gpulab.lab import overlay
from gpulab.lab.standins_cache import Standin

DEPOT = "http://10.88.0.1:4000"
SHA256 = "a" * 64


def standin(kind: str, version: str, lock: str = "") -> Standin:
    return Standin(kind, version, f"{kind}.run", 17, SHA256, lock)


def test_a_release_keeps_what_rules_read_and_says_that_it_is_a_stand_in() -> None:
    real = {"path": "xfree86", "type": "production", "size": 4000, "sha256": "b" * 64, "seen": ["C"], "disputed": ["d"]}
    assert overlay.release(real, standin("driver", "1.2"), DEPOT) == {
        "path": "xfree86",
        "type": "production",
        "file": "driver.run",
        "size": 17,
        "sha256": SHA256,
        "sources": [f"{DEPOT}/files/driver.run"],
        "standin": True,
    }


def test_the_files_of_a_lab(tmp_path: Path) -> None:
    versions = overlay.versions()
    lock = "@EXPLICIT\n{depot}/conda/x-1-0.conda#" + SHA256 + "\n"
    built = [standin("driver", versions["driver"]), standin("miniforge", versions["miniforge"], lock)]
    overlay.write(tmp_path, built, DEPOT)
    stack = yaml.safe_load((tmp_path / "stacks/lab.yml").read_text())
    assert (stack["extends"], stack["standins"]) == ("cu128", ["conda_lock"])
    assert f"{DEPOT}/conda/x-1-0.conda#" in (tmp_path / "locks" / stack["locks"]["conda"]).read_text()
    drivers = yaml.safe_load((tmp_path / "drivers.yml").read_text())["releases"]
    assert list(drivers) == [versions["driver"]]
    assert not (tmp_path / "cuda.yml").exists()


def test_a_lab_without_miniforge_keeps_the_real_lock(tmp_path: Path) -> None:
    overlay.write(tmp_path, [], DEPOT)
    assert "locks" not in yaml.safe_load((tmp_path / "stacks/lab.yml").read_text())


def test_a_version_that_the_catalogue_does_not_know_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="no CUDA toolkit runfile 1.0 in catalogue/cuda.yml"):
        overlay.write(tmp_path, [standin("cuda", "1.0")], DEPOT)


def test_the_locks_of_the_stack_are_there() -> None:
    locks = overlay.wheel_locks()
    assert len(locks) == 3
    assert all(lock.is_file() and lock.is_relative_to(_paths.repository()) for lock in locks)
