# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A QEMU that is quick at emulating: this machine's own, else the one of its Debian's backports, kept in the cache.

Side by side with 7.2 on fresh machines, 10.0 made an initramfs in half the time and started 300 processes in a third;
tests that change a driver, mostly compiling and Python, took nine tenths (one emulated processor each, 2026-11-27). The
packages are unpacked and not installed: the machine and its other guests keep their QEMU.
"""

from __future__ import annotations

import fcntl
import re
import shutil
import subprocess
import tempfile
import time
import typing as t
from pathlib import Path

from gpulab.lab import mirror

if t.TYPE_CHECKING:
    from collections.abc import Callable

QUICK = 10
PACKAGES = ("qemu-system-x86", "qemu-system-common", "qemu-system-data", "seabios")
RETRY_S = 24 * 3600
_STEP_S = 300


def quick(program: str, cache: Path, works: Callable[[str], bool], say: Callable[[str], None]) -> str:
    """Return `program`, a QEMU, or one that emulates quicker and of which `works` is true.

    Where none is to be had, says why, and asks again after a day.
    """
    version = version_of(program)
    if is_quick(version):
        return program
    kept = cache / "qemu"
    own = kept / "usr/bin" / Path(program).name
    if own.exists():
        return str(own)
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "qemu.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if own.exists():  # another lab may have fetched it while this one waited
            return str(own)
        failed = cache / "qemu.failed"
        if failed.exists() and time.time() - failed.stat().st_mtime < RETRY_S:
            return program
        for leftover in cache.glob("qemu-*"):  # of one that was killed
            shutil.rmtree(leftover, ignore_errors=True)
        why = _fetch(kept, own.relative_to(kept), works, say)
        if why:
            say(f"Emulating with QEMU {version}, which starts programs more slowly than {QUICK}.0: {why}")
            failed.write_text(f"{why}\n")
            return program
        failed.unlink(missing_ok=True)
    return str(own)


def version_of(program: str) -> str:
    """Return the version that a QEMU tells."""
    told = subprocess.run([program, "--version"], check=True, text=True, capture_output=True).stdout
    found = re.search(r"version ([0-9][0-9.]*)", told)
    return found[1] if found else ""


def is_quick(version: str) -> bool:
    """Tell whether a QEMU of this version emulates as quickly as there is one."""
    return int(version.partition(".")[0] or 0) >= QUICK


def _fetch(kept: Path, program: Path, works: Callable[[str], bool], say: Callable[[str], None]) -> str:
    """Have a quick QEMU at `kept`; return why there is none. It is made under another name: half of one is not used."""
    machine = Path("/")
    source = mirror.backports(mirror.read_machine_sources(machine), mirror.read_os_release(machine))
    if source is None:
        return "it is looked for in the backports of a Debian release only."
    with tempfile.TemporaryDirectory(prefix="qemu-", dir=kept.parent) as name:
        work = Path(name)
        say(f"Fetching a QEMU that emulates quicker from {source.suite}, for labs only (13 MB):")
        try:
            _unpack(source, work)
            version = version_of(str(work / "root" / program))
        except (OSError, subprocess.SubprocessError) as error:
            said = getattr(error, "stderr", None) or str(error)
            return f"{source.suite} brought none ({said.strip()[-300:]})."
        if not is_quick(version):
            return f"{source.suite} has {version}."
        if not works(str(work / "root" / program)):
            return f"{version} of {source.suite} starts no kernel here."
        say(f"  QEMU {version}")
        shutil.rmtree(kept, ignore_errors=True)
        (work / "root").rename(kept)
    return ""


def _unpack(source: mirror.Source, work: Path) -> None:
    """Have the packages' files at `work`/root, by an apt that has this source alone and writes there alone."""
    (work / "lists/partial").mkdir(parents=True)
    (work / "cache/archives/partial").mkdir(parents=True)
    (work / "debs").mkdir()
    line = f"deb [signed-by={mirror.KEYRING}] {source.uri} {source.suite} {' '.join(source.components)}\n"
    (work / "sources.list").write_text(line)
    settings = {
        "Dir::Etc::sourcelist": work / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State::lists": work / "lists",
        "Dir::Cache": work / "cache",
        "Acquire::Languages": "none",
        "Acquire::http::Timeout": 30,
        "Acquire::https::Timeout": 30,
        "APT::Sandbox::User": "root",  # the user _apt cannot write to this directory
        "APT::Update::Error-Mode": "any",  # else an archive that does not answer is a warning
    }
    apt = ["apt-get", "--quiet", "--quiet", *(f"--option={name}={value}" for name, value in settings.items())]
    _run([*apt, "update"], work)
    _run([*apt, "download", *(f"{package}/{source.suite}" for package in PACKAGES)], work / "debs")
    for deb in sorted((work / "debs").glob("*.deb")):
        _run(["dpkg-deb", "--extract", str(deb), str(work / "root")], work)


def _run(command: list[str], directory: Path) -> None:
    subprocess.run(
        command, check=True, cwd=directory, text=True, capture_output=True, timeout=_STEP_S, stdin=subprocess.DEVNULL
    )


__all__ = ["PACKAGES", "QUICK", "is_quick", "quick", "version_of"]
