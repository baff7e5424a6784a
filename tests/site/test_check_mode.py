# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`--check --diff` of the whole site on a bare host: it finishes, tells every role's changes and makes none."""

from __future__ import annotations

from pathlib import Path

from labhost import LabHost, Playbook

from gpulab.lab import Lab

PLANNED = {"gpu_driver", "kernel_gate", "cuda_toolkit", "conda_env", "torch_stack", "diffusion_stack", "host_record"}
WATCHED = "/etc /boot /opt /usr/local /usr/src /var/cache /var/lib/dkms /var/lib/dpkg /var/lib/gpulab"


def test_a_bare_host_is_told_the_whole_plan_and_left_alone(lab: Lab, fresh_host: LabHost, tmp_path: Path) -> None:
    fresh_host.sh("touch /root/before && sleep 1")
    arguments = ["-i", str(lab.inventory), "site.yml", "-l", fresh_host.name, "--check", "--diff"]
    told = Playbook(arguments, tmp_path / "record.jsonl").wait()
    assert told.rc == 0, told.message
    changing = [task["task"] for task in told.tasks if task["status"] == "ok" and task["result"].get("changed")]
    assert {name.partition(" : ")[0].rpartition(".")[2] for name in changing} == PLANNED, changing
    touched = fresh_host.sh(f"find {WATCHED} -not -type d -newer /root/before 2> /dev/null", check=False).stdout
    assert touched == ""
