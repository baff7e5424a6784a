# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab itself: hosts over ssh with strict host keys, the depot, a restart, a second start, no trace afterwards."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from labhost import LabHost

from gpulab.lab import Fault, Lab, depot_process
from gpulab.lab.hosts import container_name
from gpulab.lab.podman import Podman


@pytest.fixture(scope="module")
def host(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabHost]:
    """Share one host among the tests that leave it as it was."""
    lab.add_host("lab-shared")
    yield LabHost(lab, "lab-shared", tmp_path_factory.mktemp("shared"))
    lab.remove_host("lab-shared")


def ssh(lab: Lab, host: str, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        lab.ssh_command(host, *command),
        check=False,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
    )


def test_ssh_checks_the_host_key(fresh_host: LabHost) -> None:
    lab = fresh_host.lab
    assert ssh(lab, fresh_host.name, "hostname").stdout.strip() == fresh_host.name
    fresh_host.sh("rm /etc/ssh/ssh_host_*; ssh-keygen -A; systemctl restart ssh")
    refused = ssh(lab, fresh_host.name, "hostname")
    assert refused.returncode == 255
    assert "Host key verification failed" in refused.stderr


def test_a_host_is_a_bare_debian_with_a_kernel_s_files(host: LabHost) -> None:
    assert host.sh("systemctl is-system-running").stdout.strip() == "running"
    kernel = host.sh("ls /lib/modules").stdout.strip()
    for path in (f"/boot/vmlinuz-{kernel}", f"/boot/initrd.img-{kernel}", f"/lib/modules/{kernel}/modules.dep"):
        host.sh(f"test -s {path}")
    host.sh("update-initramfs -u")
    absent = "gcc make dkms nvidia-smi nvcc conda pip"
    assert host.sh(f"command -v {absent}", check=False).stdout == ""
    host.sh("test ! -e /dev/nvidiactl")


def test_what_roles_install_is_not_downloaded_again(host: LabHost) -> None:
    planned = host.sh("apt-get install --print-uris --quiet --yes --no-install-recommends gcc dkms make libxml2")
    assert [line for line in planned.stdout.splitlines() if line.startswith("'")] == []


def test_hosts_have_keys_and_ids_of_their_own(lab: Lab, host: LabHost) -> None:
    lab.add_host("lab-twin")
    try:
        command = "cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub"
        one, other = host.sh(command).stdout, lab.exec("lab-twin", command).stdout
        assert one.split()[0] != other.split()[0], "machine ids"
        assert one.split()[2] != other.split()[2], "host keys"
    finally:
        lab.remove_host("lab-twin")


def test_a_host_gets_its_stand_ins_from_the_depot(host: LabHost) -> None:
    lab = host.lab
    driver = next(standin for standin in lab.standins if standin.kind == "driver")
    fetch = f"python3 -c \"import urllib.request as u; u.urlretrieve('{driver.url(lab.depot_url)}', '/root/x')\""
    host.sh(fetch)
    assert host.sh("sha256sum /root/x").stdout.split()[0] == driver.sha256
    lab.set_faults(Fault("/files/*", "missing"))
    try:
        assert host.sh(fetch, check=False).returncode != 0
    finally:
        lab.set_faults()
    requests = [json.loads(line) for line in lab.requests.read_text().splitlines()]
    assert requests[-2]["sent"] == driver.size
    assert requests[-1]["status"] == 404


def test_a_host_that_restarts_itself_comes_back_where_it_was(host: LabHost) -> None:
    lab = host.lab
    before = host.sh("systemctl show --property=UserspaceTimestampMonotonic").stdout
    host.sh("systemctl reboot", check=False)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        time.sleep(1)
        answer = ssh(lab, host.name, "systemctl show --property=UserspaceTimestampMonotonic")
        if answer.returncode == 0 and answer.stdout != before:
            break
    assert answer.returncode == 0
    assert answer.stdout != before


def test_a_second_start_changes_nothing_and_revives_what_stopped(lab: Lab, host: LabHost) -> None:
    name = container_name(lab.directory, host.name)
    inventory = lab.inventory.read_text()
    Lab.up(lab.name, [host.name], say=lambda _line: None)
    lab.podman.run("stop", "--time=0", name)
    said: list[str] = []
    Lab.up(lab.name, [host.name], say=said.append)
    assert said == [f"Resuming host {host.name} ..."]
    assert lab.inventory.read_text() == inventory
    assert ssh(lab, host.name, "true").returncode == 0


def test_nothing_is_left_of_a_lab(tmp_path: Path) -> None:
    lab = Lab.up("faults-gone", ["gone-1"], say=lambda _line: None)
    process = depot_process.load(lab.directory)
    play = tmp_path / "play.yml"
    play.write_text("[{hosts: gpu-lab, gather_facts: false, tasks: [{ansible.builtin.ping: {}}]}]\n")
    ping = ["ansible-playbook", "-i", str(lab.inventory), str(play)]
    assert subprocess.run(ping, check=False, capture_output=True, text=True).returncode == 0
    lab.down()
    assert not lab.directory.exists()
    assert not depot_process.is_running(process)
    assert "gone-1" not in Podman().run("ps", "--all", "--format", "{{.Names}}").stdout
