# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A download source for uv on this machine: the Python that runs this, packed as the builds are that uv installs."""

from __future__ import annotations

import hashlib
import json
import sys
import sysconfig
import tarfile
from pathlib import Path

# A Python that lies elsewhere than it was built for finds its own library this way only.
_PROGRAM = """#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
export LD_LIBRARY_PATH="$here/../lib"
exec bash -c 'exec -a "$0" "$@"' "$0" "$here/program" "$@"
"""
_LEFT_OUT = {"__pycache__", "site-packages", "dist-packages", "test", "idlelib", "tkinter", "turtledemo"}


def write_source(directory: Path) -> Path:
    """Write the archive and the list of downloads that names it; return the list (UV_PYTHON_DOWNLOADS_JSON_URL)."""
    directory.mkdir(parents=True, exist_ok=True)
    archive = directory / "python.tar.gz"
    _pack(directory, archive)
    major, minor, patch = sys.version_info[:3]
    key = f"cpython-{major}.{minor}.{patch}-linux-x86_64-gnu"
    entry = {
        "name": "cpython", "arch": {"family": "x86_64", "variant": None}, "os": "linux", "libc": "gnu",
        "major": major, "minor": minor, "patch": patch, "prerelease": "", "variant": None, "build": "20260101",
        "url": archive.as_uri(), "sha256": hashlib.sha256(archive.read_bytes()).hexdigest(),
    }  # fmt: skip
    listed = directory / "downloads.json"
    listed.write_text(json.dumps({key: entry}, indent=1) + "\n", encoding="utf-8")
    return listed


def _pack(directory: Path, archive: Path) -> None:
    base, name = Path(sys.base_prefix), f"python{sys.version_info.major}.{sys.version_info.minor}"
    program = directory / "program"
    program.write_text(_PROGRAM, encoding="utf-8")
    program.chmod(0o755)
    with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
        tar.add(program, f"python/bin/{name}")
        tar.add((base / "bin" / name).resolve(), "python/bin/program")
        tar.add(sysconfig.get_path("stdlib"), f"python/lib/{name}", filter=_wanted)
        for library in (base / "lib").glob("libpython*.so*"):
            tar.add(library, f"python/lib/{library.name}")


def _wanted(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if Path(member.name).name in _LEFT_OUT or member.name.endswith(".a") else member


__all__ = ["write_source"]
