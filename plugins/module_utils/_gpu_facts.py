# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known about the GPUs of a host and about every piece of an NVIDIA driver on it; text in, facts out."""

from __future__ import annotations

import re
from dataclasses import dataclass

NVIDIA = "10de"
GPU_CLASSES = ("0300", "0302")  # VGA controller (workstation cards), 3D controller (cards without display outputs)
CONFLICTING_MODULES = ("nouveau", "nova_core", "nova_drm")
DRIVER_PACKAGES = (
    "nvidia-*",
    "libnvidia-*",
    "libcuda1",
    "libcudadebugger1",
    "libnvcuvid1",
    "libnvoptix1",
    "libegl-nvidia*",
    "libgl1-nvidia-*",
    "libgles-nvidia*",
    "libglx-nvidia*",
    "firmware-nvidia-*gsp",
    "linux-modules-nvidia-*",
    "linux-objects-nvidia-*",
    "linux-signatures-nvidia-*",
    "xserver-xorg-video-nvidia*",
    "cuda-drivers*",
)
# How failed reads are called that decide about a driver.
LINKER_READ = "libraries known to the linker"
DRIVER_PACKAGES_READ = "installed packages"
LIBRARIES = ("libcuda.so.1", "libnvidia-ml.so.1", "libnvidia-ptxjitcompiler.so.1", "libnvidia-nvvm.so.4")

# Beside a driver, not in place of one: a wild card must not take these along. The server of MPS is the driver's own.
_NO_DRIVER = re.compile(
    r"^(nvidia-container.*|libnvidia-container.*|nvidia-docker.*|nvidia-prime.*|nvidia-cuda-(?!mps$).*|nvidia-cudnn"
    r"|nvidia-modprobe|nvidia-cg-.*|nvidia-opencl-dev|nvidia-profiler|nvidia-visual-profiler|nvidia-vaapi-driver"
    r"|nvidia-texture-tools|nvidia-openjdk-.*|nvidia-fs.*|nvidia-gds.*|libnvidia-ml-dev)$"
)
# What goes along with a driver's packages because it depends on them, and is nothing without: by what NVIDIA's
# repository installs a driver and a toolkit together (the toolkit stays), and by what Debian puts a driver's libGL in
# the place of Mesa's.
GO_ALONG = re.compile(r"cuda(-runtime|-demo-suite)?(-\d+-\d+)?|glx-alternative-nvidia|glx-diversions")
# The driver's own, and what only watches; the kernel cuts names off after 15 letters.
_SERVICES = frozenset(
    {"nvidia-persiste", "nvidia-powerd", "nv-hostengine", "dcgm-exporter", "nvidia-fabricma", "nvidia-smi", "nvtop",
     "nvitop", "gpustat", "nvidia_gpu_expo"}
)  # fmt: skip
_DISPLAYS = frozenset(
    {"Xorg", "Xwayland", "gnome-shell", "kwin_wayland", "kwin_x11", "mutter", "sway", "weston", "gdm-wayland-ses",
     "sddm", "sddm-greeter", "lightdm", "plasmashell", "cinnamon", "xfwm4", "gdm-x-session", "xdg-desktop-por",
     "snapd-desktop-i"}
)  # fmt: skip


@dataclass(frozen=True)
class PciLink:
    """The PCIe link of a device; speeds in GT/s, as sysfs tells them. Idle links are slow by design, not narrow."""

    current_speed_gts: float | None
    max_speed_gts: float | None
    current_width: int | None
    max_width: int | None


@dataclass(frozen=True)
class DisplayDevice:
    """A PCI display controller; ids are four hex digits without prefix."""

    address: str
    class_code: str
    vendor: str
    device: str
    subsystem: str | None
    driver: str | None
    bar1_bytes: int | None
    link: PciLink | None
    model: str | None = None  # what a loaded driver calls it
    uuid: str | None = None
    firmware: str | None = None  # version of the firmware that the driver has started on it; N/A: none

    @property
    def is_nvidia_gpu(self) -> bool:
        """Whether the NVIDIA driver would drive it."""
        return self.vendor == NVIDIA and self.class_code in GPU_CLASSES

    @property
    def name(self) -> str:
        """How messages call it: by its ids, because old tables of names do not know new cards."""
        words = f"{self.vendor}:{self.device} at {self.address}"
        return f"{self.model} ({words})" if self.model else words


@dataclass(frozen=True)
class DriverModule:
    """An NVIDIA kernel module: the loaded one (kernel is empty) or the one on disk that modprobe would load."""

    version: str
    flavour: str  # open, proprietary or unknown
    kernel: str = ""
    path: str = ""
    signer: str = ""
    key: int | None = None  # serial number of the certificate that it is signed for; None where modinfo names none


@dataclass(frozen=True)
class Library:
    """A library of the driver's user-space half, as the dynamic linker finds it."""

    soname: str
    path: str
    version: str | None


@dataclass(frozen=True)
class ConflictingModule:
    """Another kernel driver for NVIDIA cards that is loaded, and the cards it holds."""

    name: str
    bound_to: tuple[str, ...]


@dataclass(frozen=True)
class Package:
    """An installed package of the distribution that is part of an NVIDIA driver."""

    name: str
    version: str


@dataclass(frozen=True)
class Holder:
    """A process that has an NVIDIA device open."""

    pid: int
    command: str
    user: str
    kind: str  # job, display (a desktop or its login screen) or service (of the driver, or only watching)
    devices: tuple[str, ...]


@dataclass(frozen=True)
class GpuFacts:
    """Everything about GPUs and drivers that could be read; what could not be is listed beside it."""

    devices: tuple[DisplayDevice, ...] = ()
    driver_loaded: DriverModule | None = None
    driver_on_disk: tuple[DriverModule, ...] = ()
    libraries: tuple[Library, ...] = ()
    conflicting: tuple[ConflictingModule, ...] = ()
    packages: tuple[Package, ...] = ()
    processes: tuple[Holder, ...] = ()
    dependents: tuple[str, ...] = ()  # loaded kernel modules that use one of the driver's, its own among them

    @property
    def nvidia_gpus(self) -> tuple[DisplayDevice, ...]:
        """The devices that this project is about."""
        return tuple(device for device in self.devices if device.is_nvidia_gpu)


def parse_pci_id(text: str) -> str:
    """Return the digits of a sysfs id such as ``0x10de``."""
    return text.strip().lower().removeprefix("0x")


def parse_bar1_bytes(resource: str) -> int | None:
    """Return the size of the aperture onto video memory from a PCI device's sysfs file ``resource``.

    NVIDIA calls the second memory region BAR1, wherever it starts: where region 0 is 64 bits wide its upper half
    takes the next line, which is all zeros. Lines after the sixth are the ROM and bridge windows.
    """
    sizes = []
    for words in re.findall(r"^0x([0-9a-f]+) 0x([0-9a-f]+) 0x([0-9a-f]+)$", resource, re.MULTILINE)[:6]:
        start, end, flags = (int(word, 16) for word in words)
        if end > start and flags & 0x200:  # IORESOURCE_MEM, linux/ioport.h
            sizes.append(end - start + 1)
    return sizes[1] if len(sizes) > 1 else None


def parse_link_speed(text: str | None) -> float | None:
    """Return GT/s from ``32.0 GT/s PCIe``; None for ``Unknown``."""
    found = re.match(r"([\d.]+) GT/s", text or "")
    return float(found[1]) if found else None


def parse_link_width(text: str | None) -> int | None:
    """Return the number of lanes; None where the kernel does not know it (0, 255 or no file)."""
    digits = (text or "").strip()
    return int(digits) if digits.isdigit() and int(digits) not in (0, 255) else None


def parse_nvrm_version(text: str) -> DriverModule | None:
    """Read /proc/driver/nvidia/version, which names the loaded module's version and flavour."""
    line = next((line for line in text.splitlines() if line.startswith("NVRM version:")), "")
    found = re.search(r"\s(\d+\.\d+(?:\.\d+)?)\s", line)
    if not found:
        return None
    return DriverModule(found[1], "open" if "Open Kernel Module" in line else "proprietary")


def parse_gpu_information(text: str) -> dict[str, str]:
    """Read /proc/driver/nvidia/gpus/ADDRESS/information into its fields."""
    pairs = (line.split(":", 1) for line in text.splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def parse_modinfo(text: str, kernel: str) -> DriverModule | None:
    """Read the output of ``modinfo -k KERNEL nvidia``; the licence tells the flavour (nv.c: open is Dual MIT/GPL)."""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key, value.strip())
    if "version" not in fields:
        return None
    flavour = {"Dual MIT/GPL": "open", "NVIDIA": "proprietary"}.get(fields.get("license", ""), "unknown")
    digits = fields.get("sig_key", "").replace(":", "")
    serial = int(digits, 16) if re.fullmatch(r"[0-9A-Fa-f]+", digits) else None
    path, signer = fields.get("filename", ""), fields.get("signer", "")
    return DriverModule(fields["version"], flavour, kernel, path, signer, serial)


def parse_ldconfig(text: str) -> dict[str, str]:
    """Return the 64-bit libraries that ``ldconfig -p`` lists, the first of each name as the linker takes it."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        match = re.match(r"\s+(\S+) \(libc6,x86-64.*\) => (\S+)$", line)
        if match:
            found.setdefault(match[1], match[2])
    return found


def library_version(real_path: str) -> str | None:
    """Return the driver version in a library's file name (libcuda.so.580.178.04)."""
    found = re.search(r"\.so\.(\d+\.\d+(?:\.\d+)?)$", real_path)
    return found[1] if found else None


def parse_driver_packages(text: str) -> tuple[Package, ...]:
    """Return the installed driver packages from dpkg-query's columns binary:Package, Version and db:Status-Abbrev.

    That name carries the architecture where it has to: a desktop's 32-bit libraries are packages of their own.
    Packages that were removed but left configuration behind (rc) or are only known (un) are no driver.
    """
    rows = (line.split("\t") for line in text.splitlines() if line.count("\t") == 2)  # noqa: PLR2004 - three columns
    return tuple(
        Package(name, version)
        for name, version, status in sorted(set(map(tuple, rows)))
        if status[1:2] not in ("n", "c") and not _NO_DRIVER.match(name.partition(":")[0])
    )


def modinfo_read(kernel: str) -> str:
    """Return how it is called when modinfo does not say what module a kernel has."""
    return f"driver on disk for {kernel} (modinfo)"


def holder_kind(command: str) -> str:
    """Tell a job from the driver's own services and from desktops by the kernel's short name of the process."""
    if command in _SERVICES:
        return "service"
    return "display" if command in _DISPLAYS else "job"


def is_nvidia_device(path: str) -> bool:
    """Whether an open file is an NVIDIA device node; nvidiactl and uvm count, since every CUDA program holds them."""
    return path.startswith("/dev/nvidia")


__all__ = [
    "CONFLICTING_MODULES",
    "DRIVER_PACKAGES",
    "DRIVER_PACKAGES_READ",
    "GO_ALONG",
    "GPU_CLASSES",
    "LIBRARIES",
    "LINKER_READ",
    "NVIDIA",
    "ConflictingModule",
    "DisplayDevice",
    "DriverModule",
    "GpuFacts",
    "Holder",
    "Library",
    "Package",
    "PciLink",
    "holder_kind",
    "is_nvidia_device",
    "library_version",
    "modinfo_read",
    "parse_bar1_bytes",
    "parse_driver_packages",
    "parse_gpu_information",
    "parse_ldconfig",
    "parse_link_speed",
    "parse_link_width",
    "parse_modinfo",
    "parse_nvrm_version",
    "parse_pci_id",
]
