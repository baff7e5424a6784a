# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module signatures: only where both keys are given; without them nothing is signed, whatever DKMS has."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from . import commands, gpu, texts
from .kernel import KernelPaths
from .options import Options
from .ui import Ui

_SECURE_BOOT = "SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"


def _secure_boot(ui: Ui) -> bool:
    """Whether the firmware says that Secure Boot is on; the last byte of its variable tells."""
    firmware = f"{gpu.sysfs_root()}/firmware/efi"
    problem = os.strerror(errno.ENOENT)
    for path in (f"{firmware}/efivars/{_SECURE_BOOT}", f"{firmware}/vars/{_SECURE_BOOT}/data"):
        try:
            with Path(path).open("rb") as file:
                return file.read()[-1:] == b"\1"
        except OSError as error:  # noqa: PERF203  # the second place is read if the first is not there
            problem = error.strerror or problem
    ui.log(f"Unable to determine if Secure Boot is enabled: {problem}")
    return False


def _kernel_checks_signatures(paths: KernelPaths) -> bool:
    try:
        with Path(f"{paths.output}/include/config/auto.conf").open(encoding="utf-8") as file:
            return "CONFIG_MODULE_SIG=y" in file.read().split()
    except OSError:
        return False


def sign(ui: Ui, options: Options, paths: KernelPaths, build_directory: str, names: list[str]) -> bool:
    """Sign the new modules if both keys are given; False ends the installation."""
    secret = options.text("module-signing-secret-key")
    public = options.text("module-signing-public-key")
    if not secret or not public:
        if _secure_boot(ui) and _kernel_checks_signatures(paths):
            ui.choose(texts.SECURE_BOOT, ["Sign the kernel module", "Install without signing"], default=1)
        return True
    _secure_boot(ui)
    program = options.text("module-signing-script") or _sign_file(paths)
    if program is None:
        ui.error(texts.NO_SIGN_FILE.format(module=names[0]))
        return False
    digest = options.text("module-signing-hash") or "sha256"
    return all(_sign_one(ui, [program, digest, secret, public, f"{build_directory}/{name}.ko"]) for name in names)


def _sign_file(paths: KernelPaths) -> str | None:
    candidates = [f"{directory}/scripts/sign-file" for directory in (paths.output, paths.source)]
    return next((path for path in candidates if os.access(path, os.X_OK)), None)


def _sign_one(ui: Ui, command: list[str]) -> bool:
    ui.begin("Signing kernel module:")
    ui.output("executing: '" + " ".join(f'"{word}"' for word in command) + "'...")
    status, output = commands.capture(command)
    for line in output.splitlines():
        ui.output(line)
    ui.end("done." if status == 0 else "Failed to sign kernel module.")
    return status == 0
