# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""podman, and the settings it needs on this machine."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import typing as t
from dataclasses import dataclass

from gpulab import _os_packages
from gpulab._errors import OperatorError

if t.TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

REQUIREMENTS = (
    _os_packages.Requirement("podman", ("podman",), "runs the container hosts"),
    _os_packages.Requirement(
        "netavark", ("/usr/lib/podman/netavark", "/usr/libexec/podman/netavark", "/usr/lib/cni/bridge"), "their network"
    ),
    _os_packages.Requirement("iptables", ("iptables",), "their published ssh ports"),
    _os_packages.Requirement("openssh-client", ("ssh",), "how Ansible reaches them"),
)
RUNC = (_os_packages.Requirement("runc", ("runc",), "starts containers where podman's default runtime cannot"),)
# podman lowers its own RLIMIT_NPROC to this, and what it has given up it cannot give to a container.
PODMAN_NPROC = 32768
LAB_LABEL = "gpulab.lab"
HOST_LABEL = "gpulab.host"


@dataclass(frozen=True, slots=True)
class Container:
    """A container host as podman sees it."""

    name: str
    host: str
    image: str
    running: bool
    paused: bool
    port: int

    @property
    def state(self) -> str:
        """Return a word for people."""
        if self.paused:
            return "frozen"
        return "running" if self.running else "stopped"


@dataclass(frozen=True, slots=True)
class Podman:
    """Runs podman as root, with a containers.conf of the lab's own where the machine's does not work."""

    settings: Path | None = None

    def command(self, *arguments: str) -> list[str]:
        """Return the argument vector of a podman call."""
        environment = ["env", f"CONTAINERS_CONF={self.settings}"] if self.settings else []
        return [*_os_packages.as_root(), *environment, "podman", *arguments]

    def run(self, *arguments: str, check: bool = True, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run podman to its end; a failure becomes a refusal with podman's words unless `check` is off."""
        command = self.command(*arguments)
        outcome = subprocess.run(command, check=False, text=True, capture_output=True, input=stdin)
        if check and outcome.returncode != 0:
            raise OperatorError(
                found=f"'{' '.join(command)}' ended with {outcome.returncode}: {outcome.stderr.strip()[-800:]}",
                expected="podman to do this.",
                action="run that command by hand; 'gpulab lab down' removes what is left of the lab.",
            )
        return outcome

    def output(self, *arguments: str) -> bytes:
        """Run podman and return the bytes that it writes to stdout."""
        command = self.command(*arguments)
        outcome = subprocess.run(command, check=False, capture_output=True)
        if outcome.returncode != 0:
            raise OperatorError(
                found=f"'{' '.join(command)[:200]}' ended with {outcome.returncode}: "
                + outcome.stderr.decode(errors="replace").strip()[-800:],
                expected="podman to do this.",
                action="cure what it says and run this again.",
            )
        return outcome.stdout

    def has_image(self, image: str) -> bool:
        """Tell whether the image is in podman's store."""
        return self.run("image", "exists", image, check=False).returncode == 0

    def containers(self, lab: str) -> list[Container]:
        """Return the container hosts of a lab, running or not, by host name."""
        filters = ("ps", "--all", "--quiet", "--filter", f"label={LAB_LABEL}={lab}")
        ids = self.run(*filters).stdout.split()
        if not ids:
            return []
        described = json.loads(self.run("container", "inspect", *ids).stdout)
        return sorted((parse_container(item) for item in described), key=lambda container: container.host)

    def gateway(self) -> str:
        """Return this machine's address on the containers' default network."""
        network = json.loads(self.run("network", "inspect", "podman").stdout)[0]
        plugins = [
            range_ for plugin in network.get("plugins", []) for range_ in plugin.get("ipam", {}).get("ranges", [])
        ]
        subnets = network.get("subnets") or [subnet for range_ in plugins for subnet in range_]  # netavark, or CNI
        return str(subnets[0]["gateway"])


def parse_container(item: dict[str, t.Any]) -> Container:
    """Read one element of 'podman container inspect'."""
    state, network = item["State"], item["NetworkSettings"]
    bindings = (network.get("Ports") or {}).get("22/tcp") or item["HostConfig"].get("PortBindings", {}).get("22/tcp")
    return Container(
        name=item["Name"],
        host=item["Config"]["Labels"][HOST_LABEL],
        image=item["ImageName"],
        running=bool(state["Running"]),
        paused=bool(state.get("Paused")),
        port=int(bindings[0]["HostPort"]) if bindings else 0,
    )


def lab_settings(limits: Callable[[int], tuple[int, int]] = resource.getrlimit) -> str:
    """Return a containers.conf for machines where podman's defaults do not start a container.

    crun refuses a hybrid cgroup hierarchy, runc does not; and where raising a limit is not permitted, a container can
    have at most what this process has (containers.conf(5): runtime, default_ulimits).
    """
    files = limits(resource.RLIMIT_NOFILE)[1]
    processes = min(_finite(limits(resource.RLIMIT_NPROC)[1]), PODMAN_NPROC)
    ulimits = json.dumps([f"nofile={_finite(files)}:{_finite(files)}", f"nproc={processes}:{processes}"])
    return f'[engine]\nruntime = "runc"\n\n[containers]\ndefault_ulimits = {ulimits}\n'


def _finite(limit: int) -> int:
    return 1048576 if limit == resource.RLIM_INFINITY else limit


def refuse_chroot(mounts: str) -> None:
    """Refuse a plain chroot, by its /proc/self/mountinfo (proc(5)): a container cannot be started from there.

    Where / is no mount, neither unshare nor a container runtime can leave it, and both say so in riddles.
    """
    if not any(line.split()[4:5] == ["/"] for line in mounts.splitlines()):
        raise OperatorError(
            found="this is a chroot: its / is not a mounted file system.",
            expected="a machine, a virtual machine or a container of its own: the lab's hosts are containers.",
            action="enter it with 'systemd-nspawn -D DIRECTORY', or run the command outside of it.",
        )


def working_podman(image: str, settings: Path, say: Callable[[str], None]) -> Podman:
    """Return a podman that can run the image: with the machine's settings, else with the lab's own in `settings`."""
    if settings.exists():
        settings.write_text(lab_settings())  # this shell's limits may be others than those of the first start
        return Podman(settings)
    trial: Sequence[str] = ("run", "--rm", "--network=none", image, "true")
    default = Podman().run(*trial, check=False)
    if default.returncode == 0:
        return Podman()
    _os_packages.ensure("The lab", RUNC, say)
    candidate = settings.with_name(settings.name + ".new")
    candidate.write_text(lab_settings())
    own = Podman(candidate).run(*trial, check=False)
    if own.returncode != 0:
        raise OperatorError(
            found="podman cannot start a container on this machine. With its own settings: "
            f"{default.stderr.strip()[-400:]} With runc and this process's limits: {own.stderr.strip()[-400:]}",
            expected="podman run --rm IMAGE true to work in one of the two ways.",
            action="cure what podman says, or run the lab on another machine.",
        )
    say("podman's default settings cannot start a container here: " + _last_line(default.stderr))
    say(f"Using runc with this machine's limits instead ({settings}).")
    os.replace(candidate, settings)  # noqa: PTH105  # atomic by definition
    return Podman(settings)


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no message"])[-1]


__all__ = [
    "HOST_LABEL",
    "LAB_LABEL",
    "REQUIREMENTS",
    "Container",
    "Podman",
    "lab_settings",
    "parse_container",
    "refuse_chroot",
    "working_podman",
]
