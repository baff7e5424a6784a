# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked and refused before anything is built."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from . import commands, gpu, modules, nouveau, state, texts
from .initramfs import Initramfs
from .options import Options
from .outcome import StoppedError
from .ui import Ui

_HOOKS = "/usr/lib/nvidia"
_CONTINUE, _ABORT = "Continue installation", "Abort installation"


@dataclass
class Findings:
    """What the preparation found out, for the steps that follow."""

    build_directory: str = ""
    has_gpu: bool = True
    skip_module_load: bool = False
    nouveau_disabled: bool = False
    reboot_reasons: list[str] = field(default_factory=list)


def _abort_unless(ui: Ui, question: str, *, default_continue: bool, says_failed: bool) -> None:
    answer = ui.choose(question, [_CONTINUE, _ABORT], default=0 if default_continue else 1)
    if answer == 1:
        raise StoppedError(says_failed=says_failed)


def check_x(ui: Ui, options: Options) -> None:
    """Stop a silent run at a running X server."""
    other_kernel = options.modules_only and options.text("kernel-name")
    if options.flag("no-x-check") or other_kernel or not nouveau.x_is_running(ui):
        return
    _abort_unless(ui, texts.X_RUNNING, default_continue=False, says_failed=True)


def unload_modules(ui: Ui, options: Options, findings: Findings) -> None:
    """Unload the old modules; one that stays ends the run, or a reboot will be needed."""
    if not modules.loaded() or (options.modules_only and options.text("kernel-name")):
        return
    run_hook(ui, options, "pre-unload")
    busy = modules.unload()
    if busy is None:
        return
    if not options.flag("allow-installation-with-running-driver"):
        ui.error(texts.MODULE_BUSY.format(module=busy))
        raise StoppedError(says_failed=True)
    findings.skip_module_load = True
    findings.reboot_reasons.append(texts.RUNNING_REASON)


def choose_flavour(ui: Ui, options: Options, version: str, findings: Findings) -> None:
    """Let the GPUs decide what is offered; what was asked for is obeyed."""
    gpus = gpu.nvidia_gpus()
    if not gpus:
        ui.warn(texts.NO_GPU.format(version=version))
        findings.skip_module_load = True
        findings.has_gpu = False
    given = options.text("kernel-module-build-directory")
    offered = gpu.offered_directories(gpus)
    if given:
        findings.build_directory = given
    elif len(offered) > 1:
        names = [gpu.KIND_NAMES[directory] for directory in offered]
        findings.build_directory = offered[ui.choose(texts.WHICH_TYPE, names, default=offered.index("kernel-open"))]
    elif offered:
        findings.build_directory = offered[0]
    else:
        ui.error("No kernel module build directory is present in this installer package.")
        raise StoppedError(says_failed=True)


def warn_of_incompatible_flavour(ui: Ui, options: Options) -> None:
    """``-M open`` without a GPU that the open modules support is a warning only; proprietary is not even that."""
    if options.text("kernel-module-build-directory") != "kernel-open" or not Path(".manifest").exists():
        return
    if not gpu.open_is_supported(gpu.nvidia_gpus()):
        ui.warn(texts.INCOMPATIBLE_TYPE.format(kind=gpu.KIND_NAMES["kernel-open"]))


def check_existing_driver(ui: Ui, version: str) -> None:
    """Another driver of this kind is replaced."""
    driver = state.installed_driver()
    if driver is not None:
        question = texts.EXISTING_DRIVER.format(old=driver.version, new=version)
        _abort_unless(ui, question, default_continue=True, says_failed=True)


def check_alternate_installs(ui: Ui, options: Options) -> None:
    """Look for the markers that a distribution's packages leave."""
    if options.flag("no-check-for-alternate-installs"):
        return
    for marker, text, default_continue in (
        ("alternate-install-present", texts.ALTERNATE_PRESENT, False),
        ("alternate-install-available", texts.ALTERNATE_AVAILABLE, True),
    ):
        path = f"{_HOOKS}/{marker}"
        if not Path(path).exists():
            continue
        with Path(path).open(encoding="utf-8", errors="replace") as file:
            message = file.read()
        question = f"{text}\n\n{texts.ALTERNATE_REVIEW}\n\n{message}\n\n"
        try:
            _abort_unless(ui, question, default_continue=default_continue, says_failed=False)
        except StoppedError:
            ui.error(texts.ALTERNATE_CANCELED.format(log=ui.log_file.path))
            raise
        return


def run_hook(ui: Ui, options: Options, hook: str) -> None:
    """Run a script of the distribution; that it fails is a question whose default is to go on."""
    path = f"{_HOOKS}/{hook}"
    if options.flag("no-distro-scripts") or not os.access(path, os.X_OK):
        return
    ui.begin("Running distribution scripts")
    ui.output(f"executing: '{path}'...")
    status, _ = commands.stream(path, ui.output)
    ui.end()
    if status != 0 and hook in ("pre-install", "pre-uninstall"):
        _abort_unless(ui, texts.HOOK_FAILED.format(hook=hook), default_continue=True, says_failed=True)


def handle_nouveau(ui: Ui, options: Options, initramfs: Initramfs, findings: Findings) -> None:
    """Disable Nouveau if it is in use; the run then ends, unless told to go on."""
    if options.flag("no-nouveau-check") or not nouveau.in_use():
        return
    findings.nouveau_disabled = nouveau.disable(ui, options)
    allowed = options.flag("allow-installation-with-running-driver")
    try:
        _abort_unless(ui, texts.NOUVEAU_CONTINUE, default_continue=allowed, says_failed=True)
    except StoppedError:
        if findings.nouveau_disabled:
            initramfs.refresh(forced=rebuild_choice(options), nouveau_disabled=True)
        raise
    ui.log(texts.NOUVEAU_PROCEED)
    findings.skip_module_load = True
    findings.reboot_reasons.append(texts.NOUVEAU_REASON)


def rebuild_choice(options: Options) -> bool | None:
    """``--rebuild-initramfs``, its opposite, or nothing said."""
    return options.flag("rebuild-initramfs") if "rebuild-initramfs" in options.values else None
