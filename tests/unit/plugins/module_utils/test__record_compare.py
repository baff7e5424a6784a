# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A rebuilt host against its record: what must be equal, what may differ, and the tolerance of figures."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.gpulab.workstation.plugins.module_utils._record_compare import compare
from records import CARD, KEY, record

CHECK = f"memory_bandwidth@{CARD}"


def measured(outcome: str = "pass", **figures: float) -> dict[str, t.Any]:
    checks = {**record()["verification"]["checks"], CHECK: {"outcome": outcome, "figures": figures}}
    return {"verification__checks": checks}


def test_a_host_is_equal_to_itself() -> None:
    found = compare(record(), record(time="later"), 10)
    assert (found.differences, found.told, found.figures) == ((), (), 1)
    assert found.unmeasured == ("diffusion_sdxl",)
    assert "1 figures; not proven before either: diffusion_sdxl" in found.message("ws-01", "t", "p")


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"installed__driver__on_disk": {"k": "575.57.08"}}, "driver on disk: before 580.178.04, now 575.57.08"),
        ({"installed__driver__flavours": ["proprietary"]}, "flavour of the driver: before open, now proprietary"),
        ({"installed__cuda": ["13.0.2"]}, "CUDA toolkits: before 12.9.1, now 13.0.2"),
        ({"installed__environment__conda_sha256": None}, "conda packages"),
        ({"installed__environment__python_sha256": "b" * 64}, "Python packages"),
        ({"stack__sha256": {"driver.run": "b" * 64}}, "sha256 of driver.run: before aaaa"),
        ({"stack__values__torch.version": "2.8.0"}, "stack torch.version: before 2.9.1, now 2.8.0"),
        ({"cards": []}, f"card: before RTX 5090 {CARD} at 0000:01:00.0, now not there"),
        ({"verification": None}, f"check {CHECK}: before pass, now not made"),
        (measured("fail", copy_gb_s=1500.0), f"check {CHECK}: before pass, now fail"),
        (measured("not_proven"), f"check {CHECK}: before pass, now not_proven"),
        (measured(), "copy_gb_s: before 1500, now not measured"),
        (measured(copy_gb_s=1349.0), "copy_gb_s: before 1500, now 1349 (-10.1 %, the tolerance is 10 %)"),
        (measured(copy_gb_s=1651.0), "copy_gb_s: before 1500, now 1651 (+10.1 %, the tolerance is 10 %)"),
    ],
    ids=[
        "driver", "flavour", "toolkit", "environment gone", "a package", "a file", "a choice", "card gone",
        "not verified", "check fails", "check not proven", "figure missing", "slower", "faster",
    ],
)  # fmt: skip
def test_every_difference_is_a_failure(parts: dict[str, t.Any], words: str) -> None:
    found = compare(record(), record(**parts), 10)
    lines = [difference.words for difference in found.differences]
    assert any(words in line for line in lines), lines
    assert f"is not what its record of t says; {len(lines)} differences:\n- " in found.message("ws-01", "t", "p")


def test_another_card_is_named_beside_the_one_that_is_gone() -> None:
    other = {"uuid": "GPU-2", "serial": None, "vbios": "98.02", "name": "RTX 5090", "pci": "0000:02:00.0"}
    unread = {**other, "uuid": None}
    assert len(compare(record(), record(cards=[other]), 10).differences) == 2
    assert len(compare(record(), record(cards=[unread]), 10).differences) == 2, "a uuid that cannot be read"


@pytest.mark.parametrize(
    "parts",
    [
        measured(copy_gb_s=1351.0),
        measured("warn", copy_gb_s=1500.0),
        {"installed__driver__on_disk": {"6.1.0-99-amd64": "580.178.04"}},
    ],
    ids=["within the tolerance", "a warning", "another kernel with the same driver"],
)
def test_what_is_no_difference(parts: dict[str, t.Any]) -> None:
    assert compare(record(), record(**parts), 10).differences == ()


def test_what_a_reinstall_may_change_is_told() -> None:
    found = compare(
        record(), record(system__kernel="6.1.0-99-amd64", ssh_host_keys=[KEY + "x"], machine__board__firmware="2.0"), 10
    )
    assert found.differences == ()
    assert [item.what for item in found.told] == ["running kernel", "firmware", "ssh host keys"]
