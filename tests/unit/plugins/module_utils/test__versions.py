# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Version numbers as NVIDIA, PyPI and conda write them."""

from __future__ import annotations

import itertools

import pytest

from ansible_collections.gpulab.workstation.plugins.module_utils._versions import (
    DriverVersion,
    is_windows_numbering,
    nearest_release,
    nearest_spelling,
    release_key,
    series,
)

LINUX = ["570", "575", "580", "590", "595", "610", "615"]


@pytest.mark.parametrize(
    ("text", "parts", "branch"),
    [
        ("575.64", (575, 64, 0), "575"),
        ("580.142", (580, 142, 0), "580"),
        ("575.57.08", (575, 57, 8), "575"),
        ("570.86.10", (570, 86, 10), "570"),
        ("595.104.02", (595, 104, 2), "595"),
    ],
)
def test_a_driver_version_is_parsed(text: str, parts: tuple[int, int, int], branch: str) -> None:
    version = DriverVersion.parse(text)

    assert (version.parts, version.branch, str(version)) == (parts, branch, text)


def test_driver_versions_order_by_number_and_not_by_text() -> None:
    ordered = ["570.86.16", "570.144", "570.195.03", "575.57.08", "575.64", "575.64.03", "580.95.05", "580.142"]
    ordered += ["580.159.03", "580.159.04", "595.80", "595.104.02", "610.43.02"]

    for older, newer in itertools.pairwise(DriverVersion.parse(text) for text in ordered):
        assert older < newer
        assert newer >= older


@pytest.mark.parametrize("text", ["", "575", "575.64.03.1", "v575.64", "575.64-1", "latest", "57.5"])
def test_what_is_no_driver_version_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a driver version"):
        DriverVersion.parse(text)


@pytest.mark.parametrize(
    ("text", "windows"),
    [
        ("572.16", True),
        ("572.61", True),
        ("576.02", True),
        ("581.29", True),
        ("571.86", True),
        ("575.64", False),
        ("595.80", False),
        ("570.144", False),
        ("572.100", False),
        ("572.16.01", False),
        ("latest", False),
    ],
)
def test_windows_numbering_is_told_from_linux(text: str, windows: bool) -> None:  # noqa: FBT001
    assert is_windows_numbering(text, LINUX) is windows


def test_release_numbers_order() -> None:
    ordered = ["0.0.30", "0.0.33", "0.0.33.post1", "0.0.33.post2", "2.9.1", "2.10.0", "2.12.1", "26.3.2-2", "26.3.2-3"]

    assert sorted({*ordered}, key=release_key) == ordered
    assert release_key("2.12") == release_key("2.12.0") == release_key("2.12.0+cu130")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("6.8.0-51-generic", (6, 8)), ("2.36-9+deb12u10", (2, 36)), ("12.9.1", (12, 9)), ("6.1.0-28-amd64", (6, 1))],
)
def test_a_series_is_major_and_minor(text: str, expected: tuple[int, int]) -> None:
    assert series(text) == expected


def test_a_series_needs_a_number() -> None:
    with pytest.raises(ValueError, match="does not begin with a number"):
        series("generic")


@pytest.mark.parametrize(
    ("word", "known", "meant"),
    [
        ("torch.verison", ["driver.version", "torch.version"], "torch.version"),
        ("cu1280", ["cu128", "cu130"], "cu128"),
        ("windows", ["cu128", "cu130"], None),
    ],
)
def test_the_nearest_spelling(word: str, known: list[str], meant: str | None) -> None:
    assert nearest_spelling(word, known) == meant


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("572.16", "575.51.02"),
        ("575.51.2", "575.51.02"),
        ("575.60", "575.51.02"),
        ("999.1", "595.80"),
        ("560.28", "570.144"),
        ("570.14x", "570.144"),
        ("?", None),
    ],
)
def test_the_nearest_release_begins_alike_or_is_the_next_newer_one(word: str, meant: str | None) -> None:
    assert nearest_release(word, ["595.80", "570.144", "575.51.02"]) == meant


def test_no_release_is_nearest_to_none() -> None:
    assert nearest_release("1.0", []) is None
