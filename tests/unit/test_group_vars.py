# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plain ansible-playbook with mistakes in group_vars: the site's first role tells all of them and nothing else is run.

This machine is the host. The role only reads it, and what else it has against it does not matter here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MISTAKES = {"gpu_driver_flavor": "open", "cuda_toolkit_keep_runfile": "maybe", "gpu_driver_wait_minutes": "soon"}


def test_wrong_types_and_unknown_variables_are_told_before_anything_is_done(tmp_path: Path) -> None:
    here = {"ansible_connection": "local", "ansible_become": False, "ansible_python_interpreter": sys.executable}
    (tmp_path / "hosts.yml").write_text(json.dumps({"all": {"children": {"gpu-lab": {"hosts": {"ws-01": here}}}}}))
    (tmp_path / "group_vars").mkdir()
    (tmp_path / "group_vars/gpu-lab.yml").write_text(json.dumps(MISTAKES))
    program = Path(sys.executable).with_name("ansible-playbook")
    done = subprocess.run(
        [program, "-i", tmp_path / "hosts.yml", "site.yml", "-l", "gpu-lab"],
        cwd=ROOT, env={**os.environ, "ANSIBLE_NOCOLOR": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stdout + done.stderr
    for words in (
        "Found:    the variable gpu_driver_flavor is set, and nothing reads it.",
        "gpu_driver_flavour.",
        "Found:    cuda_toolkit_keep_runfile is 'maybe': The value 'maybe' is not a",
        "Found:    gpu_driver_wait_minutes is 'soon':",
        "Expected: a value of type int.",
        "To do:    correct gpu_driver_wait_minutes in the inventory, host_vars,",
        "nothing was changed.",
    ):
        assert words in done.stderr + done.stdout, words
    assert "TASK [gpulab.workstation.host_preflight : Ensure" in done.stdout
    assert [line for line in done.stdout.splitlines() if line.startswith("TASK") and "host_preflight" not in line] == []
    assert "changed=0 " in done.stdout
