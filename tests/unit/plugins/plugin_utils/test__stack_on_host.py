# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the rules of a stack are told about a host, and how a broken rule reads as a reason."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.gpulab.workstation.plugins.module_utils._choice import Finding
from ansible_collections.gpulab.workstation.plugins.module_utils._rules import judge
from ansible_collections.gpulab.workstation.plugins.module_utils._stack import resolve
from ansible_collections.gpulab.workstation.plugins.plugin_utils._catalogue import load_catalogue
from ansible_collections.gpulab.workstation.plugins.plugin_utils._stack_on_host import (
    as_refusal,
    stack_facts,
    standins,
    without_standins,
)

HOST: dict[str, t.Any] = {
    "os": {"id": "debian", "version": "12", "name": "Debian GNU/Linux 12 (bookworm)"},
    "machine": {"kind": "bare_metal", "name": ""},
    "architecture": "x86_64",
    "glibc": "2.36",
    "gcc": "12.2.0",
    "running_kernel": "6.1.0-41-amd64",
    "kernels": [{"release": "6.1.0-41-amd64"}],
}
CARD = {"vendor": "10de", "device": "2b85", "class_code": "0300"}
GPU: dict[str, t.Any] = {"devices": [CARD, {"vendor": "8086", "device": "a780", "class_code": "0300"}]}


def findings(host: dict[str, t.Any], gpu: dict[str, t.Any] = GPU, *, expect_gpu: bool = True) -> list[str]:
    facts = stack_facts(host, gpu, expect_gpu=expect_gpu)
    return [finding.rule for finding in judge(load_catalogue(), "cu128", {}, facts).findings]


def test_a_good_host_keeps_every_rule() -> None:
    assert findings(HOST) == []


@pytest.mark.parametrize(
    ("changes", "rules"),
    [
        ({"os": {"id": "debian", "version": "13"}, "glibc": "2.41"}, ["platform-supported", "cuda-glibc"]),
        ({"os": {"id": "fedora", "version": "43"}}, ["platform-supported"]),
        ({"architecture": "aarch64"}, ["architecture-supported"]),
        ({"kernels": [{"release": "99.0-1"}]}, ["driver-kernel"]),
        ({"kernels": [], "running_kernel": "99.0-1"}, ["driver-kernel"]),
        ({"gcc": "15.1.0"}, ["cuda-gcc"]),
        ({"gcc": None, "glibc": None}, []),
    ],
    ids=["debian-13", "fedora", "arm", "new-kernel", "new-running-kernel", "new-gcc", "unknown"],
)
def test_a_broken_rule(changes: dict[str, t.Any], rules: list[str]) -> None:
    assert findings({**HOST, **changes}) == rules


def test_the_kernel_under_a_container_is_not_judged() -> None:
    host = {**HOST, "machine": {"kind": "container", "name": "podman"}, "kernels": [], "running_kernel": "99.0"}
    assert findings(host) == []


def test_the_card_under_a_container_without_gpu_is_not_judged() -> None:
    unknown = {"devices": [{**CARD, "device": "2704"}]}
    assert findings(HOST, unknown) == ["device-known"]
    assert findings(HOST, unknown, expect_gpu=False) == []


def test_room_for_stand_ins_is_not_asked_for() -> None:
    space = [{"purpose": "CUDA", "component": "cuda"}, {"purpose": "torch"}, "nonsense"]
    assert without_standins(space, {"cuda", "driver"}) == space[1:]
    assert standins(resolve(load_catalogue(), "cu128")) == frozenset()


@pytest.mark.parametrize(
    ("nearest", "action"),
    [
        ("driver.version=595.104.02", "set gpulab_stack_overrides to driver.version=595.104.02"),
        ("the stack cu130", "take the stack cu130 (gpulab_stack), or change the host."),
        ("Debian 12", "the nearest that works: Debian 12."),
        ("", "choose another stack"),
    ],
    ids=["override", "stack", "other", "none"],
)
def test_a_finding_becomes_a_reason(nearest: str, action: str) -> None:
    refusal = as_refusal(Finding("r", "A rule.", "kernel 99", "kernel 1", nearest, "a source"))
    assert refusal.found == "kernel 99."
    assert refusal.expected == "kernel 1. A rule. Source: a source."
    assert refusal.action.startswith(action)
