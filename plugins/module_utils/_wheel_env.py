# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which wheels lie in an environment, and how that differs from a lock: read from files, without starting Python.

A wheel's ``.dist-info`` says its name and version and, in RECORD, every file with digest and size (PyPA: Recording
installed projects). pip and uv copy the wheel's own lines there unchanged, so a digest over those lines tells two
builds of one version apart, whoever installed them.
"""

from __future__ import annotations

import csv
import enum
import hashlib
import json
import posixpath
import re
import typing as t
from dataclasses import dataclass, replace

from ansible_collections.gpulab.workstation.plugins.module_utils._host import Host
from ansible_collections.gpulab.workstation.plugins.module_utils._pip_lock import (
    LockedWheel,
    canonical_name,
    same_version,
    split_version,
)

RECORDS = "etc/gpulab"  # below the environment: what gpulab knows about it
_PROVENANCE = f"{RECORDS}/wheels.json"
_HASH_LENGTH = 16  # hex digits kept of a wheel's hash: enough to tell it from another file of that name
_WRITTEN_BY_INSTALLERS = {"INSTALLER", "RECORD", "REQUESTED", "direct_url.json", "uv_cache.json", "provenance_url.json"}
_DIST_INFO = re.compile(r"(?P<name>[^-]+)-(?P<version>[^-]+)\.dist-info")


@dataclass(frozen=True)
class RecordedFile:
    """A line of RECORD: path from site-packages, ``sha256=...`` in url-safe base64, size in bytes."""

    path: str
    digest: str
    size: int


@dataclass(frozen=True)
class Distribution:
    """An installed wheel and what is wrong with its files."""

    name: str
    version: str
    directory: str
    installer: str
    files: tuple[RecordedFile, ...]
    missing: tuple[str, ...] = ()
    altered: tuple[str, ...] = ()
    build: str = ""

    @property
    def payload(self) -> str:
        """Return a digest of the wheel's own files as RECORD lists them, the same whoever installed it."""
        own = sorted(f"{f.path},{f.digest},{f.size}\n" for f in self.files if _from_the_wheel(f.path, self.directory))
        return hashlib.sha256("".join(own).encode()).hexdigest()


@dataclass(frozen=True)
class Provenance:
    """What gpulab noted when it installed a wheel: the lock's hashes (shortened) and the payload that came of it."""

    version: str
    hashes: tuple[str, ...]
    payload: str


class Cure(str, enum.Enum):
    """How a wheel is brought in order."""

    INSTALL = "install"  # nothing or another version is there
    REPEAT = "repeat"  # this version is there, but not as the lock has it
    DISTRUST = "distrust"  # as REPEAT, and the cache shares the altered files by hard links


@dataclass(frozen=True)
class Finding:
    """A wheel of the lock that is not in the environment as it should be."""

    wheel: LockedWheel
    cure: Cure
    reason: str


def find_site_packages(host: Host, env: str) -> str | None:
    """Return where the environment keeps its packages, None where there is no Python environment."""
    for name in host.listdir(f"{env}/lib"):
        path = f"{env}/lib/{name}"
        found = host.status(path)  # conda-forge adds a link python3.1 beside python3.11
        if re.fullmatch(r"python3\.\d+", name) and found and found.kind == "directory":
            return f"{path}/site-packages" if host.exists(f"{env}/bin/python") else None
    return None


def read_distributions(host: Host, site_packages: str, names: t.Collection[str]) -> tuple[Distribution, ...]:
    """Return every installed wheel with one of the canonical names, with its files looked at.

    A file that several of them record (nvidia/__init__.py) is whole when it has the size that one of them says.
    """
    found = []
    sizes: dict[str, set[int]] = {}
    for directory in host.listdir(site_packages):
        match = _DIST_INFO.fullmatch(directory)
        if match and canonical_name(match["name"]) in names:
            distribution = _read_distribution(host, site_packages, directory, match["version"])
            found.append(distribution)
            for file in distribution.files:
                sizes.setdefault(file.path, set()).add(file.size)
    return tuple(_look_at_files(host, site_packages, distribution, sizes) for distribution in found)


def read_provenance(host: Host, env: str) -> dict[str, Provenance]:
    """Return what gpulab noted about the environment's wheels; nothing where the note is missing or unreadable."""
    try:
        data = json.loads(host.read_text(f"{env}/{_PROVENANCE}") or "{}")
        return {name: Provenance(w["version"], tuple(w["hashes"]), w["payload"]) for name, w in data.items()}
    except (ValueError, TypeError, KeyError, AttributeError):
        return {}


def note_provenance(
    host: Host, env: str, wheels: t.Iterable[LockedWheel], distributions: t.Iterable[Distribution]
) -> None:
    """Note where wheels came from that have just been installed from a lock; notes on other wheels stay."""
    payloads = {d.name: d.payload for d in distributions}
    notes = read_provenance(host, env)
    notes |= {w.name: Provenance(w.version, _short(w.hashes), payloads[w.name]) for w in wheels if w.name in payloads}
    data = {name: {"version": n.version, "hashes": n.hashes, "payload": n.payload} for name, n in notes.items()}
    host.write_text(f"{env}/{_PROVENANCE}", json.dumps(data, indent=1, sort_keys=True) + "\n")


def compare(
    lock: t.Iterable[LockedWheel],
    distributions: t.Iterable[Distribution],
    provenance: t.Mapping[str, Provenance],
    builds: t.Mapping[str, str],
) -> tuple[Finding, ...]:
    """Say which wheels of the lock are not in the environment as they should be; other packages are nobody's business.

    ``builds`` names the build (cu128) that some packages must be of.
    """
    by_name: dict[str, list[Distribution]] = {}
    for distribution in distributions:
        by_name.setdefault(distribution.name, []).append(distribution)
    findings = []
    for wheel in lock:
        installed = by_name.get(wheel.name, [])
        if not installed:
            findings.append(Finding(wheel, Cure.INSTALL, "is not installed"))
        elif len(installed) > 1:
            versions = " and ".join(d.version for d in installed)
            findings.append(Finding(wheel, Cure.REPEAT, f"is recorded twice, as {versions}"))
        elif finding := _judge(wheel, installed[0], provenance.get(wheel.name), builds.get(wheel.name, "")):
            findings.append(finding)
    return tuple(findings)


def owned_by_conda(wheel: LockedWheel, distributions: t.Iterable[Distribution]) -> Distribution | None:
    """Return the package that conda put where the lock wants another version; replacing it would undo conda's work."""
    for found in distributions:
        if found.name == wheel.name and found.installer == "conda" and not same_version(found.version, wheel.version):
            return found
    return None


def _judge(wheel: LockedWheel, found: Distribution, noted: Provenance | None, build: str) -> Finding | None:
    """Compare one installed wheel with its line of the lock."""
    if not same_version(found.version, wheel.version):
        return Finding(wheel, Cure.INSTALL, f"is {found.version}, the lock has {wheel.version}")
    if build and found.build != build:
        return Finding(wheel, Cure.REPEAT, f"is the build {found.build or 'without CUDA'}, not {build}")
    if found.altered:
        return Finding(wheel, Cure.DISTRUST, f"has altered files: {_some(found.altered)}")
    if found.missing:
        return Finding(wheel, Cure.REPEAT, f"lacks files: {_some(found.missing)}")
    reason = "" if found.installer == "conda" else _doubt(wheel, found, noted)  # conda's own lock has its hashes
    return Finding(wheel, Cure.REPEAT, reason) if reason else None


def _doubt(wheel: LockedWheel, found: Distribution, noted: Provenance | None) -> str:
    """Say why whole files of the right version may still be another wheel than the lock's, nothing if they are it."""
    if noted is None or not same_version(noted.version, wheel.version):
        return "was not installed from a lock"
    if noted.payload != found.payload:
        return "was replaced by another build of the same version"
    if not set(noted.hashes) & set(_short(wheel.hashes)):
        return "was installed from another file than the lock has"
    return ""


def _read_distribution(host: Host, site_packages: str, directory: str, version: str) -> Distribution:
    """Read one .dist-info; a missing RECORD is the first thing that is missing."""
    place = f"{site_packages}/{directory}"
    name, version = _metadata(host.read_text(f"{place}/METADATA") or "", directory, version)
    record = host.read_text(f"{place}/RECORD")
    return Distribution(
        name=name,
        version=version,
        directory=directory,
        installer=(host.read_text(f"{place}/INSTALLER") or "").strip(),
        files=parse_record(record or ""),
        missing=() if record is not None else (f"{directory}/RECORD",),
        build=_build(host.read_text(f"{site_packages}/{name.replace('-', '_')}/version.py") or "", version),
    )


def _look_at_files(
    host: Host, site_packages: str, distribution: Distribution, sizes: t.Mapping[str, set[int]]
) -> Distribution:
    """Compare every file that RECORD gives a size with the file itself."""
    missing, altered = list(distribution.missing), []
    for file in distribution.files:
        status = host.status(posixpath.normpath(f"{site_packages}/{file.path}"))
        if status is None:
            missing.append(file.path)
        elif status.size not in sizes[file.path]:
            altered.append(file.path)
    return replace(distribution, missing=tuple(missing), altered=tuple(altered))


def parse_record(text: str) -> tuple[RecordedFile, ...]:
    """Return the lines of RECORD that give a digest and a size; compiled bytecode and RECORD itself have none."""
    rows = csv.reader(text.splitlines())
    return tuple(
        RecordedFile(row[0], row[1], int(row[2]))
        for row in rows
        if len(row) == 3 and row[1] and row[2].isdigit() and not row[0].endswith(".pyc")  # noqa: PLR2004
    )


def _metadata(text: str, directory: str, version: str) -> tuple[str, str]:
    """Return name and version from METADATA's head, or from the directory's name where METADATA is missing."""
    head = text.split("\n\n", 1)[0]
    name = re.search(r"^Name:\s*(\S+)", head, re.MULTILINE)
    stated = re.search(r"^Version:\s*(\S+)", head, re.MULTILINE)
    return canonical_name(name[1] if name else directory.split("-", 1)[0]), stated[1] if stated else version


def _build(version_py: str, version: str) -> str:
    """Return for which CUDA a package of the torch family was built: cu128, cpu, or nothing where it does not say."""
    stated = re.search(r"^__version__\s*(?::[^=]*)?=\s*['\"]([^'\"]+)['\"]", version_py, re.MULTILINE)
    local = split_version(stated[1])[1] if stated else ""
    cuda = re.search(r"^cuda\s*(?::[^=]*)?=\s*['\"]([\d.]+)['\"]", version_py, re.MULTILINE)
    return f"cu{cuda[1].replace('.', '')}" if cuda else local or split_version(version)[1]


def _from_the_wheel(path: str, directory: str) -> bool:
    """Leave out what installers write themselves: notes in .dist-info and scripts with the environment's path."""
    parent, _slash, name = path.rpartition("/")
    return not path.startswith("../") and not (parent == directory and name in _WRITTEN_BY_INSTALLERS)


def _short(hashes: t.Iterable[str]) -> tuple[str, ...]:
    return tuple(h[:_HASH_LENGTH] for h in hashes)


def _some(paths: tuple[str, ...]) -> str:
    more = len(paths) - 2
    return ", ".join(paths[:2]) + (f" and {more} more" if more > 0 else "")


__all__ = [
    "RECORDS",
    "Cure",
    "Distribution",
    "Finding",
    "Provenance",
    "RecordedFile",
    "compare",
    "find_site_packages",
    "note_provenance",
    "owned_by_conda",
    "parse_record",
    "read_distributions",
    "read_provenance",
]
