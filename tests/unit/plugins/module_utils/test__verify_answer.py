# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the programs in the environment's Python print, whole, cut off and about another card."""

from __future__ import annotations

import pytest

from ansible_collections.gpulab.workstation.plugins.module_utils._host import Completed
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_answer import Answer

CARD = "GPU-00000000-1111-2222-3333-444444444444"


def done(stdout: str = "", stderr: str = "", rc: int = 0) -> Answer:
    return Answer.of(Completed(("python",), rc, stdout, stderr))


def test_every_job_has_its_line() -> None:
    answer = done('a warning\n{"format": 1, "job": "sdxl", "n": 2}\n\n{"format": 1, "job": "sd15"}\n{"format": 1, "jo')
    assert [answer.job(name) for name in ("sdxl", "sd15", "backends")] == [
        {"format": 1, "job": "sdxl", "n": 2},
        {"format": 1, "job": "sd15"},
        {},
    ]


@pytest.mark.parametrize("line", ["", "[1]", '{"format": 2}', '{"format": 1, "cut'], ids=["none", "list", "old", "cut"])
def test_what_is_no_answer(line: str) -> None:
    assert done(line).objects == ()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        pytest.param(done(rc=124), "still running at its time limit", id="hang"),
        pytest.param(done(stderr="Segmentation fault\n\n", rc=-11), "ended with -11: Segmentation fault", id="crash"),
        pytest.param(done(rc=127), "it said nothing", id="silent"),
        pytest.param(done('{"format": 1, "part": {"error": "CUDA error: x"}}'), "CUDA error: x", id="error"),
        pytest.param(
            done('{"format": 1, "uuid": "GPU-9", "part": {"n": 1}}'), "card GPU-9 answered instead", id="other-card"
        ),
        pytest.param(done(f'{{"format": 1, "uuid": "{CARD}", "part": {{"n": 1}}}}'), "", id="good"),
    ],
)
def test_trouble(answer: Answer, words: str) -> None:
    told = answer.trouble(answer.part("part"), CARD)
    assert (told == "") == (words == "")
    assert words in told


def test_a_package_that_is_not_there() -> None:
    assert done(stderr="Traceback\nModuleNotFoundError: No module named 'diffusers'\n", rc=1).lacks == "diffusers"
    assert done(stderr="ImportError: libcudart", rc=1).lacks == ""
