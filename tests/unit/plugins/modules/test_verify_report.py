# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""verify_report through plain ansible: it makes the page again and refuses what it cannot do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from madeup_fleet import write_fleet

ROOT = Path(__file__).resolve().parents[4]


def run(*options: str) -> dict[str, object]:
    program = Path(sys.executable).with_name("ansible")
    done = subprocess.run(
        [program, "localhost", "-i", "localhost,", "-m", "gpulab.workstation.verify_report", *options],
        cwd=ROOT, env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_CALLBACK_RESULT_FORMAT": "json"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    answer: dict[str, object] = json.loads(done.stdout.partition("=> ")[2] or '{"skipped": true}')
    return answer


def test_the_page_is_made_again(tmp_path: Path) -> None:
    write_fleet(tmp_path, 1, 1)
    answer = run("-a", json.dumps({"directory": str(tmp_path)}))
    assert (answer["page"], answer["junit"]) == (f"{tmp_path}/index.html", f"{tmp_path}/junit.xml")
    assert (tmp_path / "index.html").is_file()
    assert answer["unreadable"] == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [({"directory": "/nonexistent/results"}, "no directory /nonexistent/results"), ({"dir": "x"}, "Unsupported")],
)
def test_what_cannot_be_done_is_refused(arguments: dict[str, str], words: str) -> None:
    assert words in str(run("-a", json.dumps(arguments))["msg"])


def test_check_mode_writes_nothing(tmp_path: Path) -> None:
    assert "skipped" in run("--check", "-a", json.dumps({"directory": str(tmp_path)}))
    assert list(tmp_path.iterdir()) == []
