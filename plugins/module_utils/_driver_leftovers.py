# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parts of a driver that no record and no package claims: what a lost record or an uninstaller leaves behind."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.gpulab.workstation.plugins.module_utils._driver_state import driver_libraries
from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._host import Host

LIBRARIES = "/usr/lib/x86_64-linux-gnu"
_SOURCES = "/usr/src"
INSTALLER_FILES = tuple(
    f"{directory}/nvidia-installer-disable-nouveau.conf" for directory in ("/etc/modprobe.d", "/usr/lib/modprobe.d")
)
_VERSION = r"\d{3}\.\d+(\.\d+)?"
_MODULE = r"nvidia(-(uvm|modeset|drm|peermem|vgpu-vfio))?\.ko(\.\w+)?"  # nvidia-fs is another product's
_LIBRARY_PLACES = (LIBRARIES, "/usr/lib/i386-linux-gnu", "/usr/lib32")
# Names as the .manifest of a driver has them; a tool that only begins like one (nvidia-ctk) is none.
_PROGRAM = (
    r"nvidia-(smi|installer|uninstall|bug-report\.sh|persistenced|modprobe|xconfig|settings|debugdump|powerd|sleep\.sh"
    r"|ngx-updater|pcc|cuda-mps-(control|server))"
)
_PLACES: tuple[tuple[str, str], ...] = (
    ("/usr/bin", _PROGRAM),
    (LIBRARIES, r"lib(GL|EGL|GLX|OpenGL|GLdispatch|GLESv1_CM|GLESv2)\.so\.\d+\.\d+\.\d+"),  # libglvnd, where none was
    (_SOURCES, f"nvidia-{_VERSION}"),
    ("/lib/firmware/nvidia", _VERSION),
    ("/usr/lib/systemd/system", r"nvidia-(suspend|resume|hibernate|suspend-then-hibernate|powerd)\.service"),
    ("/usr/lib/systemd/system-sleep", "nvidia"),
    ("/usr/share/doc", r"NVIDIA_GLX-1\.0"),
    ("/usr/share/nvidia", f"nvidia-application-profiles-{_VERSION}.*"),
    ("/etc/OpenCL/vendors", r"nvidia\.icd"),
    ("/etc/vulkan", r"nvidia_icd.*\.json"),
    ("/etc/vulkan/icd.d", r"nvidia_icd.*\.json"),
    ("/usr/share/vulkan/icd.d", r"nvidia_icd.*\.json"),
    ("/usr/share/glvnd/egl_vendor.d", r"10_nvidia\.json"),
    ("/usr/share/egl/egl_external_platform.d", r"\d+_nvidia.*\.json"),
)  # fmt: skip
_RECORDS = ("/var/lib/dkms/nvidia", "/var/lib/nvidia")
STATE = "/var/lib/gpulab"
_DIGEST = re.compile(r"[0-9a-f]+")  # how the cache calls the directories that it makes
INITRAMFS_SCRATCH = f"{STATE}/initramfs"  # where update-initramfs unpacks for us; only root can write above it
# What depmod calls an index until it is whole: its name, process, microseconds and seconds (kmod, tools/depmod.c).
_TORN_INDEX = re.compile(r"modules\.[a-z.]+\.(?P<pid>\d+)\.\d+\.\d+")


def leftovers(host: Host) -> tuple[str, ...]:
    """Return every part of a driver that dpkg does not know, and the unfinished work of tools that were killed."""
    found = [f"{place}/{name}" for place, pattern in _all_places(host) for name in _matching(host, place, pattern)]
    for place in _LIBRARY_PLACES:
        found += [f"{place}/{name}" for name, _version in driver_libraries(host.listdir(place))]
    found += [path for path in _RECORDS if host.exists(path)]
    found += _unfinished(host)
    packaged = owned_by_packages(host, found)
    return tuple(path for path in found if path not in packaged)


def stray_sources(host: Host, known: t.Container[str]) -> list[tuple[str, str]]:
    """Return the path and version of sources of modules that neither DKMS nor a package knows.

    A run that was killed while DKMS forgot a version has left them, and nothing else would name that version.
    """
    unknown = [(path, version) for path, version in sources(host) if version not in known]
    packaged = owned_by_packages(host, [path for path, _version in unknown])
    return [(path, version) for path, version in unknown if path not in packaged]


def sources(host: Host) -> list[tuple[str, str]]:
    """Return the path and version of every source of modules, whoever it belongs to."""
    names = _matching(host, _SOURCES, f"nvidia-{_VERSION}")
    return [(f"{_SOURCES}/{name}", name.removeprefix("nvidia-")) for name in names]


def empty_directories(host: Host, cache_directory: str) -> list[str]:
    """Return the directories of the cache and of our own that are empty, as a removal that was killed leaves them."""
    names = [name for name in host.listdir(cache_directory) if _DIGEST.fullmatch(name)]
    places = [f"{cache_directory}/{name}" for name in names]
    return [path for path in (*places, cache_directory, STATE) if may_be_removed(host, path)]


def may_be_removed(host: Host, path: str) -> bool:
    """Whether a directory is there, empty, and not where a file system is mounted."""
    found = host.status(path)
    empty = found is not None and found.kind == "directory" and not host.listdir(path)
    return empty and host.filesystem(path).mount_point != path


def remove_unfinished(host: Host) -> None:
    """Remove what depmod and our update-initramfs have left when they were killed; a depmod at work keeps its own."""
    for path in _unfinished(host):
        host.remove(path)


def _unfinished(host: Host) -> list[str]:
    names = [(f"/lib/modules/{release}", name) for release in host.listdir("/lib/modules")
             for name in host.listdir(f"/lib/modules/{release}")]  # fmt: skip
    torn = ((directory, _TORN_INDEX.fullmatch(name)) for directory, name in names)
    indexes = [f"{directory}/{it[0]}" for directory, it in torn if it and not host.exists(f"/proc/{it['pid']}")]
    return [*indexes, *([INITRAMFS_SCRATCH] if host.exists(INITRAMFS_SCRATCH) else [])]


def dkms_modules(host: Host, kernel: str) -> list[str]:
    """Return the driver's modules that lie where DKMS installs them, whatever their compression."""
    place = f"/lib/modules/{kernel}/updates/dkms"
    return [f"{place}/{name}" for name in _matching(host, place, _MODULE)]


def _all_places(host: Host) -> t.Iterator[tuple[str, str]]:
    yield from _PLACES
    for release in host.listdir("/lib/modules"):
        yield f"/lib/modules/{release}/updates/dkms", _MODULE
        yield f"/lib/modules/{release}/kernel/drivers/video", _MODULE
    for name in host.listdir("/etc/systemd/system"):
        if name.startswith("systemd-") and name.endswith(".requires"):
            yield f"/etc/systemd/system/{name}", r"nvidia-.*\.service"


def _matching(host: Host, place: str, pattern: str) -> list[str]:
    return [name for name in host.listdir(place) if re.fullmatch(pattern, name)]


def owned_by_packages(host: Host, paths: t.Sequence[str]) -> set[str]:
    """Return the paths that dpkg knows, under the name with or without /usr that a package may give them.

    What a dpkg that does not answer leaves unclaimed is nobody's to remove.
    """
    if not paths:
        return set()
    spelled = {other: path for path in paths for other in (path, f"/usr{path}", path.removeprefix("/usr"))}
    done = host.run(["dpkg-query", "--search", *spelled], timeout_s=120)
    if done.rc not in (0, 1):  # dpkg-query(1): 1 says that some of the paths belong to no package
        words = (done.stderr.strip() or "it says nothing").splitlines()[0]
        raise OperatorError(
            found=f"'dpkg-query --search' ended with {done.rc}: {words}.",
            expected="to be told which files belong to packages, before any of them is removed.",
            action="cure what it says ('dpkg --audit' looks at dpkg's own files), then run again.",
        )
    told = (line.partition(": ")[2].strip() for line in done.stdout.splitlines())
    return {spelled[path] for path in told if path in spelled}


def package_of(host: Host, path: str) -> str:
    """Return the package that dpkg has a file from, under the name with or without /usr; empty where there is none."""
    answer = host.run(["dpkg-query", "--search", path, path.removeprefix("/usr")], timeout_s=120).stdout
    names = (line.partition(": ") for line in answer.splitlines())
    return next((name for name, _, told in names if told.strip() in (path, path.removeprefix("/usr"))), "")


__all__ = [
    "INITRAMFS_SCRATCH",
    "INSTALLER_FILES",
    "LIBRARIES",
    "STATE",
    "dkms_modules",
    "empty_directories",
    "leftovers",
    "may_be_removed",
    "owned_by_packages",
    "package_of",
    "remove_unfinished",
    "sources",
    "stray_sources",
]
