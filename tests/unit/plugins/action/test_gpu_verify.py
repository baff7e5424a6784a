# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's half of gpu_verify: the programs that it sends."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.gpulab.workstation.plugins.action.gpu_verify import is_quick, read_programs

ROOT = Path(__file__).parents[4]


def test_every_program_of_the_role_is_sent() -> None:
    directory = ROOT / "roles/gpu_verify/files"
    programs = read_programs(directory)
    assert set(programs) == {path.name for path in directory.iterdir() if path.is_file()}
    assert programs["gpu_verify.cu"] == (directory / "gpu_verify.cu").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "quick"),
    [
        ({}, True),
        ({"level": "quick", "endurance_minutes": "0"}, True),
        ({"level": "full"}, False),
        ({"level": "quick", "endurance_minutes": "2.5"}, False),
    ],
    ids=["defaults", "quick", "full", "endurance"],
)
def test_a_quick_verification_is_one_call(arguments: dict[str, str], quick: bool) -> None:  # noqa: FBT001
    assert is_quick(arguments) is quick
