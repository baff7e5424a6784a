# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a run of nvidia-installer ended, in an operator's words.

Its exit status decides little: 0 may leave no module at all, and ERROR lines are written by runs that went well.
The patterns are its own messages, as recorded from 590.48.01 (kernel.c, misc.c, dkms code) run about 100 times; the
tests hold them against those records. What a host really has is read from the host afterwards.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

DKMS_ALREADY_ADDED = "dkms_already_added"
_SUCCESS = re.compile(r"-> Installation of the .* \(version: (\S+)\) is now complete\.")
_LAST_LINES = 12


@dataclass(frozen=True)
class Ending:
    """A recognised ending: its name, what was found and what to do about it."""

    name: str
    found: str
    action: str


_BY_STATUS = {
    124: Ending("timeout", "nvidia-installer did not end in time", "see why in its log, then run again."),
    126: Ending(
        "not_executable",
        "nvidia-installer may not be executed where it was unpacked",
        "name a directory on a file system without noexec in gpu_driver_work_directories.",
    ),
    127: Ending("not_there", "there is no nvidia-installer in the unpacked file", "check the .run in the catalogue."),
    135: Ending(
        "sigbus",
        "nvidia-installer died of SIGBUS, which it does when the disk is full",
        "free space on the file systems of /usr, /lib and /var, then run again.",
    ),
    137: Ending("killed", "nvidia-installer was killed (or ran out of memory)", "run again."),
}

_BY_MESSAGE: tuple[tuple[str, Ending], ...] = (
    (r"Received signal SIGBUS", _BY_STATUS[135]),
    (
        r"No space left on device",
        Ending("disk_full", "the disk is full", "free space on the file systems of /usr, /lib and /var, run again."),
    ),
    (
        r"Failed to load DKMS tarball: .*is already added|DKMS kernel modules with version \S+ are already installed",
        Ending(DKMS_ALREADY_ADDED, "DKMS already knew this version and refused the new build", "run again."),
    ),
    (
        r"Failed to load DKMS tarball: (?P<detail>[^\n]+)",
        Ending("dkms_refused", "DKMS refused the modules: {detail}", "cure what DKMS says, then run again."),
    ),
    (
        r"Failed to run `[^`]*dkms install[^`]*`: (?P<detail>[^\n]+)|Failed to register the NVIDIA kernel modules",
        Ending("dkms_not_registered", "the modules could not be registered with DKMS: {detail}", "cure it, run again."),
    ),
    (
        r"Unable to find the kernel source tree|Neither the '[^']*version\.h' nor",
        Ending("no_headers", "the headers of the kernel are missing or half removed",
               "reinstall linux-headers of that kernel, or upgrade the kernel with its headers and restart."),
    ),
    (
        r"Unable to find the development tool `(?P<detail>[^`']+)`",
        Ending("no_tool", "the program {detail} is missing", "install it with apt-get, then run again."),
    ),
    (
        r"do not appear to have libc header files",
        Ending("no_libc_headers", "the C library's headers are missing", "reinstall libc6-dev, then run again."),
    ),
    (
        r"The CC sanity check failed",
        Ending("broken_compiler", "the compiler cannot compile anything", "check 'cc' on this host, then run again."),
    ),
    (
        r"(?:Key was rejected by service|lack of a trusted signature|Required key not available)",
        Ending("key_rejected", "the kernel only loads signed modules and does not know the key",
               "enrol the certificate (mokutil --import, then one visit to the console) or turn Secure Boot off."),
    ),
    (
        r"Unable to load the kernel module '(?P<detail>[^']+)'",
        Ending("load_failed", "the new module {detail} was built but the kernel does not take it",
               "read the kernel's messages at the end of the installer's log."),
    ),
    (
        r"sign-file: (?P<detail>[^\n]+)|(?P<tool>cannot sign \S+ without the `sign-file`)|Failed to sign kernel module",
        Ending("not_signed", "the modules could not be signed: {detail}",
               "check gpu_driver_signing_key and gpu_driver_signing_certificate on the host."),
    ),
    (
        r"The (?:nvidia|nvidia-\w+) kernel module (?:was not created|failed to build)",
        Ending("build_failed", "the kernel modules do not compile",
               "read the compiler's words in the installer's log; mostly the kernel is newer than the driver supports:"
               " choose a newer driver or an older kernel."),
    ),
    (
        r"An incomplete installation of libglvnd was found",
        Ending("libglvnd", "some of the libraries of libglvnd are there, and others are not",
               "install libgl1, libegl1, libgles2 and libopengl0, or purge them all, then run again."),
    ),
    (
        r"due to the availability or presence of an alternate driver installation",
        Ending("alternate", "a driver of the distribution is (half) installed",
               "purge its packages, or set gpu_driver_replace_distro_driver."),
    ),
    (
        r"You appear to be running an X server",
        Ending("x_running", "an X server is running", "stop the display manager or set gpu_driver_allow_running."),
    ),
    (
        r"Nouveau kernel driver is currently in use",
        Ending("nouveau", "nouveau holds a card", "restart the host, then run again."),
    ),
    (
        r"An NVIDIA kernel module '?[\w-]*'? appears to be already loaded|NVIDIA kernel module .* not be unloaded",
        Ending("busy", "a loaded NVIDIA module could not be unloaded",
               "end what uses the cards, or set gpu_driver_allow_running and restart afterwards."),
    ),
    (
        r"Invalid commandline|unrecognized option|is not a valid kernel module type|is not present in this installer",
        Ending("usage", "this installer does not know an option of ours", "please report it with the version."),
    ),
    (
        r"No package found for installation",
        Ending("no_package", "the unpacked file holds no driver", "check the .run in the catalogue."),
    ),
    (
        r"Error while parsing line \d+ of '/var/lib/nvidia/log'",
        Ending("record_damaged", "the record of the former installation is damaged", "run again."),
    ),
)  # fmt: skip


def recognise(rc: int, text: str) -> Ending | None:
    """Return what is known about an ending; ``text`` is what the installer wrote, its log included.

    A status below zero is the signal that ended it; a shell in between adds 128 instead.
    """
    by_status = _BY_STATUS.get(128 - rc if rc < 0 else rc)
    if by_status:
        return by_status
    for pattern, ending in _BY_MESSAGE:
        found = re.search(pattern, text)
        if found:
            detail = (found.groupdict().get("detail") or found.groupdict().get("tool") or "").strip()
            said = ending.found.replace(": {detail}", f": {detail}" if detail else "").replace("{detail}", detail)
            return Ending(ending.name, said, ending.action)
    return None


def claims_success(log: str, version: str) -> bool:
    """Whether the log has the line that nvidia-installer only writes at the very end."""
    found = _SUCCESS.search(log)
    return found is not None and found[1] == version


def complaints(text: str) -> str:
    """Return the installer's own ERROR lines, or its last ones where there are none."""
    errors = list(dict.fromkeys(line.strip() for line in text.splitlines() if line.startswith("ERROR:")))
    kept = [line for line in errors if "Installation has failed" not in line] or errors
    return " ".join(kept[:4]) or " ".join(text.split("\n")[-_LAST_LINES:]).strip()


__all__ = ["DKMS_ALREADY_ADDED", "Ending", "claims_success", "complaints", "recognise"]
