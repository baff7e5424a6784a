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


LAB_KEY = {"sha256": "c" * 64, "on_disk": True, "enrolled": True}
ON = {"state": "on", "detail": "EFI variable", "keys": []}


def secure_boot(state: str = "on", **lab_key: t.Any) -> dict[str, t.Any]:
    return record(
        system__secure_boot={**ON, "state": state, **({"lab_key": {**LAB_KEY, **lab_key}} if lab_key else {})}
    )


TRUSTED = secure_boot(enrolled=True)


@pytest.mark.parametrize(
    ("after", "words"),
    [
        (secure_boot(enrolled=False), "now cccccccccccccccc not enrolled, with Secure Boot on; visit the console once"),
        (
            secure_boot(enrolled=None),
            "now cccccccccccccccc not known to be enrolled, with Secure Boot on: nobody could",
        ),
        (secure_boot(enrolled=None, on_disk=False), "now cccccccccccccccc not on the host, with Secure Boot on"),
        (secure_boot(), "now none named, with Secure Boot on: nobody could ask the firmware (gpulab_signing"),
        (secure_boot(enrolled=False, sha256="d" * 64), "now dddddddddddddddd not enrolled, with Secure Boot on; visit"),
    ],
    ids=["not trusted", "no answer", "not on the host", "no pair named", "another key"],
)
def test_a_lab_key_that_the_firmware_trusts_no_more_is_a_failure(after: dict[str, t.Any], words: str) -> None:
    [lost] = compare(TRUSTED, after, 10).differences
    assert f"the lab's key for kernel modules: before cccccccccccccccc enrolled, {words}" in lost.words


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (TRUSTED, TRUSTED, []),
        (secure_boot(), secure_boot(), []),
        (TRUSTED, secure_boot("off", enrolled=None), ["Secure Boot", "the lab's key for kernel modules"]),
        (TRUSTED, secure_boot("off"), ["Secure Boot", "the lab's key for kernel modules"]),
        (secure_boot("off", enrolled=None), TRUSTED, ["Secure Boot", "the lab's key for kernel modules"]),
        (TRUSTED, secure_boot(enrolled=True, sha256="d" * 64), ["the lab's key for kernel modules"]),
        (secure_boot(enrolled=False), secure_boot(enrolled=False), []),
        (secure_boot(), TRUSTED, ["the lab's key for kernel modules"]),
    ],
    ids=["equal", "none", "off now", "off and none", "on now", "another that is trusted", "never trusted", "new"],
)
def test_what_else_becomes_of_secure_boot_and_the_lab_key_is_told(
    before: dict[str, t.Any], after: dict[str, t.Any], told: list[str]
) -> None:
    found = compare(before, after, 10)
    assert found.differences == ()
    assert [item.what for item in found.told] == told


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
