# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shell code for activate and deactivate, with conda's variables, stacking rule and activate.d scripts."""

from __future__ import annotations

import json
import shlex
import typing as t
from collections.abc import Mapping
from pathlib import Path

from .explicit import CondaError


def activate(prefix: Path, name: str, environ: Mapping[str, str], root: Path) -> str:
    """Return the code that makes an environment the current one, on top of the one before."""
    if not (prefix / "conda-meta").is_dir():
        message = f"EnvironmentLocationNotFound: Not a conda environment: {prefix}"
        raise CondaError(message)
    level = int(environ.get("CONDA_SHLVL") or 0)
    old = environ.get("CONDA_PREFIX", "")
    if old == str(prefix):
        return reactivate(environ, root)
    path = _without(environ.get("PATH", ""), old)
    lines = _leave(Path(old)) if old else []
    exports = {
        "PATH": f"{prefix}/bin:{path}",
        "CONDA_PREFIX": str(prefix),
        "CONDA_SHLVL": str(level + 1),
        "CONDA_DEFAULT_ENV": name,
        "CONDA_PROMPT_MODIFIER": f"({name}) ",
        **_own_variables(root),
        **_state(prefix),
    }
    if old:
        exports[f"CONDA_PREFIX_{level}"] = old
    return _code([*lines, _prompt(environ, f"({name}) "), *_exports(exports), *_scripts(prefix, "activate")])


def deactivate(environ: Mapping[str, str], root: Path) -> str:
    """Return the code that goes back to the environment before, or to none."""
    level = int(environ.get("CONDA_SHLVL") or 0)
    old = environ.get("CONDA_PREFIX", "")
    if level < 1 or not old:
        return ""
    path = _without(environ.get("PATH", ""), old)
    lines = _leave(Path(old))
    if level == 1:
        names = ("CONDA_PREFIX", "CONDA_DEFAULT_ENV", "CONDA_PROMPT_MODIFIER")
        lines += [f"unset {name}" for name in names]
        exports = {"PATH": path, "CONDA_SHLVL": "0", **_own_variables(root)}
        return _code([*lines, _prompt(environ, ""), *_exports(exports)])
    before = Path(environ[f"CONDA_PREFIX_{level - 1}"])
    name = environment_name(before, root)
    exports = {
        "PATH": f"{before}/bin:{path}",
        "CONDA_PREFIX": str(before),
        "CONDA_SHLVL": str(level - 1),
        "CONDA_DEFAULT_ENV": name,
        "CONDA_PROMPT_MODIFIER": f"({name}) ",
        **_own_variables(root),
        **_state(before),
    }
    lines.append(f"unset CONDA_PREFIX_{level - 1}")
    return _code([*lines, _prompt(environ, f"({name}) "), *_exports(exports), *_scripts(before, "activate")])


def reactivate(environ: Mapping[str, str], root: Path) -> str:
    """Return the code that renews the current environment after its packages have changed."""
    current = environ.get("CONDA_PREFIX", "")
    if not current:
        return ""
    path = _without(environ.get("PATH", ""), current)
    exports = {"PATH": f"{current}/bin:{path}", **_own_variables(root), **_state(Path(current))}
    scripts = [*_scripts(Path(current), "deactivate"), *_exports(exports), *_scripts(Path(current), "activate")]
    return _code(scripts)


def environment_name(prefix: Path, root: Path) -> str:
    """Return what the prompt shows for an environment."""
    if prefix == root:
        return "base"
    return prefix.name if prefix.parent.name == "envs" else str(prefix)


def _leave(prefix: Path) -> list[str]:
    return [*_scripts(prefix, "deactivate"), *(f"unset {name}" for name in _state(prefix))]


def _scripts(prefix: Path, kind: str) -> list[str]:
    found = sorted(prefix.glob(f"etc/conda/{kind}.d/*.sh"), reverse=kind == "deactivate")
    return [f". {shlex.quote(str(script))}" for script in found]


def _state(prefix: Path) -> dict[str, str]:
    """Return the variables set by `conda env config vars` (conda-meta/state)."""
    path = prefix / "conda-meta" / "state"
    state: dict[str, t.Any] = json.loads(path.read_text()) if path.exists() else {}
    return {str(key): str(value) for key, value in state.get("env_vars", {}).items()}


def _own_variables(root: Path) -> dict[str, str]:
    return {"CONDA_EXE": f"{root}/bin/conda", "_CE_M": "", "_CE_CONDA": "", "CONDA_PYTHON_EXE": f"{root}/bin/python"}


def _exports(variables: Mapping[str, str]) -> list[str]:
    return [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]


def _prompt(environ: Mapping[str, str], modifier: str) -> str:
    bare = environ.get("PS1", "").removeprefix(environ.get("CONDA_PROMPT_MODIFIER", ""))
    return f"PS1={shlex.quote(modifier + bare)}"


def _without(path: str, prefix: str) -> str:
    return ":".join(part for part in path.split(":") if not prefix or part != f"{prefix}/bin")


def _code(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


__all__ = ["activate", "deactivate", "environment_name", "reactivate"]
