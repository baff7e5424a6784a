# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The account of the persistence daemon, whole or not at all.

useradd writes passwd, shadow, group and gshadow one after the other, and userdel too: one that was killed leaves an
account in some of them, its locks, and a file by which it takes a lock (commonio.c in shadow's source).
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.gpulab.workstation.plugins.module_utils._driver_files import ACCOUNT
from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._host import Host

_PASSWD, _GROUP = "/etc/passwd", "/etc/group"
_FILES = (_PASSWD, "/etc/shadow", _GROUP, "/etc/gshadow")
_LOCK = re.compile(r"(passwd|shadow|group|gshadow|subuid|subgid)\.(?P<pid>\d+|lock)")
_USERADD = (
    "useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/", "--shell", "/usr/sbin/nologin",
    "--comment", "NVIDIA Persistence Daemon", ACCOUNT,
)  # fmt: skip


def account_parts(host: Host) -> frozenset[str]:
    """Return the files that have the account; those that may not be read are left out."""
    return frozenset(path for path in _FILES if _has(host, path))


def create_account(host: Host, log: str) -> None:
    """Have the account in every file that there is; a host may do without gshadow."""
    parts = account_parts(host)
    if not parts or parts != frozenset(filter(host.exists, _FILES)):
        if parts:
            remove_account(host, log)
        _run(host, _USERADD, log)
    _remove_locks(host)


def remove_account(host: Host, log: str) -> None:
    """Have the account in no file; userdel only knows one that is in passwd."""
    parts = account_parts(host)
    if parts and _PASSWD not in parts:
        if _GROUP in parts:
            _run(host, ("groupdel", ACCOUNT), log)
        _run(host, _USERADD, log)
    if parts:
        _run(host, ("userdel", ACCOUNT), log)
    _remove_locks(host)


def _remove_locks(host: Host) -> None:
    """Remove the locks of who has died; shadow's programs pass over them, and leave some of them for good."""
    named = {name: found["pid"] for name in host.listdir("/etc") if (found := _LOCK.fullmatch(name))}
    holders = {name: _holder(host, f"/etc/{name}") if pid == "lock" else pid for name, pid in named.items()}
    for name, pid in holders.items():
        if pid.isdigit() and not host.exists(f"/proc/{pid}"):
            host.remove(f"/etc/{name}")


def _holder(host: Host, path: str) -> str:
    try:
        return (host.read_text(path) or "").strip("\0\n ")
    except OSError:
        return ""


def _has(host: Host, path: str) -> bool:
    try:
        text = host.read_text(path) or ""
    except OSError:
        return False
    return any(line.startswith(f"{ACCOUNT}:") for line in text.splitlines())


def _run(host: Host, command: t.Sequence[str], log: str) -> None:
    done = host.run(list(command), timeout_s=60, log=log)
    if not done.ok:
        raise OperatorError(
            found=f"'{' '.join(command)}' ended with {done.rc}: {' '.join((done.stderr or done.stdout).split())}.",
            expected=f"the account {ACCOUNT} of the persistence daemon to be set up, or to be gone.",
            action="cure what it says, or set gpu_driver_persistenced to false, then run again.",
        )


__all__ = ["account_parts", "create_account", "remove_account"]
