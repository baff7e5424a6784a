# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a page is made from, and what is on it: the shapes that its template reads."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from ansible_collections.gpulab.workstation.plugins.module_utils._verify import Outcome
from ansible_collections.gpulab.workstation.plugins.plugin_utils._results_chart import Chart
from ansible_collections.gpulab.workstation.plugins.plugin_utils._results_document import Card, Check, Document
from ansible_collections.gpulab.workstation.plugins.plugin_utils._results_figures import Figure
from ansible_collections.gpulab.workstation.plugins.plugin_utils._results_fleet import Change
from ansible_collections.gpulab.workstation.plugins.plugin_utils._results_store import NoResult, Unreadable


@dataclass(frozen=True)
class Results:
    """Everything that a page is made from; ``earlier`` has older documents by uuid, or by host where it has no card."""

    documents: t.Sequence[Document]
    earlier: t.Mapping[str, t.Sequence[Document]] = field(default_factory=dict)
    missing: t.Sequence[NoResult] = ()
    unreadable: t.Sequence[Unreadable] = ()


@dataclass(frozen=True)
class FigureView:
    """A figure with what it is held against."""

    figure: Figure
    median: str
    versus: str
    limit: str
    source: str

    @property
    def plain_row(self) -> bool:
        """Whether it gets a row of its own: a limit, a median or a unit makes it worth comparing."""
        return bool(self.limit or (self.figure.value is not None and (self.median or self.figure.unit)))


@dataclass(frozen=True)
class CheckView:
    """A check with its figures; ``measured`` is a date where it is from an older, fuller run."""

    check: Check
    figures: tuple[FigureView, ...]
    measured: str = ""

    @property
    def rows(self) -> list[FigureView]:
        """Return the figures that are compared."""
        return [figure for figure in self.figures if figure.plain_row]

    @property
    def more(self) -> list[FigureView]:
        """Return what stays behind a click."""
        return [figure for figure in self.figures if not figure.plain_row]


@dataclass(frozen=True)
class KeyView:
    """A key figure in a row of the overview; all empty where it was not measured."""

    shown: str = ""
    median: str = ""
    versus: str = ""
    sort: float | None = None
    outcome: str = ""


@dataclass(frozen=True)
class CardView:
    """A card in its host."""

    card: Card
    anchor: str
    outcome: Outcome
    checks: tuple[CheckView, ...]
    charts: tuple[Chart, ...]
    changes: tuple[Change, ...]
    compared: str
    keys: tuple[KeyView, ...]
    moved_to: str


@dataclass(frozen=True)
class HostView:
    """A host with its cards; ``document`` is None where there is no result at all."""

    name: str
    anchor: str
    file: str
    document: Document | None
    missing: NoResult | None
    outcome: Outcome
    checks: tuple[CheckView, ...]
    changes: tuple[Change, ...]
    compared: str
    cards: tuple[CardView, ...]


@dataclass(frozen=True)
class Row:
    """A row of the overview: a card, or a host without one."""

    host: HostView
    card: CardView | None
    outcome: Outcome
    named: str
    changed: int
    worse: bool


@dataclass(frozen=True)
class ModelView:
    """The medians of one model of card."""

    name: str
    cards: int
    keys: tuple[str, ...]


@dataclass(frozen=True)
class View:
    """The whole page."""

    hosts: tuple[HostView, ...]
    rows: tuple[Row, ...]
    models: tuple[ModelView, ...]
    keys: tuple[str, ...]
    unreadable: tuple[Unreadable, ...]


__all__ = [
    "CardView",
    "CheckView",
    "FigureView",
    "HostView",
    "KeyView",
    "ModelView",
    "Results",
    "Row",
    "View",
]
