# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host's driver is made of, layer by layer; text in, facts out."""

from __future__ import annotations

import json
import re
import typing as t
from dataclasses import dataclass, field

from ansible_collections.gpulab.workstation.plugins.module_utils._container_devices import ContainerDevices
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_files import UNIT_NAME
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_journal import Driver, Journal
from ansible_collections.gpulab.workstation.plugins.module_utils._gpu_facts import DriverModule, GpuFacts
from ansible_collections.gpulab.workstation.plugins.module_utils._host_facts import HostFacts, Unreadable

# How failed reads are called that decide about a driver, beside those of _gpu_facts.
DKMS_READ = "DKMS"
PACKAGES_READ = "packages"
OWNERS_READ = "files of packages"
COLLATERAL_READ = "packages beside the driver's"
SANITY_READ = "nvidia-installer --sanity"

MODULES = ("nvidia", "nvidia-uvm", "nvidia-modeset", "nvidia-drm")
LIBRARIES = ("libcuda.so.1", "libnvidia-ml.so.1", "libnvidia-ptxjitcompiler.so.1")

_VERSION = r"\d{3}\.\d+(?:\.\d+)?"
# dkms 2.8 to 3.x write NAME/VERSION, older ones NAME, VERSION; kernel and architecture follow where it was built.
_DKMS = re.compile(r"(?P<name>[^/,\s]+)(?:/|, )(?P<version>[^,:]+)(?:, (?P<kernel>[^,]+), [^,:]+)?: (?P<rest>.+)")
_STRAY = re.compile(
    r"lib(?:cuda|cudadebugger|nvcuvid|nvoptix|vdpau_nvidia|nvidia-[a-z0-9-]+|(?:GLX|EGL|GLESv1_CM|GLESv2)_nvidia)"
    rf"\.so\.(?P<version>{_VERSION})"
)
_IN_INITRAMFS = re.compile(
    r"(?:^|/)(nvidia(?:[-_](?:uvm|modeset|drm|peermem))?|nouveau|nova[-_](?:core|drm))\.ko(?:\.\w+)?$"
)
_RECORD_LINES = 3  # version, description and one entry: anything less is a beginning
_RECORD = re.compile(rf"1\.0-\d+ \((?P<version>{_VERSION})\)|(?P<plain>{_VERSION})")


@dataclass(frozen=True)
class DkmsEntry:
    """A line of ``dkms status``; the kernel is empty where nothing has been built yet."""

    version: str
    kernel: str
    state: str  # added, built, installed or broken
    remark: str = ""  # what dkms says in parentheses: differences, missing modules

    @property
    def sound(self) -> bool:
        """Whether the module is installed as it was built; kept originals of the kernel do not matter."""
        return self.state == "installed" and not re.search(r"diff|missing", self.remark, re.IGNORECASE)


@dataclass(frozen=True)
class Initramfs:
    """The first root file system of a kernel, as far as it concerns graphics drivers."""

    path: str
    modified: float
    modules: tuple[str, ...]
    has_our_settings: bool
    listed: bool = True  # whether anybody could list it
    size: int = 0  # bytes


@dataclass(frozen=True)
class KernelState:
    """An installed kernel with its driver: what building needs and what ``modprobe`` would load."""

    release: str
    headers: str | None
    compiler: str
    module: DriverModule | None = None
    module_time: float = 0.0
    incomplete: str = ""  # what modinfo says about modules that are missing, damaged or built for another kernel
    initramfs: Initramfs | None = None


@dataclass(frozen=True)
class Record:
    """/var/lib/nvidia/log, where nvidia-installer keeps what it installed; no version where it cannot be read."""

    version: str | None
    digest: str


@dataclass(frozen=True)
class Marker:
    """What this role leaves after an installation that it has proven; bound to that installation by the record."""

    version: str
    flavour: str
    run_sha256: str
    record_digest: str

    def to_text(self) -> str:
        """Return the marker as its file holds it."""
        return json.dumps(self.__dict__, indent=2, sort_keys=True) + "\n"


@dataclass(frozen=True)
class Process:
    """A running nvidia-installer and where it works."""

    pid: int
    directory: str


@dataclass(frozen=True)
class DriverState:
    """Everything that decides whether the driver is as wanted."""

    host: HostFacts
    gpu: GpuFacts
    kernels: tuple[KernelState, ...]  # installed ones only
    dkms: tuple[DkmsEntry, ...] = ()
    record: Record | None = None
    marker: Marker | None = None
    programs: tuple[str, ...] = ()  # those of the driver's programs that are there and not empty
    firmware: tuple[str, ...] = ()  # versions with files in /lib/firmware/nvidia
    strays: tuple[tuple[str, str], ...] = ()  # (path, version): libraries, sources that nobody knows
    leftovers: tuple[str, ...] = ()  # parts that no package owns; only looked for where no record claims them
    sanity: str | None = None  # what --sanity says; empty is good, None was not asked
    installed_packages: frozenset[str] = frozenset()
    unconfigured: tuple[str, ...] = ()  # packages of kernels that dpkg has unpacked and could not configure
    collateral: tuple[str, ...] = ()  # packages that would go together with the distribution's driver
    alternate_mark: bool = False
    files: t.Mapping[str, str | None] = field(default_factory=dict)
    settings_time: float = 0.0  # when our file in modprobe.d was written
    installer_files: tuple[str, ...] = ()  # modprobe files that nvidia-installer wrote
    unit_enabled: bool = False
    services: tuple[str, ...] = ()  # the driver's own that run
    account: bool = False
    installers: tuple[Process, ...] = ()
    signing: tuple[bool | None, bool, bool] = (None, False, False)  # enrolled, key there, certificate there
    journal: Journal | None = None  # the account of the last change
    installed: Driver | None = None  # the driver that was last committed
    kept: frozenset[str] = frozenset()  # sha256 of every .run that lies on the host to be put back
    cached: tuple[str, ...] = ()  # drivers' .run in the cache, and what this role keeps beside them
    boot: str = ""
    containers: ContainerDevices = field(default_factory=ContainerDevices)
    unreadable: tuple[Unreadable, ...] = ()

    @property
    def systemd(self) -> bool:
        """Whether systemd runs this host."""
        return "systemd" in self.host.tools

    @property
    def unread(self) -> t.Mapping[str, str]:
        """Why something could not be read, by what it is: it is neither known to be there nor known to be absent."""
        return {note.what: note.why for note in self.unreadable}

    @property
    def unit_active(self) -> bool:
        """Whether the persistence daemon runs."""
        return UNIT_NAME in self.services

    @property
    def target(self) -> KernelState | None:
        """The kernel that the .run builds for: the running one if it is installed, else the newest."""
        running = [kernel for kernel in self.kernels if kernel.release == self.host.running_kernel]
        return running[0] if running else max(self.kernels, key=lambda k: release_order(k.release), default=None)

    @property
    def runs_target(self) -> bool:
        """Whether modules of this host can be loaded now: its own, installed kernel is running."""
        return self.host.has_own_kernel and any(k.release == self.host.running_kernel for k in self.kernels)

    def dkms_of(self, version: str, kernel: str) -> DkmsEntry | None:
        """Return the DKMS entry of a driver version for a kernel."""
        return next((e for e in self.dkms if e.version == version and e.kernel == kernel), None)


def release_order(release: str) -> tuple[tuple[int, ...], str]:
    """Order kernel releases: 6.8.0-9-generic before 6.8.0-51-generic before 6.11.0-8-generic."""
    numbers = re.match(r"[\d.]+(?:-[\d.]+)?", release)
    return tuple(int(n) for n in re.findall(r"\d+", numbers[0] if numbers else "")), release


def parse_dkms_status(text: str, name: str = "nvidia") -> tuple[DkmsEntry, ...]:
    """Read ``dkms status`` of dkms 2.8.7 to 3.4 (do_status and module_status_built_extra in its source)."""
    entries = []
    for line in text.splitlines():
        found = _DKMS.fullmatch(line.strip())
        if found is None or found["name"] != name:
            continue
        state, _, remark = found["rest"].partition(" ")
        remarks = dict.fromkeys(re.findall(r"\(([^()]*)\)", remark))
        entries.append(DkmsEntry(found["version"], found["kernel"] or "", state, "; ".join(remarks)))
    return tuple(entries)


def parse_vermagic(text: str, stderr: str, kernel: str) -> str:
    """Read ``modinfo -F vermagic`` of the driver's modules; empty where all of them are there for that kernel."""
    lines = [line for line in text.splitlines() if line.strip()]
    foreign = [line.split()[0] for line in lines if line.split()[0] != kernel]
    if foreign:
        return f"built for kernel {foreign[0]}"
    # libkmod's own lines between modinfo's name addresses in memory, which are others each time.
    complaints = [line.removeprefix("modinfo: ERROR: ").strip() for line in stderr.splitlines() if "modinfo:" in line]
    if complaints:
        return "; ".join(dict.fromkeys(complaints))
    return "" if len(lines) == len(MODULES) else f"{len(lines)} of {len(MODULES)} modules are there"


def parse_record(head: bytes, digest: str) -> Record:
    """Read the start of nvidia-installer's record: ``1.0-59545004 (595.45.04)``, a description, entries (backup.c).

    A run killed early leaves a record without entries, which its own uninstallation cannot read.
    """
    lines = head.decode("utf-8", "replace").split("\n")
    found = _RECORD.fullmatch(lines[0].strip())
    whole = len(lines) > _RECORD_LINES and re.match(r"-?\d+: /", lines[_RECORD_LINES - 1])
    return Record((found["version"] or found["plain"]) if found and whole else None, digest)


def parse_marker(text: str | None) -> Marker | None:
    """Read what :meth:`Marker.to_text` wrote; None for anything else."""
    try:
        data = json.loads(text or "")
        return Marker(*(str(data[name]) for name in ("version", "flavour", "run_sha256", "record_digest")))
    except (ValueError, KeyError, TypeError):
        return None


def parse_initramfs(listing: str, path: str, modified: float, settings: str, size: int = 0) -> Initramfs:
    """Read ``lsinitramfs``; ``settings`` is the name of our file in modprobe.d."""
    names = listing.splitlines()
    modules = {found[1] for name in names if (found := _IN_INITRAMFS.search(name.strip()))}
    ours = any(name.strip().endswith(f"modprobe.d/{settings}") for name in names)
    return Initramfs(path, modified, tuple(sorted(modules)), ours, size=size)


def driver_libraries(names: t.Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Pick the libraries that carry a driver version in their name, with that version."""
    found = ((name, _STRAY.fullmatch(name)) for name in names)
    return tuple((name, match["version"]) for name, match in found if match)


def parse_installed_packages(text: str) -> frozenset[str]:
    """Return those that can be used, from dpkg-query's columns Package and db:Status-Abbrev (dpkg-query(1)).

    A kernel and its headers that DKMS could not build for stay half configured, and count: apt would only fail on them
    again. Anything else that is unpacked alone is what a run left that was killed in its packages: apt finishes it.
    """
    kernels = parse_unconfigured_kernels(text)
    return frozenset(name for name, status in _packages(text) if status in "Wti" or name in kernels)


def parse_unconfigured_kernels(text: str) -> tuple[str, ...]:
    """Return the packages of kernels and headers that are unpacked or half configured, from the same columns."""
    kernels = ("linux-image-", "linux-headers-", "linux-modules-")
    return tuple(sorted(name for name, status in _packages(text) if status in "UF" and name.startswith(kernels)))


def _packages(text: str) -> list[tuple[str, str]]:
    rows = (line.split("\t") for line in text.splitlines())
    return [(row[0], row[1][1]) for row in rows if len(row) > 1 and len(row[1]) > 1]


def compiler_package(text: str) -> str | None:
    """Return the package of the compiler that CONFIG_CC_VERSION_TEXT names; None where it is not a gcc of Debian's."""
    found = re.match(r"(?:x86_64-linux-gnu-)?(gcc(?:-\d+)?) ", text)
    return found[1] if found else None


def header_metapackages(installed: t.Iterable[str]) -> tuple[str, ...]:
    """Return the package that brings the next kernel's headers for each one that brings the next kernel.

    linux-image-generic-hwe-24.04 needs linux-headers-generic-hwe-24.04; packages of one kernel begin with a digit.
    """
    images = (name.removeprefix("linux-image-") for name in installed if name.startswith("linux-image-"))
    return tuple(sorted(f"linux-headers-{i}" for i in images if not re.match(r"\d|unsigned-|extra-|.*-dbg$", i)))


__all__ = [
    "COLLATERAL_READ",
    "DKMS_READ",
    "LIBRARIES",
    "MODULES",
    "OWNERS_READ",
    "PACKAGES_READ",
    "SANITY_READ",
    "DkmsEntry",
    "DriverState",
    "Initramfs",
    "KernelState",
    "Marker",
    "Process",
    "Record",
    "compiler_package",
    "driver_libraries",
    "header_metapackages",
    "parse_dkms_status",
    "parse_initramfs",
    "parse_installed_packages",
    "parse_marker",
    "parse_record",
    "parse_unconfigured_kernels",
    "parse_vermagic",
    "release_order",
]
