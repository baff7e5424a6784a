# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ssh knows of a host, what the host offers, and the one change that this project makes to known_hosts."""

from __future__ import annotations

import shlex
import subprocess
import tempfile
import typing as t
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.gpulab.workstation.plugins.plugin_utils import _host_keys
from ansible_collections.gpulab.workstation.plugins.plugin_utils._files import write_whole
from ansible_collections.gpulab.workstation.plugins.plugin_utils._records import alone

_PLAIN_PORT = "22"
_SCAN_S = 5
_LIMIT_S = 60


@dataclass(frozen=True)
class Target:
    """Where ssh would connect to: the address, and the name under which known_hosts files have its keys."""

    address: str
    port: str
    name: str
    files: tuple[str, ...]  # the user's first, in ssh's order; the first is the one that is written
    proxy: str = ""

    @property
    def principal(self) -> str:
        """Return the name that a certificate must be for: without the port."""
        return self.name.split("]", maxsplit=1)[0].lstrip("[")


def target(host: str, options: t.Sequence[str]) -> Target:
    """Ask ssh itself what it would do with these options (ssh -G)."""
    answer = _run(["ssh", "-G", *options, host]).stdout
    settings = dict(line.split(" ", maxsplit=1) for line in answer.splitlines() if " " in line)
    address, port = settings.get("hostname", host), settings.get("port", _PLAIN_PORT)
    alias = settings.get("hostkeyalias", "none")
    place = address if port == _PLAIN_PORT else f"[{address}]:{port}"
    user = _chosen_files(options) or settings.get("userknownhostsfile", "").split()
    files = (*user, *settings.get("globalknownhostsfile", "").split())
    proxy = settings.get("proxyjump") or settings.get("proxycommand") or ""
    return Target(address, port, place if alias == "none" else alias, files, "" if proxy == "none" else proxy)


def _chosen_files(options: t.Sequence[str]) -> list[str]:
    """Return the files of the option UserKnownHostsFile; 'ssh -G' does not quote blanks in their names."""
    for option in options:
        key, _, value = option.partition("=")
        if key.strip().lower() == "userknownhostsfile":
            return [str(Path(file).expanduser()) for file in shlex.split(value)]
    return []


def look_up(there: Target) -> _host_keys.Known:
    """Return what the files know of the host; ssh-keygen reads hashed names too."""
    known = _host_keys.Known()
    for file in there.files:
        if Path(file).is_file():
            found = _host_keys.parse_known(_run(["ssh-keygen", "-F", there.name, "-f", file]).stdout)
            known = _host_keys.Known(
                known.keys + found.keys, known.authorities + found.authorities, known.revoked + found.revoked
            )
    return known


def scan(there: Target) -> _host_keys.Offer:
    """Return what the host offers to anyone; empty where nothing answers."""
    command = ["ssh-keyscan", "-T", str(_SCAN_S), "-p", there.port]
    keys = _host_keys.parse_keyscan(_run([*command, there.address]).stdout)
    if not keys:
        return _host_keys.Offer()
    shown = _host_keys.parse_certificate_scan(_run([*command, "-c", there.address]).stdout)
    read = map(_read_certificate, shown)
    return _host_keys.Offer(keys, tuple(certificate for certificate in read if certificate))


def _read_certificate(line: str) -> _host_keys.Certificate | None:
    with tempfile.NamedTemporaryFile("w", prefix="gpulab-", suffix=".pub") as file:
        file.write(line + "\n")
        file.flush()
        return _host_keys.parse_certificate(_run(["ssh-keygen", "-L", "-f", file.name]).stdout)


def replace(there: Target, keys: t.Sequence[_host_keys.HostKey]) -> Path | None:
    """Put the keys in the place of those that the first file has for this name; None where they are there already.

    Lines of a CA stay, and so do those of other hosts.
    """
    path = Path(there.files[0])
    with alone(path), tempfile.TemporaryDirectory(prefix="gpulab-") as directory:
        copy = Path(directory) / "known_hosts"
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        copy.write_text(before, encoding="utf-8")
        there_already = _host_keys.parse_known(_run(["ssh-keygen", "-F", there.name, "-f", str(copy)]).stdout)
        if set(there_already.keys) == set(keys):
            return None
        _run(["ssh-keygen", "-R", there.name, "-f", str(copy)])
        text = copy.read_text(encoding="utf-8")
        if text and not text.endswith("\n"):
            text += "\n"
        text += "".join(f"{there.name} {key.kind} {key.body}\n" for key in keys)
        write_whole(path, text, mode=path.stat().st_mode & 0o777 if path.exists() else 0o600)
    return path


def _run(command: t.Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run one of OpenSSH's programs; their status says little, what they print is what counts."""
    return subprocess.run(
        list(command), check=False, capture_output=True, text=True, timeout=_LIMIT_S, stdin=subprocess.DEVNULL
    )  # fmt: skip


__all__ = ["Target", "look_up", "replace", "scan", "target"]
