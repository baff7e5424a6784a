# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel to build for: its sources, the tools a build needs, and the build itself."""

from __future__ import annotations

import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from . import commands, texts
from .options import Options
from .outcome import StoppedError
from .state import Recorder
from .ui import Ui

_EXPECTED_OUTPUT_LINES = 32
_TOOLS = (("cc", "gcc"), ("make", "make"), ("ld", "binutils"), ("tr", "coreutils"), ("sed", "sed"))
_PRELIMINARY_CHECKS = ("Compiler", "Dom0", "Xen", "PREEMPT_RT", "vgpu_kvm")
_OPTIONAL_MODULES = {"no-unified-memory": "nvidia-uvm", "no-drm": "nvidia-drm", "no-peermem": "nvidia-peermem"}


@dataclass(frozen=True)
class KernelPaths:
    """Where a kernel's sources, its build output and its modules are."""

    name: str
    source: str
    output: str
    modules: str


@dataclass(frozen=True)
class Built:
    """The result of a build: the modules that exist now, and what the compiler said."""

    directory: str
    names: tuple[str, ...]
    log: str


def kernel_name(options: Options) -> str:
    """``--kernel-name``, else the running kernel."""
    return options.text("kernel-name") or os.uname().release


def check_tools(ui: Ui) -> None:
    """Check the development tools, the libc headers, and a compiler that can make an object file."""
    for tool, package in _TOOLS:
        if commands.find(tool) is None:
            ui.error(texts.TOOL_MISSING.format(tool=tool, package=package))
            raise StoppedError(says_failed=False)
    if not Path("/usr/include/stdio.h").exists():
        ui.error(texts.LIBC_HEADERS)
        raise StoppedError(says_failed=False)
    compiler = os.environ.get("CC") or commands.find("cc") or "cc"
    ui.log(f'Performing CC sanity check with CC="{compiler}".')
    ui.log("Performing CC check.")
    if not _compiles(compiler):
        ui.error(texts.CC_SANITY.format(compiler=compiler))
        raise StoppedError(says_failed=False)


def _compiles(compiler: str) -> bool:
    with tempfile.TemporaryDirectory(prefix="nv-tmp-") as directory:
        source, result = f"{directory}/test.c", f"{directory}/test.o"
        try:
            with Path(source).open("w", encoding="ascii") as file:
                file.write("#include <stdio.h>\nint main(void) { return 0; }\n")
        except OSError:
            return False
        done = subprocess.run([compiler, "-c", source, "-o", result], capture_output=True, check=False)
        return done.returncode == 0 and Path(result).exists()


def find_paths(ui: Ui, options: Options, recorder: Recorder) -> KernelPaths:
    """Find the directories of the kernel; the one for modules is created on the way, as the original does."""
    name = kernel_name(options)
    base = f"/lib/modules/{name}"
    default = f"{base}/kernel/drivers/video" if Path(f"{base}/kernel").is_dir() else f"{base}/video"
    modules = options.text("kernel-install-path") or default
    recorder.directories(modules)
    source = options.text("kernel-source-path") or options.text("kernel-include-path")
    if source is not None and not Path(source).is_dir():
        ui.error(texts.KERNEL_SOURCE_PATH.format(path=source))
        raise StoppedError(says_failed=True)
    candidates = [source] if source else [f"{base}/source", f"{base}/build"]
    found = next((path for path in candidates if Path(path).is_dir()), None)
    if found is None:
        ui.error(texts.NO_KERNEL_SOURCE)
        raise StoppedError(says_failed=True)
    build = f"{base}/build" if source is None and Path(f"{base}/build").is_dir() else found
    paths = KernelPaths(name, found, options.text("kernel-output-path") or build, modules)
    headers = (f"{paths.source}/include/linux/version.h", f"{paths.output}/include/generated/uapi/linux/version.h")
    if not any(Path(header).exists() for header in headers):
        ui.error(texts.NO_VERSION_HEADER.format(source=paths.source, output=paths.output))
        raise StoppedError(says_failed=True)
    ui.log(f"Kernel source path: '{paths.source}'", gap=True)
    ui.log(f"Kernel output path: '{paths.output}'", gap=True)
    for check in _PRELIMINARY_CHECKS:
        ui.log(f"Performing {check} check.")
    return paths


def concurrency(options: Options) -> int:
    """``-j``, else the number of CPUs, at most 32."""
    return int(options.values.get("concurrency-level") or min(len(os.sched_getaffinity(0)), 32))


def build(ui: Ui, options: Options, paths: KernelPaths, directory: str, modules: tuple[str, ...]) -> Built:
    """Clean and build; on failure find the module that is to blame, as the original does."""
    excluded = [module for option, module in _OPTIONAL_MODULES.items() if options.flag(option)]
    names = tuple(module for module in modules if module not in excluded)
    make = (
        f"cd {directory}; {commands.find('make')} -k -j{concurrency(options)}  "
        f'NV_EXCLUDE_KERNEL_MODULES="{" ".join(excluded)}" SYSSRC="{paths.source}" SYSOUT="{paths.output}" '
    )
    ui.log("Cleaning kernel module build directory.")
    ui.output(f"executing: '{make}clean'...")
    commands.stream(f"{make}clean", ui.output)
    status, output = _step(ui, "Building kernel modules", make)
    if status != 0:
        for name in names:
            _check_module(ui, make, directory, name)
    ui.log("Kernel module compilation complete.")
    return Built(directory, names, output)


def _check_module(ui: Ui, make: str, directory: str, name: str) -> None:
    step = f"Checking to see whether the {name} kernel module was successfully built"
    status, _ = _step(ui, step, f'{make}NV_KERNEL_MODULES="{name}"')
    if status == 0 and Path(f"{directory}/{name}.ko").exists():
        return
    ui.error(texts.MODULE_NOT_CREATED.format(module=name))
    if name in texts.MODULE_NEEDED:
        ui.error(texts.MODULE_NEEDED[name])
    raise StoppedError(says_failed=True)


def _step(ui: Ui, title: str, command: str) -> tuple[int, str]:
    seen = 0

    def each_line(line: str) -> None:
        nonlocal seen
        seen += 1
        ui.output(line)
        ui.progress(min(seen / _EXPECTED_OUTPUT_LINES, 1.0))

    ui.begin(title)
    ui.output(f"executing: '{command}'...")
    status, output = commands.stream(command, each_line)
    if status == 0:
        ui.end()
        return status, output
    ui.end("Error.")
    ui.error(texts.STEP_FAILED.format(step=title, log=ui.log_file.path))
    ui.log_only(f"The command `{command}` failed with the following output:\n\n{output}")
    return status, output
