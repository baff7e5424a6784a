# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The directory of results on the controller: written whole or not at all, and nothing of it is lost by writing.

::

    HOST.json                        the newest document of a host
    history/UUID/TIME-KIND.json      each document once more for each of its cards; history/HOST/ where it has none
    history/set-aside/               what had a host's name and was no document, when a new one came
    history/no-result.json           hosts of which the last run brought no document, and why
    index.html, junit.xml            made from them
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import json
import re
import typing as t
from dataclasses import asdict, dataclass
from pathlib import Path

from ansible_collections.gpulab.workstation.plugins.plugin_utils._files import write_whole
from ansible_collections.gpulab.workstation.plugins.plugin_utils._results_document import Document, load_document

KEEP = 20  # documents of one kind (quick, full, with endurance) for one card


@dataclass(frozen=True)
class Unreadable:
    """A file among the results that is none, and why."""

    path: str
    why: str


@dataclass(frozen=True)
class NoResult:
    """A host of which a run brought no document: unreachable, or failed before it was verified."""

    host: str
    time: str
    ending: str
    why: str


def results_directory(wanted: str, playbook_directory: str) -> Path:
    """Return the directory asked for, else results/ of the checkout this file is in, else beside the playbook."""
    if wanted:
        return Path(wanted).expanduser().absolute()
    checkout = Path(__file__).resolve().parents[2]
    return (checkout if (checkout / "site.yml").is_file() else Path(playbook_directory)) / "results"


def file_name(name: str) -> str:
    """Return a name that cannot lead out of its directory."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", name).lstrip(".") or "_"


def keep_document(directory: Path, name: str, document: t.Mapping[str, t.Any], now: dt.datetime) -> tuple[Path, str]:
    """Write a host's document and its copies in the history; return where, and what had to be set aside for it."""
    path = directory / f"{file_name(name)}.json"
    text = json.dumps(document, indent=2, sort_keys=True) + "\n"
    before = _read(path)
    aside = ""
    if before is not None and before != text:
        aside = _archive_before(directory, path, before)
    write_whole(path, text)
    _archive(directory, load_document(text), text, now)
    return path, aside


def _archive_before(directory: Path, path: Path, text: str) -> str:
    """See that what a host's file holds is in the history, which a killed run or a person may have missed."""
    written = dt.datetime.fromtimestamp(path.stat().st_mtime, dt.timezone.utc)
    try:
        document = load_document(text)
    except ValueError as error:
        aside = directory / "history/set-aside" / f"{path.stem}-{_stamp(written)}.json"
        aside.parent.mkdir(parents=True, exist_ok=True)
        path.replace(aside)
        return f"{path} was no result: {error}; it is now {aside}"
    _archive(directory, document, text, written)
    return ""


def _archive(directory: Path, document: Document, text: str, time: dt.datetime) -> None:
    for key in [card.uuid for card in document.cards] or [document.host]:
        place = directory / "history" / file_name(key)
        names = _names(place)[document.kind] if place.is_dir() and document.kind in _names(place) else []
        if any(_read(place / name) == text for name in names[-2:]):
            continue
        target, number = place / f"{_stamp(time)}-{document.kind}.json", 1
        while target.exists():
            number += 1
            target = place / f"{_stamp(time)}.{number}-{document.kind}.json"
        write_whole(target, text)
        for name in _names(place)[document.kind][:-KEEP]:
            (place / name).unlink(missing_ok=True)


def _stamp(time: dt.datetime) -> str:
    return time.strftime("%Y%m%dT%H%M%SZ")


def _names(place: Path) -> dict[str, list[str]]:
    """Return the files of one card's history by kind, oldest first by the controller's clock."""
    kinds: dict[str, list[str]] = {}
    for path in sorted(place.glob("*Z*-*.json"), key=lambda path: _order(path.name)):
        kinds.setdefault(path.stem.partition("-")[2], []).append(path.name)
    return kinds


def _order(name: str) -> tuple[str, int]:
    stamp, _, count = name.partition("-")[0].partition(".")
    return stamp, int(count) if count.isdecimal() else 1


def read_documents(directory: Path) -> tuple[list[Document], list[Unreadable]]:
    """Return the newest document of each host, and every file that has the name of one and is none."""
    documents, unreadable = [], []
    for path in sorted(directory.glob("*.json")):
        try:
            document = load_document(path.read_text(encoding="utf-8"))
            if file_name(document.host) != path.stem:
                raise ValueError(f"it is the result of the host {document.host}, under another's name")  # noqa: TRY301
            documents.append(document)
        except (OSError, ValueError) as error:  # noqa: PERF203 - one bad file must not end the others
            unreadable.append(Unreadable(str(path), _sentence(error)))
    return documents, unreadable


def read_earlier(directory: Path, key: str, current: Document) -> tuple[list[Document], list[Unreadable]]:
    """Return the newest earlier documents of a card (or of a host without one): one of each kind, newest first."""
    place = directory / "history" / file_name(key)
    found: list[tuple[tuple[str, int], Document]] = []
    unreadable = []
    for names in _names(place).values():
        for name in reversed(names):
            try:
                document = load_document((place / name).read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                unreadable.append(Unreadable(str(place / name), _sentence(error)))
                continue
            if document != current:
                found.append((_order(name), document))
                break
    return [document for _, document in sorted(found, key=lambda pair: pair[0], reverse=True)], unreadable


def _sentence(error: Exception) -> str:
    return str(error.strerror if isinstance(error, OSError) else error)


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None


def read_without_result(directory: Path) -> list[NoResult]:
    """Return the hosts of which the last run brought no document; a broken note is none."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        rows = json.loads((directory / "history/no-result.json").read_text(encoding="utf-8"))
        return [NoResult(**row) for row in rows]
    return []


def note_without_result(directory: Path, missing: t.Sequence[NoResult], done: t.Container[str]) -> list[NoResult]:
    """Remember hosts without a document, and forget those that have brought one since."""
    named = {row.host for row in missing}
    earlier = [row for row in read_without_result(directory) if row.host not in named and row.host not in done]
    rows = sorted([*earlier, *missing], key=lambda row: row.host)
    write_whole(directory / "history/no-result.json", json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    return rows


@contextlib.contextmanager
def alone(directory: Path) -> t.Iterator[None]:
    """Let one run at a time make the page of a directory."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / ".lock").open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


__all__ = [
    "KEEP",
    "NoResult",
    "Unreadable",
    "alone",
    "file_name",
    "keep_document",
    "note_without_result",
    "read_documents",
    "read_earlier",
    "read_without_result",
    "results_directory",
]
