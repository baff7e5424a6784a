# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prints as JSON what a driver installation has left on this host: state.py KERNEL LOG."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

LIBRARIES = "/usr/lib/x86_64-linux-gnu"
STEMS = ("libcuda", "libnvidia-", "libGLX_nvidia")


def output(*command: str) -> list[str]:
    """Return the lines that a program prints; none if it is not there."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
    except OSError:
        return []
    return done.stdout.splitlines()


def shown(path: Path) -> str:
    """Return a name, with its target if it is a link."""
    return f"{path.name} -> {path.readlink()}" if path.is_symlink() else path.name


def names(directory: str, pattern: str = "nvidia-*") -> list[str]:
    """Return the names in a directory that match, sorted."""
    return sorted(path.name for path in Path(directory).glob(pattern))


def main(kernel: str, log: str) -> None:
    """Print it."""
    fields = ("version", "filename", "license")
    nouveau = [name for top in ("/etc", "/usr/lib") for name in names(f"{top}/modprobe.d", "nvidia-installer-*")]
    state = {
        "dkms": [line for line in output("dkms", "status") if line.startswith("nvidia/")],
        "modinfo": [line for field in fields for line in output("modinfo", "-k", kernel, "-F", field, "nvidia")],
        "signer": output("modinfo", "-k", kernel, "-F", "signer", "nvidia"),
        "libraries": sorted(shown(path) for stem in STEMS for path in Path(LIBRARIES).glob(f"{stem}*")),
        "programs": names("/usr/bin"),
        "sources": names("/usr/src"),
        "firmware": names("/lib/firmware/nvidia", "*"),
        "modules": sorted(str(path) for path in Path("/lib/modules").rglob("nvidia*.ko")),
        "records": sorted({"log", "dirs"} & set(names("/var/lib/nvidia", "*"))),
        "nouveau_files": len(nouveau),
        "leftovers": names("/tmp", "*"),
    }
    text = ""
    if Path(log).exists():
        with Path(log).open(encoding="utf-8", errors="replace") as file:
            text = file.read()
    json.dump({"state": state, "log": text}, sys.stdout)


main(sys.argv[1], sys.argv[2])
