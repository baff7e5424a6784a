# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's half of gpu_verify: where the documents of the hosts go."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ansible_collections.gpulab.workstation.plugins.action import gpu_verify

ROOT = Path(__file__).parents[4]


def test_results_go_to_the_checkout(tmp_path: Path) -> None:
    assert gpu_verify.results_directory("", str(tmp_path)) == ROOT / "results"


def test_results_go_beside_the_playbook_of_an_installed_collection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_verify, "__file__", str(tmp_path / "x/plugins/action/gpu_verify.py"))
    assert gpu_verify.results_directory("", str(tmp_path / "play")) == tmp_path / "play/results"


def test_results_go_where_they_are_wanted(tmp_path: Path) -> None:
    assert gpu_verify.results_directory(str(tmp_path / "r"), "/play") == tmp_path / "r"


@pytest.mark.parametrize(
    ("host", "file"),
    [("ws-01", "ws-01.json"), ("ws.lab.example", "ws.lab.example.json"), ("../../etc/x", "_.._etc_x.json")],
)
def test_a_document_is_kept_under_its_hosts_name(tmp_path: Path, host: str, file: str) -> None:
    for verified in (False, True):
        path = gpu_verify.keep_document(tmp_path / "results", host, {"verified": verified})
    assert path == tmp_path / "results" / file
    assert json.loads(path.read_text()) == {"verified": True}
    assert [entry.name for entry in path.parent.iterdir()] == [file]
    assert path.stat().st_mode & 0o777 == 0o644
