# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's ssh key, and the host keys that it expects."""

from __future__ import annotations

import shlex
import socket
import subprocess
import typing as t

if t.TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path


ADDRESS = "127.0.0.1"


def ensure_key(directory: Path) -> Path:
    """Return the lab's private key, made the first time."""
    key = directory / "id_ed25519"
    if not key.exists():
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"gpulab lab {directory.name}", "-f", str(key)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return key


def known_hosts(keys: Mapping[int, Iterable[str]]) -> str:
    """Render known_hosts for published ports (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT: [address]:port)."""
    return "".join(f"[{ADDRESS}]:{port} {key}\n" for port in sorted(keys) for key in sorted(keys[port]))


def parse_known_hosts(text: str) -> dict[int, list[str]]:
    """Return the keys that known_hosts() rendered, by port."""
    keys: dict[int, list[str]] = {}
    for line in text.splitlines():
        place, _, key = line.partition(" ")
        keys.setdefault(int(place.rpartition(":")[2]), []).append(key)
    return keys


def answers(port: int) -> bool:
    """Tell whether an sshd answers at a published port."""
    try:
        with socket.create_connection((ADDRESS, port), timeout=2) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def quoted(argv: Iterable[str]) -> str:
    """Return a command for ssh, which joins its arguments by blanks and lets the remote shell take them apart."""
    return shlex.join(argv)


def options(directory: Path, connect_timeout: int = 0) -> list[str]:
    """Return the ssh options that make the lab's own key and known_hosts the only ones; checking stays strict."""
    return [
        "-o",
        # ssh takes a blank for the end of a file name unless the name is quoted (ssh_config(5)).
        f'UserKnownHostsFile="{directory / "known_hosts"}"',
        "-o",
        "GlobalKnownHostsFile=/dev/null",
        "-o",
        "StrictHostKeyChecking=yes",
        "-o",
        "IdentitiesOnly=yes",
        *(("-o", f"ConnectTimeout={connect_timeout}") if connect_timeout else ()),
    ]


__all__ = ["ADDRESS", "answers", "ensure_key", "known_hosts", "options", "parse_known_hosts", "quoted"]
