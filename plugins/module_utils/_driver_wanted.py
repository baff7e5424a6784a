# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The driver that an operator asks for."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, field

from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._fetch import Artefact

_NAME = re.compile(r"[A-Za-z0-9_-]+")
_PACKED_BYTES = 450_000_000  # the largest .run of the branches up to 595, for a release whose size nobody recorded
_UNPACKED_FACTOR = 4  # 575.57.08 packs 1.52 GB into 0.39 GB (its --info)
_SMALLEST = 64 << 20


@dataclass(frozen=True)
class Wanted:
    """The parameters of gpu_driver, checked."""

    present: bool
    version: str = ""
    flavour: str = "open"
    artefact: Artefact | None = None
    standin: bool = False
    cache_directory: str = "/var/cache/gpulab"
    work_directories: tuple[str, ...] = ("/var/cache/gpulab",)
    replace_distro_driver: bool = True
    allow_running: bool = False
    signing_key: str = ""
    signing_certificate: str = ""
    module_options: t.Mapping[str, t.Mapping[str, t.Any]] = field(default_factory=dict)
    persistenced: bool = True
    hold_packages: bool = True
    compat32: bool = False
    ignored_kernels: tuple[str, ...] = ()
    retry: bool = False

    @property
    def work_bytes(self) -> int:
        """Room for unpacking and for a build of the modules beside it."""
        return max(_SMALLEST, 2 * _UNPACKED_FACTOR * self._packed)

    @property
    def system_bytes(self) -> int:
        """Room for what is installed, with the modules and their source."""
        return max(_SMALLEST, (_UNPACKED_FACTOR + 1) * self._packed)

    @property
    def _packed(self) -> int:
        return (self.artefact.size if self.artefact else None) or _PACKED_BYTES

    @property
    def title(self) -> str:
        """How messages call it."""
        return f"driver {self.version} ({self.flavour} modules{', stand-in' if self.standin else ''})"


def wanted_from_params(params: t.Mapping[str, t.Any]) -> Wanted:
    """Check the module's parameters; OperatorError where they contradict each other."""
    release = params.get("release") or {}
    present = params["state"] == "present"
    if present and not release:
        raise OperatorError(
            found="a driver should be there, but no release is named.",
            expected="version, file, sha256 and sources of a driver.",
            action="set gpu_driver_release, or leave its default, which is the driver of the stack.",
        )
    key, certificate = params.get("signing_key") or "", params.get("signing_certificate") or ""
    if bool(key) != bool(certificate):
        raise OperatorError(
            found=f"only the signing {'key' if key else 'certificate'} is given.",
            expected="both or neither: nvidia-installer ignores half a pair and leaves the modules unsigned.",
            action="set gpu_driver_signing_key and gpu_driver_signing_certificate.",
        )
    return Wanted(
        present=present,
        version=release.get("version") or "",
        flavour=params.get("flavour") or release.get("flavour") or "open",
        artefact=Artefact.from_release(release) if release else None,
        standin=bool(release.get("standin")),
        cache_directory=params["cache_directory"],
        work_directories=tuple(params["work_directories"]),
        replace_distro_driver=params["replace_distro_driver"],
        allow_running=params["allow_running"],
        signing_key=key,
        signing_certificate=certificate,
        module_options=_checked_options(params.get("module_options") or {}),
        persistenced=params["persistenced"],
        hold_packages=params["hold_packages"],
        compat32=params["compat32"],
        ignored_kernels=tuple(params.get("ignored_kernels") or ()),
        retry=bool(params.get("retry")),
    )


def _checked_options(options: t.Mapping[str, t.Any]) -> dict[str, dict[str, str]]:
    """Return modprobe options as text; one word each, since modprobe.d(5) has no way to write another."""
    checked: dict[str, dict[str, str]] = {}
    for module, values in options.items():
        if not isinstance(values, dict):
            raise _no_option(module, values)
        for name, value in values.items():
            text = str(int(value)) if isinstance(value, bool) else str(value)
            if not (_NAME.fullmatch(module) and _NAME.fullmatch(str(name)) and re.fullmatch(r"\S+", text)):
                raise _no_option(f"{module}.{name}", value)
            checked.setdefault(module, {})[str(name)] = text
    return checked


def _no_option(name: str, value: t.Any) -> OperatorError:
    return OperatorError(
        found=f"gpu_driver_module_options has {name}: {value!r}.",
        expected="a module's name, under it the option's name and a value without spaces.",
        action="write it as in {nvidia-drm: {modeset: 1}}.",
    )


__all__ = ["Wanted", "wanted_from_params"]
