# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read what :mod:`_restart` decides about, and ask the system for the restart."""

from __future__ import annotations

from ansible_collections.gpulab.workstation.plugins.module_utils import _job
from ansible_collections.gpulab.workstation.plugins.module_utils._converge import RESTART_REQUESTS
from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._gpu_reader import read_holders
from ansible_collections.gpulab.workstation.plugins.module_utils._host import Host
from ansible_collections.gpulab.workstation.plugins.module_utils._host_reader import read_sessions
from ansible_collections.gpulab.workstation.plugins.module_utils._reading import Reading
from ansible_collections.gpulab.workstation.plugins.module_utils._restart import (
    SYSTEM_CHANGES,
    BootIdentity,
    Request,
    Usage,
    parse_boot_identity,
)

_DELAY_S = 2  # so that the module's answer is on its way before ssh ends


def read_requests(host: Host) -> tuple[Request, ...]:
    """Return what the components of this collection have asked for since the last boot."""
    requests = []
    for component in host.listdir(RESTART_REQUESTS):
        lines = (host.read_text(f"{RESTART_REQUESTS}/{component}") or "").splitlines()
        if component.startswith("."):  # a request that is being written
            continue
        requests.append(Request(component, tuple(line for line in lines if line) or ("no reason given",)))
    return tuple(requests)


def read_boot_identity(host: Host) -> BootIdentity:
    """Return the identity of this boot."""
    boot_id = host.read_text("/proc/sys/kernel/random/boot_id") or ""
    identity = parse_boot_identity(boot_id, host.read_text("/proc/1/stat") or "")
    if identity is None:
        raise OperatorError(
            found="/proc/sys/kernel/random/boot_id or /proc/1/stat cannot be read on this host.",
            expected="both, to tell afterwards that the host has really restarted.",
            action="mount /proc on the host as every system has it, or restart the host by hand.",
        )
    return identity


def read_usage(reading: Reading) -> Usage:
    """Look who and what would suffer; what cannot be read is noted in the reading."""
    host = reading.host
    jobs = [name for name in reading.names(_job.JOBS) if _job.status(host, name).state == "running"]
    names = {(reading.text(f"/proc/{pid}/comm") or "").strip() for pid in reading.names("/proc") if pid.isdigit()}
    changes = [name for name in SYSTEM_CHANGES if name in names]
    return Usage(read_holders(reading), read_sessions(reading), tuple(jobs), tuple(changes))


def restart(host: Host, message: str) -> None:
    """Tell the users and have the system restart in a moment, independent of this ssh session."""
    if message and host.which("wall"):
        host.run(["wall", message], timeout_s=10)
    if host.exists("/run/systemd/system"):
        timer = ["--quiet", "--collect", f"--on-active={_DELAY_S}", "--timer-property=AccuracySec=100ms"]
        done = host.run(["systemd-run", *timer, "systemctl", "reboot"], timeout_s=30)
    else:
        done = host.run(["setsid", "--fork", "sh", "-c", f"sleep {_DELAY_S}; exec shutdown -r now"], timeout_s=30)
    if not done.ok:
        raise OperatorError(
            found=f"'{done.argv[0]}' ended with {done.rc}: {done.stderr.strip() or done.stdout.strip()}.",
            expected="the restart to be scheduled.",
            action="restart the host by hand and run again.",
        )


__all__ = ["read_boot_identity", "read_requests", "read_usage", "restart"]
