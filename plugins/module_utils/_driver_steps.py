# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The changes around nvidia-installer: DKMS, initramfs, the service, and what an uninstallation leaves behind."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_files as files
from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_findings as findings
from ansible_collections.gpulab.workstation.plugins.module_utils._container_devices import SERVICE, TOOL
from ansible_collections.gpulab.workstation.plugins.module_utils._daemon_account import create_account
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_dkms import TREE, dangling_links, read_dkms
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_leftovers import (
    INITRAMFS_SCRATCH,
    LIBRARIES,
    STATE,
    dkms_modules,
    empty_directories,
    leftovers,
    may_be_removed,
    owned_by_packages,
    sources,
)
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_reader import (
    read_container_devices,
    read_driver,
)
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_state import (
    MODULES,
    driver_libraries,
    parse_vermagic,
)
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_wanted import Wanted
from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._host import Completed, Host
from ansible_collections.gpulab.workstation.plugins.module_utils._reading import Reading

BUILD_LIMIT_S = 3600.0
_FIRMWARE = "/lib/firmware/nvidia"
_ERRORS_SHOWN = 3


def build_with_dkms(host: Host, version: str, kernel: str, log: str, *, again: bool = False) -> None:
    """Build and install the module for a kernel from the source that DKMS has, whatever was built there before.

    `dkms install` alone would take a damaged earlier build as it is. `again` does so for a whole module too, whose
    signature is not the right one. `dkms remove` leaves a build that was interrupted, which `dkms build` stumbles over,
    and modules that it does not know or cannot read: they go once there are new ones, which may have other names.
    """
    if not again and is_served(host, version, kernel):  # apt's own hook has built it when the headers came
        return
    source = f"/usr/src/nvidia-{version}"
    if not host.exists(f"{source}/dkms.conf"):
        raise OperatorError(
            found=f"{source}/dkms.conf is missing.",
            expected="the source of the modules, which nvidia-installer leaves there.",
            action="remove the driver with gpu_driver_state=absent and run again.",
        )
    host.run(["dkms", "remove", "-m", "nvidia", "-v", version, "-k", kernel], timeout_s=600, log=log)
    host.remove(f"{TREE}/{version}/{kernel}")
    for link in dangling_links(Reading(host)):
        host.remove(link)
    which = ["-m", "nvidia", "-v", version, "-k", kernel]
    done = host.run(["dkms", "build", *which], timeout_s=BUILD_LIMIT_S, log=log)
    if done.ok:
        modules = dkms_modules(host, kernel)
        for path in set(modules) - owned_by_packages(host, modules):
            host.remove(path)
        done = host.run(["dkms", "install", "--force", *which], timeout_s=BUILD_LIMIT_S, log=log)
    if not done.ok:
        make_log = host.read_text(f"{TREE}/{version}/build/make.log") or ""
        raise OperatorError(
            found=f"DKMS could not build nvidia/{version} for {kernel}: {compiler_errors(make_log or done.stdout)}.",
            expected="a module for every installed kernel.",
            action=f"read {TREE}/{version}/build/make.log; mostly the kernel is newer than the driver supports: choose"
            " a newer driver, remove that kernel, or except it in gpu_driver_ignored_kernels.",
        )
    host.run(["depmod", kernel], timeout_s=600, log=log)


def is_served(host: Host, version: str, kernel: str) -> bool:
    """Whether DKMS, depmod and the files agree that the kernel has the driver's modules."""
    entries = read_dkms(Reading(host))
    sound = any(entry.sound and (entry.version, entry.kernel) == (version, kernel) for entry in entries)
    found = host.run(["modinfo", "-k", kernel, "-F", "version", "nvidia"], timeout_s=120)
    magic = host.run(["modinfo", "-k", kernel, "-F", "vermagic", *MODULES], timeout_s=120)
    return sound and found.stdout.strip() == version and not parse_vermagic(magic.stdout, magic.stderr, kernel)


def compiler_errors(text: str) -> str:
    """Return the first errors of a build in one line."""
    errors = [" ".join(line.split()) for line in text.splitlines() if re.search(r"\berror\b|\bError \d|Error!", line)]
    return "; ".join(errors[:_ERRORS_SHOWN]) or "it does not say why"


def forget(host: Host, version: str, log: str) -> None:
    """Remove every trace of a driver version from DKMS; a broken entry only yields to the removal of its directory."""
    host.run(["dkms", "remove", "-m", "nvidia", "-v", version, "--all"], timeout_s=600, log=log)
    host.remove(f"{TREE}/{version}")
    for link in dangling_links(Reading(host)):
        host.remove(link)
    if not [name for name in host.listdir(TREE) if name != "original_module"]:
        host.remove(TREE)
    source = f"/usr/src/nvidia-{version}"
    if not owned_by_packages(host, [source]):
        host.remove(source)


def remove_strays(host: Host, paths: t.Sequence[str], log: str) -> None:
    """Remove parts of other driver versions that no package owns, and let the linker look again."""
    packaged = owned_by_packages(host, paths)
    for path in paths:
        if path not in packaged:
            host.remove(path)
    host.run(["ldconfig"], timeout_s=120, log=log)


def tidy(host: Host, version: str, log: str) -> None:
    """Remove other versions; an uninstallation may only just have put an altered library of its version back."""
    entries = read_dkms(Reading(host))
    for other in sorted({entry.version for entry in entries if entry.version != version}):
        forget(host, other, log)
    remove_strays(host, _other_versions(host, version), log)


def update_initramfs(host: Host, wanted: Wanted, log: str) -> None:
    """Update the images that would load another driver than the one on disk; it takes minutes, so no others.

    One that nobody can list may be such a one. It unpacks in a directory of ours, which a kill leaves to the next run.
    """
    state = read_driver(host, wanted)
    for kernel in (*findings.stale_initramfs(state, wanted), *findings.unlisted_initramfs(state)):
        host.remove(INITRAMFS_SCRATCH)
        host.make_dirs(INITRAMFS_SCRATCH, mode=0o700)
        command, environment = ["update-initramfs", "-u", "-k", kernel], {"TMPDIR": INITRAMFS_SCRATCH}
        done = host.run(command, env=environment, timeout_s=BUILD_LIMIT_S, log=log)
        host.remove(INITRAMFS_SCRATCH)
        if may_be_removed(
            host, STATE
        ):  # it came with ours, as on a host whose driver nobody has installed with this role
            host.remove(STATE)
        if not done.ok:
            raise OperatorError(
                found=f"update-initramfs ended with {done.rc} for {kernel}: {last_words(done)}.",
                expected=f"/boot/initrd.img-{kernel} with the present driver.",
                action="check the space in /boot ('df /boot'), remove old kernels, run again; do not restart before.",
            )


def enable_service(host: Host, log: str, *, start: bool) -> None:
    """Create the account, enable the daemon, and start it where the module of its version is loaded."""
    create_account(host, log)
    _must(host.run(["systemctl", "daemon-reload"], timeout_s=120, log=log), "systemd")
    _must(host.run(["systemctl", "enable", files.UNIT_NAME], timeout_s=120, log=log), "service")
    if start:
        host.run(["systemctl", "restart", files.UNIT_NAME], timeout_s=120, log=log)


def write_for_containers(host: Host, version: str, path: str, log: str, *, service: bool) -> None:
    """Have the container toolkit name the files of the loaded driver, and see that it has."""
    command = [TOOL, "cdi", "generate", f"--output={path}"]
    if service:
        host.run(["systemctl", "reset-failed", SERVICE], timeout_s=120)  # five starts in ten seconds are its limit
        command = ["systemctl", "restart", SERVICE]
    done = host.run(command, timeout_s=300, log=log)
    left = "; ".join(f"{of}: {why}" for of, why in read_container_devices(host).outdated(version).items())
    if not done.ok or left:
        raise OperatorError(
            found=f"'{' '.join(command)}' ended with {done.rc}: {left if done.ok else last_words(done)}.",
            expected=f"a CDI specification with the files of driver {version}, so that containers get the card.",
            action=f"cure what it says, then run again; or remove {path} where no container needs the card. The driver"
            " itself is installed.",
        )


def disable_service(host: Host, log: str) -> None:
    """Stop the daemon and forget its unit."""
    host.run(["systemctl", "disable", "--now", files.UNIT_NAME], timeout_s=120, log=log)
    host.remove(files.UNIT)
    host.run(["systemctl", "daemon-reload"], timeout_s=120, log=log)


def remove_caches(host: Host, paths: t.Sequence[str], cache_directory: str) -> None:
    """Remove files of drivers from the cache, and what is empty then: their directories, the cache, our own."""
    for path in paths:
        host.remove(path)
    while empty := empty_directories(host, cache_directory):
        for directory in empty:
            host.remove(directory)


def _other_versions(host: Host, version: str) -> list[str]:
    """Return libraries, sources and firmware of other driver versions."""
    found = [f"{LIBRARIES}/{name}" for name, of in driver_libraries(host.listdir(LIBRARIES)) if of != version]
    found += [path for path, of in sources(host) if of != version]
    firmware = [name for name in host.listdir(_FIRMWARE) if re.fullmatch(r"\d{3}\.\d+(\.\d+)?", name)]
    return found + [f"{_FIRMWARE}/{name}" for name in firmware if name != version]


def sweep(host: Host, log: str) -> None:
    """Remove what no record claims: altered libraries, DKMS modules the uninstaller could not remove, records, logs.

    Left in place, nvidia-installer would keep these files and put them back when it is uninstalled.
    """
    found = leftovers(host)
    for path in found:
        host.remove(path)
    _remove_links_to(host, (path.rsplit("/", 1)[1] for path in found))
    if not host.listdir(_FIRMWARE) and not owned_by_packages(host, [_FIRMWARE]):
        host.remove(_FIRMWARE)
    host.run(["ldconfig"], timeout_s=120, log=log)
    for kernel in host.listdir("/lib/modules"):
        if host.exists(f"/lib/modules/{kernel}/kernel"):
            host.run(["depmod", kernel], timeout_s=600, log=log)
    host.remove(files.MARKER)
    for name in ("nvidia-installer.log", "nvidia-uninstall.log"):
        host.remove(f"/var/log/{name}")


def _remove_links_to(host: Host, gone: t.Iterable[str]) -> None:
    """Remove links of links (libcuda.so to libcuda.so.1) whose library is gone; others that lead nowhere stay."""
    stems = tuple({f"{name.partition('.so')[0]}.so" for name in gone if ".so" in name})
    links = [(name, target) for name, target in _links(host) if target.startswith(stems) or driver_libraries([target])]
    for name, _target in links:
        if not host.exists(f"{LIBRARIES}/{name}"):
            host.remove(f"{LIBRARIES}/{name}")


def _links(host: Host) -> list[tuple[str, str]]:
    found = ((name, host.readlink(f"{LIBRARIES}/{name}")) for name in host.listdir(LIBRARIES))
    return [(name, target.rsplit("/", 1)[-1]) for name, target in found if target]


def _must(done: Completed, what: str) -> None:
    if not done.ok:
        raise OperatorError(
            found=f"'{' '.join(done.argv)}' ended with {done.rc}: {last_words(done)}.",
            expected=f"the {what} of the persistence daemon to be set up.",
            action="cure what it says, or set gpu_driver_persistenced to false, then run again.",
        )


def last_words(done: Completed) -> str:
    """Return the end of what a command has said."""
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return " ".join(lines[-3:]) or "it says nothing"


__all__ = [
    "BUILD_LIMIT_S",
    "build_with_dkms",
    "compiler_errors",
    "disable_service",
    "enable_service",
    "forget",
    "is_served",
    "last_words",
    "remove_caches",
    "remove_strays",
    "sweep",
    "tidy",
    "update_initramfs",
    "write_for_containers",
]
