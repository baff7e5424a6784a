# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's machines are machines: they start what was installed, lose what was not written, come back as strangers."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from labhost import LabHost

from gpulab.lab import Lab, depot_process, mirror
from gpulab.lab.vms import emulator

MARK_INITRAMFS = """cat > /etc/initramfs-tools/scripts/init-bottom/marker <<'END'
#!/bin/sh
case $1 in prereqs) exit 0 ;; esac
echo seen > /run/marker
END
chmod 0755 /etc/initramfs-tools/scripts/init-bottom/marker
update-initramfs -u && sync"""


@pytest.fixture(scope="module")
def machine(plain_machine: LabHost) -> LabHost:
    return plain_machine


@pytest.mark.quick_vm
def test_it_runs_its_own_kernel_and_says_so(lab: Lab, machine: LabHost) -> None:
    start = lab.fleet.machine(machine.name).starts()[-1]
    assert machine.sh("uname -r").stdout.strip() == start.release
    assert re.fullmatch(r"[0-9.-]+-cloud-amd64", start.release)
    assert machine.sh("hostname").stdout.strip() == machine.name
    assert machine.sh("systemctl --failed --plain --no-legend").stdout == ""
    assert "Linux" in lab.fleet.machine(machine.name).console.read_text(errors="replace")


@pytest.mark.quick_vm
def test_what_emulates_it_is_quick_where_debian_has_such_a_qemu(lab: Lab, machine: LabHost) -> None:
    process = depot_process.load(lab.fleet.machine(machine.name).directory)
    assert process
    root, directory = Path("/"), Path(f"/proc/{process.pid}")
    version = emulator.version_of(str((directory / "exe").readlink()))
    elsewhere = mirror.backports(mirror.read_machine_sources(root), mirror.read_os_release(root))
    emulated = b"kvm" not in (directory / "cmdline").read_bytes().split(b"\0")
    assert emulator.is_quick(version) or not (emulated and elsewhere)


@pytest.mark.quick_vm
def test_it_reaches_the_depot_as_a_container_does(lab: Lab, machine: LabHost) -> None:
    assert lab.depot_url in machine.sh("cat /etc/pip.conf").stdout
    url = f"{lab.depot_url}/health"
    read = f"import urllib.request as u; print(u.build_opener(u.ProxyHandler({{}})).open('{url}').read().decode())"
    assert machine.sh(f'python3 -c "{read}"').stdout.strip() == "ok"


@pytest.mark.quick_vm
def test_ansible_reaches_it_with_strict_checking(lab: Lab, machine: LabHost) -> None:
    done = subprocess.run(lab.ssh_command(machine.name, "true"), check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_reboot_takes_the_initramfs_that_was_installed(lab: Lab, machine: LabHost) -> None:
    machine.sh(MARK_INITRAMFS)
    assert machine.sh("test -e /run/marker", check=False).returncode == 1
    before = lab.fleet.machine(machine.name).starts()[-1]
    after = lab.reboot(machine.name)
    assert after.boot_id != before.boot_id
    assert after.host_key == before.host_key
    assert machine.sh("cat /run/marker").stdout == "seen\n"


def test_a_power_cut_keeps_what_was_flushed(lab: Lab, machine: LabHost) -> None:
    machine.sh("echo kept > /root/flushed && sync /root/flushed && systemd-run --quiet sleep 600")
    lab.power_cut(machine.name)
    assert lab.fleet.machine(machine.name).state == "off"
    lab.power_on(machine.name)
    assert machine.sh("cat /root/flushed").stdout == "kept\n"
    assert machine.sh("pgrep sleep", check=False).returncode == 1


def test_a_reinstalled_machine_is_a_stranger(lab: Lab, machine: LabHost) -> None:
    port = lab.fleet.machine(machine.name).port
    before = lab.fleet.machine(machine.name).starts()[-1]
    after = lab.reinstall(machine.name)
    assert after.host_key != before.host_key
    assert lab.fleet.machine(machine.name).port == port
    assert machine.sh("test -e /root/flushed", check=False).returncode == 1
    refused = subprocess.run(lab.ssh_command(machine.name, "true"), check=False, capture_output=True, text=True)
    assert refused.returncode == 255
    assert "REMOTE HOST IDENTIFICATION HAS CHANGED" in refused.stderr
    shown = subprocess.run(
        ["gpulab", "lab", "status", "--json", "--name", lab.name], check=True, capture_output=True, text=True
    )
    [told] = [vm for vm in json.loads(shown.stdout)["vms"] if vm["name"] == machine.name]
    assert told["host_key_fingerprint"] == after.fingerprint
