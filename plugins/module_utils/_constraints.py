# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What makes later pip and uv commands in an environment keep the versions of the locks.

Every layer of wheels (torch_stack below, diffusion_stack on top) keeps its pins in a part of its own, and
constraints.txt is all parts together, so that the layers do not undo each other. pip reads it through the
environment's pip.conf, whoever calls it and how; uv and pip both read it from variables that conda sets when the
environment is activated. Since pip 25.3 the constraints no longer reach the environments in which pip builds
packages; for those there are build constraints, with the torch family only, so that a plugin is compiled against the
torch it will meet and its other build requirements stay free.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._host import Host
from ansible_collections.gpulab.workstation.plugins.module_utils._pip_lock import LockedWheel, same_version
from ansible_collections.gpulab.workstation.plugins.module_utils._wheel_env import RECORDS

_NOTE = "# Kept by gpulab: versions that the roles install, and that they would put back.\n"
_BUILT_AGAINST = ("torch", "torchvision", "torchaudio", "triton")
_PIP_SETTINGS = ("constraint", "build-constraint")

_VARIABLES = {
    "PIP_CONSTRAINT": "constraints.txt",
    "UV_CONSTRAINT": "constraints.txt",
    "PIP_BUILD_CONSTRAINT": "build-constraints.txt",
    "UV_BUILD_CONSTRAINT": "build-constraints.txt",
}


@dataclass(frozen=True)
class Constraints:
    """The parts that lie in the environment, by layer, and the present text of every file kept here."""

    parts: t.Mapping[str, str]
    files: t.Mapping[str, str]


def read_constraints(host: Host, env: str) -> Constraints:
    """Read the parts of all layers and the files made of them."""
    directory = f"{env}/{RECORDS}/constraints.d"
    names = [name for name in host.listdir(directory) if name.endswith(".txt")]
    parts = {name.removesuffix(".txt"): host.read_text(f"{directory}/{name}") or "" for name in names}
    paths = [*_paths(env).values(), *(f"{directory}/{name}" for name in names)]
    texts = {path: host.read_text(path) for path in paths}
    return Constraints(parts, {path: text for path, text in texts.items() if text is not None})


def wanted_files(env: str, layer: str, lock: t.Iterable[LockedWheel], found: Constraints) -> dict[str, str]:
    """Return every file as it has to be, by path, in the order in which to write them (pip.conf names the others)."""
    parts = {**found.parts, layer: _NOTE + "".join(f"{w.name}=={w.version}\n" for w in lock)}
    merged = _merge(parts)
    paths = _paths(env)
    family = {name: version for name, version in merged.items() if name in _BUILT_AGAINST}
    records = f"{env}/{RECORDS}"
    return {
        f"{records}/constraints.d/{layer}.txt": parts[layer],
        paths["constraints"]: _render(merged),
        paths["build"]: _render(family),
        paths["pip"]: pip_conf_with(
            found.files.get(paths["pip"], ""),
            dict(zip(_PIP_SETTINGS, (paths["constraints"], paths["build"]), strict=True)),
        ),
        paths["activate"]: activation(records),
        paths["deactivate"]: deactivation(),
    }


def refuse_contradictions(layer: str, lock: t.Iterable[LockedWheel], found: Constraints) -> None:
    """Refuse a lock that pins a package otherwise than a layer below, for the two would replace it in turns."""
    below = _merge({name: text for name, text in found.parts.items() if name < layer})
    wrong = [w for w in lock if w.name in below and not same_version(w.version, below[w.name])]
    if wrong:
        pairs = ", ".join(f"{w.name} {w.version} (below: {below[w.name]})" for w in wrong)
        raise OperatorError(
            found=f"this lock pins otherwise than the locks below it: {pairs}.",
            expected="locks that agree on the packages they share, or the roles would undo each other.",
            action="take both locks from one stack, or renew the upper lock with the lower one as its constraints.",
        )


def pip_conf_with(text: str, settings: t.Mapping[str, str]) -> str:
    """Return pip's configuration with some settings of its section [install] replaced and all other lines kept."""
    names = "|".join(re.escape(name) for name in settings)
    kept = re.sub(rf"^(?:{names})\s*[=:].*\n?(?:[ \t]+\S.*\n?)*", "", text, flags=re.MULTILINE)
    lines = "".join(f"{name} = {value}\n" for name, value in settings.items())
    if re.search(r"^\[install\]\s*$", kept, re.MULTILINE):
        return re.sub(r"^\[install\][ \t]*\n?", lambda _: f"[install]\n{lines}", kept, count=1, flags=re.MULTILINE)
    return kept + ("\n" if kept and not kept.endswith("\n") else "") + f"[install]\n{lines}"


def activation(directory: str) -> str:
    """Return the script that conda sources on activation; constraints that the user already has stay in force."""
    lines = [
        f'_GPULAB_OLD_{name}="${{{name}-}}"\nexport {name}="${{{name}:+${name} }}{directory}/{file}"\n'
        for name, file in _VARIABLES.items()
    ]
    return "# Kept by gpulab: pip and uv keep the versions of the locks while this environment is active.\n" + "".join(
        lines
    )


def deactivation() -> str:
    """Return the script that conda sources on deactivation: every variable is as it was before."""
    lines = [
        f'if [ -n "${{_GPULAB_OLD_{name}-}}" ]; then export {name}="$_GPULAB_OLD_{name}"; else unset {name}; fi\n'
        f"unset _GPULAB_OLD_{name}\n"
        for name in _VARIABLES
    ]
    return "# Kept by gpulab: gives back what the activation changed.\n" + "".join(lines)


def _merge(parts: t.Mapping[str, str]) -> dict[str, str]:
    """Return name and version of all pins; where layers contradict each other the lower one counts."""
    merged: dict[str, str] = {}
    for _layer, text in sorted(parts.items()):
        for name, version in re.findall(r"^([a-z0-9-]+)==(\S+)$", text, re.MULTILINE):
            merged.setdefault(name, version)
    return merged


def _render(pins: t.Mapping[str, str]) -> str:
    return _NOTE + "".join(f"{name}=={version}\n" for name, version in sorted(pins.items()))


def _paths(env: str) -> dict[str, str]:
    return {
        "constraints": f"{env}/{RECORDS}/constraints.txt",
        "build": f"{env}/{RECORDS}/build-constraints.txt",
        "pip": f"{env}/pip.conf",
        "activate": f"{env}/etc/conda/activate.d/gpulab-constraints.sh",
        "deactivate": f"{env}/etc/conda/deactivate.d/gpulab-constraints.sh",
    }


__all__ = [
    "Constraints",
    "activation",
    "deactivation",
    "pip_conf_with",
    "read_constraints",
    "refuse_contradictions",
    "wanted_files",
]
