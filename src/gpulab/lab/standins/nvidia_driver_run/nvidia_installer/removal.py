# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checking and removing an installed driver by what its log says."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import typing as t
from pathlib import Path

from . import commands, dkms, state, texts
from .identity import digits_version
from .outcome import StoppedError
from .state import FILE, FIRST_BACKUP, LINK, OLD_LINK, Installed, Record
from .ui import Ui


def _parse(ui: Ui) -> Installed:
    ui.begin("Parsing log file:", "Parsing")
    try:
        installed = state.read_records()
    except state.MalformedLogError as problem:
        ui.end("error.")
        ui.error(f"Error while parsing line {problem.line} of '{state.LOG}'.")
        raise
    ui.end()
    return installed


def _each(ui: Ui, records: t.Sequence[Record]) -> t.Iterator[Record]:
    for number, record in enumerate(records, 1):
        yield record
        ui.progress(number / len(records))


def driver_info(ui: Ui) -> bool:
    """``--driver-info``: by the head of the log alone."""
    driver = state.installed_driver()
    if driver is None:
        ui.message(texts.NO_DRIVER)
        return False
    ui.message(f"The currently installed driver is: '{driver.description}' (version: {driver.version}).")
    return True


def sanity(ui: Ui) -> bool:
    """``--sanity``: every file and link of the log; modules that DKMS installed are not in it."""
    driver = state.installed_driver()
    if driver is None:
        ui.error(texts.SANITY_NO_DRIVER)
        return False
    ui.message(texts.SANITY_START.format(description=driver.description, version=driver.version))
    try:
        installed = _parse(ui)
    except state.MalformedLogError:
        return False
    ui.begin("Validating installation:", "Validating")
    complaints = [complaint for record in _each(ui, installed.records) if (complaint := _complaint(record))]
    for complaint in complaints:
        ui.error(complaint)
    ui.end()
    verdict = texts.SANITY_BAD if complaints else texts.SANITY_GOOD
    ui.message(verdict.format(description=driver.description, version=driver.version))
    return not complaints


def _complaint(record: Record) -> str:
    if record.kind == FILE:
        if not Path(record.path).exists():
            return f"The installed file '{record.path}' no longer exists."
        found = state.checksum(record.path)
        if str(found) != record.detail:
            return (
                f"The installed file '{record.path}' has a different checksum ({found}) "
                f"than when it was installed ({record.detail})."
            )
    elif record.kind == LINK:
        if not Path(record.path).is_symlink() or not Path(record.path).exists():
            return f"The installed symbolic link '{record.path}' no longer exists."
        target = str(Path(record.path).readlink())
        if target != record.detail:
            return (
                f"The installed symbolic link '{record.path}' has target '{target}', "
                f"but it was installed with target '{record.detail}'."
            )
    return ""


def uninstall(ui: Ui, *, skip_depmod: bool) -> None:
    """``--uninstall``; nothing that happens here changes the exit status, which is always 0."""
    driver = state.installed_driver()
    if driver is None:
        ui.message(texts.NO_DRIVER)
        return
    ui.yes_no(texts.RESTORE_XCONFIG, default=False)
    if remove_installed(ui, skip_depmod=skip_depmod):
        ui.message(f"Uninstallation of existing driver: {driver.description} ({driver.version}) is complete.")


def remove_installed(ui: Ui, *, skip_depmod: bool) -> bool:
    """Remove what the log lists; False if the log cannot be read."""
    try:
        installed = _parse(ui)
    except state.MalformedLogError:
        ui.error("Uninstallation failed.")
        return False
    kept = _validate(ui, installed.records)
    title = f"Uninstalling {installed.description} ({digits_version(installed.version)}):"
    ui.begin(title, "Uninstalling")
    dkms.remove(ui, installed.version)
    for record in _each(ui, [record for record in reversed(installed.records) if record not in kept]):
        with contextlib.suppress(FileNotFoundError):
            _undo(record)
    directories_gone = _remove_directories(ui)
    shutil.rmtree(state.DIRECTORY, ignore_errors=True)
    ui.end()
    if not directories_gone:
        ui.warn(f"Failed to delete some directories. See {ui.log_file.path} for details.")
    _refresh(ui, skip_depmod=skip_depmod)
    return True


def _validate(ui: Ui, records: tuple[Record, ...]) -> list[Record]:
    """Find what was altered since; those files are left alone."""
    ui.begin("Validating previous installation:", "Validating")
    kept = []
    for record in _each(ui, records):
        if record.kind not in (FILE, LINK):
            continue
        if not os.path.lexists(record.path):
            problem = os.strerror(errno.ENOENT)
            kind = "file" if record.kind == FILE else "symlink"
            ui.log_only(f"Unable to find installed {kind} '{record.path}' ({problem}).")
            kept.append(record)
        elif record.kind == FILE and str(state.checksum(record.path)) != record.detail:
            ui.log_only(
                f"The installed file '{record.path}' seems to have changed, but `prelink -u` failed; unable to "
                f"restore '{record.path}' to an un-prelinked state."
            )
            kept.append(record)
        elif record.kind == LINK and str(Path(record.path).readlink()) != record.detail:
            ui.log_only(f"The previously installed symlink '{record.path}' has another target; it will be kept.")
            kept.append(record)
    ui.end()
    if kept:
        ui.warn(texts.ALTERED.format(log=ui.log_file.path))
    return kept


def _undo(record: Record) -> None:
    """Take one entry of the log back: delete what was installed, put back what was replaced."""
    if record.kind in (FILE, LINK):
        Path(record.path).unlink()
    elif record.kind == OLD_LINK:
        Path(record.path).symlink_to(record.detail.split()[0])
    elif record.kind >= FIRST_BACKUP:
        shutil.move(f"{state.DIRECTORY}/{record.kind}", record.path)


def _remove_directories(ui: Ui) -> bool:
    """Delete the directories that were created; one that is not empty stays, and is only reported."""
    try:
        with Path(state.DIRS).open(encoding="utf-8") as file:
            directories = file.read().split("\n")
    except OSError:
        return True
    good = True
    for directory in sorted({name for name in directories if name}, key=len, reverse=True):
        try:
            Path(directory).rmdir()
        except FileNotFoundError:  # noqa: PERF203  # each directory on its own
            continue
        except OSError as error:
            ui.log_only(f"Failed to delete the directory '{directory}' ({error.strerror}).")
            good = False
    return good


def _refresh(ui: Ui, *, skip_depmod: bool) -> None:
    ui.begin_plain("Running ldconfig:" if skip_depmod else "Running depmod and ldconfig:")
    if not skip_depmod:
        commands.capture([commands.find("depmod") or "depmod", "-a"])
    commands.capture([commands.find("ldconfig") or "ldconfig"])
    ui.end_plain()
    systemctl = commands.find("systemctl")
    if systemctl:
        ui.begin_plain(f"Running `{systemctl} daemon-reload`:")
        commands.capture([systemctl, "daemon-reload"])
        ui.end_plain()


def remove_previous(ui: Ui) -> None:
    """Make room for a new driver: by the installed uninstaller, else by this program itself."""
    uninstaller = "/usr/bin/nvidia-uninstall"
    if os.access(uninstaller, os.X_OK):
        ui.begin("Uninstalling the previous installation")
        commands.capture([uninstaller, "-s", "--log-file-name=/var/log/nvidia-uninstall.log", "--skip-depmod"])
        ui.end()
    elif state.installed_driver() is not None:
        remove_installed(ui, skip_depmod=True)


def require_same_version(ui: Ui, version: str) -> None:
    """``-K`` needs a driver of the very same version."""
    driver = state.installed_driver()
    if driver is None:
        ui.error(texts.MODULES_ONLY_NO_DRIVER)
        raise StoppedError(says_failed=False)
    if driver.version != version:
        ui.error(texts.MODULES_ONLY_MISMATCH.format(old=driver.version, new=version))
        raise StoppedError(says_failed=False)
