# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documents are read back as they were written, and what is none is refused with its place."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import jsonschema
import pytest
from madeup_fleet import madeup_document

from ansible_collections.gpulab.workstation.plugins.module_utils._verify import Outcome
from ansible_collections.gpulab.workstation.plugins.plugin_utils._results_document import load_document, number, worst
from resultdocuments import card, check, raw, read

ROOT = Path(__file__).parents[4]
SCHEMA = json.loads((ROOT / "docs/schema/gpu_verify-2.json").read_text(encoding="utf-8"))
RECORDED = ROOT / "tests/unit/fixtures/gpu_verify/2-lab-container-no-gpu.txt"


def test_a_recorded_document_is_read() -> None:
    text = "\n".join(line for line in RECORDED.read_text(encoding="utf-8").splitlines() if not line.startswith("#"))
    document = load_document(text)
    assert document.cards == ()
    assert {check.name: check.outcome for check in document.checks}["native_code"] is Outcome.PASS
    assert not any(check.fails for check in document.checks)


@pytest.mark.parametrize("options", [{}, {"level": "quick", "minutes": 0}, {"sick": "endurance"}], ids=str)
def test_the_made_up_fleet_keeps_to_the_schema(options: dict[str, t.Any]) -> None:
    jsonschema.validate(madeup_document("made-up-1", 2, **options), SCHEMA)


def test_the_small_documents_keep_to_the_schema() -> None:
    jsonschema.validate(raw(uuids=["GPU-1"], checks=[check("pcie_link", card="GPU-1")]), SCHEMA)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("", "no JSON", id="empty"),
        pytest.param(json.dumps(raw())[:200], "no JSON", id="truncated"),
        pytest.param("[]", "no result of gpu_verify", id="a-list"),
        pytest.param("null", "no result of gpu_verify", id="null"),
        pytest.param("[" * 100_000, "no JSON|nested too deeply", id="deep"),
        pytest.param('{"a": 1}', "names no schema", id="foreign"),
        pytest.param('{"schema": "gpu_verify-1"}', "verify the host again", id="older-schema"),
        pytest.param(json.dumps({**raw(), "checks": None}), "checks is 'None', not of type list", id="no-list"),
        pytest.param(json.dumps(raw(checks=[7])), r"checks\[0\] is no mapping", id="check-is-a-number"),
        pytest.param(json.dumps(raw(checks=[check(outcome="great")])), r"checks\[0\].outcome is 'great'", id="outcome"),
        pytest.param(json.dumps(raw(checks=[check(figures=[])])), r"checks\[0\].figures", id="figures"),
        pytest.param(json.dumps(raw(checks=[check(limits=[{}])])), r"limits\[0\].figure is missing", id="limit"),
        pytest.param(json.dumps(raw(checks=[check(card="GPU-9")])), "GPU-9", id="unknown-card"),
    ],
)
def test_what_is_no_document_is_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        load_document(text)


def test_a_card_without_a_uuid_is_known_by_its_place() -> None:
    document = read(cards=[card(None), card(None)])
    assert len({found.uuid for found in document.cards}) == 2
    assert all("ws-01" in found.uuid for found in document.cards)


@pytest.mark.parametrize(
    ("outcome", "required", "needs_gpu", "expect_gpu", "fails"),
    [
        pytest.param("fail", False, True, False, True, id="failed-though-nobody-asked"),
        pytest.param("not_proven", True, True, True, True, id="required"),
        pytest.param("not_proven", True, True, False, False, id="excused"),
        pytest.param("not_proven", True, False, False, True, id="needs-no-gpu"),
        pytest.param("not_proven", False, True, True, False, id="not-required"),
        pytest.param("warn", True, True, True, False, id="warning"),
    ],
)
def test_the_rule(outcome: str, *, required: bool, needs_gpu: bool, expect_gpu: bool, fails: bool) -> None:
    row = check(outcome=outcome, required=required, needs_gpu=needs_gpu)
    assert read(checks=[row], expect_gpu=expect_gpu).checks[0].fails is fails


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (3, 3.0),
        (0.5, 0.5),
        (None, None),
        (True, None),
        ("3", None),
        (float("nan"), None),
        (float("inf"), None),
        (10**400, None),
    ],
)
def test_numbers(value: object, expected: float | None) -> None:
    assert number(value) == expected


def test_nothing_made_is_nothing_proven() -> None:
    assert worst([]) is Outcome.NOT_PROVEN
    assert worst([Outcome.PASS, Outcome.FAIL, Outcome.WARN]) is Outcome.FAIL
