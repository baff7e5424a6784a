# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with a driver: never judged by one file's existence or by an exit status.

A layer that could not be read is not found wrong here: whoever plans from these findings refuses, whoever reports them
says that it is not known (:attr:`DriverState.unread`).
"""

from __future__ import annotations

import typing as t

from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_files as files
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_state import (
    DKMS_READ,
    LIBRARIES,
    MODULES,
    PACKAGES_READ,
    DriverState,
    Initramfs,
    KernelState,
    compiler_package,
    header_metapackages,
)
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_wanted import Wanted
from ansible_collections.gpulab.workstation.plugins.module_utils._gpu_facts import (
    GO_ALONG,
    LINKER_READ,
    modinfo_read,
)
from ansible_collections.gpulab.workstation.plugins.module_utils._in_the_way import Blocker

PROGRAMS = ("nvidia-smi", "nvidia-installer")  # the first to be used and the one that checks all others
_OWN_MODULES = (*(name.replace("-", "_") for name in MODULES), "nvidia_peermem")
_GOES_BY_ITSELF = ("nvidia-smi", *(name.partition(".")[0][:15] for name in files.SERVICES))  # as comm is cut
# The installer brings libglvnd where none is there; where a part is, it ends after the old driver has gone
# (check_libglvnd_files in its source, after run_existing_uninstaller).
_LIBGLVND = frozenset({"libegl1", "libgl1", "libgles2", "libglvnd0", "libglx0", "libopengl0"})
_TOOLS = ("dkms", "gcc", "kmod", "libc6-dev", "make", "tar")


def served_kernels(state: DriverState, wanted: Wanted) -> tuple[KernelState, ...]:
    """Return the installed kernels that must have a module: all but those the operator excepts."""
    return tuple(kernel for kernel in state.kernels if kernel.release not in wanted.ignored_kernels)


def install_reasons(state: DriverState, wanted: Wanted, *, proven: bool = True) -> tuple[str, ...]:
    """Say why the .run has to be run; with ``proven`` also when only our proof of the installation is missing."""
    record = state.record
    if record is None:
        return ("no driver from a .run is installed",)
    if record.version is None:
        return ("the record of the installation, /var/lib/nvidia/log, is damaged",)
    if record.version != wanted.version:
        return (f"driver {record.version} is installed",)
    reasons = [*_dkms_reasons(state, wanted), *_flavour_reasons(state, wanted), *_user_space_reasons(state, wanted)]
    if not reasons and state.sanity:
        reasons.append(f"nvidia-installer --sanity: {state.sanity}")
    if not reasons and proven:
        reasons += _marker_reasons(state, wanted)
    return tuple(reasons)


def _dkms_reasons(state: DriverState, wanted: Wanted) -> list[str]:
    entries = [entry for entry in state.dkms if entry.version == wanted.version]
    if not entries and DKMS_READ not in state.unread:
        return [f"DKMS does not know nvidia/{wanted.version}"]
    if any(entry.state == "broken" for entry in entries):
        return [f"DKMS has lost the source of nvidia/{wanted.version}"]
    outside = [k for k in state.kernels if k.module and k.module.path and "/updates/" not in k.module.path]
    return [f"the module of {kernel.release} lies outside DKMS ({kernel.module.path})" for kernel in outside
            if kernel.module and kernel.module.version == wanted.version]  # fmt: skip


def _flavour_reasons(state: DriverState, wanted: Wanted) -> list[str]:
    """Compare flavours, of which an installation has one: that of the source that DKMS builds from."""
    reasons = []
    for kernel in served_kernels(state, wanted):
        module = kernel.module
        if module is None or module.version != wanted.version:
            continue
        if module.flavour != wanted.flavour:
            reasons.append(f"the module of {kernel.release} is {module.flavour}, not {wanted.flavour}")
        elif signing_pair(state, wanted) and not module.signer and kernel is state.target:
            reasons.append(f"the module of {kernel.release} is not signed")
    return reasons


def _user_space_reasons(state: DriverState, wanted: Wanted) -> list[str]:
    found = {library.soname: library for library in state.gpu.libraries}
    reasons = []
    for soname in LIBRARIES if LINKER_READ not in state.unread else ():
        if soname not in found:
            reasons.append(f"the linker finds no {soname}")
        elif found[soname].version != wanted.version:
            reasons.append(f"{soname} is {found[soname].path}")
    reasons += [f"/usr/bin/{name} is missing or empty" for name in PROGRAMS if name not in state.programs]
    if wanted.version not in state.firmware:
        reasons.append(f"/lib/firmware/nvidia/{wanted.version} has no firmware")
    return reasons


def is_proven(state: DriverState) -> bool:
    """Whether this role has seen the recorded installation whole; a hand-made or interrupted one nobody has."""
    marker, record = state.marker, state.record
    return marker is not None and record is not None and marker.record_digest == record.digest


def _marker_reasons(state: DriverState, wanted: Wanted) -> list[str]:
    if not is_proven(state):
        return ["nothing proves that the installation was finished"]
    if state.marker and wanted.artefact and state.marker.run_sha256 != wanted.artefact.sha256:
        return [f"it was installed from another file (sha256 {state.marker.run_sha256[:12]}…)"]
    return []


def kernel_reasons(state: DriverState, wanted: Wanted) -> dict[str, str]:
    """Say for which kernels DKMS has to build and install the module, and why."""
    reasons = {}
    for kernel in served_kernels(state, wanted):
        if modinfo_read(kernel.release) in state.unread:
            continue
        entry = state.dkms_of(wanted.version, kernel.release)
        if kernel.module is None:
            reasons[kernel.release] = "it has no module" if not kernel.incomplete else kernel.incomplete
        elif kernel.module.version != wanted.version:
            reasons[kernel.release] = f"its module is {kernel.module.version}"
        elif kernel.incomplete:
            reasons[kernel.release] = kernel.incomplete
        elif DKMS_READ not in state.unread and (entry is None or not entry.sound):
            said = f"{entry.state} ({entry.remark})" if entry and entry.remark else entry.state if entry else "nothing"
            reasons[kernel.release] = f"DKMS says {said}"
        elif signature := signature_reason(kernel, state, wanted):
            reasons[kernel.release] = signature
    return reasons


def signature_reason(kernel: KernelState, state: DriverState, wanted: Wanted) -> str:
    """Say why DKMS has to build a module again and sign it; empty too where it is not DKMS's pair that signs here.

    Where DKMS finds no pair it makes one and signs with that, which no firmware knows.
    """
    pair, module, keys = signing_pair(state, wanted), kernel.module, state.host.secure_boot.keys
    known = [key for key in keys if pair == state.host.dkms_pair and key.path == pair[1]]
    if module is None or not known or any(key.enrolled and key.serial == module.key for key in keys if key.serial):
        return ""
    [key] = known
    if not module.signer:
        return "its module is not signed"
    if None in (module.key, key.serial) or module.key == key.serial:
        return ""
    return f"its module is signed by '{module.signer}', and not with the key of {key.path}"


def missing_packages(state: DriverState, wanted: Wanted) -> tuple[str, ...]:
    """Return the packages that an installation needs.

    Tools, each kernel's own compiler, its headers, the next one's too, and the rest of a libglvnd of which a part is
    there.
    """
    if PACKAGES_READ in state.unread:
        return ()
    needed = {*_TOOLS, *header_metapackages(state.installed_packages)}
    needed |= _LIBGLVND if _LIBGLVND & state.installed_packages else set()
    for kernel in served_kernels(state, wanted):
        compiler = compiler_package(kernel.compiler)
        needed |= {compiler} if compiler else set()
        needed |= {f"linux-headers-{kernel.release}"} if kernel.headers is None else set()
    return tuple(sorted(needed - state.installed_packages))


def foreign_collateral(state: DriverState) -> tuple[str, ...]:
    """Return the packages that would go together with the distribution's driver and are something without it."""
    return tuple(name for name in state.collateral if not GO_ALONG.fullmatch(name))


def signing_pair(state: DriverState, wanted: Wanted) -> tuple[str, str] | None:
    """Return key and certificate to sign with: those asked for, else where Secure Boot is on the pair DKMS signs with.

    nvidia-installer signs only when told to, even where DKMS has a key of its own.
    """
    if wanted.signing_key:
        return wanted.signing_key, wanted.signing_certificate
    if state.host.secure_boot.state == "on" and state.host.has_own_kernel:
        pair = state.host.dkms_pair
        if any(key.enrolled and key.path == pair[1] for key in state.host.secure_boot.keys):
            return pair
    return None


def stale_initramfs(state: DriverState, wanted: Wanted) -> dict[str, str]:
    """Say whose initramfs would load another driver than the one on disk; images without any are fine.

    Where no driver is wanted, it is one that still keeps nouveau from the card.
    """
    stale = {}
    for kernel in state.kernels:
        image = kernel.initramfs
        known = modinfo_read(kernel.release) not in state.unread
        if image and (reason := _stale(image, kernel, state, wanted, known=known)):
            stale[kernel.release] = reason
    return stale


def unlisted_initramfs(state: DriverState) -> tuple[str, ...]:
    """Return the kernels of whose initramfs nobody knows what it holds."""
    return tuple(kernel.release for kernel in state.kernels if kernel.initramfs and not kernel.initramfs.listed)


def _stale(image: Initramfs, kernel: KernelState, state: DriverState, wanted: Wanted, *, known: bool) -> str:
    nvidia = [name for name in image.modules if name.startswith("nvidia")]
    others = [name for name in image.modules if name.startswith(("nouveau", "nova"))]
    if not wanted.present and image.has_our_settings:
        return "it holds our modprobe settings"
    if wanted.present and others and not image.has_our_settings:
        return f"it holds {', '.join(others)} and not our modprobe settings"
    if nvidia and kernel.module is None and known:
        return "it holds an NVIDIA module and there is none on disk"
    if nvidia and kernel.module_time > image.modified:
        return "it holds an older NVIDIA module than the one on disk"
    if wanted.present and image.modules and state.settings_time > image.modified:
        return "it is older than our modprobe settings"
    return ""


def outdated_files(state: DriverState, wanted: Wanted) -> dict[str, str | None]:
    """Return the files of ours that are not as they should be, with what they should hold."""
    texts = files.managed_files(
        wanted.module_options,
        present=wanted.present,
        hold_packages=wanted.hold_packages,
        persistenced=wanted.persistenced and state.systemd,
    )
    return {path: text for path, text in texts.items() if state.files.get(path) != text}


def outdated_for_containers(state: DriverState, wanted: Wanted) -> dict[str, str]:
    """Say which CDI specification names files of another driver than the wanted one; a removal leaves them alone."""
    return state.containers.outdated(wanted.version) if wanted.present else {}


def reboot_reasons(state: DriverState, wanted: Wanted) -> tuple[str, ...]:
    """Say what only a restart can bring about; nothing in a container, which has no kernel to start."""
    if not state.host.has_own_kernel:
        return ()
    reasons, loaded = [], state.gpu.driver_loaded
    if loaded and not is_loaded(state, wanted.version, wanted.flavour):
        reasons.append(f"driver {loaded.version} ({loaded.flavour}) is loaded, {wanted.version} is installed")
    for other in state.gpu.conflicting:
        held = f" and holds {', '.join(other.bound_to)}" if other.bound_to else ""
        reasons.append(f"{other.name} is loaded{held}")
    target = state.target
    if target and not state.runs_target:
        reasons.append(f"kernel {state.host.running_kernel} runs but is not installed; {target.release} is")
    return tuple(reasons)


def is_loaded(state: DriverState, version: str, flavour: str) -> bool:
    """Whether this driver is the loaded one."""
    loaded = state.gpu.driver_loaded
    return loaded is not None and (loaded.version, loaded.flavour) == (version, flavour)


def can_load_now(state: DriverState, wanted: Wanted) -> bool:
    """Whether the module can be loaded without a restart: own kernel, a card, and no other driver on it."""
    return state.runs_target and finds_its_card(state, wanted) and not state.gpu.conflicting


def finds_its_card(state: DriverState, wanted: Wanted) -> bool:
    """Whether the modules would find what they drive; those of the lab's stand-in load without a card."""
    return bool(state.gpu.nvidia_gpus) or wanted.standin


def must_unload(state: DriverState) -> bool:
    """Whether another build of the module is loaded, which has to go before a new one can be tried."""
    return state.gpu.driver_loaded is not None and state.runs_target


def users_in_the_way(state: DriverState) -> tuple[Blocker, ...]:
    """Name the people, programs and other modules that would notice that the loaded module goes, or would keep it.

    The driver's own services are stopped for it and nvidia-smi ends by itself; a monitor does neither.
    """
    kinds = {"job": "gpu_process", "service": "gpu_process", "display": "desktop"}
    others = [holder for holder in state.gpu.processes if holder.command not in _GOES_BY_ITSELF]
    found = [(kinds[h.kind], f"{h.command} (pid {h.pid}, {h.user})") for h in others if h.kind in kinds]
    foreign = [name for name in state.gpu.dependents if name not in _OWN_MODULES]
    found += [("host", f"the kernel module {name}, which uses it") for name in foreign]
    if state.host.desktop_running:
        found.append(("desktop", f"the desktop ({state.host.display_manager or 'X or Wayland'})"))
    found += [("user", f"{session.user} ({session.what})") for session in state.host.sessions if not session.own]
    return tuple(Blocker(kind, words, yields_to_force=True) for kind, words in found)


def describe(state: DriverState, paths: t.Iterable[str] = ()) -> dict[str, t.Any]:
    """Return the state in the form that reports and diffs show."""
    loaded = state.gpu.driver_loaded
    return {
        "installed": state.record.version if state.record else None,
        "loaded": f"{loaded.version} {loaded.flavour}" if loaded else None,
        "kernels": {
            kernel.release: f"{kernel.module.version} {kernel.module.flavour}" if kernel.module else None
            for kernel in state.kernels
        },
        "libraries": {library.soname: library.version for library in state.gpu.libraries},
        "distro_packages": [package.name for package in state.gpu.packages],
        "files": {path: (state.files.get(path) or "").splitlines() or None for path in paths},
    }


__all__ = [
    "PROGRAMS",
    "can_load_now",
    "describe",
    "finds_its_card",
    "foreign_collateral",
    "install_reasons",
    "is_loaded",
    "is_proven",
    "kernel_reasons",
    "missing_packages",
    "must_unload",
    "outdated_files",
    "outdated_for_containers",
    "reboot_reasons",
    "served_kernels",
    "signing_pair",
    "stale_initramfs",
    "unlisted_initramfs",
    "users_in_the_way",
]
