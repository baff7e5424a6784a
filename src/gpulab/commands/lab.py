# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`gpulab lab`: hosts to try gpulab on, without a GPU and without touching this machine."""

from __future__ import annotations

import argparse
import json
import os
import sys
import typing as t
from pathlib import Path

from gpulab.lab import Lab, VmSpec, depot_process
from gpulab.lab.vms.disk_image import FLAVOURS
from gpulab.lab.vms.machine import Machine

DEFAULT = "default"


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `lab` with its actions."""
    parser = subparsers.add_parser(
        "lab", help="start, show and remove a lab of containers and virtual machines", description=__doc__
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    up = _action(actions, "up", "start a lab, or add hosts to it", _up)
    number = up.add_mutually_exclusive_group()
    number.add_argument(
        "--hosts", type=positive, metavar="N", help="the containers lab-1 to lab-N (default: 1; with --vm: none)"
    )
    number.add_argument("--host", action="append", metavar="NAME", help="have a host of this name (repeatable)")
    up.add_argument(
        "--vm", type=positive, nargs="?", const=1, default=0, metavar="N", help="the virtual machines vm-1 to vm-N (1)"
    )
    up.add_argument("--vm-kernel", choices=FLAVOURS, default="cloud", help="their kernel; generic has nouveau (cloud)")
    up.add_argument("--secure-boot", action="store_true", help="give them UEFI with Secure Boot on")
    up.add_argument("--rebuild-image", action="store_true", help="make the host image anew from Debian")
    wheels = _action(actions, "wheels", "have the wheels of hash locks in the depot's index", _wheels)
    wheels.add_argument("locks", nargs="*", type=Path, metavar="LOCK", help="default: those of the lab's stack (4 GB)")
    _action(actions, "down", "remove a lab's hosts and its directory; caches stay", _down)
    status = _action(actions, "status", "show the hosts and the depot of a lab", _status)
    status.add_argument("--json", action="store_true", help="print JSON instead of text")
    reinstall = _action(actions, "reinstall", "give a virtual machine an empty disk and new host keys", _reinstall)
    reinstall.add_argument("host")
    reinstall.add_argument("--bare", action="store_true", help="and no python3, as a minimal installation leaves it")
    ssh = _action(actions, "ssh", "log in to a host, or run a command there", _ssh)
    ssh.add_argument("host")
    ssh.add_argument("command", nargs=argparse.REMAINDER, help="a command; without one, a shell")


def _action(
    actions: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    summary: str,
    run: t.Callable[[argparse.Namespace], int],
) -> argparse.ArgumentParser:
    parser = actions.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
    parser.add_argument("--name", default=DEFAULT, help=f"which lab (default: {DEFAULT})")
    parser.set_defaults(run=run)
    return parser


def positive(text: str) -> int:
    """Read a number of hosts."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not 1 or more")
    return number


def host_names(number: int, kind: str = "lab") -> list[str]:
    """Return the names of a lab's first hosts of a kind."""
    return [f"{kind}-{index}" for index in range(1, number + 1)]


def _up(arguments: argparse.Namespace) -> int:
    number = arguments.hosts or (0 if arguments.vm else 1)
    names = arguments.host or host_names(number)
    spec = VmSpec(flavour=arguments.vm_kernel, secure_boot=arguments.secure_boot)
    vms = dict.fromkeys(host_names(arguments.vm, "vm"), spec)
    lab = Lab.up(arguments.name, names, say=print, vms=vms, rebuild_image=arguments.rebuild_image)
    describe(lab)
    print(f"Run the playbooks against it: ansible-playbook -i {os.path.relpath(lab.inventory)} site.yml -l gpu-lab")
    return 0


def describe(lab: Lab) -> None:
    """Print what is in a lab, stand-ins by name."""
    print(f"Lab '{lab.name}' in {os.path.relpath(lab.directory)}:")
    for container in lab.hosts():
        kind = "container: no own kernel, no GPU" + ("" if container.image == lab.image else "; from an older image")
        print(f"  host {container.host}: {container.state}, ssh port {container.port} ({kind})")
    for vm in lab.vms():
        kind = f"virtual machine: {vm.spec.flavour} kernel{', Secure Boot' if vm.spec.secure_boot else ''}, no GPU"
        print(f"  host {vm.host}: {vm.state}, ssh port {vm.port} ({kind}), host key {fingerprint(vm)}")
    for standin in lab.standins:
        print(f"  {standin.described}")
    print(f"  depot: {lab.depot_url}")


def fingerprint(vm: Machine) -> str:
    """Return the fingerprint that a machine told on its serial port when it last started."""
    starts = vm.starts()
    return starts[-1].fingerprint if starts else "not known yet"


def _wheels(arguments: argparse.Namespace) -> int:
    lab = Lab.existing(arguments.name, say=print)
    if arguments.locks:
        lab.add_wheels(*arguments.locks)
    else:
        lab.add_stack_wheels()
    print(f"Index: {lab.depot_url}/simple/")
    return 0


def as_data(lab: Lab, *, depot_running: bool) -> dict[str, t.Any]:
    """Return what describe() prints, for programs."""
    return {
        "name": lab.name,
        "inventory": str(lab.inventory),
        "hosts": [{"name": c.host, "state": c.state, "ssh_port": c.port} for c in lab.hosts()],
        "vms": [
            {
                "name": vm.host,
                "state": vm.state,
                "ssh_port": vm.port,
                "kernel": vm.spec.flavour,
                "secure_boot": vm.spec.secure_boot,
                "host_key_fingerprint": fingerprint(vm),
                "console": str(vm.console),
            }
            for vm in lab.vms()
        ],
        "standins": [{"kind": s.kind, "version": s.version, "file": s.file} for s in lab.standins],
        "depot": {"url": lab.depot_url, "running": depot_running},
    }


def _down(arguments: argparse.Namespace) -> int:
    lab = Lab.existing(arguments.name)
    lab.down()
    print(f"Lab '{lab.name}' is removed.")
    return 0


def _reinstall(arguments: argparse.Namespace) -> int:
    lab = Lab.existing(arguments.name, say=print)
    start = lab.reinstall(arguments.host, bare=arguments.bare)
    without = ", no python3" if arguments.bare else ""
    print(f"{arguments.host} has an empty disk{without} and the new host key {start.fingerprint}.")
    print("ssh will refuse it: the lab still knows the old key, as your own machine would.")
    return 0


def _status(arguments: argparse.Namespace) -> int:
    lab = Lab.existing(arguments.name)
    running = depot_process.is_running(depot_process.load(lab.directory))
    if arguments.json:
        print(json.dumps(as_data(lab, depot_running=running), indent=1))
        return 0 if running else 1
    describe(lab)
    print("  depot is running" if running else "  depot is NOT running: gpulab lab up")
    return 0 if running else 1


def _ssh(arguments: argparse.Namespace) -> int:
    lab = Lab.existing(arguments.name)
    sys.stdout.flush()
    command = lab.ssh_command(arguments.host, *arguments.command)
    os.execvp(command[0], command)  # noqa: S606  # the user's terminal becomes ssh's
