# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The driver's layers and the cards: where they agree, and each way in which they do not."""

from __future__ import annotations

import dataclasses
import typing as t
from pathlib import Path

import pytest

from ansible_collections.gpulab.workstation.plugins.module_utils import _verify_layers as layers
from ansible_collections.gpulab.workstation.plugins.module_utils._gpu_facts import (
    DisplayDevice,
    DriverModule,
    GpuFacts,
    Library,
    parse_gpu_information,
)
from ansible_collections.gpulab.workstation.plugins.module_utils._verify import Outcome
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_layers import SmiAnswer, parse_smi

FIXTURES = Path(__file__).parents[2] / "fixtures"
PASS, FAIL, OPEN = Outcome.PASS, Outcome.FAIL, Outcome.NOT_PROVEN
VERSION = "580.159.04"
KERNEL = "6.8.0-60-generic"
# Written by hand in the form that nvidia-smi(1) describes; the uuids are made up.
ROW = (
    "{index}, NVIDIA GeForce RTX 5090, GPU-00000000-1111-2222-3333-44444444444{index}, 00000000:0{index}:00.0,"
    " 0x2B8510DE, {version}, 98.02.2E.40.01, [N/A], 12.0, 32607, 4"
)


def rows(count: int = 1, version: str = VERSION) -> str:
    return "".join(ROW.format(index=index, version=version) + "\n" for index in range(count))


def facts(cards: int = 1, **changes: t.Any) -> GpuFacts:
    devices = [
        DisplayDevice(f"0000:0{index}:00.0", "0300", "10de", "2b85", None, "nvidia", None, None)
        for index in range(cards)
    ]
    good = GpuFacts(
        devices=tuple(devices),
        driver_loaded=DriverModule(VERSION, "open"),
        driver_on_disk=(DriverModule(VERSION, "open", KERNEL),),
        libraries=(
            Library("libcuda.so.1", f"/usr/lib/libcuda.so.{VERSION}", VERSION),
            Library("libnvidia-ml.so.1", f"/usr/lib/libnvidia-ml.so.{VERSION}", VERSION),
        ),
    )
    return dataclasses.replace(good, **changes)


NONE = facts(0, driver_loaded=None, driver_on_disk=(), libraries=())
SMI = parse_smi(0, rows(), "")


def test_a_card_is_read() -> None:
    card = SMI.cards[0]
    assert (card.name, card.driver_version, card.memory_mib) == ("NVIDIA GeForce RTX 5090", VERSION, 32607)
    assert (card.pci_id, card.serial, card.unread) == ("10de:2b85", None, ())


@pytest.mark.parametrize(
    ("rc", "stdout", "stderr", "error"),
    [
        (9, "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n", "", "ended with 9"),
        (18, "Failed to initialize NVML: Driver/library version mismatch\n", "", "Driver/library version mismatch"),
        (127, "", "nvidia-smi: not found", "not found"),
        (124, "", "", "ended with 124: no words"),
        (0, "", "", "lists no card"),
        (0, "No devices were found\n", "", "makes no sense: 'No devices were found'"),
    ],
    ids=["no-driver", "mismatch", "missing", "hangs", "empty", "no-devices"],
)
def test_nvidia_smi_that_does_not_answer(rc: int, stdout: str, stderr: str, error: str) -> None:
    answer = parse_smi(rc, stdout, stderr)
    assert error in answer.error
    assert answer.cards == ()


@pytest.mark.parametrize(
    ("host", "wanted", "outcome", "words"),
    [
        pytest.param(facts(), VERSION, PASS, f"{VERSION} (open) is loaded", id="wanted"),
        pytest.param(facts(), "", PASS, "is loaded", id="none-asked-for"),
        pytest.param(facts(), "580.178.04", FAIL, "580.178.04 is wanted", id="older"),
        pytest.param(
            facts(driver_loaded=DriverModule(VERSION, "proprietary")), VERSION, FAIL, "proprietary", id="closed"
        ),
        pytest.param(NONE, VERSION, OPEN, "no NVIDIA driver is loaded", id="none"),
    ],
)
def test_loaded(host: GpuFacts, wanted: str, outcome: Outcome, words: str) -> None:
    check = layers.judge_loaded(host, wanted, open_only=True)
    assert (check.outcome, words in check.why) == (outcome, True), check.why


def test_an_older_card_may_run_on_the_proprietary_module() -> None:
    host = facts(driver_loaded=DriverModule(VERSION, "proprietary"))
    assert layers.judge_loaded(host, VERSION, open_only=False).outcome is PASS


OLD = DriverModule("575.64", "open", "6.8.0-61-generic")


@pytest.mark.parametrize(
    ("host", "kernels", "unreadable", "outcome", "words"),
    [
        pytest.param(facts(), [KERNEL], [], PASS, "1 installed kernel", id="same"),
        pytest.param(
            facts(), [KERNEL, "6.8.0-61-generic"], [], FAIL, "6.8.0-61-generic has none", id="next-kernel-none"
        ),
        pytest.param(
            facts(driver_on_disk=(DriverModule(VERSION, "open", KERNEL), OLD)),
            [KERNEL, "6.8.0-61-generic"],
            [],
            FAIL,
            "6.8.0-61-generic has 575.64",
            id="next-kernel-old",
        ),
        pytest.param(facts(), [KERNEL], ["driver on disk: modinfo: no"], OPEN, "modinfo: no", id="unreadable"),
        pytest.param(facts(), [], [], OPEN, "no installed kernel", id="container"),
        pytest.param(NONE, [KERNEL], [], OPEN, "no NVIDIA driver", id="none"),
    ],
)
def test_on_disk(host: GpuFacts, kernels: list[str], unreadable: list[str], outcome: Outcome, words: str) -> None:
    check = layers.judge_on_disk(host, kernels, unreadable)
    assert (check.outcome, words in check.why) == (outcome, True), check.why


CUDA, NVML = facts().libraries


@pytest.mark.parametrize(
    ("host", "smi", "outcome", "words"),
    [
        pytest.param(facts(), SMI, PASS, "in user space too", id="same"),
        pytest.param(
            facts(libraries=(dataclasses.replace(CUDA, version="580.159.03"), NVML)),
            SMI,
            FAIL,
            "libcuda.so.1 is 580.159.03",
            id="last-digit",
        ),
        pytest.param(facts(libraries=(CUDA,)), SMI, FAIL, "libnvidia-ml.so.1 is not known", id="nvml-missing"),
        pytest.param(
            facts(libraries=(dataclasses.replace(CUDA, version=None), NVML)),
            SMI,
            FAIL,
            "no known version",
            id="no-version",
        ),
        pytest.param(facts(), parse_smi(0, rows(1, "575.64"), ""), FAIL, "nvidia-smi says 575.64", id="smi-differs"),
        pytest.param(
            facts(), parse_smi(18, "Driver/library version mismatch", ""), FAIL, "version mismatch", id="nvml-refuses"
        ),
        pytest.param(NONE, SmiAnswer(-1), OPEN, "no NVIDIA driver", id="none"),
    ],
)
def test_libraries(host: GpuFacts, smi: SmiAnswer, outcome: Outcome, words: str) -> None:
    check = layers.judge_libraries(host, smi)
    assert (check.outcome, words in check.why) == (outcome, True), check.why


@pytest.mark.parametrize(
    ("host", "stdout", "container", "outcome", "words"),
    [
        pytest.param(facts(1), rows(1), False, PASS, "1 on PCI and in NVML", id="one"),
        pytest.param(facts(2), rows(2), False, PASS, "2 on PCI and in NVML", id="two"),
        pytest.param(
            facts(2), rows(1), False, FAIL, "1 in NVML: 0000:01:00.0 does not answer", id="one-of-two-is-missing"
        ),
        pytest.param(
            facts(2), rows(1), True, OPEN, "a container may be given only some", id="container-with-one-of-two"
        ),
        pytest.param(facts(1), rows(2), True, FAIL, "1 on PCI, 2 in NVML", id="more-than-on-pci"),
        pytest.param(
            facts(1),
            rows(1).replace("GPU-0", "[Unknown Error] -0"),
            False,
            FAIL,
            "uuid is '[Unknown Error]",
            id="unknown-error",
        ),
        pytest.param(facts(1), rows(1).replace(VERSION, "[N/A]"), False, FAIL, "driver_version is '[N/A]'", id="n-a"),
        pytest.param(facts(1), rows(1).replace("GPU-0", "MIG-0"), False, FAIL, "uuid 'MIG-", id="not-a-uuid"),
        pytest.param(
            facts(1), rows(1).replace("0:00.0,", "5:00.0,"), False, FAIL, "0000:00:00.0 does not answer", id="another"
        ),
        pytest.param(
            facts(1),
            rows(1).replace("98.02.2E.40.01, [N/A]", "98.02.2E.40.01, [Unknown Error]"),
            False,
            FAIL,
            "serial is '[Unknown Error]'",
            id="unknown-error-where-nothing-is-needed",
        ),
        pytest.param(
            facts(1), rows(1).replace("98.02.2E.40.01", "[N/A]"), False, FAIL, "vbios_version is '[N/A]'", id="no-vbios"
        ),
        pytest.param(facts(1), "", False, FAIL, "lists no card", id="none-in-nvml"),
        pytest.param(NONE, "", False, OPEN, "no NVIDIA card on PCI", id="no-card-no-driver"),
        pytest.param(
            facts(2, driver_loaded=None), "", False, OPEN, "2 NVIDIA card(s) on PCI", id="cards-without-driver"
        ),
    ],
)
def test_cards(host: GpuFacts, stdout: str, container: bool, outcome: Outcome, words: str) -> None:  # noqa: FBT001
    check = layers.judge_cards(host, parse_smi(0, stdout, ""), container=container)
    assert (check.outcome, words in check.why) == (outcome, True), check.why


def with_firmware(*versions: str | None, flavour: str = "open") -> GpuFacts:
    host = facts(len(versions), driver_loaded=DriverModule(VERSION, flavour))
    pairs = zip(host.devices, versions, strict=True)
    return dataclasses.replace(host, devices=tuple(dataclasses.replace(d, firmware=v) for d, v in pairs))


@pytest.mark.parametrize(
    ("host", "outcome", "words"),
    [
        pytest.param(with_firmware(VERSION, VERSION), PASS, f"{VERSION} on 2 card(s)", id="same"),
        pytest.param(with_firmware(VERSION, "575.64"), FAIL, "0000:01:00.0 has 575.64", id="another"),
        pytest.param(with_firmware("N/A"), FAIL, "open modules cannot do without", id="none-with-open-modules"),
        pytest.param(with_firmware("N/A", flavour="proprietary"), OPEN, "runs without", id="none-with-proprietary"),
        pytest.param(with_firmware(None), OPEN, "tells no card's firmware", id="not-told"),
        pytest.param(NONE, OPEN, "no NVIDIA driver", id="no-driver"),
    ],
)
def test_firmware(host: GpuFacts, outcome: Outcome, words: str) -> None:
    check = layers.judge_firmware(host)
    assert (check.outcome, words in check.why) == (outcome, True), check.why


def test_the_recorded_h100_has_the_drivers_firmware() -> None:
    recorded = (FIXTURES / "host/h100-ubuntu24-container.txt").read_text()
    assert parse_gpu_information(recorded)["GPU Firmware"] == VERSION
