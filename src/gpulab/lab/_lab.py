# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab: container hosts, virtual machines, a depot and an inventory, in one directory below .lab/."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import fcntl
import json
import shutil
import sys
import typing as t
from dataclasses import dataclass, field
from pathlib import Path

from gpulab import _os_packages, _paths
from gpulab._errors import OperatorError
from gpulab.lab import depot_process, faults, hosts, image, inventory, overlay, ssh, standins_cache, wheels
from gpulab.lab.podman import REQUIREMENTS, Container, Podman, refuse_chroot, working_podman
from gpulab.lab.vms import machine, mok
from gpulab.lab.vms.fleet import Fleet

if t.TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator, Mapping, Sequence

    Say = Callable[[str], None]


AT_ONCE = 4


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")


def lab_directory(name: str) -> Path:
    """Return where a lab's state lies."""
    return _paths.repository() / ".lab" / hosts.check_name(name)


@dataclass(slots=True)
class Lab:
    """A running lab. `up` starts or reuses it, `down` removes everything but the caches."""

    directory: Path
    podman: Podman
    image: str
    depot_url: str = ""
    standins: tuple[standins_cache.Standin, ...] = ()
    say: Say = field(default=_say)

    @classmethod
    def up(
        cls,
        name: str = "default",
        hosts: Sequence[str] = ("lab-1",),
        say: Say = _say,
        *,
        vms: Mapping[str, machine.Spec] | None = None,
        rebuild_image: bool = False,
    ) -> Lab:
        """Start the lab with at least these hosts; what runs already is left as it is."""
        refuse_chroot(Path("/proc/self/mountinfo").read_text(encoding="utf-8"))
        directory = lab_directory(name)
        directory.mkdir(parents=True, exist_ok=True)
        with locked(directory):
            _os_packages.ensure("The lab", REQUIREMENTS, say)
            ssh.ensure_key(directory)
            wanted = image.ensure_image(image.recipe(), _paths.cache_directory(), say, rebuild=rebuild_image)
            podman = working_podman(wanted, directory / "containers.conf", say)
            lab = cls(directory, podman, wanted, standins=_noted_standins(directory), say=say)
            lab._start_depot()
            lab._have_hosts(hosts)
            if vms:
                lab._have_vms(vms, rebuild_image=rebuild_image)
        return lab

    @classmethod
    def existing(cls, name: str = "default", say: Say = _say) -> Lab:
        """Return a lab that was started before; refuse where there is none."""
        directory = lab_directory(name)
        if not directory.is_dir():
            raise OperatorError(
                found=f"no lab '{name}' ({directory}).", expected="a lab that was started.", action="gpulab lab up"
            )
        process = depot_process.load(directory)
        settings = directory / "containers.conf"
        podman = Podman(settings if settings.exists() else None)
        url = process.url if process else ""
        return cls(directory, podman, image.recipe().image, url, _noted_standins(directory), say)

    @property
    def name(self) -> str:
        """Return the lab's name."""
        return self.directory.name

    @property
    def inventory(self) -> Path:
        """Return the inventory file, for ansible's -i."""
        return self.directory / "hosts.yml"

    @property
    def overlay(self) -> Path:
        """Return the directory with the catalogue files of the stand-ins."""
        return self.directory / "overlay"

    @property
    def depot_dir(self) -> Path:
        """Return the directory that the depot serves."""
        return self.directory / "depot"

    @property
    def requests(self) -> Path:
        """Return the depot's log: one line of JSON for each request."""
        return self.directory / "requests.jsonl"

    def hosts(self) -> list[Container]:
        """Return the hosts of the lab, by name."""
        return self.podman.containers(str(self.directory))

    def vms(self) -> list[machine.Machine]:
        """Return the virtual machines of the lab, by name."""
        return self.fleet.machines()

    @property
    def fleet(self) -> Fleet:
        """Return what handles the virtual machines."""
        return Fleet(self.directory, self.podman.gateway(), self.depot_url, self.say)

    def _is_vm(self, host: str) -> bool:
        return (self.directory / "vms" / host).is_dir()

    def add_vm(self, name: str, spec: machine.Spec | None = None) -> machine.Machine:
        """Start one more virtual machine, or the one of that name again, and write the inventory."""
        with locked(self.directory):
            self._have_vms({name: spec or machine.Spec()})
        return self.fleet.machine(name)

    def clone_vm(self, source: str, name: str) -> machine.Start:
        """Start a machine with what another one, which is off, has on its disk: after this both go their own ways."""
        with locked(self.directory):
            self.fleet.clone(source, name)
            start = self.fleet.power_on(name)
            self._write_inventory()
        return start

    def add_host(self, name: str) -> Container:
        """Start one more host, or the one of that name again, and write the inventory."""
        with locked(self.directory):
            return self._have_hosts([name])[0]

    def remove_host(self, name: str) -> None:
        """Remove a host with all it holds, and write the inventory."""
        with locked(self.directory):
            if self._is_vm(name):
                self.fleet.remove(name)
            hosts.remove(self.podman, [container.name for container in self.hosts() if container.host == name])
            self._write_inventory()

    def exec(
        self, host: str, command: str | Sequence[str], *, privileged: bool = False, timeout: float | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command (a string: a bash line) as root on a host; never raises for its exit status.

        In a container past ssh; in a virtual machine by ssh, whose host key comes from the machine's serial port.
        """
        argv = ("bash", "-c", command) if isinstance(command, str) else tuple(command)
        if self._is_vm(host):
            return self.fleet.execute(host, argv, timeout)
        name = hosts.container_name(self.directory, host)
        return hosts.execute(self.podman, name, argv, privileged=privileged, timeout=timeout)

    def put(self, host: str, local: Path, remote: str) -> None:
        """Copy a file or directory to a host."""
        if self._is_vm(host):
            self.fleet.put(host, local, remote)
            return
        self.podman.run("cp", str(local), f"{hosts.container_name(self.directory, host)}:{remote}")

    def power_cut(self, host: str) -> None:
        """Pull a virtual machine's plug."""
        machine.cut_power(self.fleet.machine(host))

    def power_off(self, host: str) -> None:
        """Let a virtual machine shut itself down and wait until it is off."""
        self.exec(host, "systemctl poweroff")
        machine.wait_off(self.fleet.machine(host))

    def power_on(self, host: str) -> machine.Start:
        """Switch a virtual machine on and wait until it is up."""
        return self.fleet.power_on(host)

    def wait_start(self, host: str, starts_before: int) -> machine.Start:
        """Wait until a virtual machine, told to reboot, is up again: `starts_before` is len(starts()) before that."""
        return machine.wait_up(self.fleet.machine(host), starts_before)

    def reboot(self, host: str) -> machine.Start:
        """Let a virtual machine reboot itself and wait until it is up."""
        before = len(self.fleet.machine(host).starts())
        self.exec(host, "systemctl reboot")
        return self.wait_start(host, before)

    def visit_console(self, host: str, password: str) -> machine.Start:
        """Reboot a machine and enrol the key that waits there (mokutil --import), as a person at its console does."""
        found = self.fleet.machine(host)
        before = len(found.starts())
        self.exec(host, "systemctl reboot")
        mok.answer(found.directory, mok.enrolment(password), machine.UP_SECONDS)
        return self.wait_start(host, before)

    def reinstall(self, host: str, *, bare: bool = False) -> machine.Start:
        """Give a virtual machine an empty disk and new host keys; the lab's known_hosts keeps the old ones.

        The lab learns nothing by itself, as an admin's machine does not: ssh refuses until somebody who knows the new
        fingerprint (`gpulab lab status`, the file `fingerprint` in the machine's directory) says so. A `bare` machine
        has no python3.
        """
        with locked(self.directory):
            return self.fleet.reinstall(host, bare=bare)

    def freeze(self, host: str) -> None:
        """Stop every process of a host, as a hung machine: connections stay open and nobody answers."""
        self.podman.run("pause", hosts.container_name(self.directory, host))

    def thaw(self, host: str) -> None:
        """Let a frozen host go on."""
        self.podman.run("unpause", hosts.container_name(self.directory, host))

    def set_faults(self, *rules: faults.Fault) -> None:
        """Replace the depot's faults; none without arguments."""
        faults.write(self.directory / "faults.json", rules)

    def add_wheels(self, *locks: Path) -> None:
        """Have every wheel of these hash locks in the depot's index."""
        for lock in locks:
            wheels.ensure(lock, _paths.cache_directory() / "wheels", self.depot_dir / "wheels", self.say)

    def add_stack_wheels(self) -> None:
        """Have every wheel that the lab's stack installs in the depot: torch, its libraries, diffusion, uv."""
        self.add_wheels(*overlay.wheel_locks())

    def add_standin(self, kind: str, version: str) -> standins_cache.Standin:
        """Have one more stand-in (driver, cuda, miniforge) of a version in the catalogue, also in the overlay."""
        with locked(self.directory):
            standin = self._have_standin(kind, version)
            overlay.write(self.overlay, self.standins, self.depot_url)
        return standin

    def ssh_command(self, host: str, *command: str) -> list[str]:
        """Return the ssh command line for a host."""
        ports = self._ports()
        port = ports.get(host)
        if port is None:
            known = ", ".join(ports) or "none"
            raise OperatorError(
                found=f"no host '{host}' in lab '{self.name}'.",
                expected=f"one of: {known}.",
                action="gpulab lab status",
            )
        options = [*ssh.options(self.directory), "-i", str(self.directory / "id_ed25519"), "-p", str(port)]
        return ["ssh", *options, f"root@{ssh.ADDRESS}", *command]

    def down(self) -> None:
        """End the depot, remove the hosts and the lab's directory."""
        with locked(self.directory):
            depot_process.stop(self.directory)
            for vm in self.vms():
                machine.remove(vm)
            hosts.remove(self.podman, [container.name for container in self.hosts()])
            shutil.rmtree(self.directory)

    def _start_depot(self) -> None:
        for part in ("files", "conda", "wheels"):
            (self.depot_dir / part).mkdir(parents=True, exist_ok=True)
        process = depot_process.ensure(self.directory, (self.podman.gateway(), ssh.ADDRESS))
        self.depot_url = process.url
        for kind, version in overlay.versions().items():
            self._have_standin(kind, version)
        overlay.write(self.overlay, self.standins, self.depot_url)

    def _have_standin(self, kind: str, version: str) -> standins_cache.Standin:
        cache = _paths.cache_directory() / "standins"
        standin = standins_cache.ensure(kind, version, cache, self.depot_dir, self._in_debian, self.say)
        others = [known for known in self.standins if (known.kind, known.version) != (kind, version)]
        self.standins = (*others, standin)
        noted = json.dumps([dataclasses.asdict(known) for known in self.standins], indent=1)
        (self.directory / "standins.json").write_text(noted + "\n")
        return standin

    def _in_debian(self, command: Sequence[str]) -> bytes:
        """Run a command in a throw-away container of the host image and return its output."""
        return self.podman.output("run", "--rm", self.image, *command)

    def _have_hosts(self, names: Sequence[str]) -> list[Container]:
        for name in names:
            hosts.check_name(name)
        known = {container.host: container for container in self.hosts()}
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda name: self._start(name, known.get(name)), dict.fromkeys(names)))
            concerned = [container for container in self.hosts() if container.host in names]
            new = [container for container in concerned if container.host not in known]
            keys = dict(zip(concerned, pool.map(self._prepare, concerned), strict=True))
            list(pool.map(lambda container: hosts.check_depot(self.podman, container, self.depot_url), new))
        self._write_inventory({container.port: lines for container, lines in keys.items()})
        return concerned

    def _have_vms(self, specs: Mapping[str, machine.Spec], *, rebuild_image: bool = False) -> None:
        self.fleet.have(specs, rebuild_image=rebuild_image)
        self._write_inventory()

    def _ports(self) -> dict[str, int]:
        containers = {container.host: container.port for container in self.hosts()}
        return {**containers, **{vm.host: vm.port for vm in self.vms()}}

    def _start(self, name: str, known: Container | None) -> None:
        if known is None:
            self.say(f"Starting host {name} ...")
            hosts.start(self.podman, self.directory, name, self.image)
        elif not known.running or known.paused:
            self.say(f"Resuming host {name} ...")
            hosts.resume(self.podman, known)

    def _prepare(self, container: Container) -> list[str]:
        """Wait for a host, let the lab's key in, name the depot to pip; return the host's public keys."""
        hosts.wait_until_booted(self.podman, container)
        public_key = (self.directory / "id_ed25519.pub").read_text()
        return hosts.prepare(self.podman, container, public_key, self.depot_url)

    def _write_inventory(self, fresh: Mapping[int, list[str]] | None = None) -> None:
        """Write inventory and known_hosts for every host, also one that is off; `fresh` has keys just read, by port.

        A virtual machine's key is taken the first time only: a reinstalled one is met by ssh's refusal, as anywhere.
        """
        known = self.directory / "known_hosts"
        noted = ssh.parse_known_hosts(known.read_text()) if known.exists() else {}
        keys = {**self.fleet.host_keys(), **noted, **(fresh or {})}
        ports = self._ports()
        known.write_text(ssh.known_hosts({port: keys.get(port, []) for port in ports.values()}))
        self.inventory.write_text(inventory.render(ports, inventory.variables(self.directory)))


def _noted_standins(directory: Path) -> tuple[standins_cache.Standin, ...]:
    try:
        noted = json.loads((directory / "standins.json").read_text())
        return tuple(standins_cache.Standin(**item) for item in noted)
    except (FileNotFoundError, ValueError, TypeError):
        return ()


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Let one process at a time change a lab."""
    lock = directory.parent / f"{directory.name}.lock"
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


__all__ = ["Lab", "lab_directory"]
