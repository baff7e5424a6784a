# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""QEMU: with KVM where a machine starts with it, else emulated; one argument vector for every machine of a lab."""

from __future__ import annotations

import ipaddress
import json
import os
import platform
import subprocess
import typing as t
from dataclasses import dataclass
from pathlib import Path

from gpulab import _os_packages
from gpulab.lab import ssh
from gpulab.lab.vms import emulator

if t.TYPE_CHECKING:
    from collections.abc import Callable

PROGRAM = "qemu-system-x86_64"
DEVICE = Path("/dev/kvm")
REQUIREMENTS = (
    _os_packages.Requirement("qemu-system-x86", (PROGRAM,), "runs the virtual machines"),
    _os_packages.Requirement("qemu-utils", ("qemu-img",), "makes their disks"),
    _os_packages.Requirement("openssh-client", ("ssh",), "how Ansible reaches them"),
)
# Emulated, `rep movsb` goes byte by byte, and a guest copies by it where the processor calls that the fastest way; page
# tables of five levels cost one more look. Without them copying takes two thirds to three quarters of the time.
TRANSLATIONS, UNDER_FIRMWARE = "tb-size=512", "tb-size=128"
TCG = ("-accel", f"tcg,thread=multi,{TRANSLATIONS}", "-cpu", "max,-erms,-fsrm,-la57")
KVM = ("-accel", "kvm", "-cpu", "host")
PROBE_SECONDS = 60
_KERNEL_RAN = "Kernel panic - not syncing: VFS: Unable to mount root fs"


def accelerated(kernel: Path, cache: Path, say: Callable[[str], None]) -> tuple[str, ...]:
    """Return how a QEMU's argument vector begins here: the program and its arguments for the processor.

    `kernel` is a Linux by which is tried what cannot be told otherwise.
    """
    if _kvm_works(kernel, cache, say):
        return PROGRAM, *KVM
    return emulator.quick(PROGRAM, cache, lambda program: starts_linux((program, *TCG), kernel), say), *TCG


def _kvm_works(kernel: Path, cache: Path, say: Callable[[str], None]) -> bool:
    """Tell whether a kernel starts with KVM. The answer is kept until this machine's kernel or its QEMU change.

    That /dev/kvm can be opened says nothing: nested virtualization may hang once the guest leaves real mode.
    """
    if not DEVICE.exists():
        return False
    version = subprocess.run([PROGRAM, "--version"], check=True, text=True, capture_output=True).stdout.split("\n")[0]
    kept, asked = cache / "kvm.json", {"kernel": platform.release(), "qemu": version}
    try:
        noted = json.loads(kept.read_text())
        if {key: noted[key] for key in asked} == asked:
            return bool(noted["works"])
    except (FileNotFoundError, ValueError, KeyError):
        pass
    works = starts_linux((PROGRAM, *KVM), kernel)
    say("KVM works here." if works else "KVM does not start a kernel here: QEMU emulates, which is much slower.")
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps({**asked, "works": works}) + "\n")
    return works


def starts_linux(program: tuple[str, ...], kernel: Path) -> bool:
    """Tell whether a kernel soon gets as far as looking for its root file system; it finds none and ends."""
    line = "console=ttyS0 quiet panic=-1"
    machine = ["-m", "256", "-nodefaults", "-display", "none", "-no-reboot", "-serial", "stdio"]
    command = [*program, *machine, "-kernel", str(kernel), "-append", line]
    try:
        outcome = subprocess.run(
            command, check=False, capture_output=True, timeout=PROBE_SECONDS, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        return False
    return _KERNEL_RAN.encode() in outcome.stdout


@dataclass(frozen=True, slots=True)
class Network:
    """QEMU's user network. The guest reaches this machine's loopback under `host`, the depot's address for hosts.

    So one address of the depot serves containers, on podman's bridge, and virtual machines.
    """

    host: str

    @property
    def nameserver(self) -> str:
        """Return the address at which QEMU passes on name queries."""
        return self._other(3)

    def _other(self, number: int) -> str:
        network = ipaddress.ip_network(f"{self.host}/24", strict=False)
        address = str(network[number])
        return address if address != self.host else str(network[number + 1])

    def arguments(self, port: int) -> list[str]:
        """Return the network card, with the guest's ssh at a port of this machine's loopback."""
        network = ipaddress.ip_network(f"{self.host}/24", strict=False)
        addresses = f"net={network},host={self.host},dns={self.nameserver},dhcpstart={self._other(15)}"
        user = f"user,id=net,{addresses},hostfwd=tcp:{ssh.ADDRESS}:{port}-:22"
        return ["-netdev", user, "-device", "virtio-net-pci,netdev=net,romfile="]


@dataclass(frozen=True, slots=True)
class Firmware:
    """UEFI with Secure Boot: OVMF's code, and this machine's own memory of variables."""

    code: Path
    variables: str

    def arguments(self) -> list[str]:
        """Return the flash chips; only code in system management mode may write to them (OVMF, README)."""
        flash = "if=pflash,format=raw,unit"
        protected = ("-global", "driver=cfi.pflash01,property=secure,value=on")
        chips = ("-drive", f"{flash}=0,readonly=on,file={self.code}", "-drive", f"{flash}=1,file={self.variables}")
        return [*protected, *chips]


def processors() -> int:
    """Return how many a virtual machine has: two, but no more than leave as many for a second one.

    Emulated processors that outnumber the real ones wait for each other's locks and interrupts while those that could
    answer stand still.
    """
    return max(1, min(2, (os.cpu_count() or 1) // 2))


def command(
    program: tuple[str, ...],
    network: Network,
    port: int,
    *,
    memory_mib: int,
    firmware: Firmware | None,
    seeds: t.Iterable[str],
) -> list[str]:
    """Return the argument vector of `program`, which is what `accelerated` returns.

    Files are named relative to the machine's directory, where it has to be started. The disk ignores the guest's
    flushes towards this machine's disk only: what it has flushed survives QEMU's death, the power cut of the lab.
    """
    machine = "q35,smm=on" if firmware else "q35"
    # OVMF unpacks itself byte by byte over what ran before, and each byte costs a look at every translation of its
    # page. With 600,000 of them a restart took more than ten minutes, so fewer are kept.
    program = tuple(word.replace(TRANSLATIONS, UNDER_FIRMWARE) if firmware else word for word in program)
    console = "socket,id=console,path=console.sock,server=on,wait=off,logfile=console.log,logappend=on"
    return [
        *program, "-machine", machine, "-smp", str(processors()), "-m", str(memory_mib),
        "-nodefaults", "-display", "none", "-vga", "none", "-device", "virtio-rng-pci",
        *(firmware.arguments() if firmware else ()),
        "-drive", "file=disk.qcow2,format=qcow2,if=virtio,cache=unsafe,discard=unmap",
        *network.arguments(port),
        "-chardev", console, "-serial", "chardev:console",
        "-chardev", "file,id=announce,path=announce.log,append=on", "-serial", "chardev:announce",
        "-qmp", "unix:qmp.sock,server=on,wait=off",
        *(word for seed in seeds for word in ("-fw_cfg", f"name=opt/gpulab/{seed},file=seed/{seed}")),
    ]  # fmt: skip


__all__ = ["KVM", "REQUIREMENTS", "TCG", "Firmware", "Network", "accelerated", "command", "processors", "starts_linux"]
