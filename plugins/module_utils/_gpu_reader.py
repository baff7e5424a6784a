# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read what :mod:`_gpu_facts` understands: sysfs, /proc, modinfo, the linker's cache and dpkg. Changes nothing."""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.gpulab.workstation.plugins.module_utils import _gpu_facts as facts
from ansible_collections.gpulab.workstation.plugins.module_utils._host_facts import parse_users, status_field
from ansible_collections.gpulab.workstation.plugins.module_utils._reading import Reading

_PCI = "/sys/bus/pci/devices"
_DRIVER = "/proc/driver/nvidia"


def read_gpu(reading: Reading, kernels: t.Sequence[str]) -> facts.GpuFacts:
    """Read everything about GPUs and drivers; ``kernels`` are the releases to look for a module for."""
    return facts.GpuFacts(
        devices=_devices(reading),
        driver_loaded=_loaded(reading),
        driver_on_disk=_on_disk(reading, kernels),
        libraries=_libraries(reading),
        conflicting=_conflicting(reading),
        packages=_packages(reading),
        processes=read_holders(reading),
        dependents=_dependents(reading),
    )


def _devices(reading: Reading) -> tuple[facts.DisplayDevice, ...]:
    if not reading.host.exists(_PCI):
        reading.note("PCI devices", f"there is no {_PCI}")
    found = []
    for address in reading.names(_PCI, "PCI devices"):
        code = facts.parse_pci_id(reading.text(f"{_PCI}/{address}/class") or "")[:4]
        if code.startswith("03"):
            found.append(_device(reading, address, code))
    return tuple(found)


def _device(reading: Reading, address: str, code: str) -> facts.DisplayDevice:
    directory = f"{_PCI}/{address}"

    def field(name: str) -> str | None:
        return reading.text(f"{directory}/{name}", f"{name} of {address}")

    vendor = facts.parse_pci_id(field("vendor") or "")
    bridge = facts.PciLink(
        facts.parse_link_speed(field("current_link_speed")),
        facts.parse_link_speed(field("max_link_speed")),
        facts.parse_link_width(field("current_link_width")),
        facts.parse_link_width(field("max_link_width")),
    )
    subsystem = (field("subsystem_vendor"), field("subsystem_device"))
    device = facts.DisplayDevice(
        address=address,
        class_code=code,
        vendor=vendor,
        device=facts.parse_pci_id(field("device") or ""),
        subsystem=":".join(facts.parse_pci_id(part or "") for part in subsystem) if all(subsystem) else None,
        driver=(reading.host.readlink(f"{directory}/driver") or "").rsplit("/", 1)[-1] or None,
        bar1_bytes=facts.parse_bar1_bytes(field("resource") or ""),
        link=bridge if any(dataclasses.astuple(bridge)) else None,
    )
    if device.is_nvidia_gpu:
        if device.bar1_bytes is None:
            reading.note(f"BAR1 of {address}", f"{directory}/resource shows no second memory region")
        if device.link is None:
            reading.note(f"PCIe link of {address}", f"{directory} has no link files")
    about = facts.parse_gpu_information(reading.text(f"{_DRIVER}/gpus/{address}/information") or "")
    return dataclasses.replace(
        device, model=about.get("Model"), uuid=about.get("GPU UUID"), firmware=about.get("GPU Firmware")
    )


def _loaded(reading: Reading) -> facts.DriverModule | None:
    version = (reading.text("/sys/module/nvidia/version") or "").strip()
    named = facts.parse_nvrm_version(reading.text(f"{_DRIVER}/version") or "")
    if named or not reading.host.exists("/sys/module/nvidia"):
        return named
    reading.note("flavour of the loaded driver", f"there is no usable {_DRIVER}/version")
    return facts.DriverModule(version or "unknown", "unknown")


def _on_disk(reading: Reading, kernels: t.Sequence[str]) -> tuple[facts.DriverModule, ...]:
    modules = []
    for kernel in kernels:
        done = reading.ask(["modinfo", "-k", kernel, "nvidia"], facts.modinfo_read(kernel))
        module = facts.parse_modinfo(done.stdout, kernel) if done.ok else None
        if module:
            modules.append(module)
        elif done.answered and (done.ok or "not found" not in done.stderr or done.rc == 127):  # noqa: PLR2004 - no modinfo at all
            reading.note(
                f"driver on disk for {kernel}", f"modinfo: {done.stderr.strip() or 'no version in its answer'}"
            )
    return tuple(modules)


def _libraries(reading: Reading) -> tuple[facts.Library, ...]:
    cache = reading.output(["ldconfig", "-p"], facts.LINKER_READ)
    paths = facts.parse_ldconfig(cache or "")
    found = []
    for soname in facts.LIBRARIES:
        path = paths.get(soname)
        if path and reading.host.exists(path):
            real = reading.host.realpath(path)
            found.append(facts.Library(soname, real, facts.library_version(real)))
        elif path:
            reading.note(soname, f"the linker's cache names {path}, which is not there (ldconfig has not been run)")
    return tuple(found)


def _conflicting(reading: Reading) -> tuple[facts.ConflictingModule, ...]:
    found = []
    for name in facts.CONFLICTING_MODULES:
        driver = f"/sys/bus/pci/drivers/{name}"
        cards = tuple(entry for entry in reading.names(driver) if entry.count(":") == 2)  # noqa: PLR2004 - an address
        if reading.host.exists(f"/sys/module/{name}") or cards:
            found.append(facts.ConflictingModule(name, cards))
    return tuple(found)


def _dependents(reading: Reading) -> tuple[str, ...]:
    """Return the modules that keep a module of the driver loaded; in sysfs they are its holders."""
    loaded = [name for name in reading.names("/sys/module") if name == "nvidia" or name.startswith("nvidia_")]
    return tuple(sorted({name for module in loaded for name in reading.names(f"/sys/module/{module}/holders")}))


def _packages(reading: Reading) -> tuple[facts.Package, ...]:
    columns = "${binary:Package}\\t${Version}\\t${db:Status-Abbrev}\\n"
    command = ["dpkg-query", "-W", f"-f={columns}", *facts.DRIVER_PACKAGES]
    # Status 1 only says that one of the patterns matches nothing.
    return facts.parse_driver_packages(reading.output(command, facts.DRIVER_PACKAGES_READ, good=(0, 1)) or "")


def read_holders(reading: Reading) -> tuple[facts.Holder, ...]:
    """Return the processes that have an NVIDIA device open."""
    if not any(name.startswith("nvidia") for name in reading.names("/dev")):
        return ()
    users = parse_users(reading.text("/etc/passwd") or "")
    found, hidden = [], 0
    for pid in (name for name in reading.names("/proc") if name.isdigit()):
        devices = _open_devices(reading, pid)
        if devices is None:
            hidden += 1
        elif devices:
            found.append(_holder(reading, pid, devices, users))
    if hidden:
        reading.note("GPU processes", f"the open files of {hidden} processes may not be read by this user")
    return tuple(found)


def _open_devices(reading: Reading, pid: str) -> tuple[str, ...] | None:
    directory = f"/proc/{pid}/fd"
    try:
        numbers = reading.host.listdir(directory)
    except PermissionError:
        return None
    except OSError:  # it has ended meanwhile
        return ()
    targets = {reading.host.readlink(f"{directory}/{number}") or "" for number in numbers}
    return tuple(sorted(filter(facts.is_nvidia_device, targets)))


def _holder(reading: Reading, pid: str, devices: tuple[str, ...], users: t.Mapping[int, str]) -> facts.Holder:
    command = (reading.text(f"/proc/{pid}/comm") or "").strip() or "unknown"
    uid = status_field(reading.text(f"/proc/{pid}/status") or "", "Uid").split("\t")[0]
    user = users.get(int(uid), uid) if uid.isdigit() else "unknown"
    return facts.Holder(int(pid), command, user, facts.holder_kind(command), devices)


__all__ = ["read_gpu", "read_holders"]
