# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Container hosts that come back as a machine does after a reinstall: empty, and with keys that nobody knows."""

from __future__ import annotations

from labhost import LabHost

from gpulab import _autoinstall
from gpulab.lab import Lab, bare
from gpulab.lab.ssh import ADDRESS

USER = "admin"
_LATE_COMMAND = "d-i preseed/late_command string "


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


def with_a_user(host: LabHost) -> None:
    """Make the user that Debian's installer makes by our preseed, and let in whom its own late command lets in."""
    key = (host.lab.directory / "id_ed25519.pub").read_text()
    variables = {"ansible_user": USER, _autoinstall.VARIABLE: {"authorized_keys": [key]}}
    lines = _autoinstall.preseed(_autoinstall.read_answers(host.name, variables)).splitlines()
    (late,) = (line.removeprefix(_LATE_COMMAND) for line in lines if line.startswith(_LATE_COMMAND))
    in_place = late.replace("/target/", "/").replace("in-target ", "")
    host.sh(f"useradd --create-home --shell /bin/bash {USER} && {in_place}")


__all__ = ["USER", "expect_keys", "fingerprint", "keys_of", "port_of", "reinstall", "with_a_user", "without_python"]
