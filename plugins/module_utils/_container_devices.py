# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The CDI specification by which containers get the cards: it names the driver's files one by one.

One from before a change of the driver names libraries that are gone, and no container with a card starts. Since 1.18
nvidia-container-toolkit has a service that writes it at each start of the host and when depmod has run
(deployments/systemd in its source); what an admin has had written in /etc/cdi nobody renews.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

KIND = "nvidia.com/gpu"
TOOL = "nvidia-ctk"
SERVICE = "nvidia-cdi-refresh.service"
DIRECTORIES = ("/var/run/cdi", "/etc/cdi")  # the first that has a device has the last word, CDI's SPEC.md
# Of YAML or JSON; what nvidia-ctk writes has one key a line, and no path with a space.
_KIND = re.compile(r"(?:^|[{,\s])[\"']?kind[\"']?\s*:\s*[\"']?([^\s\"',}]+)")
_PATH = re.compile(r"[\"']?\bhostPath[\"']?\s*:\s*[\"']?(/[^\s\"',}]+)")


@dataclass(frozen=True)
class Specification:
    """What a CDI specification names of the driver, and what of it is not there."""

    path: str
    drivers: tuple[str, ...]  # versions that its libraries carry in their names
    missing: tuple[str, ...]  # files; a device that is gone is not the driver's matter

    def outdated(self, version: str) -> str:
        """Say why containers would not get a driver of this version; empty where they do."""
        others = [driver for driver in self.drivers if driver != version]
        if others:
            return f"it names libraries of driver {', '.join(others)}"
        if self.missing:
            more = f", and {len(self.missing) - 1} more" if len(self.missing) > 1 else ""
            return f"it names what is not there: {self.missing[0]}{more}"
        return ""


@dataclass(frozen=True)
class ContainerDevices:
    """The specifications that count, and what could write them again: the toolkit's service, its tool or nothing."""

    specifications: tuple[Specification, ...] = ()
    service: bool = False
    tool: bool = False

    @property
    def writer(self) -> str:
        """Return what may write them again. The tool writes one: beside others it would name every card twice."""
        if self.service:
            return SERVICE
        return TOOL if self.tool and len(self.specifications) == 1 else ""

    def outdated(self, version: str) -> dict[str, str]:
        """Say which specifications would not give a container the driver of this version, and why."""
        reasons = {spec.path: spec.outdated(version) for spec in self.specifications}
        return {path: reason for path, reason in reasons.items() if reason}


def parse_specification(text: str) -> tuple[str, tuple[str, ...]]:
    """Return the kind of devices that a specification has, and every file or device of the host that it names."""
    kind = _KIND.search(text)
    return kind[1] if kind else "", tuple(dict.fromkeys(_PATH.findall(text)))


__all__ = ["DIRECTORIES", "KIND", "SERVICE", "TOOL", "ContainerDevices", "Specification", "parse_specification"]
