# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""JUnit XML: what CI systems read of a run."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET

import pytest
from madeup_fleet import madeup_document

from ansible_collections.gpulab.workstation.plugins.plugin_utils._results_document import Document, load_document
from ansible_collections.gpulab.workstation.plugins.plugin_utils._results_junit import junit
from ansible_collections.gpulab.workstation.plugins.plugin_utils._results_store import NoResult, Unreadable
from resultdocuments import MODEL, bandwidth, check, read

# What the schema that Jenkins publishes for its xunit plugin allows of what is used here: children and attributes.
GRAMMAR: dict[str, tuple[set[str], set[str], set[str]]] = {
    "testsuites": ({"testsuite"}, {"name", "tests", "failures", "errors", "skipped"}, {"tests"}),
    "testsuite": ({"testcase"}, {"name", "tests", "failures", "errors", "skipped", "time", "timestamp"}, {"name"}),
    "testcase": ({"failure", "error", "skipped", "system-out"}, {"name", "classname", "time"}, {"name", "classname"}),
    "failure": (set(), {"message", "type"}, {"type"}),
    "error": (set(), {"message", "type"}, {"type"}),
    "skipped": (set(), {"message"}, set()),
    "system-out": (set(), set(), set()),
}


def parse(text: str) -> ET.Element:
    """Return the root of a file that keeps to the grammar and whose counts are right."""
    root = ET.fromstring(text.encode())  # noqa: S314 - written by this test
    assert root.tag == "testsuites"
    for element in root.iter():
        children, allowed, needed = GRAMMAR[element.tag]
        assert {child.tag for child in element} <= children, element.tag
        assert needed <= set(element.attrib) <= allowed, element.tag
        if element.tag in ("testsuites", "testsuite"):
            counted = {key: len(list(element.iter(tag))) for key, tag in COUNTS.items()}
            assert {key: int(element.get(key, "-1")) for key in COUNTS} == counted
        if element.tag == "testcase":
            assert len(element) <= 1
    return root


COUNTS = {"tests": "testcase", "failures": "failure", "errors": "error", "skipped": "skipped"}


def only_case(document: Document) -> ET.Element:
    (case,) = parse(junit([document])).iter("testcase")
    return case


@pytest.mark.parametrize(
    ("outcome", "required", "expect_gpu", "tag"),
    [
        pytest.param("pass", True, True, "system-out", id="pass"),
        pytest.param("warn", True, True, "system-out", id="warn"),
        pytest.param("fail", False, True, "failure", id="fail"),
        pytest.param("not_proven", True, True, "failure", id="required-and-not-proven"),
        pytest.param("not_proven", False, True, "skipped", id="not-proven"),
        pytest.param("not_proven", True, False, "skipped", id="excused"),
    ],
)
def test_outcomes(outcome: str, *, required: bool, expect_gpu: bool, tag: str) -> None:
    row = check("cards", outcome, required=required, needs_gpu=True)
    case = only_case(read(checks=[row], expect_gpu=expect_gpu))
    assert [child.tag for child in case] == [tag]
    assert "cards says so" in (case[0].get("message") or case[0].text or "")


def test_a_case_for_each_check_and_card() -> None:
    document = read(uuids=["GPU-a", "GPU-b"], checks=[check(), bandwidth("GPU-a", 1500), bandwidth("GPU-b", 1600)])
    suite = next(parse(junit([document])).iter("testsuite"))
    assert (suite.get("name"), suite.get("time"), suite.get("timestamp")) == ("ws-01", "31.500", "2026-11-20T10:00:00")
    assert [(case.get("classname"), case.get("name")) for case in suite] == [
        ("ws-01.host", "toolkit"),
        ("ws-01.GPU-a", f"memory_bandwidth [{MODEL} GPU-a]"),
        ("ws-01.GPU-b", f"memory_bandwidth [{MODEL} GPU-b]"),
    ]
    assert "copy_gb_s = 1500" in "".join(suite.itertext())


def test_a_failure_that_no_check_shows_is_a_case_of_its_own() -> None:
    document = read(failure="cards is required and not proven: it was not made")
    cases = list(parse(junit([document])).iter("testcase"))
    assert [case.get("name") for case in cases] == ["toolkit", "verification"]
    assert cases[1][0].tag == "failure"


def test_hosts_and_files_without_a_document_are_errors() -> None:
    lost = NoResult("ws-02", "2026-11-20T10:00:00Z", "unreachable", "no route")
    root = parse(junit([], [lost], [Unreadable("results/ws-03.json", "it is no JSON")]))
    assert [error.get("message") for error in root.iter("error")] == ["no route", "it is no JSON"]


def test_hostile_words_stay_words() -> None:
    words = '<script>&"]]>\x00\x1b[31m\ud800\ufffe'
    failed = only_case(read(host='a<b"', checks=[check(outcome="fail", why=words)]))
    assert failed[0].get("message") == '<script>&"]]>\ufffd\ufffd[31m\ufffd\ufffd'
    assert failed.get("classname") == 'a<b".host'


def test_a_made_up_host_keeps_to_the_grammar() -> None:
    parse(junit([load_document(json.dumps(madeup_document("made-up-1", 2, sick="memory_bandwidth")))]))
