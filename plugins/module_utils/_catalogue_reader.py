# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From parsed catalogue files to a validated Catalogue; every problem is reported at once, with its place."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.gpulab.workstation.plugins.module_utils._fields import ADDRESS, SHA256, Fields, Problems
from ansible_collections.gpulab.workstation.plugins.module_utils._limits_reader import read_limits
from ansible_collections.gpulab.workstation.plugins.module_utils._locks import Lock
from ansible_collections.gpulab.workstation.plugins.module_utils._releases import (
    Catalogue,
    CudaRelease,
    Device,
    DriverRelease,
    Platform,
    Release,
    TorchRelease,
    XformersRelease,
)
from ansible_collections.gpulab.workstation.plugins.module_utils._versions import DriverVersion

FILES = ("drivers", "cuda", "devices", "torch", "xformers", "miniforge", "platforms", "limits")
_WITHOUT_RULES = ("miniforge", "limits")
_DRIVER = re.compile(r"\d{3}\.\d+(\.\d+)?")
_NUMBER = re.compile(r"\d+\.\d+")
_BUILD = re.compile(r"\d+\.\d+\.20\d{6}")
_RELEASE = re.compile(r"\d+(\.\d+)*(\.post\d+)?(-\d+)?")
_PCI_ID = re.compile(r"[0-9a-f]{4}:[0-9a-f]{4}")
_BRANCH_STATE = re.compile(r"ended|long-term|production|new-feature")
_PLATFORM = re.compile(r"[A-Za-z]+ \d+(\.\d+)?")
_HTTPS = re.compile(r"https://\S+")


def read_catalogue(data: t.Mapping[str, t.Any]) -> Catalogue:
    """Return the catalogue that the parsed files describe; OperatorError when the data is not right."""
    problems = Problems()
    files = {name: Fields(data.get(name), f"{name}.yml", problems) for name in FILES}
    torch, platforms = files["torch"], files["platforms"]
    catalogue = Catalogue(
        drivers=_drivers(files["drivers"]),
        kernel_min=files["drivers"].text("kernel_min", _NUMBER),
        cuda=_cuda(files["cuda"]),
        torch={version: _torch(version, entry) for version, entry in torch.entries("releases", _RELEASE)},
        torch_arches=torch.lists("arch_lists", _NUMBER),
        torch_minimum_driver={m: _driver(text) for m, text in torch.strings("runtime_minimum_driver", _DRIVER).items()},
        torch_glibc_min=torch.text("glibc_min", _NUMBER),
        xformers={
            version: _xformers(version, entry) for version, entry in files["xformers"].entries("releases", _RELEASE)
        },
        miniforge=_miniforge(files["miniforge"]),
        devices={pci_id: _device(pci_id, entry) for pci_id, entry in files["devices"].entries("devices", _PCI_ID)},
        platforms={name: _platform(name, entry) for name, entry in platforms.entries("supported", _PLATFORM)},
        refused_platforms=platforms.strings("refused"),
        architectures=platforms.texts("architectures"),
        rule_sources={
            rule: source
            for name in FILES
            if name not in _WITHOUT_RULES
            for rule, source in files[name].strings("rule_sources").items()
        },
        limits=read_limits(files["limits"]),
        locks={path: Lock.parse(path, text, problems) for path, text in sorted(data.get("locks", {}).items())},
        stacks=dict(data.get("stacks", {})),
    )
    for file in files.values():
        file.close()
    for name in ("drivers", "cuda", "torch", "xformers", "miniforge", "devices", "platforms", "architectures"):
        if not getattr(catalogue, name):
            problems.add("catalogue", f"it holds no {name}")
    problems.raise_if_any(
        expected="catalogue files as catalogue/README.md describes them.",
        action="correct the files named, in catalogue/ or in the directory that gpulab_catalogue_overlay names.",
    )
    return catalogue


def _driver(text: str) -> DriverVersion:
    """Return the version, or a harmless one where the text has already become a problem."""
    return DriverVersion.parse(text if _DRIVER.fullmatch(text) else "000.0")


def _artefact(
    version: str, entry: Fields, *, file: str, sources: t.Iterable[str], records: t.Mapping[str, str]
) -> Release:
    """Read what every release has in common; its own ``sources`` go before those of the convention."""
    seen = entry.texts("seen", required=False)
    standin = entry.flag("standin")
    for record in seen:
        if record not in records:
            entry.problems.add(entry.where, f"seen holds {record!r}, which is not among the records of the file")
    if not seen and not standin:
        entry.problems.add(entry.where, "no record of its sha256 is named under seen")
    name = entry.optional_text("file") or file.format(version=version)
    own = entry.texts("sources", ADDRESS, required=False)
    release = Release(
        version=version,
        file=name,
        sha256=entry.text("sha256", SHA256),
        sources=own or tuple(source.format(version=version, file=name) for source in sources),
        size=entry.optional_number("size"),
        seen=tuple(records[record] for record in seen if record in records),
        standin=standin,
        not_installable=entry.optional_text("not_installable"),
    )
    if not name:
        entry.problems.add(entry.where, "file is missing")
    if not release.sources and release.not_installable is None:
        entry.problems.add(entry.where, "it has no sources")
    return release


def _drivers(file: Fields) -> dict[str, DriverRelease]:
    """Read the driver releases, each with the state of its branch and the kernel ceiling that holds for it."""
    records, pattern, sources = file.strings("records"), file.text("file"), file.lists("sources", _HTTPS)
    branches = {name: (e.text("state", _BRANCH_STATE), e.text("source")) for name, e in file.entries("branches")}
    ceilings = {
        _driver(name): (e.text("max", _NUMBER), e.text("source"))
        for name, e in file.entries("kernel_ceilings", _DRIVER)
    }
    releases = {}
    for version, entry in file.entries("releases", _DRIVER):
        number, path = _driver(version), entry.optional_text("path")
        if path is not None and path not in sources:
            entry.problems.add(entry.where, f"path is {path!r}, not one of {', '.join(sources)}")
        state, state_source = branches.get(number.branch, ("", ""))
        if not state:
            entry.problems.add(entry.where, f"branch {number.branch} is not among the branches of the file")
        below = [first for first in ceilings if first.branch == number.branch and first <= number]
        if not below:
            entry.problems.add(entry.where, f"no kernel ceiling of branch {number.branch} holds for it")
        kernel_max, kernel_source = ceilings[max(below)] if below else ("", "")
        artefact = _artefact(version, entry, file=pattern, sources=sources.get(path or "", ()), records=records)
        if entry.lists("disputed", required=False) and artefact.not_installable is None:
            entry.problems.add(entry.where, "its sha256 is disputed but not_installable does not say so")
        read = entry.optional_text if artefact.standin else entry.text
        releases[version] = DriverRelease(
            artefact=artefact,
            number=number,
            kind=read("type") or "stand-in",
            released=read("released") or "",
            branch_state=state,
            branch_source=state_source,
            kernel_max=kernel_max,
            kernel_source=kernel_source,
        )
    return releases


def _cuda(file: Fields) -> dict[str, CudaRelease]:
    """Read the toolkit runfiles, each with what its series needs of a host."""
    records, sources = file.strings("records"), file.texts("sources", _HTTPS)
    needs = {
        name: {
            "gcc": entry.bounds("gcc"),
            "clang": entry.bounds("clang"),
            "glibc_min": entry.text("glibc_min", _NUMBER),
            "glibc_max": entry.optional_text("glibc_max", _NUMBER),
            "arches": entry.texts("arch", _NUMBER),
        }
        for name, entry in file.entries("series", _NUMBER)
    }
    releases = {}
    for version, entry in file.entries("releases", _RELEASE):
        name = ".".join(version.split(".")[:2])
        if name not in needs:
            entry.problems.add(entry.where, f"series {name} is not among the series of the file")
            continue
        releases[version] = CudaRelease(
            artefact=_artefact(version, entry, file="", sources=sources, records=records),
            bundled_driver=_driver(entry.text("bundled_driver", _DRIVER)),
            minimum_driver=_driver(entry.text("minimum_driver", _DRIVER)),
            build=entry.optional_text("build", _BUILD),
            **t.cast("dict[str, t.Any]", needs[name]),
        )
    return releases


def _miniforge(file: Fields) -> dict[str, Release]:
    """Read the Miniforge installers."""
    records, pattern, sources = file.strings("records"), file.text("file"), file.texts("sources", _HTTPS)
    return {
        version: _artefact(version, entry, file=pattern, sources=sources, records=records)
        for version, entry in file.entries("releases", _RELEASE)
    }


def _torch(version: str, entry: Fields) -> TorchRelease:
    return TorchRelease(
        version=version,
        builds=entry.lists("builds", _NUMBER),
        torchvision=entry.text("torchvision", _RELEASE),
        torchaudio=entry.optional_text("torchaudio", _RELEASE),
        triton=entry.text("triton", _RELEASE),
        python_min=entry.text("python_min", _NUMBER),
        python_max=entry.optional_text("python_max", _NUMBER),
    )


def _xformers(version: str, entry: Fields) -> XformersRelease:
    release = XformersRelease(
        version=version,
        torch_min=entry.text("torch_min", _RELEASE),
        torch_max=entry.text("torch_max", _RELEASE),
        broken_on=entry.texts("broken_on", _NUMBER, required=False),
        broken_source=entry.optional_text("broken_source"),
    )
    if release.broken_on and not release.broken_source:
        entry.problems.add(entry.where, "broken_on needs a broken_source")
    return release


def _device(pci_id: str, entry: Fields) -> Device:
    first = entry.optional_text("first_driver", _DRIVER)
    return Device(
        pci_id=pci_id,
        name=entry.text("name"),
        first_driver=_driver(first) if first else None,
        arch=entry.text("arch", _NUMBER),
        open_only=entry.flag("open"),
    )


def _platform(name: str, entry: Fields) -> Platform:
    return Platform(
        name=name,
        glibc=entry.text("glibc", _NUMBER),
        gcc=entry.number("gcc"),
        kernels=entry.texts("kernels", _NUMBER),
    )


__all__ = ["FILES", "read_catalogue"]
