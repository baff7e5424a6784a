# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring a file that the catalogue describes: sources in order, resumed, and trusted only by its sha256."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._host import Host, UrlAnswer

Progress = t.Callable[[str], None]

_TRIES_PER_SOURCE = 3
_PAUSE_S = 2.0
_SPARE_BYTES = 64 << 20  # what must stay free beside the file, so that logs can still be written
_OK, _PARTIAL, _RANGE_NOT_SATISFIABLE = 200, 206, 416


@dataclass(frozen=True)
class Artefact:
    """A file from outside; ``sources`` are http(s) or file addresses or absolute paths, ``size`` is in bytes."""

    file: str
    sha256: str
    sources: tuple[str, ...]
    size: int | None = None

    @classmethod
    def from_release(cls, release: t.Mapping[str, t.Any]) -> Artefact:
        """Take the file's part of a catalogue release."""
        return cls(release["file"], release["sha256"].lower(), tuple(release["sources"]), release.get("size"))


def cached_path(artefact: Artefact, directory: str) -> str:
    """Return where the file lies once fetched; the digest in the name keeps two builds of a version apart."""
    return f"{directory}/{artefact.sha256[:12]}/{artefact.file}"


def fetch(host: Host, artefact: Artefact, directory: str, progress: Progress) -> str:
    """Return the path of the verified file, bringing what is missing of it; OperatorError when no source has it."""
    path = cached_path(artefact, directory)
    if host.sha256(path) == artefact.sha256:
        return path
    host.remove(path)
    host.make_dirs(path.rsplit("/", 1)[0])
    failures = []
    for source in artefact.sources:
        failure = _fetch_from(host, artefact, source, f"{path}.part", progress)
        if failure is None:
            host.rename(f"{path}.part", path)
            return path
        failures.append(f"{source}: {failure}")
    raise OperatorError(
        found=f"no source gave {artefact.file}: " + "; ".join(failures or ["the list of sources is empty"]) + ".",
        expected=f"a file with sha256 {artefact.sha256}.",
        action="check the network and the addresses, or put the file on a server of the lab or on the host and add"
        " its address or path in front of the sources.",
    )


def _fetch_from(host: Host, artefact: Artefact, source: str, part: str, progress: Progress) -> str | None:
    """Try one source a few times, going on where the last try ended; return None or why it failed."""
    failure = ""
    for attempt in range(_TRIES_PER_SOURCE):
        if attempt:
            host.sleep(_PAUSE_S)
        have = _size(host, part)
        try:
            failure, final = _transfer(host, artefact, source, part, progress)
        except OSError as error:
            _refuse_full_disk(host, artefact, part, error)
            failure, final = f"broke off after {_size(host, part)} bytes ({error})", False
        if not failure:
            failure, final = _verdict(host, artefact, part, resumed=bool(have))
        if not failure:
            return None
        if final:
            break
    return failure


def _transfer(host: Host, artefact: Artefact, source: str, part: str, progress: Progress) -> tuple[str, bool]:
    """Append what the source still has to give; return (failure, whether trying again is useless)."""
    have = _size(host, part)
    if artefact.size is not None and have >= artefact.size:
        return "", False
    answer = host.open_url(source, offset=have)
    if answer.status == _RANGE_NOT_SATISFIABLE:
        return "", False
    if answer.status not in (_OK, _PARTIAL):
        return f"answered with status {answer.status}", answer.status in (401, 403, 404, 410)
    resumed = answer.status == _PARTIAL
    chunks, page = _refuse_page(answer, resumed=resumed)
    if page:
        return page, True
    total = (answer.length or 0) + (have if resumed else 0) or artefact.size
    _check_space(host, artefact, part, total, have if resumed else 0)
    host.write_chunks(part, _reported(chunks, have if resumed else 0, total, artefact, progress), append=resumed)
    got = _size(host, part)
    if total and got < total:
        return f"broke off after {got} of {total} bytes", False
    return "", False


def _refuse_page(answer: UrlAnswer, *, resumed: bool) -> tuple[t.Iterator[bytes], str]:
    """Recognise an error page sent with status 200 (portals, proxies) by its type or its first bytes."""
    first = next(answer.chunks, b"")
    start = first[:256].lstrip().lower()
    looks_like_page = not resumed and start.startswith((b"<!doctype html", b"<html"))
    if looks_like_page or answer.content_type == "text/html":
        words = " ".join(first[:200].decode("utf-8", "replace").split())
        return iter(()), f"sent an HTML page where the file should be, starting {words[:80]!r}"
    return _chain(first, answer.chunks), ""


def _chain(first: bytes, rest: t.Iterator[bytes]) -> t.Iterator[bytes]:
    yield first
    yield from rest


def _verdict(host: Host, artefact: Artefact, part: str, *, resumed: bool) -> tuple[str, bool]:
    """Compare the whole file with the catalogue; a wrong file is removed so that nothing builds on it."""
    found = host.sha256(part)
    if found == artefact.sha256:
        return "", True
    size = _size(host, part)
    host.remove(part)
    return f"gave a file of {size} bytes with sha256 {found}", not resumed


def _check_space(host: Host, artefact: Artefact, part: str, total: int | None, have: int) -> None:
    filesystem = host.filesystem(part)
    needed = (total or 0) - have + _SPARE_BYTES
    if filesystem.free_bytes < needed:
        raise OperatorError(
            found=f"{_mb(filesystem.free_bytes)} free on {filesystem.mount_point}.",
            expected=f"{_mb(needed)} for {artefact.file}.",
            action=f"free space on {filesystem.mount_point} or choose another cache directory, then run again.",
        )


def _refuse_full_disk(host: Host, artefact: Artefact, part: str, error: OSError) -> None:
    if error.errno in (28, 122):  # ENOSPC, EDQUOT
        raise OperatorError(
            found=f"the disk is full while {artefact.file} is being written to {part} ({error.strerror}).",
            expected=f"room for {_mb(artefact.size or 0)} on {host.filesystem(part).mount_point}.",
            action="free space and run again; what has arrived is kept and the download goes on from there.",
        ) from error


def _reported(
    chunks: t.Iterable[bytes], have: int, total: int | None, artefact: Artefact, progress: Progress
) -> t.Iterator[bytes]:
    for chunk in chunks:
        have += len(chunk)
        progress(f"{artefact.file}: {_mb(have)}" + (f" of {_mb(total)} ({have * 100 // total} %)" if total else ""))
        yield chunk


def _size(host: Host, path: str) -> int:
    found = host.status(path)
    return found.size if found else 0


def _mb(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"


__all__ = ["Artefact", "Progress", "cached_path", "fetch"]
