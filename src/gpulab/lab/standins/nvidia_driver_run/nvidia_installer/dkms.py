# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""DKMS: importing the modules that were just built, and removing them.

The flaw that is kept on purpose: when ``dkms ldtarball`` fails, the original says "done" and installs no module at
all, neither through DKMS nor itself (installer.md, g2, g5, g6 and q3).
"""

from __future__ import annotations

import contextlib
import platform
import shutil
import tempfile
from pathlib import Path

from . import commands, texts
from .kernel import Built, KernelPaths
from .package import Entry
from .ui import Ui

NAME = "nvidia"


def tool() -> str | None:
    """Return the dkms program, if it and the tar that the import needs are there."""
    return commands.find("dkms") if commands.find("tar") else None


def is_registered(version: str) -> bool:
    """Whether DKMS knows this version, in whatever state."""
    dkms = commands.find("dkms")
    if dkms is None:
        return False
    _, output = commands.capture([dkms, "status", "-m", NAME, "-v", version])
    return NAME in output


def is_installed(version: str, kernel: str) -> bool:
    """Whether DKMS has installed this version for a kernel."""
    dkms = commands.find("dkms")
    if dkms is None:
        return False
    _, output = commands.capture([dkms, "status", "-m", NAME, "-v", version, "-k", kernel])
    return "installed" in output


def configuration(template: str, version: str, modules: tuple[str, ...], jobs: int) -> str:
    """Return the dkms.conf of this version, made from the template in the package."""
    rows = []
    for number, module in enumerate(modules):
        rows.append(f'BUILT_MODULE_NAME[{number}]="{module}"')
        rows.append(f'DEST_MODULE_LOCATION[{number}]="/kernel/drivers/video"')
    replaced = template.replace("__VERSION_STRING", version).replace("__JOBS", str(jobs))
    return replaced.replace("__EXCLUDE_MODULES", "").replace("__DKMS_MODULES", "\n".join(rows))


def remove(ui: Ui, version: str) -> None:
    """Remove a version from DKMS, with the modules it installed."""
    if not is_registered(version):
        return
    ui.log("DKMS module detected; removing...")
    command = [commands.find("dkms") or "dkms", "remove", "-m", NAME, "-v", version, "--all"]
    status, output = commands.capture(command)
    if status != 0:
        ui.error(f"Failed to run `{' '.join(command)}`: {output}")
        ui.warn("Failed to remove installed DKMS module!")


def register(ui: Ui, version: str, built: Built, paths: KernelPaths, sources: list[Entry], scratch: str) -> bool:
    """Import and install through DKMS; False if the modules have to be installed by hand."""
    dkms = tool() or "dkms"
    ui.begin("Registering the kernel modules with DKMS:", "Generating DKMS tarball")
    directory = tempfile.mkdtemp(prefix="nv-tmp-", dir=scratch)
    archive = f"{directory}/nvidia-{version}.tar"
    try:
        with contextlib.suppress(OSError):
            _fill_tree(f"{directory}/tree", built, paths, sources)
        commands.capture(["tar", "-C", f"{directory}/tree", "-cf", archive, "."])
        ui.progress(0.5)
        status, output = commands.capture([dkms, "ldtarball", archive])
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    ui.progress(0.75)
    if status != 0:
        ui.error(f"Failed to load DKMS tarball: {output}")
        ui.end()
        return True
    command = [dkms, "install", "--no-depmod", "-m", NAME, "-v", version, "-k", paths.name]
    status, output = commands.capture(command)
    if status != 0:
        ui.error(f"Failed to run `{' '.join(command)}`: {output}")
        ui.end("Error.")
        ui.warn(texts.DKMS_FAILED)
        return False
    ui.end()
    return True


def _fill_tree(tree: str, built: Built, paths: KernelPaths, sources: list[Entry]) -> None:
    """Make the layout that ``dkms mktarball`` makes and ``dkms ldtarball`` reads: sources, and modules per kernel."""
    for entry in sources:
        target = f"{tree}/dkms_source_tree/{entry.destination.split('/', 4)[4]}"
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(entry.source, target)
    result = f"{tree}/dkms_main_tree/{paths.name}/{platform.machine()}"
    Path(f"{result}/log").mkdir(parents=True)
    Path(f"{result}/module").mkdir(parents=True)
    with Path(f"{result}/log/make.log").open("w", encoding="utf-8") as file:
        file.write(built.log + "\n")
    for name in built.names:
        shutil.copyfile(f"{built.directory}/{name}.ko", f"{result}/module/{name}.ko")
    with Path(f"{tree}/dkms_dbversion").open("w", encoding="ascii") as file:
        file.write("2.0.0\n")
