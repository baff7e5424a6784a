# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page for the fleet: what is on it, and that nobody's words become markup."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
import re
import typing as t

import pytest
from madeup_fleet import madeup_document

from ansible_collections.gpulab.workstation.plugins.plugin_utils._results_document import Document, load_document
from ansible_collections.gpulab.workstation.plugins.plugin_utils._results_page import page
from ansible_collections.gpulab.workstation.plugins.plugin_utils._results_shown import Results
from ansible_collections.gpulab.workstation.plugins.plugin_utils._results_store import NoResult, Unreadable
from htmlpage import Element, parse_page
from resultdocuments import bandwidth, card, check, read

NOW = dt.datetime(2026, 11, 25, 12, tzinfo=dt.timezone.utc)


def made(*documents: Document, **more: t.Any) -> Element:
    return parse_page(page(Results(documents, **more), NOW))


def rows(root: Element) -> list[list[str]]:
    """Return the overview as texts, a list for each row."""
    table = root.all("table", id="cards")[0]
    body = table.all("tbody")[0]
    return [[cell.text for cell in row.children if isinstance(cell, Element)] for row in body.all("tr")]


def headings(root: Element) -> list[str]:
    return [cell.text for cell in root.all("table", id="cards")[0].all("thead")[0].all("th")]


def test_a_page_without_any_result() -> None:
    root = made()
    assert rows(root) == []
    assert root.all("title")[0].text == "gpulab: 0 of 0 hosts verified"


def test_the_worst_is_on_top_and_hosts_are_in_their_order() -> None:
    documents = [
        read(host="ws-10"),
        read(host="ws-9"),
        read(host="ws-2", checks=[check(outcome="warn"), check("cards")]),
        read(host="ws-3", checks=[check(outcome="fail")], verified=False),
        read(host="ws-4", checks=[check("cards", "not_proven"), check(outcome="not_proven")], verified=False),
    ]
    found = rows(made(*documents, missing=[NoResult("ws-1", "2026-11-24T10:00:00Z", "unreachable", "no route")]))
    assert [row[0] for row in found] == ["ws-1", "ws-3", "ws-4", "ws-2", "ws-9", "ws-10"]
    assert [row[2] for row in found] == ["no", "no", "no", "yes", "yes", "yes"]
    assert [row[3] for row in found] == [
        "✕ No result last run: unreachable", "✕ Failed toolkit", "○ Not proven cards, toolkit", "▲ Warning toolkit",
        "✓ Passed", "✓ Passed",
    ]  # fmt: skip


def test_medians_stand_beside_each_card() -> None:
    documents = [
        read(host=f"ws-{place}", uuids=[f"GPU-{place}"], checks=[bandwidth(f"GPU-{place}", speed)])
        for place, speed in enumerate((1500.0, 1600.0, 1650.0))
    ]
    root = made(*documents)
    assert headings(root) == ["Host", "Card", "Verified", "Worst outcome", "Memory copy", "Measured", "Changes"]
    assert [row[4] for row in rows(root)] == [
        f"{figure} median 1600" for figure in ("1500 GB/s \u22126.2 %", "1600 GB/s ±0 %", "1650 GB/s +3.1 %")
    ]  # fmt: skip
    figure = root.all("table", class_="checks")[1].all("tr")[2].text
    assert "1600 GB/s (3 cards) \u22126.2 %" in figure
    assert "fails below 1300 GB/s a data sheet" in figure


def test_a_card_that_moved_says_where_it_is_now() -> None:
    old = read(host="ws-1", uuids=["GPU-x"])
    new = read(host="ws-2", uuids=["GPU-x"], time="2026-11-21T10:00:00Z")
    root = made(old, new, earlier={"GPU-x": [old]})
    assert "now in ws-2" in rows(root)[0][1]
    changes = root.all("section", id="host-ws-2")[0].all("div", class_="changes")[0].text
    assert "host: ws-1 → is now ws-2" in changes


def test_what_only_a_fuller_run_measured_stays_with_its_date() -> None:
    full = read(uuids=["GPU-x"], level="full", time="2026-11-01T10:00:00Z", checks=[
        check("diffusion_sdxl", "fail", "GPU-x", figures={"seconds_per_image": 9.0})])  # fmt: skip
    quick = read(uuids=["GPU-x"], checks=[bandwidth("GPU-x", 1500.0)])
    root = made(quick, earlier={"GPU-x": [full]})
    assert "from the run of 2026-11-01 10:00 UTC" in root.all("details", class_="card")[0].text
    assert "9 s/image" in rows(root)[0][5]
    assert rows(root)[0][3] == "✓ Passed"


def test_charts_are_there_with_words() -> None:
    root = made(load_document(json.dumps(madeup_document("made-up-1", 1, sick="endurance"))))
    charts = root.all("svg", class_="chart")
    assert [figure.all("b")[0].text for figure in root.all("figure")] == [
        "Memory bandwidth over size", "Temperature", "Power", "SM clock", "Memory clock",
    ]  # fmt: skip
    assert all(chart.attributes["aria-label"] for chart in charts)
    assert "thermal slowdown, 30 % of the time" in root.all("figure")[1].text


def test_files_that_are_no_results_are_named() -> None:
    root = made(read(), unreadable=[Unreadable("results/ws-05.json", "it is no JSON")])
    assert "results/ws-05.json : it is no JSON" in root.all("section", class_="alert")[0].text


HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'&"


def test_hostile_words_stay_words() -> None:
    rows_ = [
        check(why=HOSTILE, figures={HOSTILE: HOSTILE, "list": [HOSTILE], "map": {HOSTILE: HOSTILE}}),
        check(
            "pcie_link", card=HOSTILE, limits=[{**bandwidth("x", 1)["limits"][0], "source": HOSTILE, "unit": HOSTILE}]
        ),
    ]
    machine = {"os": HOSTILE, "kernel": HOSTILE, "kind": HOSTILE}
    document = read(host=HOSTILE, cards=[card(HOSTILE, name=HOSTILE, vbios=HOSTILE)], checks=rows_, failure=HOSTILE,
                    machine=machine, time=HOSTILE)  # fmt: skip
    older = read(host="b", cards=[card(HOSTILE)], checks=[])
    root = made(
        document,
        earlier={HOSTILE: [older]},
        missing=[NoResult(HOSTILE, HOSTILE, HOSTILE, HOSTILE)],
        unreadable=[Unreadable(HOSTILE, HOSTILE)],
    )
    assert len(root.all("script")) == 1
    assert root.all("img") == []
    assert not [name for element in root.walk() for name in element.attributes if name.startswith("on")]
    assert HOSTILE in root.text


def test_nothing_is_asked_from_outside() -> None:
    text = page(Results([load_document(json.dumps(madeup_document("made-up-1", 2)))]), NOW)
    assert not re.search(r"(?:https?:|//[a-z]|@import|url\((?!#))", re.sub(r"// [A-Z].*", "", text))
    root = parse_page(text)
    policy = root.all("meta", **{"http-equiv": "Content-Security-Policy"})[0].attributes["content"]
    assert "default-src 'none'" in policy
    for tag in ("script", "style"):
        (element,) = root.all(tag)
        words = str(element.children[0])
        assert base64.b64encode(hashlib.sha256(words.encode()).digest()).decode() in policy
    assert not [element for element in root.walk() if "style" in element.attributes]


def test_links_within_the_page_lead_somewhere() -> None:
    root = made(*(load_document(json.dumps(madeup_document(f"made-up-{place}", 2))) for place in (1, 2)))
    ids = [element.attributes["id"] for element in root.walk() if "id" in element.attributes]
    assert len(ids) == len(set(ids))
    links = {link.attributes["href"] for link in root.all("a")}
    assert {link[1:] for link in links if link.startswith("#")} <= set(ids)
    assert {link for link in links if not link.startswith("#")} == {"junit.xml", "made-up-1.json", "made-up-2.json"}


@pytest.mark.parametrize(
    "value",
    [None, float("nan"), True, "text", [], {}, 1e300, -0.0, 10**400, "\ud800"],
    ids=lambda value: str(type(value)),
)
def test_no_figure_breaks_the_page(value: object) -> None:
    text = page(Results([read(uuids=["GPU-x"], checks=[bandwidth("GPU-x", t.cast("float", value))])]), NOW)
    parse_page(text.encode().decode())
