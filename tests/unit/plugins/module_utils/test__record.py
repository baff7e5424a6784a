# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Records: what is kept, what counts as the same, and that a broken one or somebody else's is refused."""

from __future__ import annotations

import json
import typing as t

import pytest

from ansible_collections.gpulab.workstation.plugins.module_utils import _record
from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from records import CARD, KEY, record


def test_a_whole_record_is_read_back() -> None:
    whole = record()
    assert _record.parse(_record.render(whole), "ws-01", "records/ws-01.json") == whole


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (_record.render(record())[:-200], "is no whole JSON"),
        ("", "is no whole JSON"),
        ("[]", "has the schema 'list'"),
        (_record.render(record(schema="host_record-0")), "has the schema 'host_record-0'"),
        (_record.render(record(host="ws-02")), "is the record of ws-02, not of ws-01"),
        (_record.render(record(stack={"name": "cu128"})), "lacks stack.overrides, stack.values"),
        (json.dumps({"schema": "host_record-1"}), "lacks host, time, origin, stack"),
    ],
    ids=["truncated", "empty", "no mapping", "another schema", "another host", "half a stack", "nothing in it"],
)
def test_a_record_that_is_not_whole_is_refused(text: str, words: str) -> None:
    with pytest.raises(OperatorError) as refused:
        _record.parse(text, "ws-01", "records/ws-01.json")
    assert f"records/ws-01.json {words}" in refused.value.found
    assert "backup" in refused.value.action


def test_only_public_keys_are_kept_and_without_their_comment() -> None:
    private = (
        "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmU\n-----END OPENSSH PRIVATE KEY-----\n"
    )
    assert _record.public_keys([f"{KEY} root@ws-01\n", private, "", "# a comment\n"]) == [KEY]


@pytest.mark.parametrize(
    ("parts", "same"),
    [
        ({}, True),
        ({"time": "2027-01-01T00:00:00Z", "origin": "capture", "verification": None}, True),
        ({"installed__cuda": []}, False),
        ({"cards": []}, False),
        ({"ssh_host_keys": []}, False),
    ],
    ids=["nothing", "time and figures", "a toolkit", "a card", "a key"],
)
def test_time_and_figures_are_no_change(parts: dict[str, t.Any], same: bool) -> None:  # noqa: FBT001
    assert _record.same(record(), record(**parts)) is same
    assert _record.same(None, record()) is False


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ({}, []),
        ({"installed__driver__on_disk": {}}, ["no driver on disk, the stack has 580.178.04"]),
        (
            {"installed__driver__on_disk": {"a": "580.178.04", "b": "575.57.08"}},
            ["driver 575.57.08 for kernel b, the stack has 580.178.04"],
        ),
        ({"installed__cuda": []}, ["CUDA toolkit none, the stack has 12.9.1"]),
        ({"installed__environment__torch": "2.8.0+cu128"}, ["torch 2.8.0, the stack has 2.9.1"]),
        ({"installed__environment__torch": "2.9.1+cu128"}, []),
    ],
    ids=["whole", "no driver", "one kernel of two", "no toolkit", "another torch", "a local version"],
)
def test_departures_from_the_stack(parts: dict[str, t.Any], expected: list[str]) -> None:
    made = record(**parts)
    assert _record.departures(made["stack"], made["installed"]) == expected


def test_what_a_whole_host_has_lost_is_told_and_a_half_one_has_nothing_to_lose() -> None:
    gone = record(departures=["no driver on disk, the stack has 580.178.04"])
    assert _record.losses(record(), gone) == gone["departures"]
    assert _record.losses(record(), record()) == []
    assert _record.losses(gone, gone) == []
    assert _record.losses({}, gone) == []


def test_numbers_of_a_verification_are_kept_for_each_card() -> None:
    check = {"name": "memory_bandwidth", "card": CARD, "outcome": "pass"}
    figures = {"copy_gb_s": 1500.0, "over_size": [1], "note": "x", "ok": True}
    document = {"schema": "gpu_verify-2", "time": "now", "verified": True, "checks": [{**check, "figures": figures}]}
    kept = _record.measured(document)
    assert kept is not None
    assert kept["checks"] == {f"memory_bandwidth@{CARD}": {"outcome": "pass", "figures": {"copy_gb_s": 1500.0}}}
    assert _record.measured(None) is None
    assert _record.measured({"checks": "none"}) is None


def test_a_digest_does_not_depend_on_the_order() -> None:
    assert _record.digest(["a", "b"]) == _record.digest(["b", "a"]) != _record.digest(["a"])
