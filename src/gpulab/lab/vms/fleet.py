# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The virtual machines of one lab, as a group: had, started, reached, reinstalled, removed."""

from __future__ import annotations

import concurrent.futures
import subprocess
import typing as t
from dataclasses import dataclass
from pathlib import Path

from gpulab import _os_packages, _paths
from gpulab._errors import OperatorError
from gpulab.lab import bare as bare_system
from gpulab.lab import hosts, ssh
from gpulab.lab.vms import disk_image, firmware, machine, qemu

if t.TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gpulab.lab.vms.machine import Machine, Spec, Start

AT_ONCE = 2


@dataclass(frozen=True, slots=True)
class Fleet:
    """The virtual machines below a lab's directory; `address` is the depot's for hosts, `depot_url` its URL."""

    lab: Path
    address: str
    depot_url: str
    say: Callable[[str], None]

    def machines(self) -> list[Machine]:
        """Return the machines, by name."""
        return machine.load_all(self.lab / "vms")

    def machine(self, host: str) -> Machine:
        """Return one machine; refuse where there is none of that name."""
        known = {found.host: found for found in self.machines()}
        if host not in known:
            raise OperatorError(
                found=f"no virtual machine '{host}' in lab '{self.lab.name}'.",
                expected=f"one of: {', '.join(known) or 'none'}.",
                action="gpulab lab status",
            )
        return known[host]

    def have(self, specs: Mapping[str, Spec], *, rebuild_image: bool = False) -> None:
        """Have these machines up; one that exists stays what it is."""
        for name in specs:
            hosts.check_name(name)
        known = {found.host: found for found in self.machines()}
        _os_packages.ensure("The lab", qemu.REQUIREMENTS, self.say)
        if any(spec.secure_boot for spec in specs.values()):
            firmware.ensure(self.say)
        flavours = dict.fromkeys(spec.flavour for name, spec in specs.items() if name not in known)
        cache = _paths.cache_directory()
        images = {flavour: disk_image.ensure(flavour, cache, self.say, rebuild=rebuild_image) for flavour in flavours}
        for name, spec in specs.items():
            if name not in known:
                known[name] = machine.create(self.lab / "vms" / name, spec, images[spec.flavour].disk)
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(self._have_up, [known[name] for name in specs]))

    def clone(self, source: str, host: str) -> None:
        """Make a machine, off, with a copy of the disk and the firmware's memory of one that is off."""
        hosts.check_name(host)
        found = self.machine(source)
        if found.running:
            raise OperatorError(
                found=f"virtual machine {source} is running; its disk is half written.",
                expected="a machine that is off.",
                action="switch it off: ssh to it and 'systemctl poweroff'.",
            )
        if host in {other.host for other in self.machines()}:
            raise OperatorError(
                found=f"there is a virtual machine '{host}' already.",
                expected="a free name.",
                action="gpulab lab status",
            )
        machine.clone(found, self.lab / "vms" / host)

    def power_on(self, host: str) -> Start:
        """Switch a machine on and wait until it is up."""
        return self._switch_on(self.machine(host))

    def _have_up(self, found: Machine) -> Start:
        return machine.wait_up(found, 0) if found.running else self._switch_on(found)

    def _switch_on(self, found: Machine) -> Start:
        before = len(found.starts())
        self.start(found.host)
        return machine.wait_up(found, before)

    def start(self, host: str) -> None:
        """Switch a machine on and do not wait."""
        found = self.machine(host)
        self.say(f"Starting virtual machine {host} ...")
        seeds = {
            "hostname": f"{host}\n",
            "authorized_keys": (self.lab / "id_ed25519.pub").read_text(),
            "pip.conf": hosts.pip_configuration(self.depot_url),
            "resolv.conf": f"nameserver {qemu.Network(self.address).nameserver}\n",
        }
        program = qemu.accelerated(disk_image.kernel_of(found.image), _paths.cache_directory(), self.say)
        machine.switch_on(found, program, qemu.Network(self.address), seeds)

    def reinstall(self, host: str, *, bare: bool = False) -> Start:
        """Give a machine an empty disk, as a new installation does: new host key; firmware's memory and port stay.

        With `bare` its python3 is purged once it is up, and not by a seed for its start: a seed is there again at
        every reboot, when python3 may have been installed since.
        """
        found = self.machine(host)
        machine.cut_power(found)
        machine.new_disk(found)
        start = self._switch_on(found)
        if bare:
            self.say(f"Removing python3 from {host} ...")
            bare_system.remove_python(host, lambda line: self.execute(host, ("bash", "-c", line), timeout=None))
        return start

    def execute(self, host: str, argv: tuple[str, ...], timeout: float | None) -> subprocess.CompletedProcess[str]:
        """Run a command as root over ssh, against the host key that the machine told on its serial port."""
        found = self.machine(host)
        options = ssh.options(found.directory, connect_timeout=30)
        full = ["ssh", *options, *self._login(found), ssh.quoted(argv)]
        return subprocess.run(
            full, check=False, text=True, capture_output=True, timeout=timeout, stdin=subprocess.DEVNULL
        )

    def put(self, host: str, local: Path, remote: str) -> None:
        """Copy a file or directory to a machine."""
        found = self.machine(host)
        key = ["-i", str(self.lab / "id_ed25519"), "-P", str(found.port)]
        target = f"root@{ssh.ADDRESS}:{remote}"
        full = ["scp", "-q", "-r", *ssh.options(found.directory, connect_timeout=30), *key, str(local), target]
        outcome = subprocess.run(full, check=False, text=True, capture_output=True, stdin=subprocess.DEVNULL)
        if outcome.returncode != 0:
            raise OperatorError(
                found=f"copying {local} to {host}:{remote} ended with {outcome.returncode}: {outcome.stderr.strip()}",
                expected="a file there.",
                action="see whether the machine is up: gpulab lab status",
            )

    def _login(self, found: Machine) -> list[str]:
        return ["-i", str(self.lab / "id_ed25519"), "-p", str(found.port), f"root@{ssh.ADDRESS}"]

    def host_keys(self) -> dict[int, list[str]]:
        """Return the present host key of every machine that was up, by port."""
        starts = {found.port: found.starts() for found in self.machines()}
        return {port: [told[-1].host_key] for port, told in starts.items() if told}

    def remove(self, host: str) -> None:
        """Remove a machine with all it holds."""
        machine.remove(self.machine(host))


__all__ = ["Fleet"]
