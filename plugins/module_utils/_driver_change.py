# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From what a host's driver is to the steps that bring the wanted one about; pure."""

from __future__ import annotations

import typing as t

from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_files as files
from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_findings as findings
from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_refusals as refusals
from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_transaction as transaction
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_state import DriverState, Initramfs
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_wanted import Wanted
from ansible_collections.gpulab.workstation.plugins.module_utils._plan import Step

WORK = "gpulab-driver"  # the directory of ours below the work directory that was chosen
PREPARING = ("fetch", "packages", "extract", "try_build")  # steps that leave the present driver as it is


def plan_change(state: DriverState, wanted: Wanted, *, back: bool = False) -> list[Step]:
    """Return the steps that bring the driver about, without the account of them.

    On the way back no package is installed, so it does not matter which ones are, and nobody is asked to leave first:
    who holds the card has decided already whether the driver is installed beside the loaded module.
    """
    reasons = findings.install_reasons(state, wanted)
    kernels = findings.kernel_reasons(state, wanted)
    install = bool(reasons)
    touched = install or bool(kernels) or files.MODPROBE in findings.outdated_files(state, wanted)
    refused = refusals.unread_refusals(state, wanted, packages=not back)
    if install or kernels:
        refused += refusals.build_refusals(state, wanted)
    if install:
        refused += [*refusals.install_refusals(state, wanted), *transaction.held_back(state, wanted)]
    if install and not back:
        refused += refusals.running_refusals(state, wanted)
    if not back and not transaction.is_open(state):  # else the old driver has been touched already
        refused += refusals.initramfs_refusals(state, _rewritten(state, wanted, touched=touched))
    refusals.refuse(refused)
    steps = fetch_step(wanted) if install else []
    steps += [] if back else _packages(state, wanted)
    steps += _extract(state, wanted) if install else []
    steps += file_steps(state, wanted)
    if install:
        steps += _install(state, wanted, reasons)
    else:
        again = {k.release for k in state.kernels if findings.signature_reason(k, state, wanted)}
        steps += [_build(kernel, reason, again=kernel in again) for kernel, reason in kernels.items()]
    steps += [] if install else _clean_up(state, wanted)
    steps += initramfs_steps(state, wanted, touched=touched)
    if install:
        served = [kernel.release for kernel in findings.served_kernels(state, wanted)]
        steps.append(Step("prove", f"Prove that {wanted.title} is whole, and note it", {"kernels": served}))
    to_load = install or state.gpu.driver_loaded is None or transaction.awaits_proof(state, wanted)
    load = to_load and findings.can_load_now(state, wanted) and not wanted.allow_running
    if load:
        steps.append(Step("load", "Load the kernel module"))
    return [*steps, *_services(state, wanted, install=install, load=load)]


def fetch_step(wanted: Wanted) -> list[Step]:
    name = wanted.artefact.file if wanted.artefact else "the .run"
    return [Step("fetch", f"Fetch {name} and check its sha256")]


def _packages(state: DriverState, wanted: Wanted) -> list[Step]:
    missing = findings.missing_packages(state, wanted)
    return [Step("packages", f"Install packages: {', '.join(missing)}", {"names": list(missing)})] if missing else []


def _extract(state: DriverState, wanted: Wanted) -> list[Step]:
    """Unpack, and where a driver could be lost, first build the modules elsewhere."""
    place = refusals.work_place(state, wanted)
    directory = f"{place.path if place else wanted.work_directories[0]}/{WORK}"
    steps = [Step("extract", f"Unpack the driver in {directory}", {"directory": directory})]
    kernels = _to_try(state, wanted)
    if kernels:
        title = f"Try to build the modules for {', '.join(kernels)}; the present driver stays until that works"
        steps.append(Step("try_build", title, {"directory": directory, "kernels": kernels}))
    return steps


def _to_try(state: DriverState, wanted: Wanted) -> list[str]:
    """Return the kernels to build for in a scratch place: all of them, where a driver could be lost.

    nvidia-installer builds for one kernel before it removes what is there, but after it has unloaded the old module.
    Debian's own modules have other names (nvidia-current), by which modinfo does not find them.
    """
    there = bool(state.gpu.packages) or any(kernel.module for kernel in state.kernels)
    return [kernel.release for kernel in findings.served_kernels(state, wanted)] if there else []


def _stale_dkms(state: DriverState, wanted: Wanted) -> str:
    """Say why DKMS has to forget the wanted version first: an entry of another installation than the recorded one.

    nvidia-installer removes its own, unless DKMS has lost its source; any other makes `dkms ldtarball` fail, which it
    takes for success: status 0, no module.
    """
    known = [entry for entry in state.dkms if entry.version == wanted.version]
    if known and (state.record is None or state.record.version != wanted.version):
        return "left there by another installation"
    return "whose source is gone" if any(entry.state == "broken" for entry in known) else ""


def _clear_first(state: DriverState, wanted: Wanted) -> bool:
    """Whether what is there has to go before the installation, not by it.

    nvidia-installer removes what it has a record of and has not been altered since. Anything else it keeps, to put it
    back at the next uninstallation: the parts of a lost record, of a run that was killed, and damaged ones. The modules
    of a DKMS entry whose source is gone nobody removes.
    """
    if state.record is None:
        return bool(state.leftovers)
    if any(entry.state == "broken" for entry in state.dkms):
        return True
    return state.record.version == wanted.version or not findings.is_proven(state)


def file_steps(state: DriverState, wanted: Wanted) -> list[Step]:
    return [
        Step("file", f"{'Write' if text is not None else 'Remove'} {path}", {"path": path, "text": text})
        for path, text in findings.outdated_files(state, wanted).items()
    ]


def _install(state: DriverState, wanted: Wanted, reasons: t.Sequence[str]) -> list[Step]:
    target = state.target
    kernel = target.release if target else ""
    steps = []
    if state.gpu.packages:
        names = [*(package.name for package in state.gpu.packages), *state.collateral]
        steps.append(Step("purge", f"Purge the distribution's driver: {', '.join(names)}", {"names": names}))
    if stale := _stale_dkms(state, wanted):
        title = f"Remove nvidia/{wanted.version} from DKMS, {stale}"
        steps.append(Step("forget", title, {"version": wanted.version}))
    if _clear_first(state, wanted):
        busy = wanted.allow_running or not state.runs_target
        steps += [uninstall_step(state, busy=busy, services=_to_stop(state, wanted))] if state.record else []
        steps.append(Step("sweep", "Remove the parts of a driver that nothing has a record of"))
    place = refusals.work_place(state, wanted)
    params = {
        "directory": f"{place.path if place else wanted.work_directories[0]}/{WORK}",
        "arguments": installer_arguments(state, wanted),
        "kernel": kernel,
        "services": _to_stop(state, wanted),
    }
    steps.append(Step("install", f"Install {wanted.title} for {kernel}: {'; '.join(reasons)}", params))
    others = [k.release for k in findings.served_kernels(state, wanted) if k.release != kernel]
    steps += [_build(other, "the .run only serves one kernel") for other in others]
    return [*steps, Step("tidy", "Remove what other driver versions have left in DKMS and among the libraries")]


def installer_arguments(state: DriverState, wanted: Wanted) -> list[str]:
    """Return nvidia-installer's options; it has to be started in its own directory, or -M is refused."""
    target = state.target
    arguments = ["--silent", "-M", wanted.flavour, "--dkms", "--no-x-check", "--disable-nouveau"]
    arguments += ["--no-rebuild-initramfs"]  # it would do so before it copies the new files; there is a step for it
    if not wanted.compat32:
        arguments.append("--no-install-compat32-libs")
    pair = findings.signing_pair(state, wanted)
    if pair:
        arguments += [f"--module-signing-secret-key={pair[0]}", f"--module-signing-public-key={pair[1]}"]
    if target and target.release != state.host.running_kernel:
        arguments.append(f"--kernel-name={target.release}")
    beside = _beside(state, wanted)
    if beside:
        arguments.append("--allow-installation-with-running-driver")
    if beside or not state.runs_target:
        arguments.append("--skip-module-load")
    return arguments


def _beside(state: DriverState, wanted: Wanted) -> bool:
    """Whether the driver is installed beside a loaded module, which stays until the restart."""
    loaded = state.gpu.driver_loaded is not None
    return bool(state.gpu.conflicting) or (loaded and (wanted.allow_running or not state.runs_target))


def _to_stop(state: DriverState, wanted: Wanted) -> list[str]:
    """Return the driver's own services that hold the module which has to go; no others, and no display manager."""
    return list(state.services) if findings.must_unload(state) and not _beside(state, wanted) else []


def uninstall_step(state: DriverState, *, busy: bool, services: t.Sequence[str]) -> Step:
    told = (state.record.version if state.record else None) or "with a damaged record"
    return Step("uninstall", f"Uninstall driver {told}", {"busy": busy, "services": list(services)})


def _build(kernel: str, reason: str, *, again: bool = False) -> Step:
    params = {"kernel": kernel, **({"again": True} if again else {})}
    return Step("build", f"Build and install the module for {kernel} with DKMS: {reason}", params)


def _clean_up(state: DriverState, wanted: Wanted) -> list[Step]:
    """Remove other versions, which DKMS would rebuild for each new kernel and ldconfig could prefer."""
    steps = []
    others = sorted({entry.version for entry in state.dkms if entry.version != wanted.version})
    steps += [Step("forget", f"Remove nvidia/{old} from DKMS", {"version": old}) for old in others]
    strays = [path for path, version in state.strays if version != wanted.version]
    if strays:
        versions = sorted({version for path, version in state.strays if path in strays})
        title = f"Remove {len(strays)} files that driver {', '.join(versions)} left behind"
        steps.append(Step("strays", title, {"paths": strays}))
    return steps


def _services(state: DriverState, wanted: Wanted, *, install: bool, load: bool) -> list[Step]:
    """Enable the daemon, and have it run where the wanted module is loaded; last, because it needs that module."""
    if not (wanted.persistenced and state.systemd):
        return []
    start = bool(state.gpu.nvidia_gpus) and (load or _serves(state, wanted))
    stopped = install and files.UNIT_NAME in _to_stop(state, wanted)
    runs = (state.unit_active and not stopped) or not start
    if state.account and state.unit_enabled and runs and files.UNIT not in findings.outdated_files(state, wanted):
        return []
    return [Step("service", f"Enable {files.UNIT_NAME} under its own account", {"start": start})]


def _serves(state: DriverState, wanted: Wanted) -> bool:
    """Whether the wanted module is loaded for a card: another version's daemon cannot talk to it."""
    return findings.can_load_now(state, wanted) and findings.is_loaded(state, wanted.version, wanted.flavour)


def container_steps(state: DriverState, wanted: Wanted, *, load: bool) -> list[Step]:
    """Have the specification for containers written again, which takes the wanted module to be loaded."""
    outdated, writer = findings.outdated_for_containers(state, wanted), state.containers.writer
    if not outdated or not writer or not (load or _serves(state, wanted)):
        return []
    path, why = next(iter(outdated.items()))
    title = f"Have {writer} write the specification for containers again: {path}: {why}"
    return [Step("containers", title, {"path": path, "service": state.containers.service})]


def initramfs_steps(state: DriverState, wanted: Wanted, *, touched: bool) -> list[Step]:
    stale = findings.stale_initramfs(state, wanted)
    if stale:
        told = "; ".join(f"{kernel}: {reason}" for kernel, reason in stale.items())
        return [Step("initramfs", f"Update the initramfs: {told}")]
    title = "Update the initramfs where it holds graphics drivers, or where nobody can list it"
    return [Step("initramfs", title)] if _rewritten(state, wanted, touched=touched) else []


def _rewritten(state: DriverState, wanted: Wanted, *, touched: bool) -> list[Initramfs]:
    """Return the images that a change would have written anew."""
    stale = findings.stale_initramfs(state, wanted)
    images = [(kernel.release in stale, kernel.initramfs) for kernel in state.kernels if kernel.initramfs]
    return [image for is_stale, image in images if is_stale or (touched and (image.modules or not image.listed))]


def configure_step(state: DriverState, wanted: Wanted) -> list[Step]:
    """Let dpkg finish kernels that waited for modules: only then they have an initramfs and GRUB knows them.

    Where only an excepted kernel waits, nothing has been built for it, and dpkg would fail on it again.
    """
    served = tuple(kernel.release for kernel in findings.served_kernels(state, wanted))
    excepted = any(name.endswith(wanted.ignored_kernels) for name in state.unconfigured)
    if not state.unconfigured or (excepted and not any(name.endswith(served) for name in state.unconfigured)):
        return []
    return [Step("configure", f"Finish the installation of {', '.join(state.unconfigured)}")]


__all__ = [
    "PREPARING",
    "WORK",
    "configure_step",
    "container_steps",
    "fetch_step",
    "file_steps",
    "initramfs_steps",
    "installer_arguments",
    "plan_change",
    "uninstall_step",
]
