# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One line per host: nothing is called proven that was not."""

from __future__ import annotations

import json
import os
import typing as t
from pathlib import Path

import pytest

from gpulab._results import Result, describe, parse_result, read_results

RECORDED = Path(__file__).parents[1] / "fixtures/gpu_verify/2-lab-container-no-gpu.txt"


def document(**changed: t.Any) -> dict[str, t.Any]:
    return {"schema": "gpu_verify-2", "host": "ws-01", "verified": False, "cards": [], "checks": [], **changed}


def check(name: str, outcome: str, why: str = "", card: str | None = None) -> dict[str, t.Any]:
    return {"name": name, "card": card, "outcome": outcome, "why": why, "required": True, "figures": {}}


def test_the_line_of_a_lab_host() -> None:
    text = RECORDED.read_text(encoding="utf-8").partition("\n")[2]
    assert describe(parse_result(json.loads(text))) == (
        "verify-host: not verified. Proven: toolkit (the lab's stand-in for CUDA 12.9.1, which carries nvcc 13.0.88);"
        " native code (machine code for sm_120 alone, no PTX, by both readers); negative control (a program for sm_110"
        " is refused: it carries 2 x sm_110; cuobjdump lists sm_110). NOT PROVEN: driver loaded, driver on disk, driver"
        " libraries, kernel results, foreign code refused (no NVIDIA driver is loaded); cards (no NVIDIA card on PCI,"
        " no NVIDIA driver is loaded); torch build, torch launch (there is no /opt/miniforge3/envs/rtx5090/bin/python)."
    )


def test_the_line_of_a_verified_host() -> None:
    data = document(verified=True, checks=[check("kernel_results", "pass", "equal on 2 cards.")])
    assert describe(parse_result(data)) == "ws-01: VERIFIED. Proven: kernel results (equal on 2 cards)."


def test_cards_are_named_together_by_their_numbers() -> None:
    checks = [
        check("kernel_results", "pass", "right numbers", "GPU-a"),
        check("kernel_results", "pass", "right numbers", "GPU-b"),
        check("pcie_link", "pass", "16 lanes", "GPU-a"),
        check("pcie_link", "fail", "8 lanes", "GPU-b"),
        check("memory_test", "fail", "gone", "GPU-c"),
    ]
    cards = [{"uuid": "GPU-a", "index": 0}, {"uuid": "GPU-b", "index": 1}]
    assert describe(parse_result(document(cards=cards, checks=checks))) == (
        "ws-01: not verified. Proven: kernel results on cards 0, 1 (right numbers); pcie link on card 0 (16 lanes)."
        " FAILED: pcie link on card 1 (8 lanes); memory test on card GPU-c (gone)."
    )


def test_what_is_wrong_comes_last() -> None:
    checks = [check("a", "fail", "x"), check("b", "not_proven", "y"), check("c", "warn", "z"), check("d", "pass")]
    line = describe(parse_result(document(checks=checks)))
    assert line == "ws-01: not verified. Proven: d. Warning: c (z). NOT PROVEN: b (y). FAILED: a (x)."


def test_an_outcome_that_is_not_known_is_no_pass() -> None:
    line = describe(parse_result(document(checks=[check("launch", "passed", "it ran")])))
    assert line == "ws-01: not verified. NOT PROVEN: launch (unknown outcome passed: it ran)."


@pytest.mark.parametrize("verified", ["yes", 1, None, False])
def test_verified_is_true_and_nothing_like_it(verified: object) -> None:
    assert not parse_result(document(verified=verified)).verified


def test_only_results_of_this_run_count(tmp_path: Path) -> None:
    for name, time in (("old", 1000.0), ("new", 2000.0)):
        (tmp_path / f"{name}.json").write_text(json.dumps(document(host=name)))
        os.utime(tmp_path / f"{name}.json", (time, time))
    assert read_results(tmp_path, since=1500.0) == {"new": Result("new", verified=False, checks=())}
    assert read_results(tmp_path / "nothing", since=0) == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("{", "JSONDecodeError", id="cut-off"),
        pytest.param(
            '{"schema": "gpu_verify-2", "host": "a", "verified": true, "cards": []}', "'checks'", id="without-checks"
        ),
        pytest.param(json.dumps(document(schema="gpu_verify-1", verified=True)), "gpu_verify-1", id="another-schema"),
        pytest.param("[]", "TypeError", id="a-list"),
    ],
)
def test_a_result_that_cannot_be_read_is_a_failure(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "a.json").write_text(text)
    result = read_results(tmp_path, since=0)["a"]
    assert not result.verified
    assert describe(result).startswith("a: not verified. FAILED: the result (")
    assert words in describe(result)
