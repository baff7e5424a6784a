# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading requests and usage, and how a restart is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._reading import Reading
from ansible_collections.gpulab.workstation.plugins.module_utils._restart import Request
from ansible_collections.gpulab.workstation.plugins.module_utils._restart_reader import (
    read_boot_identity,
    read_requests,
    read_usage,
    restart,
)
from fakehost import FakeHost

REQUESTS = "/run/gpulab/restart-required.d"


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    """Return a host without anything."""
    return FakeHost(tmp_path)


def test_requests_of_components(host: FakeHost) -> None:
    assert read_requests(host) == ()
    host.add(f"{REQUESTS}/gpu_driver", "nouveau is loaded\nthe module is new\n")
    host.add(f"{REQUESTS}/cuda_toolkit", "")
    host.add(f"{REQUESTS}/.gpu_driver.x1", "half")
    assert read_requests(host) == (
        Request("cuda_toolkit", ("no reason given",)),
        Request("gpu_driver", ("nouveau is loaded", "the module is new")),
    )


def test_a_host_without_proc_has_no_identity(host: FakeHost) -> None:
    with pytest.raises(OperatorError, match="boot_id"):
        read_boot_identity(host)


def test_who_uses_the_host(host: FakeHost) -> None:
    host.add("/proc/77/comm", "dpkg\n")
    host.add("/proc/78/comm", "bash\n")
    host.add("/run/utmp", b"")
    request = (
        '{"job": "gpu_driver-1", "entry": ["m", "C"], "params": {}, "plan": {"steps": [], "before": {}, "after": {}, '
    )
    host.add("/var/lib/gpulab/jobs/gpu_driver/request.json", request + '"reboot_reasons": []}}')
    host.add("/var/lib/gpulab/jobs/cuda_toolkit/request.json", request + '"reboot_reasons": []}}')
    release = host.hold_lock("/var/lib/gpulab/jobs/gpu_driver/lock")
    assert release
    usage = read_usage(Reading(host))
    release()
    assert usage.jobs == ("gpu_driver",)
    assert usage.system_changes == ("dpkg",)
    assert (usage.processes, usage.sessions) == ((), ())


def test_restart_with_systemd_outlives_the_ssh_session(host: FakeHost) -> None:
    host.make_dirs("/run/systemd/system")
    host.commands.update({"wall": (0, "", ""), "systemd-run": (0, "", "")})
    restart(host, "Good night")
    assert host.ran[0] == ("wall", "Good night")
    assert host.ran[1][0] == "systemd-run"
    assert host.ran[1][-2:] == ("systemctl", "reboot")


def test_restart_without_systemd(host: FakeHost) -> None:
    host.commands["setsid"] = (0, "", "")
    restart(host, "")
    assert [command[0] for command in host.ran] == ["setsid"]


def test_a_restart_that_cannot_be_scheduled_is_told(host: FakeHost) -> None:
    host.make_dirs("/run/systemd/system")
    host.commands["systemd-run"] = (1, "", "Failed to connect to bus\n")
    with pytest.raises(OperatorError, match="Failed to connect to bus"):
        restart(host, "")
