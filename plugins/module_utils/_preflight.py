# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge a host before the first change: (facts, wanted) in, every reason to refuse it out, all at once."""

from __future__ import annotations

import time
import typing as t
from dataclasses import dataclass

from ansible_collections.gpulab.workstation.plugins.module_utils._gpu_facts import GpuFacts
from ansible_collections.gpulab.workstation.plugins.module_utils._host_facts import HostFacts, Place, Unreadable
from ansible_collections.gpulab.workstation.plugins.module_utils._refusal import Refusal

_EARLIEST_CLOCK = 1_767_225_600.0  # 2026-01-01 UTC: before it, every certificate of the sources is "not yet valid"
_MINIMUM_PYTHON = (3, 10)
_SMALL_BAR1 = 256 << 20  # what boards fall back to without Resizable BAR


@dataclass(frozen=True)
class Need:
    """Room that one piece of work takes at a path, or at the first of its ``alternatives`` that will do.

    The work has been done where ``unless`` exists (a pattern); then its room is not asked for again.
    """

    purpose: str
    path: str
    gigabytes: float
    executable: bool = False
    unless: str = ""
    alternatives: tuple[str, ...] = ()

    @property
    def bytes(self) -> int:
        """The room in bytes."""
        return int(self.gigabytes * 1e9)

    @property
    def paths(self) -> tuple[str, ...]:
        """The directories that come into question, in order."""
        return (self.path, *self.alternatives)

    def fault(self, place: Place) -> str:
        """Return why a place will not do whatever room it has; empty if it will."""
        if place.read_only:
            return "read-only"
        return "noexec" if place.noexec and self.executable else ""


@dataclass(frozen=True)
class Facts:
    """One look at a host."""

    host: HostFacts
    gpu: GpuFacts
    unreadable: tuple[Unreadable, ...] = ()


@dataclass(frozen=True)
class Wanted:
    """What the host is going to be asked for."""

    expect_gpu: bool = True
    needs: tuple[Need, ...] = ()
    signing_managed: bool = False  # a later role brings a key for modules and has it enrolled
    earliest_clock: float = _EARLIEST_CLOCK


@dataclass(frozen=True)
class Verdict:
    """What speaks against the host, and what an operator should know although it does not."""

    refusals: tuple[Refusal, ...]
    warnings: tuple[str, ...]


Rule = t.Callable[[Facts, Wanted], t.Iterable[Refusal]]
Remark = t.Callable[[Facts, Wanted], t.Iterable[str]]


def judge(facts: Facts, wanted: Wanted) -> Verdict:
    """Apply every rule about the host itself; those about a stack on a host belong to the stack."""
    refusals = [refusal for rule in _RULES for refusal in rule(facts, wanted)]
    remarks = [words for remark in _REMARKS for words in remark(facts, wanted)]
    return Verdict(tuple(refusals), tuple(remarks))


def gigabytes(size: int) -> str:
    """Write a size as people do."""
    return f"{size / 1e9:.1f} GB"


def _root(facts: Facts, _wanted: Wanted) -> t.Iterator[Refusal]:
    if not facts.host.root:
        yield Refusal(
            f"modules run as the user {facts.host.user} on this host.",
            "root.",
            "connect as root, or set 'become: true' for the play and let this user use sudo.",
        )


def _clock(facts: Facts, wanted: Wanted) -> t.Iterator[Refusal]:
    if facts.host.clock < wanted.earliest_clock:
        yield Refusal(
            f"the clock says {_date(facts.host.clock)}.",
            f"a date after {_date(wanted.earliest_clock)}; before it, TLS certificates are refused as not yet valid.",
            "set the clock ('timedatectl set-ntp true', or 'date -s ...'), and the hardware clock with 'hwclock -w'.",
        )


def _date(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))


def _python(facts: Facts, _wanted: Wanted) -> t.Iterator[Refusal]:
    version = tuple(int(part) for part in facts.host.python.split(".")[:2])
    if version < _MINIMUM_PYTHON:
        yield Refusal(
            f"Python {facts.host.python} runs the modules.",
            f"Python {_MINIMUM_PYTHON[0]}.{_MINIMUM_PYTHON[1]} or newer, as every supported system has it.",
            "set ansible_python_interpreter of this host to a newer python3.",
        )


def _system(facts: Facts, _wanted: Wanted) -> t.Iterator[Refusal]:
    """Refuse what cannot be told; whether a named release is supported is for the rules of the stack to say."""
    if facts.host.os.id == "unknown" or not facts.host.os.version:
        yield Refusal(
            f"{facts.host.os.name} does not say which release it is (ID and VERSION_ID in /etc/os-release).",
            "a released version of a supported system.",
            "install a supported system; testing and development versions are not supported.",
        )


def _gpu(facts: Facts, wanted: Wanted) -> t.Iterator[Refusal]:
    if not wanted.expect_gpu or facts.gpu.nvidia_gpus:
        return
    others = ", ".join(f"{device.name} (class {device.class_code})" for device in facts.gpu.devices)
    hidden = next((item.why for item in facts.unreadable if item.what == "PCI devices"), "")
    found = f"PCI devices cannot be read: {hidden}." if hidden else "no NVIDIA GPU on the PCI bus"
    if not hidden:
        found += f"; the display controllers there are: {others}." if others else ", and no other display controller."
    yield Refusal(
        found,
        "a display controller of vendor 10de and class 0300 or 0302.",
        "check that the card is seated and powered and that the firmware sees it ('Above 4G decoding' on); for a host"
        " that is meant to have none, set 'gpulab_has_gpu: false' in the inventory.",
    )


def _space(facts: Facts, wanted: Wanted) -> t.Iterator[Refusal]:
    """Add up what goes to one file system: three directories on / share its free space."""
    by_mount: dict[str, list[tuple[Place, Need]]] = {}
    for need in _open_needs(facts, wanted):
        place = _place_for(facts, need)
        if place:
            by_mount.setdefault(place.mount_point, []).append((place, need))
    for mount, rows in by_mount.items():
        free, wants = rows[0][0].free_bytes, sum(need.bytes for _, need in rows)
        if free < wants:
            parts = ", ".join(f"{gigabytes(need.bytes)} in {place.path} for {need.purpose}" for place, need in rows)
            yield Refusal(
                f"{gigabytes(free)} free on {mount} ({rows[0][0].fstype}).",
                f"{gigabytes(wants)}: {parts}.",
                f"free {gigabytes(wants - free)} on {mount}, or move these directories with the roles' variables and"
                " say so in host_preflight_space.",
            )


def _mounts(facts: Facts, wanted: Wanted) -> t.Iterator[Refusal]:
    """Refuse file systems on which the work cannot be done whatever room they have."""
    told: set[tuple[str, ...]] = set()
    for need in _open_needs(facts, wanted):
        places = _places(facts, need)
        faults = tuple(f"{place.path} is on {place.mount_point}, mounted {need.fault(place)}" for place in places)
        if not places or not all(map(need.fault, places)) or faults in told:
            continue
        told.add(faults)
        fault, point = need.fault(places[0]), places[0].mount_point
        yield Refusal(
            "; ".join(faults) + ".",
            f"a directory that can be written to{' and has programs started from' if need.executable else ''},"
            f" for {need.purpose}.",
            f"'mount -o remount,{'rw' if fault == 'read-only' else 'exec'} {point}', or choose another directory with"
            " the role's variable and say so in host_preflight_space.",
        )


def _open_needs(facts: Facts, wanted: Wanted) -> t.Iterator[Need]:
    return (need for need in wanted.needs if not (need.unless and need.unless in facts.host.landmarks))


def _places(facts: Facts, need: Need) -> list[Place]:
    known = {place.path: place for place in facts.host.places}
    return [known[path] for path in need.paths if path in known]


def _place_for(facts: Facts, need: Need) -> Place | None:
    """Return the first place that will do and has the room, else the first that will do; None where none will."""
    usable = [place for place in _places(facts, need) if not need.fault(place)]
    return next((place for place in usable if place.free_bytes >= need.bytes), usable[0] if usable else None)


def _lacks_key(facts: Facts) -> bool:
    enforced = facts.host.has_own_kernel and facts.host.secure_boot.state == "on"
    return enforced and not any(key.enrolled for key in facts.host.signing_keys)


def _secure_boot(facts: Facts, wanted: Wanted) -> t.Iterator[Refusal]:
    if wanted.signing_managed or not _lacks_key(facts):
        return
    known = next((key.path for key in facts.host.signing_keys), "")
    if known:
        yield Refusal(
            f"Secure Boot is on, and {known} is not known to be enrolled as a machine owner key.",
            "a key that the firmware trusts, because the kernel loads no other module.",
            f"run 'mokutil --import {known}' on the host, choose a password, restart it, and enrol the key in the blue"
            " screen at its console; or turn Secure Boot off in the firmware.",
        )
    else:
        yield Refusal(
            "Secure Boot is on, and there is no key on this host to sign kernel modules with.",
            "a key that the firmware trusts, because the kernel loads no other module.",
            "make one for the lab with 'gpulab signing-key', and this run asks for one visit to the console; or turn"
            " Secure Boot off in the firmware.",
        )


def _remark_secure_boot(facts: Facts, wanted: Wanted) -> t.Iterator[str]:
    if wanted.signing_managed and _lacks_key(facts):
        yield (
            "Secure Boot is on, and no key on this host is known to be enrolled: the lab's key will be asked for, and"
            " where the firmware does not know it yet, somebody has to confirm it once at the console."
        )
    if facts.host.has_own_kernel and facts.host.secure_boot.state == "unreadable":
        yield (
            f"Secure Boot could not be read ({facts.host.secure_boot.detail}); if it is on, the driver's modules will"
            " not load without an enrolled key."
        )


def _remark_bar1(facts: Facts, wanted: Wanted) -> t.Iterator[str]:
    for device in facts.gpu.nvidia_gpus if wanted.expect_gpu else ():
        if device.bar1_bytes is not None and device.bar1_bytes <= _SMALL_BAR1:
            yield (
                f"{device.name} has a BAR1 of {device.bar1_bytes >> 20} MiB: Resizable BAR is off. Turn on 'Above 4G"
                " decoding' and 'Resizable BAR' in the firmware; some boards show no device to the driver without."
            )


def _remark_link(facts: Facts, wanted: Wanted) -> t.Iterator[str]:
    for device in facts.gpu.nvidia_gpus if wanted.expect_gpu else ():
        link = device.link
        if link and link.current_width and link.max_width and link.current_width < link.max_width:
            yield (
                f"{device.name} runs on {link.current_width} of {link.max_width} PCIe lanes: check the slot, the"
                " riser and that the card is fully seated."
            )


def _remark_driver(facts: Facts, _wanted: Wanted) -> t.Iterator[str]:
    for module in facts.gpu.conflicting if facts.host.has_own_kernel else ():
        cards = f" and drives {', '.join(module.bound_to)}" if module.bound_to else ""
        yield f"The kernel module {module.name} is loaded{cards}; the driver needs a restart without it first."
    if facts.gpu.packages:
        names = ", ".join(f"{package.name} {package.version}" for package in facts.gpu.packages[:5])
        more = f" and {len(facts.gpu.packages) - 5} more" if len(facts.gpu.packages) > 5 else ""  # noqa: PLR2004
        yield f"The distribution's own NVIDIA driver is installed ({names}{more})."


def _remark_headers(facts: Facts, wanted: Wanted) -> t.Iterator[str]:
    bare = [kernel.release for kernel in facts.host.kernels if not kernel.headers]
    if wanted.expect_gpu and facts.host.has_own_kernel and bare:
        yield f"No headers are installed for {', '.join(bare)}; a driver module needs them for every kernel."


def _remark_inventory(facts: Facts, wanted: Wanted) -> t.Iterator[str]:
    if not wanted.expect_gpu and facts.gpu.nvidia_gpus and facts.host.has_own_kernel:
        yield f"The inventory says that this host has no GPU, but there is {facts.gpu.nvidia_gpus[0].name}."


_RULES: tuple[Rule, ...] = (_root, _clock, _python, _system, _gpu, _mounts, _space, _secure_boot)
_REMARKS: tuple[Remark, ...] = (
    _remark_secure_boot,
    _remark_bar1,
    _remark_link,
    _remark_driver,
    _remark_headers,
    _remark_inventory,
)


__all__ = ["Facts", "Need", "Verdict", "Wanted", "gigabytes", "judge"]
