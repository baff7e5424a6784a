# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`gpulab report` makes the page of kept results again."""

from __future__ import annotations

from pathlib import Path

import pytest
from madeup_fleet import write_fleet

from gpulab import cli
from gpulab.commands.report import parse_answer


def test_the_page_is_made_and_broken_files_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_fleet(tmp_path, 1, 1)
    (tmp_path / "ws-05.json").write_text("{")
    assert cli.main(["report", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"Left out: {tmp_path}/ws-05.json: it is no JSON")
    assert lines[1].startswith(f"Results: {tmp_path}/index.html (1 host(s), 1 card(s)")
    assert (tmp_path / "index.html").is_file()


def test_a_directory_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["report", str(tmp_path / "none")]) == 1
    assert f"no directory {tmp_path}/none" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("stdout", "answer"),
    [
        ('localhost | CHANGED => {\n"page": "x"\n}\n', {"page": "x"}),
        ("localhost | SKIPPED\n", {}), ("", {}), ("localhost | FAILED! => words", {}), ("a => [1]", {}),
    ],
)  # fmt: skip
def test_answers(stdout: str, answer: dict[str, str]) -> None:
    assert parse_answer(stdout) == answer
