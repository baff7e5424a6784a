# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Links under load and copies in, outcomes out: a recorded H100, and what slots and firmware do to a card."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest

from ansible_collections.gpulab.workstation.plugins.module_utils._verify import Limit, Outcome
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_pcie import (
    Link,
    judge_host,
    judge_link,
    parse_link,
)
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_programs import ProgramRun

FIXTURES = Path(__file__).parents[2] / "fixtures/gpu_verify"
PASS, WARN, FAIL, OPEN = Outcome.PASS, Outcome.WARN, Outcome.FAIL, Outcome.NOT_PROVEN
RECORDED = json.loads((FIXTURES / "h100-host.txt").read_text().split("\n", 1)[1])
NOTHING = {"card_speed": "", "card_width": "", "port_speed": "", "port_width": "", "nvml_generation": None,
           "nvml_width": None}  # fmt: skip


def link(speed: str = "32.0", width: int = 16, port: tuple[str, int] | None = None) -> dict[str, t.Any]:
    sample = {**NOTHING, "card_speed": f"{speed} GT/s PCIe", "card_width": str(width)}
    return {**sample, "port_speed": f"{port[0]} GT/s PCIe", "port_width": str(port[1])} if port else sample


def run(rc: int = 0, *, load: t.Any = None, most: t.Any = None, **changes: t.Any) -> ProgramRun:
    links = {**RECORDED["link"], **({"load": load} if load else {}), **({"max": most} if most else {})}
    return ProgramRun(0, rc, json.dumps({**RECORDED, "link": links, **changes}), "")


@pytest.mark.parametrize(
    ("speed", "width", "expected"),
    [
        ("32.0 GT/s PCIe", "16", Link(5, 16)),
        ("2.5 GT/s PCIe", "8", Link(1, 8)),
        ("16.0 GT/s PCIe", 4, Link(4, 4)),
        ("Unknown", "16", None),
        ("Unknown speed", "255", None),
        ("32.0 GT/s PCIe", "63", None),
        ("32.0 GT/s PCIe", "", None),
        ("", "", None),
        (None, None, None),
    ],
)
def test_parse_link(speed: t.Any, width: t.Any, expected: Link | None) -> None:
    assert parse_link(speed, width) == expected


@pytest.mark.parametrize(
    ("which", "gb_s"),
    [(Link(1, 16), 4.0), (Link(3, 16), 15.75), (Link(4, 16), 31.51), (Link(5, 8), 31.51), (Link(5, 16), 63.02)],
)
def test_what_a_link_carries(which: Link, gb_s: float) -> None:
    assert round(which.gb_s, 2) == gb_s


MODEL = {"pcie_generation": 5, "pcie_width": 16}
BY_NVML = {**NOTHING, "nvml_generation": 5, "nvml_width": 16}


@pytest.mark.parametrize(
    ("made", "facts", "outcome", "words"),
    [
        pytest.param(run(), MODEL, PASS, "generation 5 x16 under load, the most", id="recorded"),
        pytest.param(run(), {}, PASS, "generation 5 x16 under load, the most", id="unknown-model"),
        pytest.param(
            run(load=[link("2.5"), link(), link()]), MODEL, PASS, "generation 5 x16", id="wakes-up-under-load"
        ),
        pytest.param(
            run(load=[link(width=8)], most=link()),
            MODEL,
            FAIL,
            "generation 5 x8 under load, but card and slot can do generation 5 x16: reseat",
            id="half-the-lanes",
        ),
        pytest.param(
            run(load=[link("2.5")], most=link()), MODEL, FAIL, "generation 1 x16 under load", id="stays-slow-under-load"
        ),
        pytest.param(
            run(load=[link("16.0")], most=link(port=("16.0", 16))),
            MODEL,
            WARN,
            "generation 4 x16 is all that the slot can do, the card could do generation 5 x16",
            id="older-slot",
        ),
        pytest.param(
            run(load=[link("16.0")], most=link(port=("16.0", 16))),
            {},
            WARN,
            "the card could do",
            id="older-slot-unknown",
        ),
        pytest.param(
            run(load=[link(width=8)], most=link(port=("32.0", 8))),
            MODEL,
            WARN,
            "all that the slot",
            id="slot-of-8-lanes",
        ),
        pytest.param(run(load=[BY_NVML], most=BY_NVML), MODEL, PASS, "generation 5 x16", id="nvml-alone"),
        pytest.param(run(load=[NOTHING], most=NOTHING), MODEL, OPEN, "neither sysfs nor NVML", id="unreadable"),
        pytest.param(run(load=[link()], most=NOTHING), MODEL, OPEN, "neither sysfs nor NVML", id="max-unreadable"),
        pytest.param(
            ProgramRun(0, 124, "", ""), MODEL, OPEN, "there was no load to read it under", id="killed-from-outside"
        ),
    ],
)
def test_judge_link(made: ProgramRun, facts: dict[str, float], outcome: Outcome, words: str) -> None:
    check = judge_link("90", made, "GPU-1", facts)
    assert (check.outcome, check.card, words in check.why) == (outcome, "GPU-1", True), check.why


def row(in_force: Link) -> tuple[Limit, ...]:
    limit = Limit("host_bandwidth", "h2d_gb_s", "GB/s", "a source", fail_below=45, warn_below=52)
    return (limit,) if in_force == Link(5, 16) else ()


@pytest.mark.parametrize(
    ("made", "known", "outcome", "words"),
    [
        pytest.param(run(), True, PASS, "generation 5 x16 carries 63.0 GB/s", id="recorded"),
        pytest.param(run(h2d_gb_s=50.0), True, WARN, "h2d_gb_s is 50 GB/s, below 52 (a source)", id="below-its-row"),
        pytest.param(run(h2d_gb_s=44.0), True, FAIL, "h2d_gb_s is 44 GB/s, below 45", id="far-below-its-row"),
        pytest.param(run(d2h_gb_s=30.0), True, FAIL, "share_of_theoretical is 0.476", id="slow-way-back"),
        pytest.param(
            run(load=[link("16.0")], h2d_gb_s=25.0, d2h_gb_s=25.0), True, PASS, "generation 4 x16", id="no-row-for-link"
        ),
        pytest.param(run(), False, OPEN, "there are no limits for this card", id="unknown-card"),
        pytest.param(run(d2h_gb_s=30.0), False, FAIL, "share_of_theoretical is 0.476", id="unknown-card-slow"),
        pytest.param(run(load=[NOTHING]), True, OPEN, "speed and width are not known", id="unreadable-link"),
        pytest.param(run(1, ok=False), True, FAIL, "is not what went there", id="other-bytes-came-back"),
        pytest.param(ProgramRun(0, -11, "", "boom"), True, FAIL, "no result: boom", id="crashes"),
    ],
)
def test_judge_host(made: ProgramRun, known: bool, outcome: Outcome, words: str) -> None:  # noqa: FBT001 - a table's column
    check = judge_host("90", made, "GPU-1", row if known else lambda _link: None)
    assert (check.outcome, check.card, words in check.why) == (outcome, "GPU-1", True), check.why
