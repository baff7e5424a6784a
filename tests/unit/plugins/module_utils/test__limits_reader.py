# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits of cards: the shipped file is right, and one mistake in it is named with its place and what was meant."""

from __future__ import annotations

import copy
import typing as t

import pytest

from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._fields import Fields, Problems
from ansible_collections.gpulab.workstation.plugins.module_utils._limits_reader import read_limits
from ansible_collections.gpulab.workstation.plugins.module_utils._verify import CHECKS
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_limits import LIMITED, CardLimits, row_for
from ansible_collections.gpulab.workstation.plugins.plugin_utils._catalogue import catalogue_data

CARD = "NVIDIA GeForce RTX 5090"
SHIPPED = catalogue_data()["limits"]


def read(data: t.Any) -> tuple[dict[str, t.Any], ...]:
    problems = Problems()
    file = Fields(data, "limits.yml", problems)
    rows = read_limits(file)
    file.close()
    problems.raise_if_any(expected="limits.", action="correct the file.")
    return rows


ROWS = tuple(CardLimits.from_json(row) for row in read(SHIPPED))


def test_the_shipped_rows() -> None:
    assert [row.name for row in ROWS] == [CARD, "NVIDIA H100 80GB HBM3", "NVIDIA H200"]
    assert set(LIMITED) <= set(CHECKS)
    assert all(row.facts["memory_bandwidth_gb_s"] > 1000 for row in ROWS)


@pytest.mark.parametrize(
    ("check", "link", "expected"),
    [
        ("memory_bandwidth", {}, [("copy_gb_s", 1300), ("share_of_theoretical", 0.75)]),
        ("host_bandwidth", {"pcie_generation": 5, "pcie_width": 16}, [("h2d_gb_s", 45), ("d2h_gb_s", 45)]),
        ("host_bandwidth", {"pcie_generation": 4, "pcie_width": 16}, [("h2d_gb_s", 20), ("d2h_gb_s", 20)]),
        ("host_bandwidth", {"pcie_generation": 3, "pcie_width": 16}, []),
        ("host_bandwidth", {}, []),
        ("kernel_results", {}, []),
    ],
    ids=["always", "link-5x16", "link-4x16", "link-without-limits", "link-unknown", "no-limits"],
)
def test_the_limits_of_a_check(check: str, link: dict[str, float], expected: list[tuple[str, float]]) -> None:
    assert [(limit.figure, limit.fail_below) for limit in ROWS[0].of(check, link)] == expected


@pytest.mark.parametrize(
    ("pci_id", "name", "expected"),
    [
        ("10de:2b85", None, CARD),
        ("10de:2b85", "a name that is new", CARD),
        (None, CARD, CARD),
        ("10de:2b87", CARD, None),
        (None, None, None),
    ],
    ids=["by-id", "the-id-decides", "by-name", "another-id", "nothing-read"],
)
def test_the_row_of_a_card(pci_id: str | None, name: str | None, expected: str | None) -> None:
    found = row_for(ROWS, pci_id, name)
    assert (found.name if found else None) == expected


def changed(path: tuple[str | int, ...], value: t.Any) -> t.Any:
    """Return the shipped file with one value replaced or added, or taken out where the new value is Ellipsis."""
    data = copy.deepcopy(SHIPPED)
    place = data
    for key in path[:-1]:
        place = place[key]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return data


FIRST = ("cards", CARD, "limits", 0)


@pytest.mark.parametrize(
    ("path", "value", "found"),
    [
        ((*FIRST, "check"), "memory_bandwith", "limits 1: check is 'memory_bandwith' (did you mean memory_bandwidth?)"),
        ((*FIRST, "figure"), "copy_gbs", "limits 1: figure is 'copy_gbs' (did you mean copy_gb_s?)"),
        ((*FIRST, "figure"), "h2d_gb_s", "figure is 'h2d_gb_s' ("),
        ((*FIRST, "fail_bellow"), 1, "limits 1: unknown key fail_bellow (did you mean fail_below?)"),
        ((*FIRST, "fail_below"), "1300", "limits 1: fail_below is text, not a number"),
        ((*FIRST, "fail_below"), True, "fail_below is true or false, not a number"),
        ((*FIRST, "fail_below"), 1500, "fail_below is above warn_below"),
        ((*FIRST, "when"), {"pcie_gen": 5}, "when: unknown key pcie_gen (did you mean pcie_generation?)"),
        ((*FIRST, "source"), ..., "limits 1: source is missing"),
        ((*FIRST, "unit"), ..., "limits 1: unit is missing"),
        (FIRST, {"check": "torch_matmul", "figure": "tflops", "unit": "x", "source": "y"}, "it has none of fail_below"),
        (("cards", CARD, "fact"), {}, "unknown key fact (did you mean facts?)"),
        (("cards", CARD, "facts", "memory_bus_bit"), 1, "memory_bus_bit (did you mean memory_bus_bits?)"),
        (("cards", CARD, "pci_ids"), [], "pci_ids names no card"),
        (("cards", CARD, "pci_ids"), ["10DE:2B85"], "pci_ids holds '10DE:2B85'"),
        (("cards", "NVIDIA H200", "pci_ids"), ["10de:2330"], "10de:2330 stands at NVIDIA H100"),
        (("cards", CARD, "limits"), {}, "limits is a mapping, not a list"),
        (("card",), {}, "limits.yml: unknown key card (did you mean cards?)"),
    ],
)
def test_one_mistake(path: tuple[str | int, ...], value: t.Any, found: str) -> None:
    with pytest.raises(OperatorError) as error:
        read(changed(path, value))
    assert found in error.value.found
