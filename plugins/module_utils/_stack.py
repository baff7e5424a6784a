# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stack: the chosen driver, toolkit, Python, torch and the rest, looked up in the catalogue."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from ansible_collections.gpulab.workstation.plugins.module_utils._choice import (
    ChoiceError,
    Finding,
    read_choice,
    unsettable,
)
from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._locks import Lock
from ansible_collections.gpulab.workstation.plugins.module_utils._releases import (
    Catalogue,
    CudaRelease,
    DriverRelease,
    Release,
    TorchRelease,
    XformersRelease,
)
from ansible_collections.gpulab.workstation.plugins.module_utils._versions import (
    is_windows_numbering,
    nearest_release,
    nearest_spelling,
    release_key,
    series,
)

NONE = "none"
FLAVOURS = ("open", "proprietary")
INDEXES = ("pypi", "pytorch")
_LOCAL = re.compile(r"(?P<release>.+)\+cu(?P<major>\d+)(?P<minor>\d)")


@dataclass(frozen=True)
class Stack:
    """One version of everything, as chosen; whether it holds together is for the rules to say."""

    name: str
    overrides: t.Mapping[str, str]
    catalogue: Catalogue
    driver: DriverRelease
    flavour: str
    cuda: CudaRelease
    python: str
    miniforge: Release
    torch: TorchRelease
    index: str
    torch_cuda: str
    torchvision: str
    torchaudio: str | None
    xformers: XformersRelease | None
    arch: str
    locks: t.Mapping[str, Lock]
    standins: frozenset[str]

    @property
    def torch_build(self) -> str | None:
        """Return the CUDA of the wheel that the index would give: the wanted one if it has it, else its first."""
        builds = self.torch.builds.get(self.index, ())
        return self.torch_cuda if self.torch_cuda in builds else next(iter(builds), None)

    def value(self, key: str) -> str:
        """Return what the stack has for a key that can be overridden."""
        return self.values()[key]

    def values(self) -> dict[str, str]:
        """Return every choice by its flat key."""
        return {
            "driver.version": self.driver.artefact.version,
            "driver.flavour": self.flavour,
            "cuda.version": self.cuda.artefact.version,
            "python.version": self.python,
            "miniforge.version": self.miniforge.version,
            "torch.version": self.torch.version,
            "torch.index": self.index,
            "torch.cuda": self.torch_cuda,
            "torchvision.version": self.torchvision,
            "torchaudio.version": self.torchaudio or NONE,
            "xformers.version": self.xformers.version if self.xformers else NONE,
            "arch": self.arch,
            **{f"locks.{name}": lock.path for name, lock in sorted(self.locks.items())},
        }

    def with_value(self, key: str, value: str) -> Stack:
        """Return the stack with one more override."""
        return resolve(self.catalogue, self.name, {**self.overrides, key: value})


def candidates(catalogue: Catalogue, key: str) -> list[str]:
    """Return what a key could be set to, in order."""
    drivers = sorted(catalogue.drivers.values(), key=lambda driver: driver.number)
    known: dict[str, t.Iterable[str]] = {
        "driver.version": [driver.artefact.version for driver in drivers],
        "driver.flavour": FLAVOURS,
        "cuda.version": sorted(catalogue.cuda, key=release_key),
        "miniforge.version": sorted(catalogue.miniforge, key=release_key),
        "torch.version": sorted(catalogue.torch, key=release_key),
        "torch.index": INDEXES,
        "torch.cuda": sorted(catalogue.torch_arches, key=release_key),
        "torchvision.version": _companions(torch.torchvision for torch in catalogue.torch.values()),
        "torchaudio.version": [NONE, *_companions(torch.torchaudio for torch in catalogue.torch.values())],
        "xformers.version": [NONE, *sorted(catalogue.xformers, key=release_key)],
        "python.version": _pythons(catalogue),
        "arch": sorted({arch for cuda in catalogue.cuda.values() for arch in cuda.arches}, key=release_key),
    }
    return list(known[key])


def _companions(versions: t.Iterable[str | None]) -> list[str]:
    return sorted({version for version in versions if version}, key=release_key)


def _pythons(catalogue: Catalogue) -> list[str]:
    bounds = [
        series(bound) for torch in catalogue.torch.values() for bound in (torch.python_min, torch.python_max) if bound
    ]
    return [f"3.{minor}" for minor in range(min(bounds)[1], max(bounds)[1] + 1)]


class _Choice:
    """The flat keys of a stack, looked up one by one; what the catalogue does not know is remembered."""

    def __init__(self, catalogue: Catalogue, values: dict[str, str], unknown: dict[str, Finding]) -> None:
        self.catalogue = catalogue
        self.values = values
        self.unknown = unknown

    def known(self, key: str) -> str:
        """Return the catalogue's spelling of a value; one that it does not have becomes a finding."""
        value = self.values[key]
        known = candidates(self.catalogue, key)
        if value in known:
            return value
        if f"{value}.0" in known and key != "driver.version":
            return f"{value}.0"
        self.unknown.setdefault(key, _unknown(self.catalogue, key, value, known))
        return known[0]

    def optional(self, key: str, default: str | None) -> str | None:
        """Return a value that may be left out or be none."""
        if key not in self.values:
            return default
        value = self.known(key)
        return None if value == NONE else value


def _unknown(catalogue: Catalogue, key: str, value: str, known: list[str]) -> Finding:
    what = key.removesuffix(".version")
    if key == "driver.version" and is_windows_numbering(value, catalogue.branches):
        branch = value.partition(".")[0]
        usable = [version for version in known if catalogue.drivers[version].artefact.not_installable is None]
        next_one = nearest_release(value, usable)
        return Finding(
            rule="linux-numbering",
            sentence=f"{branch} is Windows numbering: Linux never had a driver branch {branch}, its branches are "
            f"{', '.join(catalogue.branches)}; what comes after {value} on Linux begins with {next_one}.",
            found=f"driver {value}",
            expected="a Linux driver release of the catalogue",
            nearest=f"driver.version={next_one}",
            source=catalogue.rule_sources["linux-numbering"],
        )
    nearest = nearest_release(value, known)
    return Finding(
        rule="known-version",
        sentence="A stack is made of what the catalogue knows.",
        found=f"{what} {value} is not in the catalogue",
        expected=f"{what} {known[0]} to {known[-1]}" if len(known) > 6 else f"{what} {' or '.join(known)}",  # noqa: PLR2004
        nearest=f"{key}={nearest}" if nearest else "",
        source="catalogue/README.md",
    )


def resolve(catalogue: Catalogue, name: str, overrides: t.Mapping[str, t.Any] | None = None) -> Stack:
    """Look a stack up; ChoiceError (an OperatorError) names everything that the catalogue does not know, at once."""
    overrides = dict(overrides or {})
    unknown = unsettable(overrides)
    given = {key: value for key, value in overrides.items() if key not in unknown}
    choice = _Choice(catalogue, {**read_choice(catalogue.stacks, name), **given}, unknown)
    local = _LOCAL.fullmatch(choice.values["torch.version"])
    if local:
        choice.values.update({"torch.version": local["release"], "torch.cuda": f"{local['major']}.{local['minor']}"})
    torch = catalogue.torch[choice.known("torch.version")]
    xformers = choice.optional("xformers.version", None)
    stack = Stack(
        name=name,
        overrides=given,
        catalogue=catalogue,
        driver=catalogue.drivers[choice.known("driver.version")],
        flavour=choice.known("driver.flavour"),
        cuda=catalogue.cuda[choice.known("cuda.version")],
        python=choice.known("python.version"),
        miniforge=catalogue.miniforge[choice.known("miniforge.version")],
        torch=torch,
        index=choice.known("torch.index"),
        torch_cuda=choice.known("torch.cuda"),
        torchvision=choice.optional("torchvision.version", torch.torchvision) or NONE,
        torchaudio=choice.optional("torchaudio.version", torch.torchaudio),
        xformers=catalogue.xformers[xformers] if xformers else None,
        arch=choice.known("arch"),
        locks=_locks(catalogue, name, choice.values),
        standins=frozenset(filter(None, choice.values.get("standins", "").split(","))),
    )
    if unknown:
        raise ChoiceError(unknown)
    return stack


def _locks(catalogue: Catalogue, name: str, values: t.Mapping[str, str]) -> dict[str, Lock]:
    paths = {key.partition(".")[2]: path for key, path in values.items() if key.startswith("locks.")}
    for path in paths.values():
        if path not in catalogue.locks:
            meant = nearest_spelling(path, catalogue.locks)
            raise OperatorError(
                found=f"stacks/{name}.yml names the lock {path!r}, which is not under locks/.",
                expected=f"one of {', '.join(catalogue.locks) or '(there is none)'}.",
                action=f"name {meant}, or add the file." if meant else "add the file, or name another one.",
            )
    return {kind: catalogue.locks[path] for kind, path in paths.items()}


__all__ = ["FLAVOURS", "INDEXES", "NONE", "Stack", "candidates", "resolve"]
