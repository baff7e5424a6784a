# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a stack file and the overrides choose, as flat keys such as driver.version, before anything is looked up."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._fields import Fields, Problems
from ansible_collections.gpulab.workstation.plugins.module_utils._versions import nearest_spelling

_GROUPS = {
    "driver": ("version", "flavour"),
    "cuda": ("version",),
    "python": ("version",),
    "miniforge": ("version",),
    "torch": ("version", "index", "cuda"),
    "torchvision": ("version",),
    "torchaudio": ("version",),
    "xformers": ("version",),
    "locks": ("conda", "torch", "xformers", "diffusion", "uv"),
}
_STANDINS = re.compile("conda_lock")  # releases say for themselves that they are stand-ins
_OPTIONAL = {"torchvision.version", "torchaudio.version", "xformers.version", "locks.xformers"}
SETTABLE = (
    "driver.version",
    "driver.flavour",
    "cuda.version",
    "miniforge.version",
    "torch.version",
    "torch.index",
    "torchvision.version",
    "torchaudio.version",
    "xformers.version",
    "python.version",
    "arch",
    *(f"locks.{name}" for name in _GROUPS["locks"]),
)


@dataclass(frozen=True)
class Finding:
    """One broken rule: its words, what was found and expected, the nearest value that keeps it, and its source."""

    rule: str
    sentence: str
    found: str
    expected: str
    nearest: str
    source: str

    def words(self) -> str:
        """Return the finding as one paragraph."""
        nearest = f" Nearest: {self.nearest}." if self.nearest else ""
        return f"{self.sentence} Found: {self.found}. Expected: {self.expected}.{nearest} Source: {self.source}."


class ChoiceError(OperatorError):
    """Something was chosen that the catalogue does not know; ``unknown`` maps each such key to its finding."""

    def __init__(self, unknown: t.Mapping[str, Finding]) -> None:
        self.unknown = dict(unknown)
        super().__init__(
            found="; ".join(f"{finding.found}" for finding in unknown.values()) + ".",
            expected="; ".join(dict.fromkeys(finding.expected for finding in unknown.values())) + ".",
            action="; ".join(f"take {f.nearest}" for f in unknown.values() if f.nearest)
            or "name values of the catalogue, or add them in an overlay (catalogue/README.md).",
        )


def read_choice(stacks: t.Mapping[str, t.Any], name: str) -> dict[str, str]:
    """Return the flat keys of a stack file over those of the stack that it extends."""
    problems = Problems()
    chain: list[str] = []
    choice: dict[str, str] = {}
    following: str | None = name
    while following is not None:
        if following in chain:
            problems.add(f"stacks/{name}.yml", f"extends goes in a circle: {' -> '.join([*chain, following])}")
            break
        if following not in stacks:
            raise _unknown_stack(following, stacks, chain)
        chain.append(following)
        own, following = _read_file(following, stacks[following], problems)
        choice = {**own, **choice}
    required = {f"{group}.{key}" for group, keys in _GROUPS.items() for key in keys} - _OPTIONAL | {"arch"}
    for key in sorted(required - choice.keys()):
        problems.add(f"stacks/{name}.yml", f"{key} is missing")
    problems.raise_if_any(
        expected="a stack file as catalogue/README.md describes it.", action=f"correct stacks/{name}.yml."
    )
    return choice


def _read_file(name: str, data: object, problems: Problems) -> tuple[dict[str, str], str | None]:
    file = Fields(data, f"stacks/{name}.yml", problems)
    values: dict[str, str | None] = {key: file.optional_text(key) for key in ("description", "arch")}
    for group, keys in _GROUPS.items():
        fields = file.mapping(group, required=False)
        values.update({f"{group}.{key}": fields.optional_text(key) for key in keys})
        fields.close()
    values["standins"] = ",".join(file.texts("standins", _STANDINS, required=False)) or None
    extends = file.optional_text("extends")
    file.close()
    return {key: value for key, value in values.items() if value is not None}, extends


def _unknown_stack(name: str, stacks: t.Mapping[str, t.Any], chain: list[str]) -> OperatorError:
    meant = nearest_spelling(name, stacks)
    return OperatorError(
        found=f"the stack {name!r}" + (f", which {chain[-1]} extends, " if chain else " ") + "is not in the catalogue.",
        expected=f"one of {', '.join(sorted(stacks)) or '(there is none)'}.",
        action=f"take {meant}." if meant else "name one of these, or add a file under stacks/ in an overlay.",
    )


def unsettable(overrides: t.Mapping[str, t.Any]) -> dict[str, Finding]:
    """Return a finding for each override whose key is unknown or whose value is not text."""
    unknown: dict[str, Finding] = {}
    for key, value in overrides.items():
        if key not in SETTABLE:
            unknown[key] = Finding(
                rule="known-key",
                sentence="An override names something that a stack chooses.",
                found=f"the override {key}",
                expected=f"one of {', '.join(SETTABLE)}",
                nearest=nearest_spelling(str(key), SETTABLE) or "",
                source="catalogue/README.md",
            )
        elif not isinstance(value, str):
            unknown[key] = Finding(
                rule="known-key",
                sentence="The value of an override is text, since as a number it would lose digits.",
                found=f"{key} is {value!r}, not text",
                expected="text",
                nearest=f'{key}: "{value}", in quotes',
                source="catalogue/README.md",
            )
    return unknown


__all__ = ["SETTABLE", "ChoiceError", "Finding", "read_choice", "unsettable"]
