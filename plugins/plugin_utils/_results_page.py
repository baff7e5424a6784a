# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page for the fleet: one HTML file with its style, script and charts inside, which asks no server for anything."""

from __future__ import annotations

import base64
import datetime as dt
import functools
import hashlib
from pathlib import Path

import jinja2
from markupsafe import Markup

from ansible_collections.gpulab.workstation.plugins.module_utils._verify import Outcome
from ansible_collections.gpulab.workstation.plugins.plugin_utils._results_shown import Results
from ansible_collections.gpulab.workstation.plugins.plugin_utils._results_view import view

_PARTS = Path(__file__).parent / "results_page"
# Each outcome has a sign and a word besides its colour.
_SIGNS = {Outcome.PASS: ("✓", "Passed"), Outcome.WARN: ("▲", "Warning"), Outcome.NOT_PROVEN: ("○", "Not proven"),
          Outcome.FAIL: ("✕", "Failed")}  # fmt: skip


def page(results: Results, now: dt.datetime) -> str:
    """Return the page's text."""
    style, script = (_part(name) for name in ("page.css", "page.js"))
    whole = view(results)
    documents = [host.document for host in whole.hosts if host.document]
    text: str = _environment().get_template("page.html.j2").render(
        view=whole,
        made=now.strftime("%Y-%m-%d %H:%M UTC"),
        verified=sum(document.verified for document in documents),
        unverified=sum(not document.verified for document in documents),
        absent=sum(host.document is None for host in whole.hosts),
        cards=sum(1 for row in whole.rows if row.card and not row.card.moved_to),
        style=Markup(style),  # noqa: S704 - files of this project
        script=Markup(script),  # noqa: S704 - as above
        policy=f"default-src 'none'; style-src {_digest(style)}; script-src {_digest(script)}; base-uri 'none'",
    )  # fmt: skip
    return text.encode("utf-8", "replace").decode()  # half a character, which JSON can hold and a file cannot


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_PARTS),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["sign"] = lambda outcome: _SIGNS[outcome][0]
    environment.filters["word"] = lambda outcome: _SIGNS[outcome][1]
    environment.filters["date"] = _date
    environment.filters["svg"] = lambda chart: Markup(chart.svg())  # noqa: S704 - escaped where it is drawn
    return environment


def _date(time: str) -> str:
    """Write a document's time for people; what is no time stays as it is."""
    try:
        return dt.datetime.fromisoformat(time).strftime("%Y-%m-%d %H:%M UTC")
    except ValueError:
        return time


def _part(name: str) -> str:
    return (_PARTS / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    """Name the one script or style that a browser may use; one that came in through a host's words is no such."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


__all__ = ["page"]
