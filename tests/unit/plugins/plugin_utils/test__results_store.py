# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The directory of results: whole files, a history with a bound, and nothing lost without a word."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pytest

from ansible_collections.gpulab.workstation.plugins.plugin_utils import _results_store as store
from ansible_collections.gpulab.workstation.plugins.plugin_utils._files import write_whole
from resultdocuments import raw, read

ROOT = Path(__file__).parents[4]
DAY = dt.datetime(2026, 11, 20, tzinfo=dt.timezone.utc)


def names(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())


def test_results_go_to_the_checkout(tmp_path: Path) -> None:
    assert store.results_directory("", str(tmp_path)) == ROOT / "results"


def test_results_go_beside_the_playbook_of_an_installed_collection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "__file__", str(tmp_path / "x/plugins/plugin_utils/_results_store.py"))
    assert store.results_directory("", str(tmp_path / "play")) == tmp_path / "play/results"


def test_results_go_where_they_are_wanted(tmp_path: Path) -> None:
    assert store.results_directory(str(tmp_path / "r"), "/play") == tmp_path / "r"


@pytest.mark.parametrize(
    ("host", "file"),
    [("ws-01", "ws-01"), ("ws.lab.example", "ws.lab.example"), ("../../etc/x", "_.._etc_x"), ("..", "_")],
)
def test_a_document_is_kept_under_its_hosts_name(tmp_path: Path, host: str, file: str) -> None:
    for verified in (False, True):
        path, aside = store.keep_document(tmp_path, host, raw(host=host, verified=verified), DAY)
    assert path == tmp_path / f"{file}.json"
    assert aside == ""
    assert json.loads(path.read_text())["verified"] is True
    assert path.stat().st_mode & 0o777 == 0o644
    history = [f"history/{file}/20261120T000000Z{count}-quick.json" for count in ("", ".2")]
    assert set(names(tmp_path)) == {f"{file}.json", *history}


def test_the_history_is_by_card_and_follows_it_to_another_host(tmp_path: Path) -> None:
    store.keep_document(tmp_path, "ws-01", raw("ws-01", ["GPU-a", "GPU-b"]), DAY)
    store.keep_document(tmp_path, "ws-02", raw("ws-02", ["GPU-a"]), DAY + dt.timedelta(days=1))
    earlier, unreadable = store.read_earlier(tmp_path, "GPU-a", read(host="ws-02", uuids=["GPU-a"]))
    assert [document.host for document in earlier] == ["ws-01"]
    assert unreadable == []


def test_the_history_has_a_bound_for_each_kind(tmp_path: Path) -> None:
    store.keep_document(tmp_path, "ws-01", raw(uuids=["GPU-a"], level="full", endurance_minutes=10), DAY)
    for day in range(store.KEEP + 5):
        store.keep_document(tmp_path, "ws-01", raw(uuids=["GPU-a"], seconds=day), DAY + dt.timedelta(days=day))
    kept = names(tmp_path / "history/GPU-a")
    assert len([name for name in kept if name.endswith("-quick.json")]) == store.KEEP
    assert "20261120T000000Z-full-endurance.json" in kept
    newest, full = store.read_earlier(tmp_path, "GPU-a", read(uuids=["GPU-a"], seconds=store.KEEP + 4))[0]
    assert newest.seconds == store.KEEP + 3
    assert full.kind == "full-endurance"


def test_what_the_history_missed_is_added_before_it_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "ws-01.json").write_text(json.dumps(raw(seconds=1)))
    store.keep_document(tmp_path, "ws-01", raw(seconds=2), DAY + dt.timedelta(days=9999))
    earlier, _ = store.read_earlier(tmp_path, "ws-01", read(seconds=2))
    assert [document.seconds for document in earlier] == [1]


@pytest.mark.parametrize("text", ['{"schema": "gpu_ver', "my notes", '{"schema": "gpu_verify-1"}'])
def test_what_is_no_document_is_set_aside_and_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "ws-01.json").write_text(text)
    path, aside = store.keep_document(tmp_path, "ws-01", raw(), DAY)
    moved = list((tmp_path / "history/set-aside").iterdir())
    assert [file.read_text() for file in moved] == [text]
    assert str(moved[0]) in aside
    assert json.loads(path.read_text()) == raw()


def test_broken_files_are_named_and_the_others_read(tmp_path: Path) -> None:
    store.keep_document(tmp_path, "ws-01", raw(), DAY)
    (tmp_path / "ws-02.json").write_text(json.dumps(raw("ws-02"))[:100])
    (tmp_path / "ws-03.json").write_text(json.dumps(raw("ws-01")))
    (tmp_path / "ws-04.json").write_bytes(b"\xff\xfe")
    (tmp_path / "ws-05.json").mkdir()
    documents, unreadable = store.read_documents(tmp_path)
    assert [document.host for document in documents] == ["ws-01"]
    assert [Path(file.path).name for file in unreadable] == ["ws-02.json", "ws-03.json", "ws-04.json", "ws-05.json"]
    assert "under another's name" in unreadable[1].why


def test_a_broken_file_of_the_history_is_named_and_the_one_before_it_is_taken(tmp_path: Path) -> None:
    for day in (1, 2):
        store.keep_document(tmp_path, "ws-01", raw(seconds=day), DAY + dt.timedelta(days=day))
    (tmp_path / "history/ws-01/20261122T000000Z-quick.json").write_text("{")
    earlier, unreadable = store.read_earlier(tmp_path, "ws-01", read(seconds=2))
    assert [document.seconds for document in earlier] == [1]
    assert len(unreadable) == 1


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    write_whole(tmp_path / "a", "old")
    with pytest.raises(UnicodeEncodeError):
        write_whole(tmp_path / "a", "new \ud800")
    assert (tmp_path / "a").read_text() == "old"
    assert names(tmp_path) == ["a"]


def test_hosts_without_a_result_are_remembered_until_they_bring_one(tmp_path: Path) -> None:
    lost = [store.NoResult(host, "2026-11-20T10:00:00Z", "unreachable", "no route") for host in ("ws-02", "ws-01")]
    assert [row.host for row in store.note_without_result(tmp_path, lost, set())] == ["ws-01", "ws-02"]
    assert [row.host for row in store.note_without_result(tmp_path, (), {"ws-01"})] == ["ws-02"]
    assert [row.host for row in store.read_without_result(tmp_path)] == ["ws-02"]
    (tmp_path / "history/no-result.json").write_text("[{")
    assert store.read_without_result(tmp_path) == []
