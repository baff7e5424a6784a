# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find variables of the site that no role knows, or that have the wrong type, before anything is done with them.

Ansible itself ignores a misspelt variable silently, and checks types only role by role, half-way through a run.
"""

from __future__ import annotations

import difflib
import functools
import re
import typing as t
from dataclasses import dataclass
from pathlib import Path

import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.gpulab.workstation.plugins.module_utils._refusal import Refusal

# What ansible-core says before and after the part that matters, the latter in an order that changes.
_ANSIBLES_PREFACE = re.compile(
    r"argument '[^']+' is of type .*? and we were unable to convert to \w+: | Valid booleans include: .*"
)
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # both are safe; the compiled one is eight times as fast
_SITE = "gpulab_"
_SITE_READERS = (
    "roles/*/defaults/main.yml",
    "playbooks/*.yml",
    "plugins/lookup/*.py",
    "site.yml",
    "src/gpulab/_autoinstall.py",
)


@dataclass(frozen=True)
class Vocabulary:
    """Every variable that the collection reads: those of roles with their argument spec and default."""

    options: t.Mapping[str, t.Mapping[str, t.Any]]
    defaults: t.Mapping[str, t.Any]
    roles: tuple[str, ...]
    site: frozenset[str]

    @property
    def names(self) -> frozenset[str]:
        """All names that mean something."""
        return self.site | frozenset(self.options)

    def role_of(self, name: str) -> str | None:
        """Return the role that a variable belongs to by its prefix; gpu_driver_x is not gpu's."""
        owners = [role for role in self.roles if name.startswith(f"{role}_")]
        return max(owners, key=len, default=None)


@functools.lru_cache(maxsize=4)
def vocabulary(root: Path) -> Vocabulary:
    """Read the argument specs and defaults of every role of the collection."""
    options: dict[str, t.Mapping[str, t.Any]] = {}
    defaults: dict[str, t.Any] = {}
    roles = []
    for spec in sorted(root.glob("roles/*/meta/argument_specs.yml")):
        role = spec.parent.parent
        roles.append(role.name)
        for entry in (_load(spec).get("argument_specs") or {}).values():
            options.update(entry.get("options") or {})
        defaults.update(_load(role / "defaults" / "main.yml"))
    texts = (path.read_text(encoding="utf-8") for pattern in _SITE_READERS for path in sorted(root.glob(pattern)))
    site = frozenset(name for text in texts for name in re.findall(r"\bgpulab_\w+", text))
    return Vocabulary(options, defaults, tuple(roles), site)


def _load(path: Path) -> dict[str, t.Any]:
    return (yaml.load(path.read_text(encoding="utf-8"), Loader=_LOADER) or {}) if path.exists() else {}  # noqa: S506


def complaints(
    variables: t.Mapping[str, t.Any], known: Vocabulary, evaluate: t.Callable[[t.Any], t.Any]
) -> list[Refusal]:
    """Return what is wrong with a host's variables; ``evaluate`` resolves templates in their values."""
    found = []
    for name in sorted(variables):
        if name in known.options:
            value = variables[name]
            if name not in known.defaults or value != known.defaults[name]:
                found += _type_complaint(name, value, known.options[name], evaluate)
        elif name not in known.site and (name.startswith(_SITE) or known.role_of(name)):
            found.append(_unknown(name, known))
    return found


def _unknown(name: str, known: Vocabulary) -> Refusal:
    role = known.role_of(name)
    family = [other for other in known.names if known.role_of(other) == role]
    near = difflib.get_close_matches(name, sorted(family), n=1, cutoff=0.6)
    where = f"roles/{role}/README.md" if role else "the README"
    return Refusal(
        f"the variable {name} is set, and nothing reads it.",
        f"a variable of {where}{f', perhaps {near[0]}' if near else ''}.",
        f"correct or remove {name} in the inventory, host_vars, group_vars or on the command line.",
    )


def _type_complaint(
    name: str, value: t.Any, option: t.Mapping[str, t.Any], evaluate: t.Callable[[t.Any], t.Any]
) -> list[Refusal]:
    try:
        value = evaluate(value)
    except Exception as error:  # noqa: BLE001 - whatever a template raises, the operator gets to read it
        words = str(error)
    else:
        words = "; ".join(ArgumentSpecValidator({name: _spec(option)}).validate({name: value}).error_messages)
    if not words:
        return []
    return [
        Refusal(
            f"{name} is {value!r}: {_ANSIBLES_PREFACE.sub('', words).rstrip('.')}.",
            f"{_wanted(option)}.",
            f"correct {name} in the inventory, host_vars, group_vars or on the command line.",
        )
    ]


def _spec(option: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Leave only what decides about a value: the words for people and the defaults are not part of its type."""
    kept = {key: option[key] for key in ("type", "elements", "choices") if key in option}
    if "options" in option:
        kept["options"] = {
            key: {**_spec(sub), "required": sub.get("required", False)} for key, sub in option["options"].items()
        }
    return kept


def _wanted(option: t.Mapping[str, t.Any]) -> str:
    kind = str(option.get("type", "str"))
    if kind == "bool":
        return "true or false"
    if "choices" in option:
        return "one of " + ", ".join(map(str, option["choices"]))
    return f"a list of {option['elements']}" if kind == "list" and "elements" in option else f"a value of type {kind}"


__all__ = ["Vocabulary", "complaints", "vocabulary"]
