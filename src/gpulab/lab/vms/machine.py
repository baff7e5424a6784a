# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One virtual machine: its directory, its power, and what it says of itself when it is up.

Its directory .lab/LAB/vms/HOST/ holds machine.json (what it is), disk.qcow2 (a layer above the image), console.log
(all that it ever wrote to its serial console), announce.log (a line for each start, written by the image's
usr/local/sbin/gpulab-lab), known_hosts and fingerprint (its present host key, learnt from that line), nvram.fd (UEFI
only), seed/ and qemu.log.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import typing as t
from dataclasses import dataclass
from pathlib import Path

from gpulab._errors import OperatorError
from gpulab.lab import depot_process, ssh
from gpulab.lab.vms import disk_image, firmware, qemu

if t.TYPE_CHECKING:
    from collections.abc import Mapping

UP_SECONDS = 600
MEMORY_MIB = 1536
STATE = "machine.json"
DISK = "disk.qcow2"
_UP = re.compile(r"up (\S+) ([0-9a-f-]{36}) (ssh-ed25519 \S+)\r?\n")


@dataclass(frozen=True, slots=True)
class Spec:
    """What kind of machine is wanted."""

    flavour: disk_image.Flavour = "cloud"
    secure_boot: bool = False
    memory_mib: int = MEMORY_MIB


@dataclass(frozen=True, slots=True)
class Start:
    """What a machine says when it is up: which kernel, which boot, which host key."""

    release: str
    boot_id: str
    host_key: str

    @property
    def fingerprint(self) -> str:
        """Return the host key's fingerprint as ssh shows it (ssh-keygen(1), -l)."""
        digest = hashlib.sha256(base64.b64decode(self.host_key.split()[1])).digest()
        return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def parse_starts(text: str) -> list[Start]:
    """Return the starts of announce.log; a line that a power cut left unfinished is none.

    OVMF takes every serial port for a console: what it and GRUB draw may stand before the line.
    """
    return [Start(*match.groups()) for match in _UP.finditer(text)]


@dataclass(frozen=True, slots=True)
class Machine:
    """A virtual machine as its directory describes it."""

    directory: Path
    port: int
    spec: Spec
    image: Path

    @property
    def host(self) -> str:
        """Return the host's name."""
        return self.directory.name

    @property
    def console(self) -> Path:
        """Return the log of its serial console."""
        return self.directory / "console.log"

    @property
    def running(self) -> bool:
        """Tell whether QEMU runs: whether the power is on."""
        return depot_process.is_running(self._process())

    @property
    def state(self) -> str:
        """Return a word for people."""
        return "running" if self.running else "off"

    def starts(self) -> list[Start]:
        """Return every start that the machine told of."""
        path = self.directory / "announce.log"
        return parse_starts(path.read_text(errors="replace")) if path.exists() else []

    def _process(self) -> depot_process.DepotProcess | None:
        return depot_process.load(self.directory)


def load_all(directory: Path) -> list[Machine]:
    """Return the machines of a lab, by name."""
    return [_load(path.parent) for path in sorted(directory.glob(f"*/{STATE}"))]


def _load(directory: Path) -> Machine:
    noted = json.loads((directory / STATE).read_text())
    return Machine(directory, noted["port"], Spec(**noted["spec"]), Path(noted["image"]))


def create(directory: Path, spec: Spec, image: Path) -> Machine:
    """Make a machine: a new disk, a port, and for UEFI the firmware's memory with Microsoft's keys."""
    directory.mkdir(parents=True, exist_ok=True)
    machine = Machine(directory, _free_port(), spec, image)
    new_disk(machine)
    if spec.secure_boot:
        firmware.new_nvram(directory / firmware.NVRAM)
    return _noted(machine)


def _noted(machine: Machine) -> Machine:
    """Note what a machine is, last: one that was killed while it was made is none."""
    noted = {"port": machine.port, "spec": asdict(machine.spec), "image": str(machine.image)}
    _write(machine.directory / STATE, json.dumps(noted) + "\n")
    return machine


def clone(source: Machine, directory: Path) -> Machine:
    """Make a machine of the same kind that starts from another's disk as it is now; that one has to be off."""
    directory.mkdir(parents=True, exist_ok=True)
    for name in (DISK, *((firmware.NVRAM,) if source.spec.secure_boot else ())):
        shutil.copy(source.directory / name, directory / name)
    return _noted(Machine(directory, _free_port(), source.spec, source.image))


def asdict(spec: Spec) -> dict[str, t.Any]:
    """Return a spec for JSON."""
    return dataclasses.asdict(spec)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((ssh.ADDRESS, 0))
        port: int = probe.getsockname()[1]
    return port


def new_disk(machine: Machine) -> None:
    """Give a machine that is off an empty layer above its image: a fresh installation."""
    new = machine.directory / f"{DISK}.new"
    command = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", str(machine.image), str(new)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    new.replace(machine.directory / DISK)


def switch_on(machine: Machine, program: tuple[str, ...], network: qemu.Network, seeds: Mapping[str, str]) -> None:
    """Start QEMU, with the files that the machine takes over when it starts."""
    directory = machine.directory
    (directory / "seed").mkdir(exist_ok=True)
    for name, text in seeds.items():
        (directory / "seed" / name).write_text(text)
    flash = firmware.flash() if machine.spec.secure_boot else None
    memory = machine.spec.memory_mib
    command = qemu.command(program, network, machine.port, memory_mib=memory, firmware=flash, seeds=seeds)
    with (directory / "qemu.log").open("ab") as log:
        child = subprocess.Popen(
            command, cwd=directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    started = depot_process.start_time(child.pid) or 0
    process = depot_process.DepotProcess(child.pid, started, machine.port, (ssh.ADDRESS,))
    _write(directory / depot_process.STATE, json.dumps(dataclasses.asdict(process)) + "\n")


def cut_power(machine: Machine) -> None:
    """End QEMU at once: what the guest has not flushed to its disk is lost, as when the plug is pulled."""
    process = depot_process.load(machine.directory)
    if process is None or not depot_process.is_running(process):
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGKILL)
    while depot_process.is_running(process):
        time.sleep(0.02)


def wait_up(machine: Machine, starts_before: int, seconds: float = UP_SECONDS) -> Start:
    """Wait until the machine has told of one more start and its sshd answers; note its host key as known."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and machine.running:
        starts = machine.starts()
        if len(starts) > starts_before and ssh.answers(machine.port):
            _note_host_key(machine, starts[-1])
            return starts[-1]
        time.sleep(0.3)
    raise OperatorError(
        found=f"host {machine.host} was not up within {seconds:.0f} s (power: {machine.state}); console:\n"
        + _tail(machine.console) + _tail(machine.directory / "qemu.log"),
        expected="the machine to start and sshd to answer.",
        action=f"see {machine.console}; 'gpulab lab down' removes the lab.",
    )  # fmt: skip


def wait_off(machine: Machine, seconds: float = UP_SECONDS) -> None:
    """Wait until the machine has switched itself off."""
    deadline = time.monotonic() + seconds
    while machine.running:
        if time.monotonic() > deadline:
            raise OperatorError(
                found=f"host {machine.host} was still on after {seconds:.0f} s.",
                expected="it to switch itself off.",
                action=f"see {machine.console}.",
            )
        time.sleep(0.2)


def _note_host_key(machine: Machine, start: Start) -> None:
    _write(machine.directory / "known_hosts", ssh.known_hosts({machine.port: [start.host_key]}))
    _write(machine.directory / "fingerprint", start.fingerprint + "\n")


def remove(machine: Machine) -> None:
    """Cut the power and remove everything the machine has."""
    cut_power(machine)
    shutil.rmtree(machine.directory)


def _tail(path: Path, size: int = 1500) -> str:
    return path.read_bytes()[-size:].decode(errors="replace") if path.exists() else ""


def _write(path: Path, text: str) -> None:
    new = path.with_name(f".{path.name}.new")
    new.write_text(text)
    new.replace(path)


__all__ = [
    "Machine",
    "Spec",
    "Start",
    "clone",
    "create",
    "cut_power",
    "load_all",
    "new_disk",
    "parse_starts",
    "remove",
    "switch_on",
    "wait_off",
    "wait_up",
]
