# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packages of an explicit list: fetched into the package cache with their digests checked, linked by py-rattler.

What happens follows conda 26.3.2 (conda/misc.py, conda/core/package_cache_data.py): every package is fetched and
unpacked before the environment is touched, a package that is there already as listed is left alone, and a package
of the same name but another origin is replaced.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import time
import typing as t
import urllib.error
import urllib.request
from pathlib import Path

import rattler
import rattler.package_streaming

from .explicit import CondaError, Listed, parse_explicit

_PAUSES = Path("/run/gpulab-standin")


def records(prefix: Path) -> dict[str, dict[str, t.Any]]:
    """Return what is linked into an environment, by name (conda-meta/*.json)."""
    found = [json.loads(path.read_text()) for path in sorted(prefix.glob("conda-meta/*.json"))]
    return {record["name"]: record for record in found}


def install_explicit(text: str, *, prefix: Path, cache: Path, offline: bool = False, stage: str = "link") -> list[str]:
    """Fetch and link the packages of an explicit list; return the distributions that were linked.

    A fault test can hold the work after the first package, by the name of the stage.
    """
    listed = parse_explicit(text)
    wanted = [_cached(package, cache, offline=offline) for package in listed]
    there = records(prefix)
    new = [record for record in wanted if not _same(there.get(record["name"]), record)]
    if not new:
        return []
    _link(new[:1] if _paused(stage) else new, prefix, cache)
    while _paused(stage):
        time.sleep(0.2)
    _link(new, prefix, cache)
    return [f"{record['name']}-{record['version']}-{record['build']}" for record in new]


def remove(names: list[str], *, prefix: Path, cache: Path) -> list[str]:
    """Unlink packages without looking at what depends on them (conda remove --force-remove)."""
    there = records(prefix)
    missing = [name for name in names if name not in there]
    if missing:
        message = "PackagesNotFoundInPrefixError: The following packages are missing from the target environment:\n"
        raise CondaError(message + "".join(f"  - {name}\n" for name in missing))
    _become([record for name, record in there.items() if name not in names], prefix, cache)
    return names


def _link(new: list[dict[str, t.Any]], prefix: Path, cache: Path) -> None:
    replaced = {record["name"] for record in new}
    kept = [record for name, record in records(prefix).items() if name not in replaced]
    _become([*kept, *new], prefix, cache)


def _become(wanted: list[dict[str, t.Any]], prefix: Path, cache: Path) -> None:
    """Make the environment hold exactly these packages; py-rattler leaves alone what is there as wanted."""
    _run(rattler.install([_rattler_record(record) for record in wanted], prefix, cache, show_progress=False))
    for path in prefix.glob("conda-meta/*.json"):
        path.chmod(0o644)  # py-rattler keeps them to the owner, conda does not


def _run(action: t.Coroutine[t.Any, t.Any, None]) -> None:
    async def wait() -> None:
        await action

    try:
        asyncio.run(wait())
    except Exception as error:  # rattler has a family of exceptions of its own
        message = f"CondaError: {error}"
        raise CondaError(message) from error


def _rattler_record(record: dict[str, t.Any]) -> rattler.RepoDataRecord:
    package = rattler.PackageRecord(
        name=record["name"],
        version=record["version"],
        build=rattler.BuildString(record["build"]),
        build_number=record["build_number"],
        subdir=record["subdir"],
        noarch=record.get("noarch"),
        depends=record["depends"],
        license=record.get("license") or None,
        sha256=bytes.fromhex(record["sha256"]) if record.get("sha256") else None,
        md5=bytes.fromhex(record["md5"]),
        size=record["size"],
    )
    return rattler.RepoDataRecord(package, file_name=record["fn"], url=record["url"], channel=record["channel"])


def _same(there: dict[str, t.Any] | None, record: dict[str, t.Any]) -> bool:
    return there is not None and all(there.get(key) == record[key] for key in ("url", "md5"))


def _cached(package: Listed, cache: Path, *, offline: bool) -> dict[str, t.Any]:
    """Return the repodata record of a package in the cache, fetching and unpacking it where it is not there.

    A package file that somebody put into the cache counts as fetched from the last address in urls.txt with its name;
    its record has no sha256 then, and a line with one does not match it (as with conda 26.3.2).
    """
    unpacked, archive = cache / package.distribution, cache / package.file
    kept = unpacked / "info" / "repodata_record.json"
    if kept.exists():
        record: dict[str, t.Any] = json.loads(kept.read_text())
        if _matches(package, record):
            return record
    if archive.exists() and not kept.exists():
        md5 = hashlib.md5(archive.read_bytes()).hexdigest()  # noqa: S324
        placed = {"url": _noted_url(package.file, cache), "md5": md5}
        if _matches(package, placed):
            return _unpack(archive, unpacked, placed)
    if offline and not package.url.startswith("file:"):
        message = f"OfflineError: EnforceUnusedAdapter called with url {package.url}."
        raise CondaError(message + "\nThis command is using a remote connection in offline mode.")
    cache.mkdir(parents=True, exist_ok=True)
    sha256, md5 = _download(package, archive)
    with (cache / "urls.txt").open("a") as urls:
        urls.write(package.url + "\n")
    return _unpack(archive, unpacked, {"url": package.url, "sha256": sha256, "md5": md5})


def _matches(package: Listed, record: dict[str, t.Any]) -> bool:
    digests = (("sha256", package.sha256), ("md5", package.md5))
    return record["url"] == package.url and all(not digest or record.get(key) == digest for key, digest in digests)


def _noted_url(file: str, cache: Path) -> str:
    urls = cache / "urls.txt"
    lines = urls.read_text().split() if urls.exists() else []
    return next((line for line in reversed(lines) if line.rsplit("/", 1)[-1] == file), "")


def _unpack(archive: Path, unpacked: Path, origin: dict[str, t.Any]) -> dict[str, t.Any]:
    shutil.rmtree(unpacked, ignore_errors=True)
    try:
        rattler.package_streaming.extract(archive, unpacked)
    except Exception as error:  # rattler has a family of exceptions of its own
        message = f"InvalidArchiveError: Error with archive {archive}: {error}"
        raise CondaError(message) from error
    record: dict[str, t.Any] = json.loads((unpacked / "info" / "index.json").read_text())
    record |= {**origin, "fn": archive.name, "channel": origin["url"].rsplit("/", 2)[0], "size": archive.stat().st_size}
    (unpacked / "info" / "repodata_record.json").write_text(json.dumps(record, indent=2, sort_keys=True))
    return record


def _download(package: Listed, archive: Path) -> tuple[str, str]:
    partial = archive.with_name(archive.name + ".partial")
    try:
        with urllib.request.urlopen(package.url, timeout=60) as answer, partial.open("wb") as file:  # noqa: S310
            shutil.copyfileobj(answer, file)
    except urllib.error.HTTPError as error:
        message = f"CondaHTTPError: HTTP {error.code} {str(error.reason).upper()} for url <{package.url}>"
        raise CondaError(message) from error
    except urllib.error.URLError as error:
        message = f"CondaHTTPError: HTTP 000 CONNECTION FAILED for url <{package.url}>\n{error.reason}"
        raise CondaError(message) from error
    data = partial.read_bytes()
    found = {"sha256": hashlib.sha256(data).hexdigest(), "md5": hashlib.md5(data).hexdigest()}  # noqa: S324
    for kind, expected in (("sha256", package.sha256), ("md5", package.md5)):
        if expected and found[kind] != expected:
            message = (
                "ChecksumMismatchError: Conda detected a mismatch between the expected content and downloaded"
                f" content\nfor url '{package.url}'.\n  download saved to: {partial}\n"
                f"  expected {kind}: {expected}\n  actual {kind}: {found[kind]}"
            )
            raise CondaError(message)
    partial.replace(archive)
    return found["sha256"], found["md5"]


def _paused(stage: str) -> bool:
    """Say whether a fault test wants the work to stand still here."""
    return (_PAUSES / f"pause-{stage}").exists()


__all__ = ["install_explicit", "records", "remove"]
