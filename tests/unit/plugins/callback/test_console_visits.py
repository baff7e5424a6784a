# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The list of machines to walk to: every one that waits for a visit, and nobody else."""

from __future__ import annotations

import typing as t
from types import SimpleNamespace

import pytest

from ansible_collections.gpulab.workstation.plugins.callback.console_visits import CallbackModule


@pytest.fixture
def callback(monkeypatch: pytest.MonkeyPatch) -> tuple[t.Any, list[str]]:
    """Return the plugin and the lines that it shows."""
    plugin, lines = t.cast("t.Any", CallbackModule()), list[str]()
    monkeypatch.setattr(plugin._display, "display", lambda text, *_a, **_k: lines.append(text))
    return plugin, lines


def ended(host: str, outcome: str | None) -> SimpleNamespace:
    return SimpleNamespace(host=host, result={} if outcome is None else {"outcome": outcome})


def test_every_machine_that_waits_for_a_visit_is_listed_once(callback: tuple[t.Any, list[str]]) -> None:
    plugin, lines = callback
    for host, outcome in (("ws-07", "console_visit"), ("ws-02", "enrolled"), ("ws-03", "off"), ("ws-04", None)):
        plugin.v2_runner_on_failed(ended(host, outcome))
    for _ in range(2):
        plugin.v2_runner_on_ok(ended("ws-01", "console_visit"))
    plugin.v2_playbook_on_stats(None)
    assert lines == ["Machines to walk to, once, to enrol the lab's key at their console: ws-01, ws-07"]


def test_nobody_is_sent_anywhere_without_a_reason(callback: tuple[t.Any, list[str]]) -> None:
    plugin, lines = callback
    plugin.v2_runner_on_ok(ended("ws-02", "enrolled"))
    plugin.v2_playbook_on_stats(None)
    assert lines == []
