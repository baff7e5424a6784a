# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Medians over cards of one model, and what changed since a card's last result."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.gpulab.workstation.plugins.plugin_utils._results_document import Document
from ansible_collections.gpulab.workstation.plugins.plugin_utils._results_fleet import (
    changes,
    medians,
    newest_homes,
    versus,
)
from resultdocuments import MODEL, bandwidth, card, check, limit, read


def host(name: str, *speeds: float | None, **more: t.Any) -> Document:
    """Return a host with a card for each speed."""
    uuids = [f"GPU-{name}-{place}" for place in range(len(speeds))]
    rows = [bandwidth(uuid, speed) for uuid, speed in zip(uuids, speeds, strict=True)]
    return read(host=name, uuids=uuids, checks=rows, **more)


def median(*documents: Document) -> tuple[float, int] | None:
    return medians(documents, newest_homes(documents)).get((MODEL, "memory_bandwidth", "copy_gb_s"))


@pytest.mark.parametrize(
    ("speeds", "expected"),
    [
        pytest.param([1500, 1600, 1700], (1600, 3), id="odd"),
        pytest.param([1500, 1600], (1550, 2), id="even"),
        pytest.param([1500, 1600, None], (1550, 2), id="one-not-measured"),
        pytest.param([1500, 1600, float("nan")], (1550, 2), id="one-nan"),
        pytest.param([1500], None, id="one-card-is-no-fleet"),
        pytest.param([None, None], None, id="nothing"),
        pytest.param([], None, id="no-card"),
    ],
)
def test_medians(speeds: list[float | None], expected: tuple[float, int] | None) -> None:
    assert median(host("a", *speeds)) == expected


def test_medians_are_of_one_model() -> None:
    other = read(host="b", cards=[card("GPU-x", name="Other")], checks=[bandwidth("GPU-x", 9000)])
    assert median(host("a", 1500, 1600), other) == (1550, 2)


def test_a_card_that_moved_counts_once_where_it_was_seen_last() -> None:
    old = read(host="a", uuids=["GPU-x", "GPU-y"], checks=[bandwidth("GPU-x", 100), bandwidth("GPU-y", 1500)])
    new = read(host="b", uuids=["GPU-x"], checks=[bandwidth("GPU-x", 1600)], time="2026-11-21T10:00:00Z")
    assert median(old, new) == (1550, 2)
    assert newest_homes([new, old])["GPU-x"] is new


@pytest.mark.parametrize(
    ("value", "other", "unit", "words"),
    [
        (1500, 1600, "GB/s", "\u22126.2\u00a0%"), (1600, 1600, "GB/s", "±0\u00a0%"), (5, 0, "W", ""),
        (91, 79, "°C", "+12.0\u00a0°C"),
    ],
)  # fmt: skip
def test_distances(value: float, other: float, unit: str, words: str) -> None:
    assert versus(value, other, unit) == words


def since(now: Document, *earlier: Document) -> list[tuple[str, str, str, bool]]:
    found = changes(now, now.cards[0] if now.cards else None, earlier)
    return [
        (change.what, change.before.replace("\u00a0", " "), change.now.replace("\u00a0", " "), change.worse)
        for change in found
    ]


def one(speed: float | None = 1600, **more: t.Any) -> Document:
    uuid = more.pop("uuid", "GPU-x")
    rows = more.pop("checks", [bandwidth(uuid, speed)])
    return read(**{"uuids": [uuid], "checks": rows, **more})


@pytest.mark.parametrize(
    ("now", "before", "expected"),
    [
        pytest.param(one(), one(), [], id="nothing"),
        pytest.param(one(1590), one(1600), [], id="within-what-runs-differ"),
        pytest.param(
            one(1500), one(1600),
            [("memory bandwidth: copy", "1600 GB/s", "1500 GB/s (\u22126.2 %)", True)], id="slower",
        ),
        pytest.param(
            one(1700), one(1600), [("memory bandwidth: copy", "1600 GB/s", "1700 GB/s (+6.2 %)", False)], id="faster",
        ),
        pytest.param(one(None), one(1600), [], id="not-measured-now"),
        pytest.param(one(host="ws-02"), one(host="ws-01"), [("host", "ws-01", "ws-02", False)], id="moved"),
        pytest.param(
            one(machine={"os": "ubuntu 24.04", "kernel": "6.8", "kind": "vm"}), one(),
            [("os", "debian 12", "ubuntu 24.04", False), ("kernel", "6.1.0-28", "6.8", False)], id="reinstalled",
        ),
        pytest.param(
            one(stack={"name": "cu130", "driver": "590.1", "cuda": None, "torch": None}), one(),
            [("driver", "580.1", "590.1", False), ("stack", "cu128", "cu130", False)], id="another-stack",
        ),
        pytest.param(
            one(cards=[card("GPU-x", vbios="98.03", pci="00000000:02:00.0")]), one(),
            [("PCI address", "00000000:01:00.0", "00000000:02:00.0", False), ("VBIOS", "98.02", "98.03", False)],
            id="another-slot",
        ),
        pytest.param(one(), one(uuids=["GPU-x", "GPU-y"]), [("cards in the host", "2", "1", True)], id="card-gone"),
        pytest.param(
            one(checks=[check("pcie_link", "fail", "GPU-x")]), one(checks=[check("pcie_link", card="GPU-x")]),
            [("pcie link", "passed", "failed", True)], id="now-fails",
        ),
        pytest.param(
            one(checks=[check("toolkit")]), one(checks=[check("toolkit", "warn")]),
            [("toolkit", "warning", "passed", False)], id="host-check-is-well-again",
        ),
    ],
)  # fmt: skip
def test_what_changed(now: Document, before: Document, expected: list[tuple[str, str, str, bool]]) -> None:
    assert since(now, before) == expected


def test_the_first_result_has_no_changes() -> None:
    assert since(one()) == []


def test_degrees_are_no_share_and_more_of_a_bounded_figure_is_worse() -> None:
    def hot(value: float) -> Document:
        rows = [check("endurance", card="GPU-x", figures={"max_temperature_c": value},
                      limits=[limit("max_temperature_c", "°C", fail_above=87)])]  # fmt: skip
        return one(checks=rows)

    assert since(hot(43), hot(40)) == []
    assert since(hot(50), hot(40)) == [("endurance: max temperature", "40 °C", "50 °C (+10.0 °C)", True)]


def test_a_check_is_compared_with_the_newest_result_that_has_it() -> None:
    quick = one(checks=[check("toolkit")])
    found = since(one(1500), quick, one(1600, level="full"))
    assert [what for what, *_ in found] == ["memory bandwidth: copy"]
