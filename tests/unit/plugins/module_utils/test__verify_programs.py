# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which programs an architecture has, and runs that prove nothing."""

from __future__ import annotations

import json

import pytest

from ansible_collections.gpulab.workstation.plugins.module_utils._verify_programs import (
    ProgramRun,
    programs_for,
    run_problems,
)


@pytest.mark.parametrize(
    ("arch", "expected"),
    [
        pytest.param("90", {"gpu_verify": "90"}, id="hopper"),
        pytest.param("120", {"gpu_verify": "120", "gpu_verify_fp4": "120a"}, id="blackwell"),
        pytest.param("120a", {"gpu_verify": "120a", "gpu_verify_fp4": "120a"}, id="blackwell-specific"),
        pytest.param("110", {"gpu_verify": "110"}, id="thor"),
    ],
)
def test_programs(arch: str, expected: dict[str, str]) -> None:
    assert programs_for(arch) == expected


@pytest.mark.parametrize(
    ("run", "words"),
    [
        pytest.param(ProgramRun(0, 0, '{"format": 1, "binary_arch": 120}', ""), [], id="right"),
        pytest.param(
            ProgramRun(0, 0, '{"format": 1, "binary_arch": 90}', ""), ["is for 90, not 120a"], id="other-code"
        ),
        pytest.param(ProgramRun(0, 124, "", ""), ["ended with 124 and no result"], id="killed-from-outside"),
        pytest.param(ProgramRun(0, -11, "", "boom"), ["ended with -11 and no result: boom"], id="crashes"),
        pytest.param(ProgramRun(0, 0, '{"format": 1, "dev', ""), ["no result"], id="cut-off"),
        pytest.param(ProgramRun(0, 0, "{}", ""), ["no result"], id="empty-object"),
        pytest.param(ProgramRun(0, 0, "[1]", ""), ["no result"], id="no-object"),
        pytest.param(ProgramRun(0, 0, '{"format": 2}', ""), ["no result"], id="other-format"),
        pytest.param(ProgramRun(0, 126, "", "Permission denied"), ["Permission denied"], id="noexec"),
        pytest.param(
            ProgramRun(0, 4, json.dumps({"format": 1, "at": "time limit", "error": "out of time"}), ""),
            ["out of time (at: time limit)"],
            id="hangs",
        ),
    ],
)
def test_run_problems(run: ProgramRun, words: list[str]) -> None:
    found = run_problems("120a", run)
    assert len(found) == len(words)
    assert all(word in problem for word, problem in zip(words, found, strict=True)), found
