# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What DKMS knows of the driver: told by itself, and by its tree where it does not say so."""

from __future__ import annotations

from ansible_collections.gpulab.workstation.plugins.module_utils._driver_state import (
    DKMS_READ,
    DkmsEntry,
    parse_dkms_status,
)
from ansible_collections.gpulab.workstation.plugins.module_utils._reading import Reading

TREE = "/var/lib/dkms/nvidia"
_LINKS = "kernel-"  # to the build that each kernel has installed, beside the directories of the versions


def read_dkms(reading: Reading) -> tuple[DkmsEntry, ...]:
    """Return the entries of the driver's modules; none where there is no DKMS. What does not answer is noted.

    Before 3.0.13 the program stops at an entry whose source is gone: with status 0, and silent about what comes after
    (module_status, is_module_built and read_conf_or_die in its source); later ones call it broken. So these are
    looked for in its tree, and it is asked about each of the others alone. An entry of other modules does not matter.
    """
    if not reading.host.which("dkms"):
        return ()
    versions = _versions(reading)
    broken = [version for version in versions if not reading.host.exists(f"{TREE}/{version}/source/dkms.conf")]
    entries = [DkmsEntry(version, "", "broken") for version in broken]
    if not broken:
        return tuple(_told(reading))
    for version in versions:
        entries += _told(reading, "-v", version) if version not in broken else []
    return tuple(entries)


def dangling_links(reading: Reading) -> list[str]:
    """Return the links to builds that are gone."""
    paths = [f"{TREE}/{name}" for name in reading.names(TREE) if name.startswith(_LINKS)]
    return [path for path in paths if not reading.host.exists(path)]


def _versions(reading: Reading) -> list[str]:
    """Return the names of the directories that DKMS takes for versions."""
    names = [name for name in reading.names(TREE, DKMS_READ) if name != "original_module"]
    kinds = {name: reading.host.status(f"{TREE}/{name}") for name in names}
    return [name for name, found in kinds.items() if found and found.kind == "directory"]


def _told(reading: Reading, *more: str) -> tuple[DkmsEntry, ...]:
    done = reading.ask(["dkms", "status", "-m", "nvidia", *more], DKMS_READ)
    # Without room for a temporary file dkms 3.0 lists nothing and ends with 0 (do_status in its source).
    if not done.ok or ("Error!" in done.stderr and not done.stdout.strip()):
        reading.note_failure(done, DKMS_READ)
        return ()
    return parse_dkms_status(done.stdout)


__all__ = ["TREE", "dangling_links", "read_dkms"]
