# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who keeps a host from being restarted, and what its operator reads then."""

from __future__ import annotations

import pytest

from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._gpu_facts import Holder
from ansible_collections.gpulab.workstation.plugins.module_utils._host_facts import Machine, Session
from ansible_collections.gpulab.workstation.plugins.module_utils._restart import (
    BootIdentity,
    Request,
    Rules,
    Usage,
    blockers,
    decide,
    parse_boot_identity,
    reason_lines,
)

METAL, CONTAINER = Machine("bare_metal"), Machine("container", "podman")
REQUESTS = (Request("gpu_driver", ("nouveau is loaded", "the module is new")), Request("cuda_toolkit", ("x",)))
JOB = Holder(77, "python3", "alice", "job", ("/dev/nvidia0",))
SERVICE = Holder(78, "nvidia-persiste", "root", "service", ("/dev/nvidia0",))
ALICE = Session("alice", "desktop on seat0", 900)
OWN = Session("root", "sshd from 10.0.0.1", 400, own=True)
IDLE = Usage((SERVICE,), (OWN,))
BOOT_ID = "1e410534-c31e-4565-8265-836766a5dc92"


def test_without_a_request_nothing_is_asked() -> None:
    busy = Usage((JOB,), (ALICE,), ("gpu_driver",), ("dpkg",))
    assert decide((), busy, CONTAINER, Rules(controller=True)) == "none"


def test_a_request_on_an_idle_host() -> None:
    assert decide(REQUESTS, IDLE, METAL, Rules()) == "restart"


def test_a_site_that_restarts_by_itself() -> None:
    assert decide(REQUESTS, IDLE, METAL, Rules(enabled=False)) == "disabled"


@pytest.mark.parametrize(
    ("usage", "machine", "rules", "words", "action"),
    [
        (Usage((JOB,)), METAL, Rules(), "process 77 (python3) of alice is using a GPU", "host_restart_force"),
        (Usage(sessions=(ALICE, OWN)), METAL, Rules(), "alice is logged in (desktop on seat0)", "host_restart_force"),
        (
            Usage(jobs=("gpu_driver",)),
            METAL,
            Rules(force=True),
            "the gpulab job gpu_driver is at work",
            "job has ended",
        ),
        (Usage(system_changes=("dpkg",)), METAL, Rules(force=True), "dpkg is changing the system", "wait until"),
        (IDLE, CONTAINER, Rules(force=True), "container (podman)", "host_restart_in_container"),
        (IDLE, METAL, Rules(force=True, controller=True), "this very machine", "restart this machine yourself"),
    ],
    ids=["gpu-process", "user", "job", "package-installation", "container", "controller"],
)
def test_a_blocker_refuses(usage: Usage, machine: Machine, rules: Rules, words: str, action: str) -> None:
    with pytest.raises(OperatorError) as refusal:
        decide(REQUESTS, usage, machine, rules)
    assert words in refusal.value.found
    assert "gpu_driver: nouveau is loaded" in refusal.value.found
    assert action in refusal.value.action


def test_every_blocker_is_told_at_once() -> None:
    with pytest.raises(OperatorError) as refusal:
        decide(REQUESTS, Usage((JOB,), (ALICE,), ("gpu_driver",)), METAL, Rules())
    for words in ("python3", "alice is logged in", "gpulab job"):
        assert words in refusal.value.found
    assert refusal.value.action.count("host_restart_force") == 1


def test_force_ends_users_and_gpu_processes() -> None:
    assert decide(REQUESTS, Usage((JOB,), (ALICE,)), METAL, Rules(force=True)) == "restart"


def test_a_container_can_be_allowed() -> None:
    assert decide(REQUESTS, IDLE, CONTAINER, Rules(in_container=True)) == "restart"


def test_own_session_and_services_of_the_driver_are_no_blockers() -> None:
    assert blockers(IDLE, METAL, Rules()) == ()


def test_reasons_name_the_component() -> None:
    assert reason_lines([*REQUESTS, REQUESTS[1]]) == [
        "gpu_driver: nouveau is loaded",
        "gpu_driver: the module is new",
        "cuda_toolkit: x",
    ]


@pytest.mark.parametrize("comm", ["systemd", "tmux: server (1) x"])
def test_boot_identity(comm: str) -> None:
    stat = f"1 ({comm}) S 0 1 1 0 -1 4194560 3715 13476 0 4 7 2 8 5 20 0 1 0 283348 20271104 2929 0\n"
    identity = parse_boot_identity(f"{BOOT_ID}\n", stat)
    assert identity == BootIdentity(BOOT_ID, "283348")
    assert str(identity) == f"{BOOT_ID}/283348"


@pytest.mark.parametrize(("boot_id", "stat"), [("", "1 (a) S 0"), (BOOT_ID, "1 (a) S 0"), ("no uuid", "")])
def test_half_an_identity_is_none(boot_id: str, stat: str) -> None:
    assert parse_boot_identity(boot_id, stat) is None
