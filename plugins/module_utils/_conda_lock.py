# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Explicit conda locks, the records of an environment (conda-meta/*.json) and conda's settings, as data."""

from __future__ import annotations

import json
import re
import typing as t
from dataclasses import dataclass

from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError

_LINE = re.compile(
    r"(?P<channel>(?:https?|file)://\S+)/(?P<subdir>linux-64|noarch)/(?P<file>(?P<name>[^/#\s]+)-(?P<version>[^-/#\s]+)"
    r"-(?P<build>[^-/#\s]+)\.(?:conda|tar\.bz2))(?:#sha256:(?P<sha256>[0-9a-f]{64}))?"
)
# Channels under Anaconda's terms of service (facts of 2026-11-22: main, r, msys2 and the older free and pro).
_LICENSED = re.compile(
    r"(^|/)defaults/?$|repo\.anaconda\.com|repo\.continuum\.io|anaconda\.org/(main|r|msys2|free|pro|anaconda)(/|$)"
    r"|^(pkgs|anaconda)/(main|r|msys2|free|pro)|/pkgs/(main|r|msys2|free|pro)(/|$)"
)
_MADE_ON_THE_HOST = ("pyc_file", "unix_python_entry_point", "windows_python_entry_point_script")
_PYTHON_PACKAGES = re.compile(r"(^|/)(site-packages|__pycache__)/")


@dataclass(frozen=True)
class LockedPackage:
    """A line of an explicit lock: one file of a channel, with its sha256."""

    name: str
    version: str
    build: str
    subdir: str
    file: str
    channel: str
    sha256: str

    @property
    def url(self) -> str:
        """Where the file is upstream; conda takes this as the package's identity."""
        return f"{self.channel}/{self.subdir}/{self.file}"

    @property
    def distribution(self) -> str:
        """Name-version-build."""
        return f"{self.name}-{self.version}-{self.build}"

    def sources(self, mirror: str) -> tuple[str, ...]:
        """Return where to get it: below the mirror by channel, platform and file, then upstream."""
        mirrored = f"{mirror.rstrip('/')}/{self.channel.rsplit('/', 1)[-1]}/{self.subdir}/{self.file}"
        return (mirrored, self.url) if mirror and mirrored != self.url else (self.url,)


@dataclass(frozen=True)
class CondaLock:
    """A complete explicit lock for linux-64."""

    packages: tuple[LockedPackage, ...]

    @property
    def by_name(self) -> dict[str, LockedPackage]:
        """The packages by name."""
        return {package.name: package for package in self.packages}

    @property
    def python(self) -> str:
        """Version of the interpreter."""
        return self.by_name["python"].version


@dataclass(frozen=True)
class Installed:
    """What conda recorded about a package; ``files`` are those that only conda writes, relative to the prefix."""

    name: str
    version: str
    build: str
    url: str
    channel: str
    sha256: str
    files: tuple[str, ...]

    @property
    def distribution(self) -> str:
        """Name-version-build."""
        return f"{self.name}-{self.version}-{self.build}"

    def is_as_locked(self, locked: LockedPackage) -> bool:
        """Compare with the lock: by digest where conda recorded it, else by address (what we place has the lock's)."""
        same = self.sha256 == locked.sha256 if self.sha256 else self.url == locked.url
        return same and self.distribution == locked.distribution


def parse_lock(text: str, python: str) -> CondaLock:
    """Read an explicit lock, as ``conda list --explicit --sha256`` writes it; every problem is told at once."""
    packages: list[LockedPackage] = []
    problems: list[str] = []
    lines = [line.strip() for line in text.splitlines()]
    if "@EXPLICIT" not in lines:
        problems.append("there is no line @EXPLICIT")
    for number, line in enumerate(lines, start=1):
        if not line or line.startswith("#") or line == "@EXPLICIT":
            continue
        found = _LINE.fullmatch(line)
        if found is None:
            problems.append(f"line {number} is no address of a linux-64 or noarch package: {line[:120]!r}")
        elif not found["sha256"]:
            problems.append(f"line {number} has no #sha256: {line[:120]!r}")
        else:
            packages.append(LockedPackage(**found.groupdict()))
    problems += _problems_of(packages, python)
    if problems:
        raise OperatorError(
            found="the conda lock cannot be used: " + "; ".join(problems) + ".",
            expected=f"an explicit lock with Python {python}, one line per package, each with #sha256:, and no channel"
            " under Anaconda's terms of service.",
            action="write it anew with 'conda list --explicit --sha256' from an environment of conda-forge only.",
        )
    return CondaLock(tuple(packages))


def _problems_of(packages: t.Sequence[LockedPackage], python: str) -> list[str]:
    names = [package.name for package in packages]
    problems = [f"{name} is there more than once" for name in sorted({n for n in names if names.count(n) > 1})]
    channels = sorted({package.channel for package in packages if is_licensed(package.channel)})
    problems += [f"packages come from {channel}" for channel in channels]
    versions = [package.version for package in packages if package.name == "python"]
    if not versions:
        problems.append("python is missing")
    elif python and not f"{versions[0]}.".startswith(f"{python}."):
        problems.append(f"it has Python {versions[0]}")
    return problems


def explicit_list(packages: t.Iterable[LockedPackage]) -> str:
    """Return what ``conda create --file`` reads; without digests, so that files placed in the cache match.

    conda 26.3 records no sha256 for a file that it did not download itself, and a line with one then does not match
    it (conda/core/package_cache_data.py); whoever places the files has compared their digests before.
    """
    return "@EXPLICIT\n" + "".join(f"{package.url}\n" for package in packages)


def parse_record(text: str) -> Installed | None:
    """Read a file of conda-meta; None where it is no whole record (a write that was cut off)."""
    try:
        record = json.loads(text)
        paths = record.get("paths_data", {}).get("paths", [])
        return Installed(
            name=record["name"],
            version=record["version"],
            build=record.get("build") or record.get("build_string") or "",
            url=record.get("url") or "",
            channel=str(record.get("channel") or ""),
            sha256=record.get("sha256") or "",
            files=tuple(p["_path"] for p in paths if _is_conda_s_own(p)),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _is_conda_s_own(path: t.Mapping[str, t.Any]) -> bool:
    """Leave out what pip may replace later, and what was compiled on the host."""
    return path.get("path_type") not in _MADE_ON_THE_HOST and not _PYTHON_PACKAGES.search(path["_path"])


def is_licensed(channel: str) -> bool:
    """Tell a channel under Anaconda's terms of service, by name or address."""
    return bool(_LICENSED.search(channel.strip()))


def licensed_channels(condarc: str) -> tuple[str, ...]:
    """Return the licensed channels that a .condarc lists under ``channels`` (block or flow style)."""
    found: list[str] = []
    inside = False
    for raw in condarc.splitlines():
        line = raw.split(" #", 1)[0].rstrip()
        if not line or line.startswith("#"):
            continue
        key = re.match(r"(\w+)\s*:\s*(.*)", line)
        if key:
            inside = key[1] == "channels"
            if inside:
                found += re.findall(r"[^\[\],\s\"']+", key[2])
        elif inside:
            found.append(line.strip().removeprefix("-").strip().strip("\"'"))
    return tuple(channel for channel in found if is_licensed(channel))


__all__ = [
    "CondaLock",
    "Installed",
    "LockedPackage",
    "explicit_list",
    "is_licensed",
    "licensed_channels",
    "parse_lock",
    "parse_record",
]
