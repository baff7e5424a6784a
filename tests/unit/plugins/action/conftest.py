# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A controller on which time passes only by sleeping."""

from __future__ import annotations

import time

import pytest
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let time pass only by sleeping, and return what is shown."""
    lines, clock = list[str](), [0.0]

    def sleep(seconds: float) -> None:
        clock[0] += seconds

    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(Display(), "display", lambda text, *_a, **_k: lines.append(text))
    monkeypatch.setattr(ActionBase, "run", lambda *_a, **_k: {})
    return lines
