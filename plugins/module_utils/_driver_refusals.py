# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why the driver must not be touched now; all reasons at once, before the first change."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_findings as findings
from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_state as states
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_state import DriverState, Initramfs
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_wanted import Wanted
from ansible_collections.gpulab.workstation.plugins.module_utils._gpu_facts import (
    DRIVER_PACKAGES_READ,
    LINKER_READ,
    modinfo_read,
)
from ansible_collections.gpulab.workstation.plugins.module_utils._host_facts import Place
from ansible_collections.gpulab.workstation.plugins.module_utils._in_the_way import Blocker, RefusalError

SYSTEM_PLACES = ("/usr", "/lib/modules", "/var/lib")
BOOT = "/boot"
_LARGER = 1.3  # a new initramfs beside the old one, which it replaces: of a larger driver, or with more modules


@dataclass(frozen=True)
class Refusal:
    """One reason: what was found, what was expected, what to do, and who is meant where these are people."""

    found: str
    expected: str
    action: str
    people: tuple[Blocker, ...] = ()


def refuse(refusals: list[Refusal]) -> None:
    """Raise all refusals as one error; nothing where there is none."""
    if refusals:
        people = [blocker for refusal in refusals for blocker in refusal.people]
        stays = [Blocker("host", refusal.found, yields_to_force=False) for refusal in refusals if not refusal.people]
        raise RefusalError(
            found=" ".join(dict.fromkeys(f"{r.found}." for r in refusals)),
            expected=" ".join(dict.fromkeys(f"{r.expected}." for r in refusals)),
            cure=" ".join(dict.fromkeys(f"{r.action}." for r in refusals)),
            blockers=[*people, *stays],
        )


def install_refusals(state: DriverState, wanted: Wanted) -> list[Refusal]:
    """Return what speaks against running the .run on this host, whoever uses it."""
    return [*_kernel_refusals(state), *_package_refusals(state, wanted), *_space_refusals(state, wanted)]


def build_refusals(state: DriverState, wanted: Wanted) -> list[Refusal]:
    """Return what speaks against building a module at all: modules that this machine would not load."""
    if not state.host.root:
        return [Refusal(f"this runs as {state.host.user}", "root", "set become: true")]
    return [*_installer_refusals(state, wanted), *_signing_refusals(state, wanted)]


def running_refusals(state: DriverState, wanted: Wanted) -> list[Refusal]:
    """Return who would be disturbed when the loaded module is taken away."""
    people = findings.users_in_the_way(state) if findings.must_unload(state) and not wanted.allow_running else ()
    if not people:
        return []
    return [
        Refusal(
            f"the loaded NVIDIA module has to go, but here are: {', '.join(blocker.words for blocker in people)}",
            "nobody who uses the cards, no desktop and nobody logged in",
            "wait until they are gone (gpu_driver_wait_minutes does), or set gpu_driver_allow_running to install beside"
            " the loaded module and restart afterwards",
            people,
        )
    ]


def unread_refusals(state: DriverState, wanted: Wanted, *, packages: bool = True) -> list[Refusal]:
    """Return what did not answer although the driver is decided by it: silence is not absence.

    ``packages`` says whether it matters which packages are installed beside the driver's.
    """
    commands = {
        states.DKMS_READ: "dkms status",
        DRIVER_PACKAGES_READ: "dpkg-query -W",
        states.OWNERS_READ: "dpkg-query --search",
    }
    if wanted.present:
        commands |= {
            states.COLLATERAL_READ: "apt-get --simulate purge",
            LINKER_READ: "ldconfig -p",
            states.SANITY_READ: "nvidia-installer --sanity",
        }
        commands |= {states.PACKAGES_READ: "dpkg-query -W"} if packages else {}
        served = findings.served_kernels(state, wanted)
        commands |= {modinfo_read(kernel.release): f"modinfo -k {kernel.release} nvidia" for kernel in served}
    silent: dict[str, str] = {}
    for what, why in state.unread.items():
        if what in commands:
            silent.setdefault(commands[what], why)
    return [
        Refusal(
            f"'{command}' did not answer ({why.rstrip('.')})",
            f"what '{command}' says about this host: without it nobody knows what is installed",
            f"run '{command}' on the host and cure what it says",
        )
        for command, why in silent.items()
    ]


def work_place(state: DriverState, wanted: Wanted) -> Place | None:
    """Choose where to unpack: the first candidate that can run programs and has the space."""
    places = {place.path: place for place in state.host.places}
    for path in wanted.work_directories:
        place = places.get(path)
        if place and not place.noexec and not place.read_only and place.free_bytes >= wanted.work_bytes:
            return place
    return None


def _kernel_refusals(state: DriverState) -> list[Refusal]:
    if state.target is None:
        return [
            Refusal(
                "no kernel is installed (nothing in /lib/modules belongs to a kernel in /boot)",
                "a kernel of the distribution, for which the module can be built",
                "install linux-image-generic (Ubuntu) or linux-image-amd64 (Debian)",
            )
        ]
    return []


def _package_refusals(state: DriverState, wanted: Wanted) -> list[Refusal]:
    names = ", ".join(package.name for package in state.gpu.packages)
    if names and not wanted.replace_distro_driver:
        return [
            Refusal(
                f"the distribution's driver is installed: {names}",
                "no second driver",
                "purge these packages, or set gpu_driver_replace_distro_driver to have it done",
            )
        ]
    foreign = findings.foreign_collateral(state)
    if foreign:
        return [
            Refusal(
                f"purging the distribution's driver would also remove {', '.join(foreign)}",
                "packages that only the driver needs",
                "remove them yourself, or make them independent of the driver's packages",
            )
        ]
    if state.alternate_mark and not names:
        return [
            Refusal(
                "/usr/lib/nvidia/alternate-install-present marks another driver, but no package of one is installed",
                "one driver",
                "find out who put the file there ('dpkg -S' names the package), remove that driver and the file",
            )
        ]
    return []


def _space_refusals(state: DriverState, wanted: Wanted) -> list[Refusal]:
    refusals = []
    if work_place(state, wanted) is None:
        tried = "; ".join(_place_words(p) for p in state.host.places if p.path in wanted.work_directories)
        refusals.append(
            Refusal(
                f"no directory to unpack the driver in: {tried or 'no candidate could be read'}",
                f"{_mb(wanted.work_bytes)} free on a file system without noexec",
                "free space, or name another directory in gpu_driver_work_directories",
            )
        )
    full = {p.mount_point: p for p in state.host.places
            if p.path in SYSTEM_PLACES and (p.free_bytes < wanted.system_bytes or p.read_only)}  # fmt: skip
    return refusals + [
        Refusal(
            f"{place.mount_point} is read-only"
            if place.read_only
            else f"{_mb(place.free_bytes)} free on {place.mount_point}",
            f"{_mb(wanted.system_bytes)} for the driver (with less, nvidia-installer removes the old driver, copies"
            " half of the new one and may still end with status 0)",
            f"free space on {place.mount_point}",
        )
        for place in full.values()
    ]


def _installer_refusals(state: DriverState, wanted: Wanted) -> list[Refusal]:
    own = tuple(f"{directory}/" for directory in wanted.work_directories)
    foreign = [p for p in state.installers if not p.directory.startswith(own)]
    return [
        Refusal(
            f"an nvidia-installer is at work (pid {process.pid} in {process.directory})",
            "no other installation at the same time",
            "wait until it has ended",
        )
        for process in foreign
    ]


def _signing_refusals(state: DriverState, wanted: Wanted) -> list[Refusal]:
    enrolled, key_there, certificate_there = state.signing
    missing = [p for p, there in ((wanted.signing_key, key_there), (wanted.signing_certificate, certificate_there))
               if p and not there]  # fmt: skip
    if missing:
        return [Refusal(f"{' and '.join(missing)} are not on this host", "the pair to sign with", "bring it there")]
    if not state.host.has_own_kernel or state.host.secure_boot.state != "on":
        return []
    if wanted.signing_key and enrolled:
        return []
    if not wanted.signing_key and findings.signing_pair(state, wanted):
        return []
    what = wanted.signing_certificate or "no certificate of DKMS"
    said = "is enrolled" if not wanted.signing_key else "is not enrolled" if enrolled is False else "may be enrolled"
    return [
        Refusal(
            f"Secure Boot is on and {what} {said}, so the kernel would not load the module",
            "a signing certificate that the firmware knows",
            "enrol one ('mokutil --import CERTIFICATE', then one visit to the console at the next start) and name the"
            " pair in gpu_driver_signing_key and gpu_driver_signing_certificate, or turn Secure Boot off",
        )
    ]


def initramfs_refusals(state: DriverState, images: t.Sequence[Initramfs]) -> list[Refusal]:
    """Refuse a change after which an initramfs could not be written: the old driver would have gone by then."""
    place = next((place for place in state.host.places if place.path == BOOT), None)
    needed = round(_LARGER * max((image.size for image in images), default=0))
    if place is None or not images or (place.free_bytes >= needed and not place.read_only):
        return []
    found = "is read-only" if place.read_only else f"has {_mb(place.free_bytes)} free"
    return [
        Refusal(
            f"{place.mount_point} {found}, and the initramfs has to be written anew there",
            f"{_mb(needed)}: each new one is written beside the old one, and the largest has"
            f" {_mb(max(image.size for image in images))}",
            "remove kernels that nobody starts ('apt-get --purge autoremove' knows them), or give it more space",
        )
    ]


def _place_words(place: Place) -> str:
    flags = [word for word, given in (("noexec", place.noexec), ("read-only", place.read_only)) if given]
    return f"{place.path} on {place.mount_point} ({', '.join([*flags, _mb(place.free_bytes) + ' free'])})"


def _mb(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"


__all__ = [
    "BOOT",
    "SYSTEM_PLACES",
    "Refusal",
    "build_refusals",
    "initramfs_refusals",
    "install_refusals",
    "refuse",
    "running_refusals",
    "unread_refusals",
    "work_place",
]
