# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The catalogue overlay of a lab: the stand-ins, in the catalogue's own schema.

Written for what is in the depot: each release keeps what the catalogue says of the real one, but for the file's sha256,
size and source, and says that it is a stand-in. The stack `lab` extends the default stack with the stand-in's own lock.
"""

from __future__ import annotations

import typing as t

import yaml

from gpulab import _paths
from gpulab._errors import OperatorError
from gpulab.lab.standins_cache import KINDS

if t.TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gpulab.lab.standins_cache import Standin

STACK = "lab"
EXTENDED = "cu128"
FILES = {"driver": "drivers.yml", "cuda": "cuda.yml", "miniforge": "miniforge.yml"}
_OF_THE_REAL_FILE = ("seen", "disputed", "not_installable")
CONDA_LOCK = f"conda/{STACK}.txt"


def versions() -> dict[str, str]:
    """Return which version each kind of stand-in stands in for: those of the default stack."""
    stack = yaml.safe_load((_paths.repository() / f"catalogue/stacks/{EXTENDED}.yml").read_text())
    return {kind: str(stack[kind]["version"]) for kind in KINDS}


def wheel_locks() -> list[Path]:
    """Return the pip locks of the default stack, which the lab's stack shares."""
    catalogue = _paths.repository() / "catalogue"
    locks = yaml.safe_load((catalogue / f"stacks/{EXTENDED}.yml").read_text())["locks"]
    return [catalogue / "locks" / locks[name] for name in ("uv", "torch", "diffusion")]


def release(real: t.Mapping[str, t.Any], standin: Standin, depot_url: str) -> dict[str, t.Any]:
    """Return the catalogue's entry for a stand-in, from the entry of what it stands in for."""
    kept = {key: value for key, value in real.items() if key not in _OF_THE_REAL_FILE}
    changed = {"size": standin.size, "sha256": standin.sha256, "sources": [standin.url(depot_url)], "standin": True}
    return {**kept, "file": standin.file, **changed}


def write(directory: Path, standins: Sequence[Standin], depot_url: str) -> None:
    """Write the overlay's files: the releases, the stack and its conda lock."""
    tables: dict[str, dict[str, t.Any]] = {}
    locks: dict[str, str] = {}
    for standin in standins:
        real = yaml.safe_load((_paths.repository() / "catalogue" / FILES[standin.kind]).read_text())["releases"]
        if standin.version not in real:
            raise OperatorError(
                found=f"no {KINDS[standin.kind]} {standin.version} in catalogue/{FILES[standin.kind]}.",
                expected=f"one of {', '.join(real)}.",
                action="choose one of these, or add the release to the catalogue.",
            )
        entry = release(real[standin.version], standin, depot_url)
        tables.setdefault(FILES[standin.kind], {})[standin.version] = entry
        if standin.lock:
            locks[CONDA_LOCK] = standin.lock.replace("{depot}", depot_url)
    stack = {
        "description": "stand-ins for what a test machine cannot download; everything else as in the default stack",
        "extends": EXTENDED,
        **({"locks": {"conda": CONDA_LOCK}, "standins": ["conda_lock"]} if locks else {}),
    }
    for name, releases in tables.items():
        _write_yaml(directory / name, {"releases": releases})
    for name, text in locks.items():
        _write(directory / "locks" / name, text)
    _write_yaml(directory / "stacks" / f"{STACK}.yml", stack)


def _write_yaml(path: Path, data: t.Mapping[str, t.Any]) -> None:
    _write(path, "# Written by 'gpulab lab up'.\n---\n" + yaml.safe_dump(dict(data), sort_keys=False))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    new.write_text(text)
    new.replace(path)


__all__ = ["CONDA_LOCK", "STACK", "release", "versions", "write"]
