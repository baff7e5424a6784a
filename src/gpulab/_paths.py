# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where gpulab keeps what it makes: in the repository (.lab, results) and in the user's cache."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path


def repository() -> Path:
    """Return the checkout that this package runs from (site.yml, roles and catalogue lie beside src/)."""
    return Path(__file__).resolve().parents[2]


def cache_directory(environ: t.Mapping[str, str] = os.environ) -> Path:
    """Return GPULAB_CACHE, else gpulab in XDG_CACHE_HOME or ~/.cache (XDG base directory specification)."""
    if environ.get("GPULAB_CACHE"):
        return Path(environ["GPULAB_CACHE"]).absolute()
    base = environ.get("XDG_CACHE_HOME", "")
    # The specification says that a relative path is invalid and is to be ignored.
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "gpulab"


__all__ = ["cache_directory", "repository"]
