# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host is provisioned, reinstalled and brought back by one command; then it is what its record says."""

from __future__ import annotations

import json
import typing as t
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from labhost import LabHost, Playbook, PlayResult
from reinstalled import USER, fingerprint, reinstall, with_a_user, without_python

from gpulab.lab import Lab

NAME = "site-rebuilt"
# torch's wheels are the business of the scenario 'workstation'.
WITHOUT_WHEELS = "torch_stack,diffusion_stack"
DRIVER_ALONE = "gpu_driver,host_record"
NEWER = "595.45.04"
ENVIRONMENT_ALONE = f"{WITHOUT_WHEELS},gpu_driver,kernel_gate,cuda_toolkit,gpu_verify"


def play(lab: Lab, directory: Path, playbook: str, without: str, **variables: t.Any) -> PlayResult:
    settings = {"gpulab_records_directory": str(directory / "records"), "gpu_verify_python": "", **variables}
    arguments = ["-i", str(lab.inventory), playbook, "-l", NAME, "--skip-tags", without, "-e", json.dumps(settings)]
    return Playbook(arguments, directory / "record.jsonl").wait(1500)


@pytest.mark.parametrize(
    "without",
    [
        pytest.param(ENVIRONMENT_ALONE, id="environment-alone"),
        pytest.param(WITHOUT_WHEELS, id="all-but-wheels", marks=pytest.mark.whole),
    ],
)
def test_a_reinstalled_host_is_brought_back_and_compared_with_one_command(
    lab: Lab, tmp_path: Path, without: str
) -> None:
    lab.add_host(NAME)
    host = LabHost(lab, NAME, tmp_path)
    try:
        first = play(lab, tmp_path, "site.yml", without)
        assert first.rc == 0, first.message
        before = json.loads((tmp_path / "records" / f"{NAME}.json").read_text())
        assert bool(before["installed"]["driver"]["on_disk"]) == ("gpu_driver" not in without)
        assert before["installed"]["environment"]["conda_packages"] > 0

        reinstall(lab, NAME)
        without_python(host)
        with_a_user(host)
        assert host.sh("ls -d /usr/local/cuda* /opt/miniforge3 /var/lib/gpulab/verify.json", check=False).stdout == ""

        given = {"host_rebuild_fingerprint": fingerprint(host), "ansible_user": USER}
        rebuilt = play(lab, tmp_path, "playbooks/rebuild.yml", without, **given)
        assert rebuilt.rc == 0, rebuilt.message
        compared = rebuilt.of(NAME)[-1]["result"]
        assert compared["differences"] == []
        assert compared["msg"].startswith("equal to its record of ")
        assert not (tmp_path / "records" / f"{NAME}.rebuild.json").exists()

        after = json.loads((tmp_path / "records" / f"{NAME}.json").read_text())
        assert after["installed"] == before["installed"]
        assert after["stack"] == before["stack"]
        assert after["ssh_host_keys"] != before["ssh_host_keys"]
        assert "ssh host keys" in " ".join(compared["told"])

        again = play(lab, tmp_path, "site.yml", without, ansible_user=USER)
        assert (again.rc, again.changed) == (0, 0), again.stdout
        assert f"Accepted publickey for {USER}" in host.sh("journalctl -u ssh --no-pager -q").stdout
    finally:
        lab.remove_host(NAME)


@pytest.fixture
def newer_driver(lab: Lab) -> Iterator[t.Callable[[], None]]:
    """Return what moves the lab's stack on to another driver, as a release of this project does."""
    lab.add_standin("driver", NEWER)
    path = lab.overlay / "stacks/lab.yml"
    before = path.read_text()
    yield lambda: path.write_text(yaml.safe_dump({**yaml.safe_load(before), "driver": {"version": NEWER}})) and None
    path.write_text(before)


@pytest.mark.whole
def test_a_host_gets_the_versions_of_its_record_and_not_those_of_today(
    lab: Lab, tmp_path: Path, newer_driver: t.Callable[[], None]
) -> None:
    settings = {"gpulab_records_directory": str(tmp_path / "records")}

    def run(playbook: str, *options: str, **variables: str) -> PlayResult:
        target = ["-i", str(lab.inventory), playbook, "-l", NAME, "--tags", DRIVER_ALONE, *options]
        words = json.dumps({**settings, **variables})
        return Playbook([*target, "-e", words], tmp_path / "record.jsonl").wait(1500)

    def installed() -> str:
        return str(json.loads((tmp_path / "records" / f"{NAME}.json").read_text())["installed"]["driver"]["on_disk"])

    lab.add_host(NAME)
    host = LabHost(lab, NAME, tmp_path)
    try:
        first = run("site.yml")
        assert first.rc == 0, first.message
        then = installed()
        newer_driver()
        today = run("site.yml", "--check")
        assert NEWER in str([task["result"].get("steps") for task in today.tasks]), today.stdout

        reinstall(lab, NAME)
        rebuilt = run("playbooks/rebuild.yml", host_rebuild_fingerprint=fingerprint(host))
        assert rebuilt.rc == 0, rebuilt.message
        assert rebuilt.of(NAME)[-1]["result"]["differences"] == []
        assert installed() == then
        assert host.sh("dkms status").stdout.count("installed") == 1
        assert NEWER not in host.sh("dkms status").stdout
    finally:
        lab.remove_host(NAME)
