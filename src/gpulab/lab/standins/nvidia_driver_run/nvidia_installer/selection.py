# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files of the package this host gets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from . import commands, texts
from .options import Options
from .package import Package
from .ui import Ui

COMPAT32 = "@COMPAT32@"  # in the manifest, where the directory for 32-bit libraries belongs
_COMPAT32_DIRECTORIES = ("/usr/lib/i386-linux-gnu", "/lib/i386-linux-gnu", "/usr/lib32")
_LIBRARY_DIRECTORIES = ("/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/lib")


def select(ui: Ui, options: Options, package: Package) -> Package:
    """Leave out what options or the host exclude, with the warnings that go with it."""
    package = _with_compat32(ui, options, package)
    _warn_of_missing_vulkan_loader(ui, package)
    if options.modules_only:
        return package.with_entries(())
    if not options.flag("systemd", default=commands.find("systemctl") is not None):
        package = package.without("systemd")
    if options.flag("no-nvidia-modprobe"):
        package = package.without("modprobe")
    if options.flag("no-opengl-files"):
        package = package.without("glvnd")
    return package


def _with_compat32(ui: Ui, options: Options, package: Package) -> Package:
    wanted = options.flag("install-compat32-libs", default=True) and not options.modules_only
    if not wanted or not any(entry.group == "compat32" for entry in package.entries):
        return package.without("compat32")
    candidates = [options.text("compat32-libdir") or "", *_COMPAT32_DIRECTORIES]
    directory = next((path for path in candidates if path and Path(path).is_dir()), None)
    if directory is None:
        ui.warn(texts.NO_COMPAT32)
        return package.without("compat32")
    return package.with_entries(
        replace(entry, destination=entry.destination.replace(COMPAT32, directory)) for entry in package.entries
    )


def _find_library(pattern: str) -> list[Path]:
    return [path for directory in _LIBRARY_DIRECTORIES for path in Path(directory).glob(pattern)]


def _warn_of_missing_vulkan_loader(ui: Ui, package: Package) -> None:
    has_loader = bool(_find_library("libvulkan.so.1*"))
    if not has_loader and any(entry.group == "vulkan" for entry in package.entries):
        ui.warn(texts.NO_VULKAN)


def without_foreign_glvnd(ui: Ui, options: Options, package: Package) -> Package:
    """Leave GLVND's libraries out where the system has its own; this package has no checker script."""
    if not any(entry.group == "glvnd" for entry in package.entries):
        return package
    if "install-libglvnd" not in options.values:
        ui.note("Looking for install checker script at ./libglvnd_install_checker/check-libglvnd-install.sh")
        present = _find_library("libGLdispatch.so.0")
        if not present:
            ui.note("No libglvnd install checker script, assuming not installed.")
        else:
            ui.note(f"Found libglvnd libraries: {' '.join(path.name for path in present)}")
    else:
        present = []
    if options.flag("install-libglvnd", default=not present):
        ui.note("Will install libglvnd libraries.")
        return package
    ui.note("Will not install libglvnd libraries.")
    return package.without("glvnd")
