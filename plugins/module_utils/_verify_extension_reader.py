# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the device code of every library in an environment; for the pure half see _verify_extensions."""

from __future__ import annotations

import typing as t

from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._fatbin import read_device_code, summarise
from ansible_collections.gpulab.workstation.plugins.module_utils._host import Host
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_extensions import Extension
from ansible_collections.gpulab.workstation.plugins.module_utils._wheel_env import find_site_packages

_ELF = b"\x7fELF\x02\x01"  # 64 bit, little endian


def read_extensions(host: Host, python: str, known: t.Mapping[str, t.Mapping[str, int]]) -> list[Extension] | None:
    """Return every *.so below site-packages; ``known`` are files that were read before, by absolute path.

    None where the Python belongs to no environment with packages of its own.
    """
    site_packages = find_site_packages(host, python.rsplit("/", 2)[0])
    if site_packages is None:
        return None
    return [_read(host, site_packages, path, known) for path in _libraries(host, site_packages, "")]


def _libraries(host: Host, top: str, below: str) -> t.Iterator[str]:
    """Walk the directory; names with a dot are files, but for what auditwheel calls PACKAGE.libs."""
    for name in host.listdir(f"{top}/{below}"):
        if "." in name and not name.endswith((".so", ".libs")):
            continue
        path = f"{below}{name}"
        status = host.status(f"{top}/{path}")
        if status and status.kind == "directory":
            yield from _libraries(host, top, f"{path}/")
        elif status and status.kind == "file" and name.endswith(".so"):
            yield path


def _read(host: Host, top: str, path: str, known: t.Mapping[str, t.Mapping[str, int]]) -> Extension:
    full = f"{top}/{path}"
    if full in known:
        return Extension(path, known[full])
    if (host.read_bytes(full, len(_ELF)) or b"") != _ELF:
        return Extension(path, {})  # a linker script or another system's library: no program here loads it
    try:
        return Extension(path, summarise(read_device_code(host, full)))
    except (OperatorError, OSError) as error:
        return Extension(path, None, error.found if isinstance(error, OperatorError) else str(error))


__all__ = ["read_extensions"]
