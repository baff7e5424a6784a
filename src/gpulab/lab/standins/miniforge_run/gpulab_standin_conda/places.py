# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where environments, the package cache and the settings of a user are."""

from __future__ import annotations

import os
import re
import typing as t
from pathlib import Path

from .explicit import CondaError


def named_environment(name: str, root: Path) -> Path:
    """Return where the environment of this name is."""
    if name in ("base", "root"):
        return root
    for folder in environment_folders(root):
        if (folder / name / "conda-meta").is_dir():
            return folder / name
    raise CondaError(f"EnvironmentNameNotFound: Could not find conda environment: {name}\n"
                     "You can list all discoverable environments with `conda info --envs`.")  # fmt: skip


def environment_folders(root: Path) -> list[Path]:
    """Return where named environments are looked for; new ones are made in the first."""
    own, shared = Path.home() / ".conda" / "envs", root / "envs"
    return [shared, own] if os.access(root / "envs", os.W_OK) else [own, shared]


def package_cache(root: Path) -> Path:
    """Return the first package cache that this user can write."""
    named = os.environ.get("CONDA_PKGS_DIRS")
    if named:
        return Path(named)
    return root / "pkgs" if os.access(root / "pkgs", os.W_OK) else Path.home() / ".conda" / "pkgs"


def environments(root: Path) -> list[Path]:
    """Return every environment this user can find, the base first."""
    places = [path for folder in environment_folders(root) for path in sorted(folder.glob("*"))]
    registry = Path.home() / ".conda" / "environments.txt"
    if registry.exists():
        places += [Path(line) for line in registry.read_text().splitlines() if line]
    found = dict.fromkeys(path for path in places if (path / "conda-meta").is_dir() and path != root)
    return [root, *found]


def register(prefix: Path) -> None:
    """Remember an environment outside the usual folders (~/.conda/environments.txt)."""
    registry = Path.home() / ".conda" / "environments.txt"
    known = registry.read_text().splitlines() if registry.exists() else []
    if str(prefix) not in known:
        registry.parent.mkdir(parents=True, exist_ok=True)
        registry.write_text("".join(f"{line}\n" for line in [*known, str(prefix)]))


def settings(root: Path) -> tuple[dict[str, t.Any], list[str]]:
    """Read the configuration files: plain keys with a scalar or a list; a later file's lists come first."""
    names = [Path("/etc/conda/.condarc"), root / ".condarc", root / "condarc"]
    names += [*sorted(root.glob("condarc.d/*.yml")), Path.home() / ".condarc"]
    sources = [str(name) for name in names if name.is_file()]
    values: dict[str, t.Any] = {}
    for source in sources:
        for key, value in _read_condarc(Path(source).read_text()).items():
            before = values.get(key)
            if isinstance(value, list) and isinstance(before, list):
                values[key] = [*value, *(item for item in before if item not in value)]
            else:
                values[key] = value
    return values, sources


def _read_condarc(text: str) -> dict[str, t.Any]:
    values: dict[str, t.Any] = {}
    key = ""
    for line in (raw.split(" #", 1)[0].rstrip() for raw in text.splitlines()):
        item = re.match(r"\s*-\s+(.*)", line)
        pair = re.match(r"(\w+):\s*(.*)", line)
        if item and key:
            values[key] = [*(values[key] or []), item[1].strip("\"'")]
        elif pair:
            key = pair[1]
            value = pair[2].strip("\"'")
            values[key] = {"true": True, "false": False, "": None}.get(value, value)
    return values


__all__ = ["environment_folders", "environments", "named_environment", "package_cache", "register", "settings"]
