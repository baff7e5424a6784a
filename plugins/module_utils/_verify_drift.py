# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the driver is still what gpu_driver left, and what has changed if not; facts in, a check out."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_findings as findings
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_state import DriverState
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_wanted import Wanted
from ansible_collections.gpulab.workstation.plugins.module_utils._verify import (
    Check,
    failed,
    not_proven,
    passed,
    warned,
)

NAME = "driver_drift"
# What the readers note about the driver's own layers; that sessions or a firmware setting cannot be read is no matter.
_OF_THE_DRIVER = (
    "/",
    "DKMS",
    "driver on disk",
    "files of packages",
    "initramfs",
    "installed packages",
    "lib",
    "nvidia-",
    "packages",
)
_FILE = re.compile(r"'(/[^']+)'")


def judge_drift(state: DriverState, wanted: Wanted, owners: t.Mapping[str, str]) -> Check:
    """Name everything that differs from the driver that was installed; ``owners`` are packages by the file they have.

    What could not be read is not proven, unless something else is wrong already.
    """
    installed = f"driver {wanted.version} ({wanted.flavour})"
    wrong = [*_second_drivers(state, wanted), *_layers(state, wanted, owners)]
    wrong += [
        f"the initramfs of {kernel}: {reason}" for kernel, reason in findings.stale_initramfs(state, wanted).items()
    ]
    settings = [f"{path} was changed" for path in findings.outdated_files(state, wanted)]
    if wanted.persistenced and state.systemd and not state.unit_enabled:
        settings.append("nvidia-persistenced.service is not enabled")
    settings += [f"{path}: {why}" for path, why in findings.outdated_for_containers(state, wanted).items()]
    figures: dict[str, t.Any] = {"installed": installed, "differs": wrong, "settings": settings}
    if wrong:
        return failed(NAME, f"{installed} was installed, but {'; '.join([*wrong, *settings])}", **figures)
    notes = [f"{note.what}: {note.why}" for note in state.unreadable if note.what.startswith(_OF_THE_DRIVER)]
    if notes:
        return not_proven(NAME, f"not everything could be read: {'; '.join(notes)}", **figures)
    if settings:
        return warned(NAME, f"{installed} is as it was installed, but {'; '.join(settings)}", **figures)
    return passed(NAME, f"{installed} is as it was installed, for {len(state.kernels)} kernels", **figures)


def _second_drivers(state: DriverState, wanted: Wanted) -> list[str]:
    found = []
    if state.record and state.record.version not in (None, wanted.version):
        found.append(f"a driver {state.record.version} was installed over it from another .run")
    if state.gpu.packages:
        found.append(f"packages of another driver are installed: {', '.join(p.name for p in state.gpu.packages)}")
    others = sorted({entry.version for entry in state.dkms if entry.version != wanted.version})
    found += [f"DKMS has another driver, nvidia/{version}" for version in others]
    strays = [path for path, version in state.strays if version != wanted.version]
    return found + ([f"files of another driver are there: {', '.join(strays)}"] if strays else [])


def _layers(state: DriverState, wanted: Wanted, owners: t.Mapping[str, str]) -> list[str]:
    """Return what the role would repair, by the findings that it plans from."""
    reasons = list(findings.install_reasons(state, wanted))
    if state.record and state.record.version not in (None, wanted.version):
        reasons = []  # told as a second driver
    elif state.sanity and not any(state.sanity in reason for reason in reasons):
        reasons.append(f"nvidia-installer --sanity: {state.sanity}")
    found = [f"{reason}{_owned(reason, owners)}" for reason in reasons]
    kernels = findings.kernel_reasons(state, wanted)
    return found + [f"the module of kernel {kernel}: {reason}" for kernel, reason in kernels.items()]


def named_files(sanity: str | None) -> list[str]:
    """Return the files that ``--sanity`` complains about, as dpkg would write them."""
    return list(dict.fromkeys(path.replace("/./", "/") for path in _FILE.findall(sanity or "")))


def _owned(reason: str, owners: t.Mapping[str, str]) -> str:
    packages = sorted({owners[path] for path in named_files(reason) if path in owners})
    return f" (the file belongs to the package {', '.join(packages)} now)" if packages else ""


__all__ = ["NAME", "judge_drift", "named_files"]
