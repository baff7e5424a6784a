# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the catalogue holds, as typed data: every release that a stack can name, the devices and the platforms."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.gpulab.workstation.plugins.module_utils._locks import Lock
from ansible_collections.gpulab.workstation.plugins.module_utils._versions import DriverVersion


@dataclass(frozen=True)
class Release:
    """A file that can be fetched: its name, sha256, sources in order, size in bytes, and who recorded the hash."""

    version: str
    file: str
    sha256: str
    sources: tuple[str, ...]
    size: int | None
    seen: tuple[str, ...]
    standin: bool
    not_installable: str | None

    def as_result(self) -> dict[str, t.Any]:
        """Return the part that the lookup hands to a role."""
        return {
            "version": self.version,
            "file": self.file,
            "size": self.size,
            "sha256": self.sha256,
            "sources": list(self.sources),
            "standin": self.standin,
        }


@dataclass(frozen=True)
class DriverRelease:
    """A Linux driver release with the newest kernel series that its module is known to build for."""

    artefact: Release
    number: DriverVersion
    kind: str
    released: str
    branch_state: str
    branch_source: str
    kernel_max: str
    kernel_source: str


@dataclass(frozen=True)
class CudaRelease:
    """A toolkit runfile, the driver, compilers and glibc it needs, and the architectures that it compiles for."""

    artefact: Release
    bundled_driver: DriverVersion
    minimum_driver: DriverVersion
    gcc: tuple[int, int]
    clang: tuple[int, int]
    glibc_min: str
    glibc_max: str | None
    arches: tuple[str, ...]
    build: str | None = None  # what the runfile's version.json calls it, where that is on record


@dataclass(frozen=True)
class TorchRelease:
    """A torch release: the CUDA of its builds per index, the companions it pins, and the Python it accepts."""

    version: str
    builds: t.Mapping[str, tuple[str, ...]]
    torchvision: str
    torchaudio: str | None
    triton: str
    python_min: str
    python_max: str | None


@dataclass(frozen=True)
class XformersRelease:
    """An xformers release: the torch it works with and the architectures on which it is known to be broken."""

    version: str
    torch_min: str
    torch_max: str
    broken_on: tuple[str, ...]
    broken_source: str | None


@dataclass(frozen=True)
class Device:
    """A GPU by PCI id: its name, first driver, compute capability, and whether only the open modules drive it."""

    pci_id: str
    name: str
    first_driver: DriverVersion | None
    arch: str
    open_only: bool


@dataclass(frozen=True)
class Platform:
    """A supported system, with the glibc, gcc and kernel series that it ships."""

    name: str
    glibc: str
    gcc: int
    kernels: tuple[str, ...]


@dataclass(frozen=True)
class Catalogue:
    """Everything that a stack can be made of; stacks themselves stay raw until one is resolved."""

    drivers: t.Mapping[str, DriverRelease]
    kernel_min: str
    cuda: t.Mapping[str, CudaRelease]
    torch: t.Mapping[str, TorchRelease]
    torch_arches: t.Mapping[str, tuple[str, ...]]
    torch_minimum_driver: t.Mapping[str, DriverVersion]
    torch_glibc_min: str
    xformers: t.Mapping[str, XformersRelease]
    miniforge: t.Mapping[str, Release]
    devices: t.Mapping[str, Device]
    platforms: t.Mapping[str, Platform]
    refused_platforms: t.Mapping[str, str]
    architectures: tuple[str, ...]
    rule_sources: t.Mapping[str, str]
    limits: tuple[t.Mapping[str, t.Any], ...]  # a row per model of card, as modules are given it
    locks: t.Mapping[str, Lock]
    stacks: t.Mapping[str, t.Any]

    @property
    def branches(self) -> list[str]:
        """Return the Linux driver branches in order."""
        return sorted({driver.number.branch for driver in self.drivers.values()}, key=int)


__all__ = [
    "Catalogue",
    "CudaRelease",
    "Device",
    "DriverRelease",
    "Platform",
    "Release",
    "TorchRelease",
    "XformersRelease",
]
