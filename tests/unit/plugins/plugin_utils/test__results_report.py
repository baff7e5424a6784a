# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of a directory: page and JUnit file, for a run and for what was kept."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

from madeup_fleet import write_fleet

from ansible_collections.gpulab.workstation.plugins.plugin_utils._results_report import Run, make_report
from ansible_collections.gpulab.workstation.plugins.plugin_utils._results_store import NoResult, keep_document
from resultdocuments import raw

NOW = dt.datetime(2026, 11, 25, 12, tzinfo=dt.timezone.utc)
LOST = NoResult("ws-03", "2026-11-25T11:00:00Z", "unreachable", "no route")


def test_a_run_reports_its_hosts_and_shows_all(tmp_path: Path) -> None:
    for host in ("ws-01", "ws-02"):
        keep_document(tmp_path, host, raw(host), NOW)
    (tmp_path / "ws-04.json").write_text("{")
    made = make_report(tmp_path, NOW, Run(frozenset({"ws-01"}), (LOST,)))
    junit, page = made.junit.read_text(), made.page.read_text()
    assert 'name="ws-01"' in junit
    assert 'name="ws-02"' not in junit
    assert 'type="unreachable"' in junit
    assert all(host in page for host in ("ws-01", "ws-02", "ws-03", "ws-04.json"))
    assert made.sentence.startswith(f"Results: {tmp_path}/index.html (2 host(s), 0 card(s); 1 file(s) could not")
    assert "ws-04.json" in made.warnings[0]


def test_a_report_of_what_was_kept_has_every_host(tmp_path: Path) -> None:
    for host in ("ws-01", "ws-02"):
        keep_document(tmp_path, host, raw(host), NOW)
    make_report(tmp_path, NOW, Run(frozenset({"ws-01"}), (LOST,)))
    (tmp_path / "ws-04.json").write_text("{")
    junit = make_report(tmp_path, NOW).junit.read_text()
    assert all(name in junit for name in ('"ws-01"', '"ws-02"', '"ws-03"', "ws-04.json"))


def test_the_history_is_compared(tmp_path: Path) -> None:
    keep_document(tmp_path, "ws-01", raw("ws-01", ["GPU-x"]), NOW)
    keep_document(tmp_path, "ws-02", raw("ws-02", ["GPU-x"], time="2026-11-24T10:00:00Z"), NOW + dt.timedelta(days=1))
    assert "Since the last result (2026-11-20 10:00 UTC)" in make_report(tmp_path, NOW).page.read_text()


def test_a_fleet_stays_small(tmp_path: Path) -> None:
    """Two hundred hosts with two cards must stay below 10 MB: 25 kB for a card, its charts included."""
    write_fleet(tmp_path, 4, 2)
    made = make_report(tmp_path, NOW)
    assert made.page.stat().st_size < made.cards * 25_000 + 40_000
    assert not list(tmp_path.glob(".part-*"))


def test_an_older_document_is_left_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "ws-09.json").write_text(json.dumps({"schema": "gpu_verify-1"}))
    assert "verify the host again" in make_report(tmp_path, NOW).warnings[0]
    assert (tmp_path / "ws-09.json").exists()
