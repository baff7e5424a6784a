# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the page and the JUnit file of a directory of results, from what lies there."""

from __future__ import annotations

import datetime as dt
import typing as t
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.gpulab.workstation.plugins.plugin_utils._files import write_whole
from ansible_collections.gpulab.workstation.plugins.plugin_utils._results_document import Document
from ansible_collections.gpulab.workstation.plugins.plugin_utils._results_junit import junit
from ansible_collections.gpulab.workstation.plugins.plugin_utils._results_page import page
from ansible_collections.gpulab.workstation.plugins.plugin_utils._results_shown import Results
from ansible_collections.gpulab.workstation.plugins.plugin_utils._results_store import (
    NoResult,
    Unreadable,
    alone,
    note_without_result,
    read_documents,
    read_earlier,
    read_without_result,
)


@dataclass(frozen=True)
class Made:
    """What was made, and what could not be read for it."""

    page: Path
    junit: Path
    hosts: int
    cards: int
    unreadable: tuple[Unreadable, ...]

    @property
    def sentence(self) -> str:
        """Say where the page is and what is on it."""
        left = f"; {len(self.unreadable)} file(s) could not be read" if self.unreadable else ""
        return f"Results: {self.page} ({self.hosts} host(s), {self.cards} card(s){left}), JUnit XML: {self.junit}"

    @property
    def warnings(self) -> list[str]:
        """Name each file that could not be read."""
        return [
            f"Found: {file.path}: {file.why}. Expected: a result of gpu_verify. To do: verify its host again, or"
            " remove the file."
            for file in self.unreadable
        ]


@dataclass(frozen=True)
class Run:
    """The hosts of one run: those that brought a document, and those that did not."""

    verified: frozenset[str]
    missing: tuple[NoResult, ...]


def make_report(directory: Path, now: dt.datetime, run: Run | None = None) -> Made:
    """Write index.html from every document, and junit.xml for the hosts of a run; without a run, for all."""
    with alone(directory):
        missing = read_without_result(directory)
        if run is not None:
            missing = note_without_result(directory, run.missing, run.verified)
        documents, unreadable = read_documents(directory)
        earlier, broken = _earlier(directory, documents)
        unreadable += broken
        results = Results(documents, earlier, missing, unreadable)
        write_whole(directory / "index.html", page(results, now))
        write_whole(directory / "junit.xml", _junit(results, run))
    cards = len({card.uuid for document in documents for card in document.cards})
    return Made(directory / "index.html", directory / "junit.xml", len(documents), cards, tuple(unreadable))


def _earlier(directory: Path, documents: t.Iterable[Document]) -> tuple[dict[str, list[Document]], list[Unreadable]]:
    earlier: dict[str, list[Document]] = {}
    unreadable: list[Unreadable] = []
    for document in documents:
        for key in [card.uuid for card in document.cards] or [document.host]:
            earlier[key], broken = read_earlier(directory, key, document)
            unreadable += broken
    return earlier, unreadable


def _junit(results: Results, run: Run | None) -> str:
    if run is None:
        return junit(results.documents, results.missing, results.unreadable)
    return junit([document for document in results.documents if document.host in run.verified], run.missing)


__all__ = ["Made", "Run", "make_report"]
