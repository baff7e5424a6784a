# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the rules of a stack look at on a host; a fact that was not read is None or empty, and no rule judges it."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from ansible_collections.gpulab.workstation.plugins.module_utils._choice import Finding
from ansible_collections.gpulab.workstation.plugins.module_utils._releases import Catalogue, Device
from ansible_collections.gpulab.workstation.plugins.module_utils._versions import nearest_spelling

_FORMS = {
    "distribution": (re.compile(r"[A-Za-z].*"), "a name such as Debian"),
    "distribution_version": (re.compile(r"\d+(\.\d+)*"), "a number such as 24.04"),
    "architecture": (re.compile(r"\w+"), "a name such as x86_64"),
    "glibc": (re.compile(r"\d+\.\d+.*"), "a number such as 2.36"),
    "gcc": (re.compile(r"\d+(\.\d+)*"), "a number such as 12 or 12.2.0"),
    "kernels": (re.compile(r"\d+\.\d+.*"), "releases such as 6.8.0-51-generic"),
    "pci_ids": (re.compile(r"[0-9a-fA-F]{4}:[0-9a-fA-F]{4}"), "vendor:device such as 10de:2b85"),
    "driver_flavour": (re.compile(r"open|proprietary"), "open or proprietary"),
}
LISTS = ("kernels", "pci_ids")


@dataclass(frozen=True)
class StackFacts:
    """Facts of a host; ``driver_flavour`` is given only where the role is not going to install the driver itself."""

    distribution: str | None = None
    distribution_version: str | None = None
    architecture: str | None = None
    glibc: str | None = None
    gcc: int | None = None
    kernels: tuple[str, ...] = ()
    pci_ids: tuple[str, ...] = ()
    driver_flavour: str | None = None

    def devices(self, catalogue: Catalogue) -> list[Device]:
        """Return the host's GPUs that the catalogue knows."""
        return [catalogue.devices[pci_id] for pci_id in self.pci_ids if pci_id in catalogue.devices]


def read_facts(data: t.Mapping[str, t.Any] | None) -> tuple[StackFacts, list[Finding]]:
    """Return the facts, and a finding for each that is unknown or does not have its form."""
    read: dict[str, t.Any] = {}
    wrong: list[Finding] = []
    for key, value in (data or {}).items():
        if key not in _FORMS:
            wrong.append(_finding(f"the host fact {key}", f"one of {', '.join(_FORMS)}", nearest_spelling(key, _FORMS)))
            continue
        if value is None:
            continue
        form, words = _FORMS[key]
        values = list(value) if key in LISTS and isinstance(value, (list, tuple)) else [value]
        values = [str(item) if type(item) is int else item for item in values]
        bad = [item for item in values if not isinstance(item, str) or not form.fullmatch(item)]
        if bad:
            wrong.append(
                _finding(f"the host fact {key} is {', '.join(repr(item) for item in bad)}", f"{words}, as text", None)
            )
        else:
            read[key] = (
                tuple(item.lower() if key == "pci_ids" else item for item in values) if key in LISTS else values[0]
            )
    if "gcc" in read:
        read["gcc"] = int(read["gcc"].partition(".")[0])
    return StackFacts(**read), wrong


def _finding(found: str, expected: str, nearest: str | None) -> Finding:
    return Finding(
        rule="known-fact",
        sentence="A host is judged by facts of known names and forms.",
        found=found,
        expected=expected,
        nearest=nearest or "",
        source="documentation of gpulab.workstation.stack_info",
    )


__all__ = ["LISTS", "StackFacts", "read_facts"]
