# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the driver's state from a host. Changes nothing."""

from __future__ import annotations

import dataclasses
import re
import typing as t

from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_files as files
from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_findings as findings
from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_journal as journals
from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_state as states
from ansible_collections.gpulab.workstation.plugins.module_utils._apt import removed_beside
from ansible_collections.gpulab.workstation.plugins.module_utils._container_devices import (
    DIRECTORIES,
    KIND,
    SERVICE,
    TOOL,
    ContainerDevices,
    Specification,
    parse_specification,
)
from ansible_collections.gpulab.workstation.plugins.module_utils._daemon_account import account_parts
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_dkms import read_dkms
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_leftovers import (
    INSTALLER_FILES,
    LIBRARIES,
    empty_directories,
    leftovers,
    stray_sources,
)
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_refusals import BOOT, SYSTEM_PLACES
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_wanted import Wanted
from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._fetch import cached_path
from ansible_collections.gpulab.workstation.plugins.module_utils._gpu_facts import GpuFacts, modinfo_read
from ansible_collections.gpulab.workstation.plugins.module_utils._gpu_reader import read_gpu
from ansible_collections.gpulab.workstation.plugins.module_utils._host import Host
from ansible_collections.gpulab.workstation.plugins.module_utils._host_facts import (
    HostFacts,
    Unreadable,
    parse_mokutil_test_key,
)
from ansible_collections.gpulab.workstation.plugins.module_utils._host_reader import read_host
from ansible_collections.gpulab.workstation.plugins.module_utils._reading import Reading
from ansible_collections.gpulab.workstation.plugins.module_utils._restart import parse_boot_identity

RECORD = "/var/lib/nvidia/log"
ALTERNATE = "/usr/lib/nvidia/alternate-install-present"
INSTALLER_COMMS = ("nvidia-installer"[:15], "nvidia-uninstall"[:15])  # as /proc/PID/comm cuts names, proc(5)
_SANITY_LIMIT_S = 300.0
_HEAD_BYTES = 256
_T = t.TypeVar("_T")
_DRIVER_FILE = re.compile(r"NVIDIA-Linux-[\w.-]+\.run(\.part)?")


def read_driver(host: Host, wanted: Wanted) -> states.DriverState:
    """Read everything; the costly comparison of every installed file comes last and only where all else is well."""
    reading = Reading(host)
    about_host = read_host(reading, [*SYSTEM_PLACES, BOOT, *wanted.work_directories])
    kernels = _installed_kernels(reading, about_host)
    about_gpu = read_gpu(reading, kernels)
    dkms = read_dkms(reading)
    state = states.DriverState(
        host=about_host,
        gpu=about_gpu,
        kernels=tuple(_kernel(reading, about_host, about_gpu, release) for release in kernels),
        dkms=dkms,
        record=read_record(host),
        marker=states.parse_marker(reading.text(files.MARKER)),
        programs=tuple(name for name in findings.PROGRAMS if _is_program(reading, f"/usr/bin/{name}")),
        firmware=_firmware(reading),
        strays=_strays(reading, {wanted.version, *(entry.version for entry in dkms)}),
        **_packages(reading),
        collateral=_collateral(reading, about_gpu),
        alternate_mark=host.exists(ALTERNATE),
        files={path: reading.text(path) for path in (files.MODPROBE, files.PIN, files.UNATTENDED, files.UNIT)},
        settings_time=_time(reading, files.MODPROBE),
        installers=_installers(reading),
        signing=_signing(host, wanted),
        **_service(reading),
        **_account(host, wanted),
        containers=read_container_devices(host),
    )
    state = dataclasses.replace(state, unreadable=tuple(reading.unreadable))
    if wanted.present and state.record is not None and state.record.version is not None:
        return state if findings.install_reasons(state, wanted, proven=False) else with_sanity(host, state)
    written = tuple(path for path in INSTALLER_FILES if host.exists(path))
    parts = _asking_owners(reading, leftovers)
    return dataclasses.replace(
        state, leftovers=parts, installer_files=written, unreadable=tuple(reading.unreadable)
    )  # fmt: skip


def read_record(host: Host) -> states.Record | None:
    """Read nvidia-installer's record of what it installed."""
    head = host.read_bytes(RECORD, _HEAD_BYTES)
    return None if head is None else states.parse_record(head, host.sha256(RECORD) or "")


def read_container_devices(host: Host) -> ContainerDevices:
    """Read the specifications for the cards; where there is none, nobody is asked who could write it."""
    for directory in DIRECTORIES:
        paths = [f"{directory}/{name}" for name in host.listdir(directory) if name.endswith((".yaml", ".json"))]
        found = tuple(spec for path in sorted(paths) if (spec := _specification(host, path)))
        if found:
            service = (
                host.exists("/run/systemd/system") and host.run(["systemctl", "is-enabled", SERVICE], timeout_s=120).ok
            )
            return ContainerDevices(found, service, host.which(TOOL) is not None)
    return ContainerDevices()


def _specification(host: Host, path: str) -> Specification | None:
    kind, named = parse_specification(host.read_text(path) or "")
    if kind != KIND:
        return None
    drivers = sorted({version for _, version in states.driver_libraries(name.rsplit("/", 1)[-1] for name in named)})
    missing = tuple(name for name in named if not name.startswith("/dev/") and not host.exists(name))
    return Specification(path, tuple(drivers), missing)


def with_sanity(host: Host, state: states.DriverState) -> states.DriverState:
    """Add what the installed nvidia-installer finds wrong with its files; empty where they are as it left them.

    A log of its own keeps it from truncating the installation's. Where its time is over, nothing is known.
    """
    command = ["/usr/bin/nvidia-installer", "--sanity", "--silent", "--log-file-name=/dev/null"]
    done = host.run(command, timeout_s=_SANITY_LIMIT_S)
    if done.timed_out:
        note = Unreadable(states.SANITY_READ, f"no answer within {_SANITY_LIMIT_S:.0f} s")
        return dataclasses.replace(state, unreadable=(*state.unreadable, note))
    errors = [line.removeprefix("ERROR: ") for line in done.stderr.splitlines() if line.startswith("ERROR:")]
    return dataclasses.replace(state, sanity="" if done.ok else " ".join(errors) or f"it ended with {done.rc}")


def _strays(reading: Reading, known: t.Container[str]) -> tuple[tuple[str, str], ...]:
    """Return every library that carries a driver version in its name, and sources of versions that nobody knows."""
    libraries = states.driver_libraries(reading.names(LIBRARIES))
    found = [(f"{LIBRARIES}/{name}", version) for name, version in libraries]
    return (*found, *_asking_owners(reading, lambda host: stray_sources(host, known)))


def _asking_owners(reading: Reading, ask: t.Callable[[Host], t.Sequence[_T]]) -> tuple[_T, ...]:
    try:
        return tuple(ask(reading.host))
    except OperatorError as error:
        reading.note(states.OWNERS_READ, error.found.removeprefix("'dpkg-query --search' "))
        return ()


def _collateral(reading: Reading, gpu: GpuFacts) -> tuple[str, ...]:
    try:
        return removed_beside(reading.host, [package.name for package in gpu.packages])
    except OperatorError as error:
        reading.note(states.COLLATERAL_READ, error.found.removeprefix("'apt-get --simulate purge' "))
        return ()


def _installed_kernels(reading: Reading, host: HostFacts) -> list[str]:
    """Return the kernels that can boot or run and have modules; a failed run leaves directories that look like more."""
    return [
        kernel.release
        for kernel in host.kernels
        if (kernel.image or kernel.release == host.running_kernel)
        and reading.host.exists(f"/lib/modules/{kernel.release}/kernel")
    ]


def _kernel(reading: Reading, host: HostFacts, gpu: GpuFacts, release: str) -> states.KernelState:
    known = next(kernel for kernel in host.kernels if kernel.release == release)
    module = next((module for module in gpu.driver_on_disk if module.kernel == release), None)
    done = reading.ask(["modinfo", "-k", release, "-F", "vermagic", *states.MODULES], modinfo_read(release))
    nothing = module is None and all("not found" in line for line in done.stderr.splitlines())
    return states.KernelState(
        release=release,
        headers=known.headers,
        compiler=known.compiler,
        module=module,
        module_time=_time(reading, module.path if module else ""),
        incomplete="" if nothing else states.parse_vermagic(done.stdout, done.stderr, release),
        initramfs=read_initramfs(reading, release),
    )


def _time(reading: Reading, path: str) -> float:
    found = reading.host.status(path) if path else None
    return found.mtime if found else 0.0


def read_initramfs(reading: Reading, release: str) -> states.Initramfs | None:
    """List the initramfs of a kernel; None where there is none or no program that lists it, which is noted."""
    path = f"/boot/initrd.img-{release}"
    found = reading.host.status(path)
    if found is None or found.size == 0:
        return None
    listing = reading.output(["lsinitramfs", path], f"initramfs of {release}")
    if listing is not None:
        return states.parse_initramfs(listing, path, found.mtime, files.SETTINGS, found.size)
    known = reading.host.which("lsinitramfs") is not None
    if not known:
        return None
    return states.Initramfs(path, found.mtime, (), has_our_settings=False, listed=False, size=found.size)


def _is_program(reading: Reading, path: str) -> bool:
    found = reading.host.status(path)
    return found is not None and found.kind == "file" and found.size > 0 and bool(found.mode & 0o100)


def _firmware(reading: Reading) -> tuple[str, ...]:
    root = "/lib/firmware/nvidia"
    versions = [name for name in reading.names(root) if re.fullmatch(r"\d{3}\.\d+(\.\d+)?", name)]
    return tuple(v for v in versions if any(n.startswith("gsp_") for n in reading.names(f"{root}/{v}")))


def _packages(reading: Reading) -> dict[str, t.Any]:
    columns = "${Package}\\t${db:Status-Abbrev}\\n"
    listed = reading.output(["dpkg-query", "-W", f"-f={columns}"], states.PACKAGES_READ) or ""
    return {
        "installed_packages": states.parse_installed_packages(listed),
        "unconfigured": states.parse_unconfigured_kernels(listed),
    }


def _service(reading: Reading) -> dict[str, t.Any]:
    host = reading.host
    answers: dict[str, t.Any] = {"account": bool(account_parts(host))}
    if host.exists("/run/systemd/system"):
        answers["unit_enabled"] = host.run(["systemctl", "is-enabled", files.UNIT_NAME], timeout_s=120).ok
    answers["services"] = running_services(host)
    return answers


def running_services(host: Host) -> tuple[str, ...]:
    """Tell which of the driver's own services run."""
    if not host.exists("/run/systemd/system"):
        return ()
    return tuple(name for name in files.SERVICES if host.run(["systemctl", "is-active", name], timeout_s=120).ok)


def _account(host: Host, wanted: Wanted) -> dict[str, t.Any]:
    """Read what this role has noted about the last change, and look for the files that a way back takes."""
    journal = journals.parse_journal(host.read_text(journals.JOURNAL))
    installed = journals.parse_installed(host.read_text(journals.INSTALLED))
    known = [journals.describe(wanted), installed, *([journal.origin] if journal else [])]
    kept = {str(driver["sha256"]) for driver in known if driver and _is_kept(host, driver, wanted)}
    cached = [
        f"{wanted.cache_directory}/{place}/{name}"
        for place in host.listdir(wanted.cache_directory)
        for name in host.listdir(f"{wanted.cache_directory}/{place}")
        if _DRIVER_FILE.fullmatch(name)
    ]
    own = [journals.DIRECTORY] if host.exists(journals.DIRECTORY) else []
    own += empty_directories(host, wanted.cache_directory)
    return {"journal": journal, "installed": installed, "kept": frozenset(kept), "cached": (*cached, *own),
            "boot": read_boot(host)}  # fmt: skip


def _is_kept(host: Host, driver: journals.Driver, wanted: Wanted) -> bool:
    artefact = journals.wanted_again(driver, wanted, journals.KEPT).artefact if driver.get("sha256") else None
    found = host.status(cached_path(artefact, journals.KEPT)) if artefact else None
    return found is not None and found.size > 0  # whether it is the right one is seen when it is used


def read_boot(host: Host) -> str:
    """Return what tells this boot from others; empty where /proc does not say."""
    boot_id = host.read_text("/proc/sys/kernel/random/boot_id") or ""
    return str(parse_boot_identity(boot_id, host.read_text("/proc/1/stat") or "") or "")


def _installers(reading: Reading) -> tuple[states.Process, ...]:
    found = []
    for pid in (name for name in reading.names("/proc") if name.isdigit()):
        try:
            comm = reading.host.read_text(f"/proc/{pid}/comm") or ""
        except OSError:  # it has ended meanwhile
            continue
        if comm.strip() in INSTALLER_COMMS:
            found.append(states.Process(int(pid), reading.host.readlink(f"/proc/{pid}/cwd") or "an unknown directory"))
    return tuple(found)


def _signing(host: Host, wanted: Wanted) -> tuple[bool | None, bool, bool]:
    if not wanted.signing_key:
        return None, False, False
    answer = host.run(["mokutil", "--test-key", wanted.signing_certificate], timeout_s=120)
    enrolled = parse_mokutil_test_key(answer.stdout + answer.stderr)
    return enrolled, host.exists(wanted.signing_key), host.exists(wanted.signing_certificate)


__all__ = [
    "ALTERNATE",
    "RECORD",
    "read_boot",
    "read_container_devices",
    "read_driver",
    "read_initramfs",
    "read_record",
    "running_services",
    "with_sanity",
]
