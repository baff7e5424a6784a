# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run NVIDIA's .run: unpack it, try the build, install, uninstall; every end is checked on the host itself."""

from __future__ import annotations

import contextlib
import dataclasses
import typing as t

from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_endings as endings
from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_files as files
from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_findings as findings
from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_steps as steps
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_leftovers import INSTALLER_FILES
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_reader import (
    INSTALLER_COMMS,
    RECORD,
    read_driver,
    read_record,
)
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_refusals import unread_refusals
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_state import MODULES, Marker
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_wanted import Wanted
from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._fetch import Progress, cached_path, fetch
from ansible_collections.gpulab.workstation.plugins.module_utils._host import Completed, Host

INSTALL_LOG = "/var/log/nvidia-installer.log"
UNINSTALL_LOG = "/var/log/nvidia-uninstall.log"
_ORPHAN_LIMIT_S = 900.0
# Installers before 570.207 and 580.105.08 do not load the last of them before they try nvidia-drm, which kernels from
# 6.13 on want (kernel.c, test_kernel_modules_helper).
_NEEDED_BY_DRM = ("drm_kms_helper", "drm_ttm_helper", "drm_client_lib")
_MORE_ROOM = "free space or name another directory in gpu_driver_work_directories, then run again."
_SYNCED = ("/usr", "/lib/modules", "/var/lib")
_TREES = {"open": "kernel-open", "proprietary": "kernel"}


def fetch_run(host: Host, wanted: Wanted, progress: Progress, log: str) -> None:
    """Bring the .run, trusted by its sha256, and let it check its own parts as well."""
    if wanted.artefact is None:
        return
    path = fetch(host, wanted.artefact, wanted.cache_directory, progress)
    done = host.run(["sh", path, "--check"], timeout_s=600, log=log)
    if not done.ok:
        raise OperatorError(
            found=f"'sh {path} --check' ended with {done.rc}: {endings.complaints(done.stdout)}.",
            expected="a .run whose parts are whole (its sha256 is that of the catalogue).",
            action="check the release in the catalogue: the recorded file itself is damaged.",
        )


def unpack(host: Host, wanted: Wanted, directory: str, log: str) -> None:
    """Unpack into a fresh directory that only root can enter, after the remains of a killed run are gone."""
    settle_orphans(host, directory)
    host.remove(directory)
    host.make_dirs(directory, mode=0o700)
    host.make_dirs(_scratch(directory), mode=0o700)
    if wanted.artefact is None:
        return
    path = cached_path(wanted.artefact, wanted.cache_directory)
    command = ["sh", path, "--extract-only", "--target", _package(directory)]
    done = host.run(command, cwd=directory, env={"TMPDIR": _scratch(directory)}, timeout_s=1800, log=log)
    if not done.ok or not host.exists(f"{_package(directory)}/nvidia-installer"):
        raise OperatorError(
            found=f"unpacking {path} ended with {done.rc}: {endings.complaints(done.stdout)}"
            f" ({_room(host, directory)}).",
            expected=f"nvidia-installer in {_package(directory)}.",
            action=_MORE_ROOM,
        )


def settle_orphans(host: Host, directory: str) -> None:
    """Wait for an installer that a killed run left behind, and end compilers that go on without one.

    nvidia-installer killed by SIGKILL leaves its make and gcc running. Only processes that work below our own
    directory are touched.
    """
    deadline = host.now() + _ORPHAN_LIMIT_S
    while _working_in(host, directory, installers=True) and host.now() < deadline:
        host.sleep(2.0)
    for pid in _working_in(host, directory, installers=False):
        host.run(["kill", "-KILL", pid], timeout_s=120)


def _working_in(host: Host, directory: str, *, installers: bool) -> list[str]:
    found = []
    for pid in (name for name in host.listdir("/proc") if name.isdigit()):
        place = host.readlink(f"/proc/{pid}/cwd") or ""
        if place == directory or place.startswith(f"{directory}/"):
            try:
                comm = (host.read_text(f"/proc/{pid}/comm") or "").strip()
            except OSError:
                continue
            if not installers or comm in INSTALLER_COMMS:
                found.append(pid)
    return found


def try_build(
    host: Host, wanted: Wanted, directory: str, kernels: t.Sequence[str], log: str, progress: Progress
) -> None:
    """Build the modules for kernels in a scratch place, as nvidia-installer does for one of them."""
    source = f"{_package(directory)}/{_TREES[wanted.flavour]}"
    jobs = (host.run(["nproc"], timeout_s=120).stdout.strip() or "2") if kernels else ""
    for kernel in kernels:
        progress(kernel)
        scratch = f"{directory}/try-{kernel}"
        host.remove(scratch)
        copied = host.run(["cp", "-a", source, scratch], timeout_s=600, log=log)
        command = ["make", "-k", f"-j{jobs}", "NV_EXCLUDE_KERNEL_MODULES="]
        command += [f"SYSSRC=/lib/modules/{kernel}/source", f"SYSOUT=/lib/modules/{kernel}/build"]
        if not host.exists(f"/lib/modules/{kernel}/source"):
            command[-2] = f"SYSSRC=/lib/modules/{kernel}/build"
        done = host.run(command, cwd=scratch, timeout_s=steps.BUILD_LIMIT_S, log=log)
        missing = [name for name in MODULES if not host.exists(f"{scratch}/{name}.ko")]
        if missing:
            full = "No space left on device" in copied.stdout + done.stdout
            why = f"the disk is full ({_room(host, directory)})" if full else steps.compiler_errors(done.stdout)
            other = "choose a newer driver, remove that kernel, or except it in gpu_driver_ignored_kernels."
            raise OperatorError(
                found=f"{', '.join(missing)} of driver {wanted.version} cannot be built for {kernel}: {why}.",
                expected="modules for every installed kernel before the present driver is touched.",
                action=f"{_MORE_ROOM if full else f'read {log}; {other}'} The present driver is as it was.",
            )
        host.remove(scratch)


def install(host: Host, wanted: Wanted, params: t.Mapping[str, t.Any], log: str) -> None:
    """Run nvidia-installer and see what it has really done; a stale DKMS entry costs a second run."""
    _stop(host, params["services"], log)
    record = read_record(host)
    if record and record.version is None:
        host.remove(RECORD)  # it could not be uninstalled by, and stops the installer's own uninstallation
    try:
        text = _run_installer(host, wanted, params, log)
        if _modules_missing(host, wanted, params["kernel"]):
            ending = endings.recognise(0, text)
            if ending and ending.name == endings.DKMS_ALREADY_ADDED:
                steps.forget(host, wanted.version, log)
                text = _run_installer(host, wanted, params, log)
            _refuse_missing(host, wanted, params["kernel"], text)
        host.run(["ldconfig"], timeout_s=120, log=log)
        host.run(["depmod", params["kernel"]], timeout_s=600, log=log)
    except OperatorError:
        with contextlib.suppress(OSError):  # a full disk, of which the installer's words are told
            _give_back_the_screen(host)
        raise


def _run_installer(host: Host, wanted: Wanted, params: t.Mapping[str, t.Any], log: str) -> str:
    """Return what a run with status 0 wrote; OperatorError with the installer's words for every other."""
    directory = params["directory"]
    if "--skip-module-load" not in params["arguments"]:
        for module in _NEEDED_BY_DRM:
            host.run(["modprobe", "--quiet", module], timeout_s=120, log=log)
    host.remove(INSTALL_LOG)  # a refused option leaves an old log in place, which would mislead
    command = [
        "./nvidia-installer",
        *params["arguments"],
        f"--tmpdir={_scratch(directory)}",
        f"--log-file-name={INSTALL_LOG}",
    ]
    done = host.run(
        command,
        cwd=_package(directory),
        env={"TMPDIR": _scratch(directory)},
        timeout_s=2 * steps.BUILD_LIMIT_S,
        log=log,
    )
    text = f"{done.stdout}\n{done.stderr}\n{host.read_text(INSTALL_LOG) or ''}"
    if done.ok:
        return text
    raise _failure(host, wanted, done, text)


def _failure(host: Host, wanted: Wanted, done: Completed, text: str) -> OperatorError:
    ending = endings.recognise(done.rc, text)
    said = f"{ending.found} " if ending else ""
    recorded = _recorded(host)
    kept = f"driver {recorded} is recorded as installed" if recorded else "no driver is installed now"
    return OperatorError(
        found=f"{said}(nvidia-installer ended with {done.rc}: {endings.complaints(text)}); {kept}.",
        expected=f"{wanted.title} to be installed.",
        action=f"{ending.action if ending else 'read its log.'} Logs: {INSTALL_LOG} and /var/log/gpulab on the host.",
    )


def _modules_missing(host: Host, wanted: Wanted, kernel: str) -> str:
    """Say what modinfo finds wrong with a kernel's module right after the installation; empty where it is right."""
    host.run(["depmod", kernel], timeout_s=600)
    done = host.run(["modinfo", "-k", kernel, "-F", "version", "nvidia"], timeout_s=120)
    if not done.ok:
        return f"no nvidia module for {kernel}"
    found = done.stdout.strip()
    return "" if found == wanted.version else f"nvidia {found} for {kernel}"


def _refuse_missing(host: Host, wanted: Wanted, kernel: str, text: str) -> None:
    missing = _modules_missing(host, wanted, kernel)
    if missing:
        ending = endings.recognise(0, text)
        raise OperatorError(
            found=f"nvidia-installer ended with status 0, but there is {missing}:"
            f" {ending.found if ending else endings.complaints(text)}.",
            expected=f"the module of {wanted.title}.",
            action=f"{ending.action if ending else 'read its log.'} Logs: {INSTALL_LOG} and /var/log/gpulab.",
        )


def _stop(host: Host, services: t.Iterable[str], log: str) -> None:
    """Stop the driver's own services, which hold its devices; the account has them, and its end starts them."""
    for service in services:
        host.run(["systemctl", "stop", service], timeout_s=120, log=log)


def _give_back_the_screen(host: Host) -> None:
    """Let nouveau have the screen on a host that is left without a driver."""
    if not _recorded(host):
        for path in (files.MODPROBE, *INSTALLER_FILES):
            host.remove(path)


def _recorded(host: Host) -> str | None:
    """Return which driver is recorded as installed; an installer that fails late leaves the head of a record."""
    record = read_record(host)
    return record.version if record else None


def prove(host: Host, wanted: Wanted, kernels: t.Collection[str], log: str) -> None:
    """Look at every layer; only a whole driver gets the mark that later runs trust.

    A kernel that has come since the plan was made (unattended-upgrades) does not speak against it: the next plan builds
    for it.
    """
    state = read_driver(host, wanted)
    state = dataclasses.replace(state, kernels=tuple(k for k in state.kernels if k.release in kernels))
    reasons = [*findings.install_reasons(state, wanted, proven=False)]
    reasons += [f"{kernel}: {reason}" for kernel, reason in findings.kernel_reasons(state, wanted).items()]
    reasons += [refusal.found for refusal in unread_refusals(state, wanted, packages=False)]
    written = host.read_text(INSTALL_LOG) or ""
    if not endings.claims_success(written, wanted.version):
        reasons.append(f"{INSTALL_LOG} has no line that says the installation is complete")
    if reasons or state.record is None:
        ending = endings.recognise(0, written)
        raise OperatorError(
            found=f"nvidia-installer ended with status 0, but {'; '.join(reasons)}."
            + (f" In its log: {ending.found}." if ending else ""),
            expected=f"every part of {wanted.title}.",
            action=f"{ending.action if ending else 'run again.'} Logs: {INSTALL_LOG} and {log} on the host.",
        )
    digest = wanted.artefact.sha256 if wanted.artefact else ""
    host.run(["sync", "--file-system", *_SYNCED], timeout_s=600, log=log)  # the mark may not outlive the files
    host.make_dirs(files.MARKER.rsplit("/", 1)[0])
    host.write_text(files.MARKER, Marker(wanted.version, wanted.flavour, digest, state.record.digest).to_text())


def uninstall(host: Host, *, busy: bool, services: t.Sequence[str], log: str) -> None:
    """Run the uninstaller, whose status 0 says nothing; a host without it loses its parts in the sweep that follows.

    A removal leaves no service to start.
    """
    _stop(host, services, log)
    host.remove(files.MARKER)
    command = ["/usr/bin/nvidia-installer", "--uninstall", "--silent", f"--log-file-name={UNINSTALL_LOG}"]
    command += ["--skip-module-unload"] if busy else []
    host.run(command, timeout_s=1800, log=log)


def _room(host: Host, directory: str) -> str:
    free = host.filesystem(directory)
    return f"{free.free_bytes / 1e6:,.0f} MB free on {free.mount_point}"


def _package(directory: str) -> str:
    return f"{directory}/package"


def _scratch(directory: str) -> str:
    return f"{directory}/scratch"


__all__ = ["INSTALL_LOG", "fetch_run", "install", "prove", "settle_orphans", "try_build", "uninstall", "unpack"]
