# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plain ansible-playbook on an inventory that nobody filled in."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("playbook", ["site.yml", "playbooks/verify.yml"])
def test_an_empty_group_is_refused_with_the_file_to_edit(tmp_path: Path, playbook: str) -> None:
    (tmp_path / "groups.yml").write_text("all: {children: {gpu-lab: {}}}\n")
    program = Path(sys.executable).with_name("ansible-playbook")
    done = subprocess.run(
        [program, "-i", tmp_path / "groups.yml", playbook, "-l", "gpu-lab"],
        cwd=ROOT, env={**os.environ, "ANSIBLE_NOCOLOR": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stdout + done.stderr
    assert "inventory/hosts.yml" in done.stderr
    assert "WARNING" not in done.stdout + done.stderr
