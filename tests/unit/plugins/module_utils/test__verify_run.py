# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole verifications of hosts without a GPU, with good ones and with bad ones; the document keeps to its schema."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.gpulab.workstation.plugins.module_utils import _verify_document, _verify_run
from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._verify import CHECKS, passed
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_context import Family
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_wish import Wish
from fakehost import FakeHost
from verifyrun import DRIVER, NEEDS_GPU, SCHEMA, WITHOUT, add_card, add_nvcc, outcomes, params, verify, workstation


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    return workstation(tmp_path)


def everything(host: FakeHost) -> list[str]:
    return sorted(str(path.relative_to(host.root)) for path in host.root.rglob("*"))


def test_a_host_without_gpu_that_the_inventory_calls_one(host: FakeHost) -> None:
    document = verify(host, expect_gpu=False)
    unproven = dict.fromkeys((*NEEDS_GPU, "driver_drift"), "not_proven")
    assert outcomes(document) == {**unproven, **dict.fromkeys(WITHOUT, "pass")}
    assert (document["verified"], document["failure"]) == (False, None)
    words = _verify_document.message(document)
    assert words.startswith("NOT verified; proven: toolkit, native_code, negative_control; not proven: driver_loaded")
    assert words.count("(no NVIDIA driver is loaded)") == 1


def test_a_host_without_gpu_that_should_have_one(host: FakeHost) -> None:
    document = verify(host)
    assert "driver_loaded is required and not proven" in document["failure"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"arch": "sm_120"}, "compute capability"), ({"endurance_minutes": -1}, "minutes of full load")],
    ids=["arch", "minutes"],
)
def test_values_that_mean_nothing_are_refused(changes: dict[str, t.Any], words: str) -> None:
    with pytest.raises(OperatorError) as refused:
        Wish.from_params(params(**changes))
    assert words in str(refused.value)


def test_a_good_workstation(host: FakeHost) -> None:
    add_card(host)
    document = verify(host, driver=DRIVER)
    found = outcomes(document)
    assert found.pop("driver_drift") == "not_proven"  # gpu_driver has not installed this one
    assert set(found.values()) == {"pass"}
    assert (document["verified"], document["failure"]) == (True, None)
    assert _verify_document.message(document).startswith("Verified; proven: driver_loaded, driver_on_disk")


@pytest.mark.parametrize(
    ("card", "failed"),
    [
        pytest.param({"wrong": 1}, "kernel_results", id="wrong-numbers"),
        pytest.param({"foreign": "runs"}, "foreign_code_refused", id="foreign-code-runs"),
        pytest.param({"cards": 2}, "cards", id="more-cards-than-on-pci"),
    ],
)
def test_a_bad_card(host: FakeHost, card: dict[str, t.Any], failed: str) -> None:
    add_card(host, **card)
    document = verify(host, expect_gpu=False)
    assert outcomes(document)[failed] == "fail"
    assert failed in document["failure"]
    assert not document["verified"]


@pytest.mark.parametrize(
    ("right", "other", "expected"),
    [
        pytest.param("sm_90-sm_120-ptx.o", "compressed.o", ("fail", "pass"), id="two-archs-and-ptx"),
        pytest.param("ptx.o", "compressed.o", ("fail", "pass"), id="ptx-alone"),
        pytest.param("no-device-code.o", "compressed.o", ("fail", "pass"), id="no-code"),
        pytest.param("nvcc/13.0.88-bad-source.txt", "compressed.o", ("fail", "pass"), id="compiler-error"),
        pytest.param("sm_120.o", "sm_120.o", ("not_proven", "fail"), id="control-is-let-through"),
        pytest.param("sm_120a.o", "compressed.o", ("fail", "pass"), id="another-target-of-the-same-card"),
        pytest.param("sm_120.o", "nvcc/13.0.88-bad-source.txt", ("not_proven", "not_proven"), id="no-control"),
    ],
)
def test_broken_on_purpose(host: FakeHost, right: str, other: str, expected: tuple[str, str]) -> None:
    add_nvcc(host, right, other)
    document = verify(host, expect_gpu=False)
    found = outcomes(document)
    assert (found["native_code"], found["negative_control"]) == expected
    assert document["failure"]
    assert not document["verified"]


def test_nothing_is_left_behind(host: FakeHost) -> None:
    before = everything(host)
    verify(host)
    left = ["var", "var/lib", "var/lib/gpulab", "var/lib/gpulab/jobs", "var/log", "var/log/gpulab"]
    assert everything(host) == sorted([*before, *left])


def test_a_family_that_breaks_off_fails_its_checks_and_the_others_go_on(host: FakeHost) -> None:
    def broken(_command: tuple[str, ...]) -> tuple[int, str, str]:
        message = "the disk is gone"
        raise OSError(message)

    host.commands["/usr/local/cuda/bin/nvcc -std=c++17"] = broken
    document = verify(host)
    found = outcomes(document)
    assert {found[name] for name in ("toolkit", "native_code", "kernel_results")} == {"fail"}
    assert found["cards"] == "not_proven"
    assert "native_code failed: the check itself broke off: OSError: the disk is gone" in document["failure"]
    assert not host.exists("/var/lib/gpulab/verify.work")


def test_a_check_that_a_family_forgets_is_not_proven(host: FakeHost) -> None:
    add_card(host, cards=2)
    context = _verify_run.read_context(host, Wish.from_params(params(python="/env/bin/python")), print)
    first = passed("kernel_results", "right", card=context.cards[0].key)
    family = Family("forgetful", ("toolkit", "kernel_results", "torch_launch"), lambda _context: [first])
    made = _verify_run.make_checks(family, context)
    assert [(check.name, check.outcome.value, check.card[-1:]) for check in made] == [
        ("toolkit", "not_proven", ""),
        ("kernel_results", "pass", "0"),
        ("kernel_results", "not_proven", "1"),
        ("torch_launch", "not_proven", "0"),
        ("torch_launch", "not_proven", "1"),
    ]


def test_a_missing_environment_is_not_proven(host: FakeHost) -> None:
    document = verify(host, python="/opt/env/bin/python", require=["torch_build"])
    assert outcomes(document)["torch_build"] == "not_proven"
    assert "torch_build is required and not proven: there is no /opt/env/bin/python" in document["failure"]


def test_the_flags_are_in_the_document(host: FakeHost) -> None:
    document = verify(host, nvcc_flags=["-DGPU_VERIFY_PLANT=1"])
    assert document["nvcc_flags"] == ["-DGPU_VERIFY_PLANT=1"]
    builds = [command for command in host.ran if "-gencode" in command]
    assert [("-DGPU_VERIFY_PLANT=1" in command) for command in builds] == [True, True, False]
    assert [command[command.index("-gencode") + 1] for command in builds] == [
        "arch=compute_120,code=sm_120",
        "arch=compute_120a,code=sm_120a",
        "arch=compute_90,code=sm_90",
    ]


def test_the_schema_names_every_check() -> None:
    assert SCHEMA["$defs"]["check"]["properties"]["name"]["enum"] == list(CHECKS)
