# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fake host on which the driver of the stack is installed, as a Debian 12 container has it after the role."""

from __future__ import annotations

import os
import typing as t

import recorded
from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_files as files
from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_journal as journals
from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_state as states
from driver_states import RELEASE, SHA, VERSION, wanted
from fakehost import FakeHost

KERNEL = "6.1.0-56-cloud-amd64"
LIBRARIES = "/usr/lib/x86_64-linux-gnu"
RECORD = f"1.0-58017804 ({VERSION})\nNVIDIA Accelerated Graphics Driver\n1: /usr/src/nvidia-{VERSION}/Kbuild\n123\n"
PACKAGES = ("dkms", "gcc", "gcc-12", "kmod", "libc6-dev", "make", "tar", "linux-image-cloud-amd64",
            "linux-headers-cloud-amd64", f"linux-headers-{KERNEL}")  # fmt: skip


def add_base(host: FakeHost) -> None:
    """Make it a Debian 12 container with one installed kernel, its headers and the build tools."""
    host.add("/etc/os-release", 'ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n')
    host.add("/proc/sys/kernel/osrelease", "5.10.1-outer\n")
    host.add("/proc/self/status", "Name:\tpython3\nPid:\t7\nPPid:\t0\nUid:\t0\t0\t0\t0\n")
    host.add("/etc/passwd", f"root:x:0:0::/root:/bin/bash\n{files.ACCOUNT}:x:998:998::/:/usr/sbin/nologin\n")
    host.add("/run/systemd/container", "podman\n")
    host.make_dirs("/run/systemd/system")
    host.make_dirs("/sys/bus/pci/devices")
    host.add(f"/boot/vmlinuz-{KERNEL}", "x")
    host.make_dirs(f"/lib/modules/{KERNEL}/kernel")
    build = f"/usr/src/linux-headers-{KERNEL}"
    host.add(f"{build}/include/generated/uapi/linux/version.h", "")
    host.add(f"{build}/.config", 'CONFIG_CC_VERSION_TEXT="gcc-12 (Debian 12.2.0-14+deb12u1) 12.2.0"\n')
    host.symlink(f"../../..{build}", f"/lib/modules/{KERNEL}/build")
    every = "".join(f"{name}\tii \n" for name in PACKAGES)
    host.commands.update({
        "uname -m": (0, "x86_64\n", ""), "getconf GNU_LIBC_VERSION": (0, "glibc 2.36\n", ""),
        "systemd-detect-virt": (0, "podman\n", ""), "systemctl is-enabled": (0, "enabled\n", ""),
        "systemctl is-active": (3, "inactive\n", ""), "loginctl list-sessions": (0, "", ""),
        "ldconfig": (0, "", ""), "ldconfig -p": (0, "", ""), "depmod": (0, "", ""), "dkms": (0, "", ""),
        "dkms status": (0, "", ""), "modinfo": (1, "", "modinfo: ERROR: Module nvidia not found.\n"),
        "dpkg-query -W": (0, every, ""),
        "dpkg-query -W -f=${binary:Package}\\t${Version}": (1, "", "no packages found"),
        "dpkg-query --search": (1, "", "no path found"),
    })  # fmt: skip


def add_driver(host: FakeHost, record: str = RECORD) -> None:
    """Install the driver, proven."""
    add_base(host)
    add_modules(host)
    paths = []
    for soname in states.LIBRARIES:
        name = soname.removesuffix("1") + VERSION
        host.add(f"{LIBRARIES}/{name}", "x", mode=0o755)
        host.symlink(name, f"{LIBRARIES}/{soname}")
        paths.append(f"\t{soname} (libc6,x86-64) => {LIBRARIES}/{soname}\n")
    host.commands["ldconfig -p"] = (0, "3 libs found in cache\n" + "".join(paths), "")
    host.add("/usr/bin/nvidia-smi", "x", mode=0o755)
    host.add("/usr/bin/nvidia-installer", "x", mode=0o755)
    host.commands["/usr/bin/nvidia-installer --sanity"] = (0, "", "")
    host.add(f"/lib/firmware/nvidia/{VERSION}/gsp_ga10x.bin", "x")
    host.add("/var/lib/nvidia/log", record)
    digest = host.sha256("/var/lib/nvidia/log") or ""
    host.add(files.MARKER, states.Marker(VERSION, "open", SHA, digest).to_text())
    host.add(journals.INSTALLED, journals.installed_text(wanted()))
    host.add(f"{journals.KEPT}/{SHA[:12]}/{RELEASE['file']}", "x")
    texts = files.managed_files(wanted().module_options, present=True, hold_packages=True, persistenced=True)
    for path, text in texts.items():
        host.add(path, text or "")


def add_modules(host: FakeHost) -> None:
    """Have DKMS, depmod and the files agree that the kernel has the driver's modules."""
    host.add(f"/lib/modules/{KERNEL}/updates/dkms/nvidia.ko", "x")
    host.commands["dkms status"] = (0, f"nvidia/{VERSION}, {KERNEL}, x86_64: installed\n", "")
    host.commands[f"modinfo -k {KERNEL} nvidia"] = (0, recorded.text("modinfo/30-debian12-nvidia.txt"), "")
    vermagic = recorded.text("modinfo/30-debian12-vermagic.txt")
    host.commands[f"modinfo -k {KERNEL} -F vermagic"] = (0, vermagic, "")
    host.commands[f"modinfo -k {KERNEL} -F version"] = (0, f"{VERSION}\n", "")


def add_program(host: FakeHost, version: str) -> None:
    """Make it a machine of its own on which a driver is loaded and a program uses the card."""
    host.remove("/run/systemd/container")
    host.commands["systemd-detect-virt"] = (1, "none\n", "")
    host.add("/proc/sys/kernel/osrelease", f"{KERNEL}\n")
    words = f"NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  {version}  Release Build\n"
    host.add("/proc/driver/nvidia/version", words)
    host.add("/dev/nvidia0")
    host.add("/proc/77/comm", "python3\n")
    host.add("/proc/77/status", "Uid:\t0\t0\t0\t0\n")
    host.symlink("/dev/nvidia0", "/proc/77/fd/3")


def changes(host: FakeHost) -> list[str]:
    """Return the commands that were run and that change something."""
    reading = ("uname", "getconf", "systemd-detect-virt", "systemctl is-", "loginctl", "ldconfig -p", "dkms status",
               "modinfo", "dpkg-query", "/usr/bin/nvidia-installer --sanity", "lsinitramfs", "gcc -dump",
               "apt-get --simulate")  # fmt: skip
    return [line for line in (" ".join(command) for command in host.ran) if not line.startswith(reading)]


def tree(host: FakeHost) -> dict[str, t.Any]:
    """Return every file of the host with its text, to see whether anything changed."""
    found = {}
    for directory, _names, names in os.walk(host.root):
        for name in names:
            path = os.path.join(directory, name)  # noqa: PTH118 - names, not Path objects
            found[path] = None if os.path.islink(path) else open(path, "rb").read()  # noqa: PTH114, PTH123, SIM115
    return found
