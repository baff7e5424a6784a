# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pairs of ssh host keys, made for a test by ssh-keygen as a host makes its own."""

from __future__ import annotations

import subprocess
from pathlib import Path


def make(directory: Path, *kinds: str, words: tuple[str, ...] = ()) -> dict[str, dict[str, str]]:
    """Return private and public half of a new key of each kind; the files stay in the directory under sshd's names."""
    made = {}
    for kind in kinds:
        path = directory / f"ssh_host_{kind}_key"
        command = ["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "root@ws-01", *words, "-f", str(path)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
        public = " ".join(path.with_suffix(".pub").read_text().split()[:2])
        made[kind] = {"private": path.read_text(), "public": public}
    return made


def secrets(keys: dict[str, dict[str, str]]) -> list[str]:
    """Return what must not be seen anywhere: the lines of private files, without those that hold the public half."""
    found = ["PRIVATE KEY"]
    for key in keys.values():
        lines = [line for line in key["private"].splitlines() if len(line) > 20 and line not in key["public"]]
        found += [line for line in lines if not line.startswith(("-----", "b3BlbnNz"))]  # as every key begins
    return found


__all__ = ["make", "secrets"]
