# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which Debian archive a container host is made from: the machine's own, where the machine is a Debian.

No archive address stands in this repository: it is read from apt's configuration, or left to debootstrap's default.
Formats: sources.list(5), one-line style and deb822 style.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

if t.TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

SUITE = "bookworm"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
POCKETS = ("", "-updates", "-security")
_ONE_LINE = re.compile(r"^deb\s+(?:\[[^\]]*\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s+(?P<components>.+?)\s*(?:#.*)?$")


@dataclass(frozen=True, slots=True)
class Source:
    """One archive and one suite of it, with the components that are enabled."""

    uri: str
    suite: str
    components: tuple[str, ...]


def parse_one_line(text: str) -> list[Source]:
    """Return the binary sources of a .list file (sources.list(5), one-line-style format)."""
    matches = (_ONE_LINE.match(line.strip()) for line in text.splitlines())
    return [Source(m["uri"], m["suite"], tuple(m["components"].split())) for m in matches if m]


def parse_deb822(text: str) -> list[Source]:
    """Return the binary sources of a .sources file (sources.list(5), deb822-style format)."""
    sources = []
    for stanza in re.split(r"\n\s*\n", text):
        fields = _fields(stanza)
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() in ("no", "false"):
            continue
        components = tuple(fields.get("components", "").split())
        sources += [
            Source(uri, suite, components)
            for uri in fields.get("uris", "").split()
            for suite in fields.get("suites", "").split()
        ]
    return sources


def _fields(stanza: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    name = ""
    for line in stanza.splitlines():
        if line.startswith("#"):
            continue
        if line[:1] in (" ", "\t"):
            fields[name] = f"{fields.get(name, '')} {line.strip()}".strip()
        elif ":" in line:
            name, _, value = line.partition(":")
            name = name.strip().lower()
            fields[name] = value.strip()
    return fields


def sources_for_hosts(sources: Iterable[Source], os_release: Mapping[str, str]) -> list[Source]:
    """Return the sources that a host of SUITE gets: the machine's archives with its own codename exchanged.

    Empty when the machine is no Debian: its archives do not hold Debian's packages, debootstrap's default does.
    """
    codename = os_release.get("VERSION_CODENAME", "")
    if os_release.get("ID") != "debian" or not codename:
        return []
    found: dict[str, Source] = {}
    for source in sources:
        pocket = source.suite.removeprefix(codename)
        if source.suite.startswith(codename) and pocket in POCKETS and "main" in source.components:
            found.setdefault(pocket, Source(source.uri, SUITE + pocket, ("main",)))
    return [found[pocket] for pocket in POCKETS if pocket in found] if "" in found else []


def backports(sources: Iterable[Source], os_release: Mapping[str, str]) -> Source | None:
    """Return the backports for the machine's own release, in the archive that the machine has it from.

    None when the machine is no Debian, or is one between releases. Backports need not be among the machine's sources.
    """
    codename = os_release.get("VERSION_CODENAME", "")
    if os_release.get("ID") != "debian" or not codename:
        return None
    uris = (source.uri for source in sources if source.suite == codename and "main" in source.components)
    return next((Source(uri, f"{codename}-backports", ("main",)) for uri in uris), None)


def read_machine_sources(root: Path) -> list[Source]:
    """Return every binary source that apt is configured with below `root` (/ on the machine itself)."""
    apt = root / "etc/apt"
    one_line = [apt / "sources.list", *sorted(apt.glob("sources.list.d/*.list"))]
    sources = [source for path in one_line if path.is_file() for source in parse_one_line(path.read_text())]
    for path in sorted(apt.glob("sources.list.d/*.sources")):
        sources += parse_deb822(path.read_text())
    return sources


def read_os_release(root: Path) -> dict[str, str]:
    """Return the fields of the os-release below `root` (/ on the machine itself)."""
    return parse_os_release((root / "etc/os-release").read_text())


def parse_os_release(text: str) -> dict[str, str]:
    """Return the fields of os-release(5), without their quotes."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line and not line.startswith("#"))
    return {name.strip(): value.strip().strip("\"'") for name, _, value in pairs}


def sources_list(sources: Iterable[Source]) -> str:
    """Render sources.list for a host."""
    return "".join(f"deb {source.uri} {source.suite} {' '.join(source.components)}\n" for source in sources)


__all__ = [
    "KEYRING",
    "SUITE",
    "Source",
    "backports",
    "parse_deb822",
    "parse_one_line",
    "parse_os_release",
    "read_machine_sources",
    "read_os_release",
    "sources_for_hosts",
    "sources_list",
]
