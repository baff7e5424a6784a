# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Container hosts that come back as a machine does after a reinstall: empty, and with keys that nobody knows."""

from __future__ import annotations

from labhost import LabHost

from gpulab.lab import Lab, bare
from gpulab.lab.ssh import ADDRESS


def keys_of(lab: Lab, name: str) -> list[str]:
    """Return the public host keys that a host has now, past ssh."""
    lines = lab.exec(name, "cat /etc/ssh/ssh_host_*_key.pub").stdout.splitlines()
    return [" ".join(line.split()[:2]) for line in lines]


def port_of(lab: Lab, name: str) -> int:
    """Return the port of a host's sshd on this machine."""
    return next(container.port for container in lab.hosts() if container.host == name)


def expect_keys(lab: Lab, name: str, keys: list[str]) -> None:
    """Have known_hosts say that a host has these keys, whatever it has."""
    path, place = lab.directory / "known_hosts", f"[{ADDRESS}]:{port_of(lab, name)}"
    others = [line for line in path.read_text().splitlines() if not line.startswith(f"{place} ")]
    path.write_text("".join(f"{line}\n" for line in [*others, *(f"{place} {key}" for key in keys)]))


def reinstall(lab: Lab, name: str) -> None:
    """Take a host away and bring a bare one of that name; the controller still expects the keys of the old one."""
    old = keys_of(lab, name)
    lab.remove_host(name)
    lab.add_host(name)
    expect_keys(lab, name, old)


def fingerprint(host: LabHost) -> str:
    """Read a host's key at its console, as an admin does."""
    return host.sh("ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub").stdout.split()[1]


def without_python(host: LabHost) -> None:
    """Remove python3, as a minimal installation lacks it."""
    host.sh(bare.WITHOUT_PYTHON)


__all__ = ["expect_keys", "fingerprint", "keys_of", "port_of", "reinstall", "without_python"]
