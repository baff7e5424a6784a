# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The account of the persistence daemon, of which a killed useradd or userdel leaves a part."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.gpulab.workstation.plugins.module_utils import _daemon_account as account
from fakehost import FakeHost

LOG = "/var/log/gpulab/gpu_driver.log"
ORDER = ("passwd", "shadow", "group", "gshadow")  # in which useradd and userdel write them
LINE = "nvidia-persistenced:x:\n"


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    """Return a host whose programs know accounts as shadow's do."""
    host = FakeHost(tmp_path)
    add(host)

    def useradd(_command: tuple[str, ...]) -> tuple[int, str, str]:
        if {"passwd", "group"} & parts(host):
            return 9, "", "useradd: group nvidia-persistenced exists"
        add(host, *ORDER)
        return 0, "", ""

    def userdel(_command: tuple[str, ...]) -> tuple[int, str, str]:
        if "passwd" not in parts(host):
            return 6, "", "userdel: user 'nvidia-persistenced' does not exist"
        add(host)
        return 0, "", ""

    def groupdel(_command: tuple[str, ...]) -> tuple[int, str, str]:
        add(host, *parts(host) - {"group", "gshadow"})
        return 0, "", ""

    host.commands.update({"useradd": useradd, "userdel": userdel, "groupdel": groupdel})
    return host


def add(host: FakeHost, *having: str) -> None:
    for name in ORDER:
        host.add(f"/etc/{name}", f"root:x:\n{LINE if name in having else ''}")


def parts(host: FakeHost) -> set[str]:
    return {path.removeprefix("/etc/") for path in account.account_parts(host)}


LEFT = [*(ORDER[:count] for count in range(5)), *(ORDER[count:] for count in range(1, 4))]
IDS = [f"useradd-{count}" for count in range(5)] + [f"userdel-{count}" for count in range(1, 4)]


@pytest.mark.parametrize("left", LEFT, ids=IDS)
def test_it_is_whole_or_not_at_all_after_a_kill(host: FakeHost, left: tuple[str, ...]) -> None:
    add(host, *left)
    account.create_account(host, LOG)
    assert parts(host) == set(ORDER)
    add(host, *left)
    account.remove_account(host, LOG)
    assert parts(host) == set()


def test_a_whole_one_is_left_alone(host: FakeHost) -> None:
    add(host, *ORDER)
    account.create_account(host, LOG)
    assert host.ran == []


def test_a_host_without_gshadow_has_a_whole_one_too(host: FakeHost) -> None:
    add(host, "passwd", "shadow", "group")
    host.remove("/etc/gshadow")
    account.create_account(host, LOG)
    assert host.ran == []


def test_the_locks_of_who_has_died_go_and_no_others(host: FakeHost) -> None:
    host.add("/etc/passwd.lock", "99\0")
    host.add("/etc/group.99", "99\0")
    host.add("/etc/shadow.lock", f"{os.getpid()}\0")
    host.make_dirs(f"/proc/{os.getpid()}")
    host.add("/etc/group.dpkg-old", "x")
    account.create_account(host, LOG)
    found = host.listdir("/etc")
    assert {"shadow.lock", "group.dpkg-old"} <= set(found)
    assert {"passwd.lock", "group.99"}.isdisjoint(found)
