# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a host may be restarted now: (requests, who is using it) in, the decision with its words out."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._gpu_facts import Holder
from ansible_collections.gpulab.workstation.plugins.module_utils._host_facts import Machine, Session
from ansible_collections.gpulab.workstation.plugins.module_utils._in_the_way import Blocker

# Programs that must not be cut off in the middle of changing the system.
SYSTEM_CHANGES = ("dpkg", "dkms", "update-initramf", "mkinitramfs", "depmod")


@dataclass(frozen=True)
class BootIdentity:
    """What tells one boot from the next.

    A kernel has a random boot_id (random(4)). A container has its host's, so the time at which PID 1 started counts
    as well (proc(5), field 22 of /proc/1/stat, in clock ticks since the kernel started).
    """

    boot_id: str
    init_started: str

    def __str__(self) -> str:
        return f"{self.boot_id}/{self.init_started}"


@dataclass(frozen=True)
class Usage:
    """Who and what would suffer from a restart."""

    processes: tuple[Holder, ...] = ()
    sessions: tuple[Session, ...] = ()
    jobs: tuple[str, ...] = ()  # components whose job runs
    system_changes: tuple[str, ...] = ()  # dpkg and the like, while they run


@dataclass(frozen=True)
class Rules:
    """What the operator allows."""

    enabled: bool = True
    force: bool = False
    in_container: bool = False
    controller: bool = False  # the host is the machine that Ansible runs on


@dataclass(frozen=True)
class Request:
    """A component's wish for a restart."""

    component: str
    reasons: tuple[str, ...]


def parse_boot_identity(boot_id: str, init_stat: str) -> BootIdentity | None:
    """Read /proc/sys/kernel/random/boot_id and /proc/1/stat; the command name in the latter may hold anything."""
    fields = init_stat.rsplit(")", 1)[-1].split()
    started = fields[19] if len(fields) > 19 else ""  # noqa: PLR2004 - field 22, counted after pid and (comm)
    if not re.fullmatch(r"[0-9a-f-]{36}", boot_id.strip()) or not started.isdigit():
        return None
    return BootIdentity(boot_id.strip(), started)


def blockers(usage: Usage, machine: Machine, rules: Rules) -> tuple[Blocker, ...]:
    """Return everything that speaks against a restart now, whether or not it yields to force."""
    found = []
    if rules.controller:
        found.append(Blocker("controller", "Ansible runs on this very machine (local connection)", False))  # noqa: FBT003
    if machine.kind == "container" and not rules.in_container:
        words = f"this host is a container ({machine.name or 'unknown engine'}), which has no kernel to restart"
        found.append(Blocker("container", words, False))  # noqa: FBT003
    found += [Blocker("job", f"the gpulab job {job} is at work", False) for job in usage.jobs]  # noqa: FBT003
    found += [Blocker("system_change", f"{name} is changing the system", False) for name in usage.system_changes]  # noqa: FBT003
    for holder in usage.processes:
        if holder.kind == "job":
            words = f"process {holder.pid} ({holder.command}) of {holder.user} is using a GPU"
            found.append(Blocker("gpu_process", words, True))  # noqa: FBT003
    for session in usage.sessions:
        if not session.own:
            found.append(Blocker("user", f"{session.user} is logged in ({session.what})", True))  # noqa: FBT003
    return tuple(found)


def decide(requests: t.Sequence[Request], usage: Usage, machine: Machine, rules: Rules) -> str:
    """Return none, disabled or restart; OperatorError where a restart is due and not allowed now."""
    if not requests:
        return "none"
    if not rules.enabled:
        return "disabled"
    standing = [b for b in blockers(usage, machine, rules) if not (b.yields_to_force and rules.force)]
    if not standing:
        return "restart"
    kinds = [blocker.kind for blocker in standing]
    expected = dict.fromkeys(_EXPECTED.get(kind, "a host that nobody is using") for kind in kinds)
    raise OperatorError(
        found=f"this host needs a restart ({'; '.join(reason_lines(requests))}), but "
        + "; ".join(blocker.words for blocker in standing) + ".",
        expected=" and ".join(expected) + ".",
        action="; ".join(dict.fromkeys(_ACTIONS[kind] for kind in kinds)) + "; then run again.",
    )  # fmt: skip


_EXPECTED = {"controller": "another machine than the one Ansible runs on", "container": "a host with its own kernel"}
_ACTIONS = {
    "controller": "restart this machine yourself",
    "container": "restart the machine that carries the container, or set host_restart_in_container if restarting the"
    " container is enough",
    "job": "wait until the job has ended",
    "system_change": "wait until the system change has ended",
    "gpu_process": "wait until they are done, or set host_restart_force to end them",
    "user": "wait until they are done, or set host_restart_force to end them",
}


def reason_lines(requests: t.Sequence[Request]) -> list[str]:
    """Return the reasons of all components, each told once."""
    return list(dict.fromkeys(f"{request.component}: {reason}" for request in requests for reason in request.reasons))


__all__ = [
    "SYSTEM_CHANGES",
    "BootIdentity",
    "Request",
    "Rules",
    "Usage",
    "blockers",
    "decide",
    "parse_boot_identity",
    "reason_lines",
]
