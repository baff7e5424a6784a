# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plain ansible-playbook leaves page and JUnit file, also where no host brought a result."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[4]
# Nothing listens on port 1; the other host refuses a wrong value before it looks at anything.
INVENTORY = {
    "all": {
        "children": {
            "gpu-lab": {
                "hosts": {
                    "lost": {"ansible_host": "127.0.0.1", "ansible_port": 1},
                    "wrong": {"ansible_connection": "local", "ansible_become": False, "gpu_verify_arch": "nonsense"},
                }
            }
        }
    }
}


def verify(directory: Path, *options: str) -> subprocess.CompletedProcess[str]:
    inventory = directory / "hosts.yml"
    inventory.write_text(json.dumps(INVENTORY), encoding="utf-8")
    variables = json.dumps({"gpu_verify_results_directory": str(directory / "results")})
    program = Path(sys.executable).with_name("ansible-playbook")
    return subprocess.run(
        [program, "-i", inventory, "playbooks/verify.yml", "-l", "gpu-lab", "-e", variables, *options],
        cwd=ROOT, env={**os.environ, "ANSIBLE_NOCOLOR": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_a_run_without_any_result_leaves_its_report(tmp_path: Path) -> None:
    results = tmp_path / "results"
    results.mkdir()
    (results / "ws-05.json").write_text('{"schema": "gpu_ver')
    done = verify(tmp_path)
    assert done.returncode != 0
    assert done.stdout.strip().splitlines()[-1].startswith(f"Results: {results}/index.html (0 host(s)"), done.stdout
    assert "ws-05.json" in done.stderr
    suites = ET.parse(results / "junit.xml").getroot().findall("testsuite")  # noqa: S314 - written by this test
    assert {suite.get("name"): [error.get("type") for error in suite.iter("error")] for suite in suites} == {
        "lost": ["unreachable"], "wrong": ["failed"],
    }  # fmt: skip
    page = (results / "index.html").read_text(encoding="utf-8")
    assert "nonsense" in page
    assert "ws-05.json" in page


@pytest.mark.parametrize("options", [["--check"], ["--tags", "gpu_driver"], ["--skip-tags", "gpu_verify"]], ids=str)
def test_a_run_that_measures_nothing_leaves_nothing(tmp_path: Path, options: list[str]) -> None:
    verify(tmp_path, *options)
    assert not (tmp_path / "results").exists()
