# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Records on the controller: where they lie, and what is said when there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._record import render
from ansible_collections.gpulab.workstation.plugins.plugin_utils._files import write_whole
from ansible_collections.gpulab.workstation.plugins.plugin_utils._records import (
    alone,
    load_json,
    load_record,
    promise_path,
    record_path,
    records_directory,
)
from records import record


def test_records_lie_in_the_checkout_unless_another_place_is_named(tmp_path: Path) -> None:
    assert records_directory("", "/elsewhere").name == "records"
    assert (records_directory("", "/elsewhere").parent / "site.yml").is_file()
    assert records_directory(str(tmp_path), "/elsewhere") == tmp_path


def test_a_hosts_name_does_not_lead_out_of_the_directory(tmp_path: Path) -> None:
    assert record_path(tmp_path, "../../etc/passwd") == tmp_path / "_.._etc_passwd.json"
    assert promise_path(tmp_path, "ws-01") == tmp_path / "ws-01.rebuild.json"


def test_a_record_is_found_again(tmp_path: Path) -> None:
    path = record_path(tmp_path, "ws-01")
    write_whole(path, render(record()))
    assert load_record(path, "ws-01") == record()
    assert [entry.name for entry in tmp_path.iterdir()] == ["ws-01.json"], "no temporary file is left"


def test_no_record_is_told(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match=r"there is no record of ws-01 .*ws-01\.json") as refused:
        load_record(record_path(tmp_path, "ws-01"), "ws-01")
    assert "site.yml" in refused.value.action


def test_a_record_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "ws-01.json").write_bytes(b"\xff\xfe")
    with pytest.raises(OperatorError, match="can't decode"):
        load_record(record_path(tmp_path, "ws-01"), "ws-01")


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "ws-01.json"
    write_whole(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_whole(path, "\udc80")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["ws-01.json"]


@pytest.mark.parametrize("text", [None, "{", "[]"], ids=["missing", "cut off", "no mapping"])
def test_a_ledger_that_is_none_is_empty(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "rollout.json").write_text(text)
    assert load_json(tmp_path / "rollout.json") == {}


def test_one_at_a_time(tmp_path: Path) -> None:
    with alone(tmp_path / "known_hosts"):
        assert (tmp_path / ".known_hosts.lock").exists()
