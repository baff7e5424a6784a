# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fills .venv from the hash-locked requirements and puts the command `gpulab` into it. Run by .venv's own Python."""

from __future__ import annotations

import argparse
import hashlib
import json
import shlex
import subprocess
import sys
import sysconfig
import typing as t
from pathlib import Path

from gpulab import _paths
from gpulab._bootstrap import STAMP

FAILED = 1


def wanted(requirements: Path, *, dev: bool) -> Path:
    """Return the lock that is asked for; the tests' one holds everything of the other."""
    return requirements / ("dev.txt" if dev else "controller.txt")


def read_stamp(path: Path) -> dict[str, t.Any]:
    """Return what an earlier run noted; nothing where it did not finish."""
    try:
        stamp = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def is_done(stamp: dict[str, t.Any], lock: Path, root: Path) -> bool:
    """Tell whether this very lock was installed for this very directory."""
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()
    return stamp.get("root") == str(root) and stamp.get("locks", {}).get(lock.name) == digest


def install(lock: Path) -> int:
    """Install a lock with pip, which checks every hash; return pip's exit code."""
    base = [sys.executable, "-m", "pip"]
    if subprocess.run([*base, "--version"], check=False, capture_output=True).returncode != 0:
        subprocess.run([sys.executable, "-m", "ensurepip", "--default-pip"], check=True, capture_output=True)
    options = ["--quiet", "--disable-pip-version-check", "--no-input", "--require-hashes"]
    return subprocess.run([*base, "install", *options, "-r", str(lock)], check=False).returncode


def link_project(environment: Path, source: Path) -> None:
    """Make `import gpulab` and .venv/bin/gpulab work from the checkout, without a build and without a network."""
    packages = Path(sysconfig.get_path("purelib"))
    (packages / "gpulab-checkout.pth").write_text(f"{source}\n")
    command = environment / "bin/gpulab"
    command.unlink(missing_ok=True)
    # A "#!" line cannot name a Python whose path is long or has a space in it; this one need not.
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(str(environment / "bin/python"))} -m gpulab "$@"\n')
    command.chmod(0o755)


def main(argv: list[str] | None = None) -> int:
    """Bring .venv up to date, or see that it is."""
    parser = argparse.ArgumentParser(prog="scripts/setup", description=__doc__)
    parser.add_argument("--dev", action="store_true", help="with what the tests need")
    parser.add_argument("--quiet", action="store_true", help="say nothing when there is nothing to do")
    arguments = parser.parse_args(argv)
    root = _paths.repository()
    environment = root / ".venv"
    lock = wanted(root / "requirements", dev=arguments.dev)
    stamp = read_stamp(environment / STAMP)
    if is_done(stamp, lock, root) and (environment / "bin/gpulab").exists():
        if not arguments.quiet:
            print(f"Nothing to do: .venv has what {lock.relative_to(root)} asks for.")
        return 0
    print(f"Installing what {lock.relative_to(root)} names into .venv (about a minute) ...")
    if install(lock) != 0:
        print(
            f"Found: pip could not install {lock.relative_to(root)} (its words are above).\n"
            "Expected: every package with a hash of the lock.\n"
            "To do: check the network and 'pip config list'; running this again goes on where it stopped.",
            file=sys.stderr,
        )
        return FAILED
    link_project(environment, root / "src")
    locks = {**stamp.get("locks", {}), lock.name: hashlib.sha256(lock.read_bytes()).hexdigest()}
    (environment / STAMP).write_text(json.dumps({"root": str(root), "locks": locks}) + "\n")
    print("Ready: .venv/bin/gpulab --help")
    return 0


if __name__ == "__main__":
    sys.exit(main())
