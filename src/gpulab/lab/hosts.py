# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Container hosts: started, waited for, reached, removed."""

from __future__ import annotations

import hashlib
import re
import subprocess
import time
import typing as t
import urllib.parse

from gpulab._errors import OperatorError
from gpulab.lab import ssh
from gpulab.lab.podman import HOST_LABEL, LAB_LABEL

if t.TYPE_CHECKING:
    from pathlib import Path

    from gpulab.lab.podman import Container, Podman

BOOT_SECONDS = 90
_NAME = re.compile(r"^[a-z0-9]([a-z0-9-]{0,40}[a-z0-9])?$")


def check_name(name: str) -> str:
    """Return a host's or a lab's name if it can be one (RFC 1123 section 2.1: letters, digits and hyphens)."""
    if not _NAME.match(name):
        raise OperatorError(
            found=f"the name '{name}'.",
            expected="small letters, digits and hyphens, as in lab-1.",
            action="choose another name.",
        )
    return name


def container_name(lab: Path, host: str) -> str:
    """Return podman's name for a host; labs of the same name in two checkouts do not meet."""
    return f"gpulab-{lab.name}-{host}-{hashlib.sha256(str(lab).encode()).hexdigest()[:6]}"


def start(podman: Podman, lab: Path, host: str, image: str) -> None:
    """Start a new host. It comes back when it reboots itself, as a machine does."""
    name = container_name(lab, host)
    labels = ("--label", f"{LAB_LABEL}={lab}", "--label", f"{HOST_LABEL}={host}")
    podman.run(
        "run", "--detach", "--name", name, "--hostname", host, *labels, "--systemd=always", "--restart=always",
        "--publish", f"{ssh.ADDRESS}::22", image, "/lib/systemd/systemd",
    )  # fmt: skip


def resume(podman: Podman, container: Container) -> None:
    """Start a stopped host again, and let a frozen one go on."""
    if container.paused:
        podman.run("unpause", container.name)
    elif not container.running:
        podman.run("start", container.name)


def wait_until_booted(podman: Podman, container: Container) -> str:
    """Wait for systemd to be up and sshd to answer; return systemd's word: running or degraded."""
    deadline = time.monotonic() + BOOT_SECONDS
    word = ""
    while time.monotonic() < deadline:
        word = podman.run("exec", container.name, "systemctl", "is-system-running", check=False).stdout.strip()
        if word in ("running", "degraded") and ssh.answers(container.port):
            return word
        time.sleep(0.2)
    failed = podman.run("exec", container.name, "systemctl", "--failed", "--plain", "--no-legend", check=False).stdout
    raise OperatorError(
        found=f"host {container.host} was not up after {BOOT_SECONDS} s (systemd: '{word}'; failed: {failed.strip()}).",
        expected="systemd running and sshd answering.",
        action=f"see 'podman logs {container.name}'; 'gpulab lab down' removes it.",
    )


_PREPARE = """set -eu
mkdir -p -m 0700 ~/.ssh
printf '%s' "$1" > ~/.ssh/authorized_keys
printf '%s' "$2" > /etc/pip.conf
cat /etc/ssh/ssh_host_*_key.pub
"""


def pip_configuration(depot_url: str) -> str:
    """Return a pip.conf that makes the depot the only index, as a site does with its own mirror."""
    address = urllib.parse.urlsplit(depot_url).hostname
    return f"[global]\nindex-url = {depot_url}/simple/\ntrusted-host = {address}\n"


def prepare(podman: Podman, container: Container, public_key: str, depot_url: str) -> list[str]:
    """Let the lab's key in as root, name the depot to pip, and return the host's public keys.

    All of it goes through podman: a path on which nobody else can answer.
    """
    arguments = ("sh", public_key, pip_configuration(depot_url))
    text = podman.run("exec", container.name, "sh", "-c", _PREPARE, *arguments).stdout
    return [" ".join(line.split()[:2]) for line in text.splitlines() if line.strip()]


def check_depot(podman: Podman, container: Container, url: str) -> None:
    """Refuse when a host cannot reach the depot: a firewall on this machine is the usual cause."""
    program = f"import urllib.request as u; u.build_opener(u.ProxyHandler({{}})).open('{url}/health', timeout=5).read()"
    outcome = podman.run("exec", container.name, "python3", "-c", program, check=False)
    if outcome.returncode != 0:
        raise OperatorError(
            found=f"host {container.host} cannot reach the lab's depot at {url}: {outcome.stderr.strip()[-200:]}",
            expected="containers to reach this machine on podman's bridge.",
            action="allow it in this machine's firewall (ufw: 'ufw allow in on podman0'), then 'gpulab lab up' again.",
        )


def execute(
    podman: Podman, name: str, command: tuple[str, ...], *, privileged: bool, timeout: float | None
) -> subprocess.CompletedProcess[str]:
    """Run a command as root on a host; privileged ones may mount (a small or a noexec file system for a test)."""
    extra = ("--privileged",) if privileged else ()
    full = podman.command("exec", *extra, name, *command)
    return subprocess.run(full, check=False, text=True, capture_output=True, timeout=timeout, stdin=subprocess.DEVNULL)


def remove(podman: Podman, names: list[str]) -> None:
    """Remove containers and what they hold, running or not."""
    if names:
        podman.run("rm", "--force", "--volumes", "--time", "0", *names)


__all__ = [
    "check_depot",
    "check_name",
    "container_name",
    "execute",
    "pip_configuration",
    "prepare",
    "remove",
    "resume",
    "start",
    "wait_until_booted",
]
