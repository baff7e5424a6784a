# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every rule, shown red and green; a rule without a red case fails the last test."""

from __future__ import annotations

import copy
import typing as t

import pytest

from ansible_collections.gpulab.workstation.plugins.module_utils._catalogue_reader import read_catalogue
from ansible_collections.gpulab.workstation.plugins.module_utils._rules import CHOICE_RULES, RULES, judge
from ansible_collections.gpulab.workstation.plugins.plugin_utils._catalogue import catalogue_data, load_catalogue

CATALOGUE = load_catalogue()
RTX_5090 = "10de:2b85"


class Case(t.NamedTuple):
    """A stack with overrides on a host, and what one rule says about it; other rules may be broken as well."""

    overrides: dict[str, str]
    facts: dict[str, t.Any]
    found: str
    nearest: str
    stack: str = "cu128"


RED = {
    "known-key": Case({"torch.verison": "2.9.1"}, {}, "the override torch.verison", "torch.version"),
    "known-version": Case({"cuda.version": "12.9.2"}, {}, "cuda 12.9.2 is not in", "cuda.version=12.9.1"),
    "known-fact": Case({}, {"glib": "2.36"}, "the host fact glib", "glibc"),
    "linux-numbering": Case({"driver.version": "572.16"}, {}, "driver 572.16", "driver.version=575.57.08"),
    "platform-supported": Case({}, {"distribution": "Debian", "distribution_version": "13.1"}, "2.41", "Debian 12"),
    "architecture-supported": Case({}, {"architecture": "aarch64"}, "aarch64", "x86_64"),
    "driver-installable": Case({"driver.version": "570.195.03"}, {}, "records differ", "driver.version=575.57.08"),
    "driver-kernel": Case(
        {"driver.version": "580.142"}, {"kernels": ["6.8.0-51-generic", "7.0.0-9-generic"]}, "with kernel 7.0.0-9",
        "driver.version=580.159.03",
    ),
    "device-known": Case({}, {"pci_ids": ["10de:2330"]}, "GPU 10de:2330", "devices.yml"),
    "device-driver": Case(
        {"driver.version": "575.64.05", "cuda.version": "12.9.1"}, {"pci_ids": ["10de:2b8c"]}, "RTX 5090 D v2",
        "driver.version=580.76.05",
    ),
    "device-flavour": Case(
        {"driver.flavour": "proprietary"}, {"pci_ids": [RTX_5090]}, "GeForce RTX 5090 (10de:2b85)",
        "driver.flavour=open",
    ),
    "device-arch": Case({"arch": "9.0"}, {"pci_ids": [RTX_5090]}, "a stack for arch 9.0", "arch=12.0"),
    "cuda-driver": Case(
        {"driver.version": "570.144"}, {}, "driver 570.144 with CUDA 12.9.1", "driver.version=575.57.08"
    ),
    "cuda-arch": Case({"cuda.version": "12.8.1", "arch": "12.1"}, {}, "CUDA 12.8.1 compiles for", "arch=12.0"),
    "cuda-glibc": Case({}, {"glibc": "2.41"}, "CUDA 12.9.1 on glibc 2.41", "the stack cu130"),
    "cuda-gcc": Case({}, {"gcc": "15.1.0"}, "CUDA 12.9.1 with gcc 15", "the stack cu130"),
    "torch-build": Case({"torch.version": "2.12"}, {}, "torch 2.12.0 from PyPI is built with CUDA 13.0", "=2.9.1"),
    "torch-arch": Case({"torch.version": "2.7.1"}, {}, "torch 2.7.1 from PyPI is built with CUDA 12.6", "=2.9.1"),
    "torch-driver": Case(
        {"driver.version": "575.64.05"}, {}, "driver 575.64.05 with torch 2.14.1", "driver.version=580.95.05", "cu130"
    ),
    "torch-companions": Case(
        {"torchvision.version": "0.25.0"}, {}, "torchvision 0.25.0 with torch 2.9.1", "torchvision.version=0.24.1"
    ),
    "torch-python": Case({"python.version": "3.9"}, {}, "Python 3.9 with torch 2.9.1", "python.version=3.11"),
    "torch-glibc": Case({}, {"glibc": "2.27"}, "glibc 2.27", "glibc 2.28"),
    "torch-toolkit": Case(
        {"cuda.version": "13.0.2"}, {}, "nvcc of CUDA 13.0.2 with torch 2.9.1", "cuda.version=12.9.1"
    ),
    "torch-lock": Case({"torch.version": "2.10.0"}, {}, "torch is 2.9.1 in cu128-torch.txt and 2.10.0", "=2.9.1"),
    "conda-python": Case({"python.version": "3.12"}, {}, "which has 3.11.15", "python.version=3.11"),
    "xformers-torch": Case(
        {"xformers.version": "0.0.30"}, {}, "xformers 0.0.30 with torch 2.9.1", "xformers.version=0.0.33.post2"
    ),
    "xformers-arch": Case({"xformers.version": "0.0.30"}, {}, "xformers 0.0.30 on sm_120", "=0.0.33.post2"),
}  # fmt: skip


@pytest.mark.parametrize("rule", RED)
def test_a_rule_is_red_with_words_source_and_nearest_value(rule: str) -> None:
    case = RED[rule]

    verdict = judge(CATALOGUE, case.stack, case.overrides, case.facts)

    (finding,) = [finding for finding in verdict.findings if finding.rule == rule]
    assert case.found in finding.found
    assert case.nearest in finding.nearest
    assert finding.sentence.endswith(".")
    assert finding.expected
    assert finding.source


def test_locks_of_one_environment_must_agree() -> None:
    data = copy.deepcopy(catalogue_data())
    path = "cu128-diffusion.txt"
    data["locks"][path] = data["locks"][path].replace("packaging==26.2", "packaging==26.3")

    (finding,) = judge(read_catalogue(data), "cu128").findings

    assert finding.rule == "locks-agree"
    assert "packaging is 26.2 in conda/rtx5090-py311-linux-64.txt and 26.3 in cu128-diffusion.txt" in finding.found


def test_no_rule_lacks_a_red_case() -> None:
    assert {rule.rule_id for rule in RULES} | set(CHOICE_RULES) == RED.keys() | {"locks-agree"}


def test_every_rule_has_its_own_id_and_words_and_a_source_in_the_catalogue() -> None:
    ids = [rule.rule_id for rule in RULES]

    assert len(set(ids)) == len(ids)
    assert all(rule.sentence.endswith(".") for rule in RULES)
    assert {*ids, "linux-numbering"} == CATALOGUE.rule_sources.keys()
    assert all(CATALOGUE.rule_sources.values())


@pytest.mark.parametrize(
    ("rules", "overrides", "facts"),
    [
        ({"cuda-driver"}, {"driver.version": "570.144"}, {}),
        ({"torch-build", "torch-toolkit", "torch-lock"}, {"torch.version": "2.12"}, {}),
        ({"torch-build", "torch-arch", "torch-lock"}, {"torch.version": "2.7.1"}, {}),
        ({"device-flavour"}, {"driver.flavour": "proprietary"}, {"pci_ids": [RTX_5090]}),
        ({"device-flavour"}, {"driver.flavour": "proprietary"}, {}),
        ({"device-flavour"}, {}, {"pci_ids": [RTX_5090], "driver_flavour": "proprietary"}),
        ({"xformers-torch", "xformers-arch", "torch-lock"}, {"xformers.version": "0.0.30"}, {}),
        ({"cuda-glibc"}, {}, {"glibc": "2.41"}),
        ({"linux-numbering"}, {"driver.version": "572.16"}, {}),
        ({"torch-build", "torch-arch", "torch-lock"}, {"torch.version": "2.7.1", "torch.index": "pypi"}, {}),
        ({"torch-lock"}, {"torch.version": "2.7.1", "torch.index": "pytorch"}, {}),
        ({"torch-build", "torch-lock"}, {"torch.version": "2.12.0", "torch.index": "pytorch"}, {}),
        ({"torch-build"}, {"torch.version": "2.9.1+cu126"}, {}),
        ({"cuda-driver", "cuda-glibc"}, {"driver.version": "570.211.01"}, {"glibc": "2.42"}),
        ({"linux-numbering", "xformers-torch"}, {"driver.version": "576.02", "xformers.version": "0.0.34"}, {}),
        ({"known-version", "cuda-glibc"}, {"driver.version": "1"}, {"glibc": "2.41"}),
        ({"platform-supported"}, {}, {"distribution": "Fedora", "distribution_version": "43"}),
        ({"platform-supported"}, {}, {"distribution": "Debian", "distribution_version": "120"}),
        ({"known-fact"}, {}, {"kernels": ["generic"]}),
        ({"known-fact"}, {}, {"glibc": 2.41}),
    ],
)
def test_a_broken_stack_names_every_broken_rule(
    rules: set[str], overrides: dict[str, str], facts: dict[str, t.Any]
) -> None:
    found = {finding.rule for finding in judge(CATALOGUE, "cu128", overrides, facts).findings}

    assert found >= rules
    assert found - rules <= {"torch-lock"}


@pytest.mark.parametrize(
    ("stack", "overrides", "facts"),
    [
        ("cu128", {}, {}),
        ("cu130", {}, {}),
        ("cu128", {"driver.version": "575.57.08"}, {}),
        ("cu128", {"driver.version": "575.64"}, {}),
        ("cu128", {"driver.version": "580.142"}, {"kernels": ["6.14.0-27-generic"]}),
        ("cu128", {"driver.version": "595.104.02"}, {"kernels": ["7.2.3-amd64"]}),
        ("cu128", {"driver.version": "570.144", "cuda.version": "12.8.1"}, {}),
        ("cu128", {"torch.version": "2.9.1+cu128"}, {}),
        ("cu128", {"xformers.version": "0.0.33.post2"}, {}),
        ("cu130", {}, {"glibc": "2.41"}),
        ("cu128", {"arch": "9.0", "driver.flavour": "proprietary"}, {}),
        ("cu128", {}, {"gcc": 12, "pci_ids": ["10DE:2B85", "8086:a780"], "driver_flavour": None, "kernels": []}),
        ("cu128", {}, {"distribution": "debian", "distribution_version": "12.12"}),
    ],
)
def test_a_stack_that_holds_together_is_accepted(
    stack: str, overrides: dict[str, str], facts: dict[str, t.Any]
) -> None:
    verdict = judge(CATALOGUE, stack, overrides, facts)

    assert verdict.findings == ()
    assert verdict.stack is not None


@pytest.mark.parametrize("stack", sorted(CATALOGUE.stacks))
@pytest.mark.parametrize("platform", sorted(CATALOGUE.platforms))
def test_every_shipped_stack_holds_on_every_supported_system(stack: str, platform: str) -> None:
    system = CATALOGUE.platforms[platform]
    distribution, version = platform.split()
    facts = {
        "distribution": distribution,
        "distribution_version": version,
        "architecture": "x86_64",
        "glibc": system.glibc,
        "gcc": system.gcc,
        "kernels": list(system.kernels),
        "pci_ids": [RTX_5090],
    }

    assert judge(CATALOGUE, stack, {}, facts).findings == ()


def test_572_is_explained_as_windows_numbering() -> None:
    (finding,) = judge(CATALOGUE, "cu128", {"driver.version": "572.16"}).findings

    assert "572 is Windows numbering: Linux never had a driver branch 572" in finding.sentence
    assert "begins with 575.51.02" in finding.sentence


def test_the_nearest_value_mends_the_stack_where_one_change_can() -> None:
    for case in RED.values():
        for finding in judge(CATALOGUE, case.stack, case.overrides, case.facts).findings:
            for advice in finding.nearest.split(" or "):
                key, equals, value = advice.split(" (")[0].partition("=")
                if key.startswith("the stack "):
                    assert judge(CATALOGUE, key.removeprefix("the stack "), {}, case.facts).findings == ()
                if equals and "breaks" not in advice:
                    mended = judge(CATALOGUE, case.stack, {**case.overrides, key: value}, case.facts)
                    assert finding.rule not in {left.rule for left in mended.findings}, (case, advice)


def test_a_whole_stack_is_named_only_where_it_holds_and_no_single_value_does() -> None:
    data = copy.deepcopy(catalogue_data())
    data["stacks"]["lab"] = {"extends": "cu130", "standins": ["conda_lock"]}
    data["stacks"]["half"] = {"extends": "cu130", "driver": {"version": "580.99"}}

    def nearest(overrides: dict[str, str]) -> str:
        findings = judge(read_catalogue(data), "cu128", overrides, {"glibc": "2.41"}).findings
        return next(finding.nearest for finding in findings if finding.rule == "cuda-glibc")

    assert nearest({}) == "the stack cu130"
    assert nearest({"cuda.version": "12.9.0"}) == "the stack cu130 with its own cuda.version"
    assert nearest({"driver.version": "575.64"}) == "cuda.version=13.0.2 (which breaks cuda-driver, torch-toolkit)"
    assert nearest({"torch.version": "2.9.1+cu130", "torch.index": "pytorch"}) == "cuda.version=13.0.2"


def test_an_ended_branch_is_not_recommended_without_saying_so() -> None:
    (finding,) = judge(CATALOGUE, "cu128", {"driver.version": "570.144"}).findings

    assert "driver.version=575.57.08 (branch 575 has ended; 580.76.05 is maintained)" in finding.nearest
    assert "cuda.version=12.8.1" in finding.nearest


def test_the_nearest_value_comes_from_the_catalogue() -> None:
    data = copy.deepcopy(catalogue_data())
    for version in ("575.57.08", "575.64", "575.64.03", "575.64.05"):
        del data["drivers"]["releases"][version]

    (finding,) = judge(read_catalogue(data), "cu128", {"driver.version": "570.144"}).findings

    assert finding.nearest.startswith("driver.version=580.65.06")
