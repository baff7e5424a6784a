# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runfiles of CUDA that are a test's own few lines of shell."""

from __future__ import annotations

import hashlib
import typing as t
from pathlib import Path

from labhost import LabHost


def own_runfile(host: LabHost, directory: Path, script: str, version: str) -> dict[str, t.Any]:
    """Put a runfile of the test's own on the host and return it as a release."""
    path = directory / "own.run"
    path.write_text("#!/bin/bash\n" + script)
    host.sh("mkdir -p /srv/files")
    host.put(path, "/srv/files/own.run")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {"version": version, "file": "own.run", "sha256": digest, "sources": ["/srv/files/own.run"], "standin": True,
            "size": path.stat().st_size, "tmp_bytes": 1, "target_bytes": 1}  # fmt: skip


__all__ = ["own_runfile"]
