# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""podman's answers, and the settings for a machine where its defaults do not work."""

from __future__ import annotations

import json
import resource
import typing as t
from pathlib import Path

import pytest
import tomllib

from gpulab._errors import OperatorError
from gpulab.lab import podman

INSPECTED = Path(__file__).parents[1] / "fixtures/podman"


def load(name: str) -> t.Any:
    """Read a recorded answer; its first line says where it comes from."""
    return json.loads((INSPECTED / name).read_text().partition("\n")[2])


def test_a_running_container() -> None:
    container = podman.parse_container(load("4.3.1-debian12-container-running.txt")[0])
    assert container.host == "lab-1"
    assert container.name == "gpulab-fixture-lab-1-66d1d4"
    assert (container.running, container.paused, container.state) == (True, False, "running")
    assert container.port == 41235
    assert container.image.startswith("localhost/gpulab-host:")


def test_a_stopped_container_still_has_its_port() -> None:
    container = podman.parse_container(load("4.3.1-debian12-container-stopped.txt")[0])
    assert (container.running, container.state, container.port) == (False, "stopped", 41235)


def test_settings_take_what_this_process_has() -> None:
    limits = {resource.RLIMIT_NOFILE: (1024, 20000), resource.RLIMIT_NPROC: (96364, 96364)}
    settings = tomllib.loads(podman.lab_settings(limits.__getitem__))
    assert settings == {
        "engine": {"runtime": "runc"},
        "containers": {"default_ulimits": ["nofile=20000:20000", "nproc=32768:32768"]},
    }


def test_settings_without_limits_have_finite_ones() -> None:
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    settings = tomllib.loads(podman.lab_settings(lambda _: unlimited))
    assert settings["containers"]["default_ulimits"] == ["nofile=1048576:1048576", "nproc=32768:32768"]


# /proc/self/mountinfo of a machine, and of a chroot on it with /proc and /run mounted (Linux 6.18, 2026-11-25).
OF_A_MACHINE = """\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
"""
OF_A_CHROOT = """\
1199 733 0:288 / /proc rw,relatime - proc proc rw
1200 733 0:290 / /run rw,relatime - tmpfs tmpfs rw
"""


def test_a_plain_chroot_is_refused_with_the_way_out() -> None:
    podman.refuse_chroot(OF_A_MACHINE)
    with pytest.raises(OperatorError, match="this is a chroot") as refused:
        podman.refuse_chroot(OF_A_CHROOT)
    assert "systemd-nspawn -D DIRECTORY" in refused.value.action
