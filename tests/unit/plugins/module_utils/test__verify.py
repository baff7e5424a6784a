# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures against limits, as a table, and the names of architectures."""

from __future__ import annotations

import math
import typing as t

import pytest

from ansible_collections.gpulab.workstation.plugins.module_utils import _verify
from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._verify import Check, Limit, Outcome

LIMITS = (Limit("memory_bandwidth", "copy_gb_s", "GB/s", "a bench", fail_below=1300.0, warn_below=1450.0),)
HOT = (Limit("endurance", "hottest_c", "C", "a sheet", fail_above=95.0, warn_above=86.0),)


@pytest.mark.parametrize(
    ("limits", "figures", "outcome", "words"),
    [
        pytest.param(LIMITS, {"copy_gb_s": 1520.0}, Outcome.PASS, "copied", id="good"),
        pytest.param(LIMITS, {"copy_gb_s": 1450}, Outcome.PASS, "copied", id="at-the-limit"),
        pytest.param(LIMITS, {"copy_gb_s": 1400.0}, Outcome.WARN, "1400 GB/s, below 1450 (a bench)", id="warn-below"),
        pytest.param(LIMITS, {"copy_gb_s": 1200.0}, Outcome.FAIL, "1200 GB/s, below 1300 (a bench)", id="fail-below"),
        pytest.param(HOT, {"hottest_c": 85}, Outcome.PASS, "copied", id="cool"),
        pytest.param(HOT, {"hottest_c": 90}, Outcome.WARN, "90 C, above 86", id="warn-above"),
        pytest.param(HOT, {"hottest_c": 96}, Outcome.FAIL, "96 C, above 95", id="fail-above"),
        pytest.param(LIMITS + HOT, {"copy_gb_s": 1520, "hottest_c": 96}, Outcome.FAIL, "96 C", id="the-worst-decides"),
        pytest.param(LIMITS + HOT, {"hottest_c": 96}, Outcome.FAIL, "96 C", id="a-fail-although-one-is-missing"),
        pytest.param(LIMITS + HOT, {"hottest_c": 90}, Outcome.NOT_PROVEN, "copy_gb_s could not", id="missing"),
        pytest.param(LIMITS, {"copy_gb_s": None}, Outcome.NOT_PROVEN, "copy_gb_s could not", id="none"),
        pytest.param(LIMITS, {"copy_gb_s": math.nan}, Outcome.NOT_PROVEN, "copy_gb_s could not", id="nan"),
        pytest.param(LIMITS, {"copy_gb_s": math.inf}, Outcome.NOT_PROVEN, "copy_gb_s could not", id="infinite"),
        pytest.param(LIMITS, {"copy_gb_s": "1520"}, Outcome.NOT_PROVEN, "copy_gb_s could not", id="text"),
        pytest.param(LIMITS, {"copy_gb_s": True}, Outcome.NOT_PROVEN, "copy_gb_s could not", id="a-truth"),
        pytest.param(None, {"copy_gb_s": 1520}, Outcome.NOT_PROVEN, "no limits for this card", id="unknown-card"),
        pytest.param((), {"copy_gb_s": 1520}, Outcome.NOT_PROVEN, "this check has no limits", id="unknown-figure"),
    ],
)
def test_figures_and_limits(
    limits: tuple[Limit, ...] | None, figures: dict[str, t.Any], outcome: Outcome, words: str
) -> None:
    check = _verify.judge_figures("memory_bandwidth", "copied", card="GPU-1", limits=limits, **figures)
    assert (check.outcome, check.card, dict(check.figures)) == (outcome, "GPU-1", figures)
    assert words in check.why


def test_a_check_survives_the_document() -> None:
    check = _verify.judge_figures("memory_bandwidth", "copied", card="GPU-1", limits=LIMITS, copy_gb_s=1.0, name="x")
    data = check.to_json(["memory_bandwidth"])
    assert (data["required"], data["needs_gpu"], data["level"]) == (True, True, "quick")
    assert Check.from_json(data) == check


@pytest.mark.parametrize(("text", "digits"), [("12.0", "120"), ("9.0", "90"), ("9.0a", "90a"), ("12.0f", "120f")])
def test_arch(text: str, digits: str) -> None:
    assert _verify.parse_arch(text) == digits


@pytest.mark.parametrize("text", ["sm_120", "120", "12", "", "12.0+PTX", "12.0 "])
def test_an_arch_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(OperatorError, match="gpu_verify_arch"):
        _verify.parse_arch(text)
