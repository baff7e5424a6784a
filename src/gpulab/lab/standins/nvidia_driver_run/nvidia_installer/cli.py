# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program: ``nvidia-installer``, and under its other name ``nvidia-uninstall``."""

from __future__ import annotations

import os
import signal
import sys
import typing as t
from pathlib import Path

from . import gpu, kernel, modules, options, preparation, removal, texts
from .copying import BusError
from .identity import NOTICE, VERSION
from .initramfs import Initramfs
from .installing import Installation
from .options import Options, UsageError
from .outcome import StoppedError
from .ui import LogFile, Ui

_UNINSTALLER = "nvidia-uninstall"
_COMMON_OPTIONS = ("version", "help", "advanced-options")
_UNSUPPORTED = ("add-this-kernel", "rpm-file-list")


def _print_version() -> None:
    print(f"\nnvidia-installer:  version {VERSION}")
    print("  The NVIDIA Software Installer for Unix/Linux.\n")
    print(
        "  This program is used to install, upgrade and uninstall The NVIDIA Accelerated Graphics Driver Set for "
        "Linux-x86_64.\n"
    )
    print(f"  {NOTICE}.\n")


def _print_help(*, advanced: bool) -> None:
    _print_version()
    print("\nnvidia-installer [options]\n")
    for option in options.OPTIONS:
        if advanced or option.name in _COMMON_OPTIONS:
            argument = "" if option.kind in ("flag", "boolean") else f"={option.name.upper()}"
            print(f"  {f'-{option.letter}, ' if option.letter else ''}--{option.name}{argument}")
    print()


def _refuse(problem: UsageError, program: str) -> None:
    for line in problem.lines:
        print(line, file=sys.stderr)
    for text in (*problem.errors, texts.INVALID_COMMANDLINE.format(program=program)):
        print(f"\nERROR: {text}\n", file=sys.stderr)


def _answer_at_once(given: Options) -> bool:
    """Options that print something and need neither root nor a log."""
    if given.flag("version"):
        _print_version()
    elif given.flag("help") or given.flag("advanced-options"):
        _print_help(advanced=given.flag("advanced-options"))
    elif given.flag("print-recommended-kernel-module-type"):
        print(gpu.recommended_kind(gpu.nvidia_gpus()))
    else:
        return False
    return True


def _start(given: Options, program: str, arguments: t.Sequence[str], *, uninstall: bool) -> Ui:
    default = f"/var/log/nvidia-{'uninstall' if uninstall else 'installer'}.log"
    log = LogFile(given.text("log-file-name") or default, program)
    log.open(arguments)
    ui = Ui(log, silent=given.silent, asks=given.asks)
    if not given.silent and given.text("ui") != "none":
        ui.note("Unable to load: nvidia-installer ncurses user interface\n")
    ui.note("Using built-in stream user interface")
    ui.welcome()
    return ui


def _act(ui: Ui, given: Options, *, uninstall: bool) -> bool:
    preparation.warn_of_incompatible_flavour(ui, given)
    count = kernel.concurrency(given)
    ui.log(f"Detected {os.cpu_count()} CPUs online; setting concurrency level to {count}.")
    if os.geteuid() != 0:
        ui.error(texts.NOT_ROOT)
        return False
    initramfs = Initramfs(ui, kernel.kernel_name(given), kernel_was_named=given.text("kernel-name") is not None)
    initramfs.start_scan()
    try:
        if uninstall:
            if not given.flag("skip-module-unload"):
                modules.unload()
            removal.uninstall(ui, skip_depmod=given.flag("skip-depmod"))
            return True
        if given.flag("driver-info"):
            return removal.driver_info(ui)
        if given.flag("sanity"):
            return removal.sanity(ui)
        Installation(ui, given, initramfs).run()
    except StoppedError as stop:
        if stop.says_failed:
            ui.error(texts.FAILED.format(log=ui.log_file.path))
        return False
    else:
        return True
    finally:
        initramfs.abandon()


def _die_of_bus_error() -> t.NoReturn:
    print("Received signal SIGBUS; aborting.", file=sys.stderr, flush=True)
    signal.signal(signal.SIGBUS, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGBUS)
    raise AssertionError  # the signal has ended the process


def main(program: str, arguments: t.Sequence[str]) -> int:
    """Run; the result is the exit status, 0 or 1."""
    try:
        given = options.parse(arguments, program)
    except UsageError as problem:
        _refuse(problem, program)
        return 1
    unsupported = [name for name in _UNSUPPORTED if name in given.values]
    if unsupported:
        print(f"{program}: --{unsupported[0]} is not part of this {NOTICE.partition(',')[0]}.", file=sys.stderr)
        return 1
    gpu.announce_test_sysfs()
    if _answer_at_once(given):
        return 0
    uninstall = given.flag("uninstall") or Path(program).name == _UNINSTALLER
    os.environ["TMPDIR"] = given.text("tmpdir") or os.environ.get("TMPDIR", "/tmp")  # noqa: S108  # the default
    ui = _start(given, program, arguments, uninstall=uninstall)
    os.chdir(Path(program).absolute().parent)
    try:
        return 0 if _act(ui, given, uninstall=uninstall) else 1
    except BusError:
        _die_of_bus_error()
