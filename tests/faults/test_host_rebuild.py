# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts that come back: the wrong key, the wrong machine, no record, a wrong clock, no python3, or they never come."""

from __future__ import annotations

import json
import subprocess
import typing as t
from collections.abc import Iterator
from pathlib import Path

import pytest
from labhost import LabHost, PlayResult
from reinstalled import expect_keys, fingerprint, keys_of, port_of, without_python

from gpulab.lab import Lab
from gpulab.lab.ssh import ADDRESS

OTHER_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFQ9ke5dfATkM/rgvR6pB/knABz6/oa0kGUJI5lLVtiG"
OTHER_PRINT = "SHA256:XQqiPJ6HqRVPvm5DS87h4Z+hK/ueOzYx/t+ZXdBCXus"


@pytest.fixture(scope="module")
def shared(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabHost]:
    """Share one host: what is refused touches nothing, and each test sets known_hosts and record for itself."""
    lab.add_host("rebuilt")
    yield LabHost(lab, "rebuilt", tmp_path_factory.mktemp("rebuilt"))
    lab.remove_host("rebuilt")


@pytest.fixture(scope="module")
def recorded(shared: LabHost) -> str:
    """Record the host once."""
    done = shared.apply("host_record", host_record_directory=str(shared.directory))
    assert done.rc == 0, done.message
    return record_path(shared).read_text()


@pytest.fixture
def host(shared: LabHost, recorded: str, tmp_path: Path) -> LabHost:
    """Return a host that was recorded before its keys were made anew: known_hosts expects a key that it has not."""
    host = LabHost(shared.lab, shared.name, tmp_path)
    record_path(host).write_text(recorded)
    change_record(host, ssh_host_keys=[OTHER_KEY])
    expect_keys(host.lab, host.name, [OTHER_KEY])
    return host


def record_path(host: LabHost) -> Path:
    return host.directory / f"{host.name}.json"


def change_record(host: LabHost, /, **parts: t.Any) -> None:
    record_path(host).write_text(json.dumps({**json.loads(record_path(host).read_text()), **parts}))


def known_hosts(host: LabHost) -> str:
    return (host.lab.directory / "known_hosts").read_text()


def meet(host: LabHost, *, check: bool = False, **variables: t.Any) -> PlayResult:
    return host.apply(
        "host_rebuild", check=check, host_rebuild_directory=str(host.directory),
        **{"host_rebuild_wait_seconds": 5, **variables},
    )  # fmt: skip


def logins(host: LabHost) -> str:
    return host.sh("journalctl -u ssh --no-pager -q | grep -c Accepted || true").stdout


def refused(host: LabHost, *, check: bool = False, **variables: t.Any) -> PlayResult:
    """Meet a host that must be refused before anybody has logged in to it or changed a file of the controller."""
    files, before = known_hosts(host), logins(host)
    result = meet(host, check=check, **variables)
    assert result.rc == 2, result.stdout
    assert result.changed == 0
    assert known_hosts(host) == files
    assert logins(host) == before, "somebody has logged in"
    assert not (host.directory / f"{host.name}.rebuild.json").exists()
    return result


def test_a_key_that_nothing_speaks_for_is_refused(host: LabHost) -> None:
    result = refused(host)
    assert fingerprint(host) in result.message
    assert "nothing speaks for any of these keys" in result.message


def test_a_wrong_fingerprint_is_refused(host: LabHost) -> None:
    result = refused(host, host_rebuild_fingerprint=OTHER_PRINT)
    assert f"the key {OTHER_PRINT}" in result.message
    assert "somebody else answers under this address" in result.message


@pytest.mark.whole
def test_what_is_no_fingerprint_is_refused(host: LabHost) -> None:
    assert "43 characters" in refused(host, host_rebuild_fingerprint="yes").message


def test_no_record_is_refused(host: LabHost) -> None:
    record_path(host).unlink()
    result = refused(host, host_rebuild_fingerprint=fingerprint(host))
    assert f"there is no record of {host.name}" in result.message


@pytest.mark.whole
def test_a_truncated_record_is_refused(host: LabHost) -> None:
    record_path(host).write_text(record_path(host).read_text()[:-100])
    assert "is no whole JSON" in refused(host, host_rebuild_fingerprint=fingerprint(host)).message


@pytest.mark.whole
def test_a_record_of_another_host_is_refused(host: LabHost) -> None:
    change_record(host, host="somebody-else")
    assert "is the record of somebody-else" in refused(host, host_rebuild_fingerprint=fingerprint(host)).message


@pytest.mark.whole
def test_a_version_that_the_catalogue_lacks_is_refused(host: LabHost) -> None:
    stack = json.loads(record_path(host).read_text())["stack"]
    stack["values"]["driver.version"] = "570.10"
    change_record(host, stack=stack)
    result = refused(host, host_rebuild_fingerprint=fingerprint(host))
    assert "driver 570.10 is not in the catalogue" in result.message


def test_check_mode_accepts_no_new_key(host: LabHost) -> None:
    result = refused(host, check=True, host_rebuild_fingerprint=fingerprint(host))
    assert "Check mode has not accepted it" in result.message


def test_a_host_that_never_comes_is_given_up_in_time(host: LabHost) -> None:
    result = refused(host, ansible_port=1, host_rebuild_wait_seconds="4")  # a string, as from -e
    assert f"for 4 s no ssh server has shown a host key at {ADDRESS} port 1" in result.message
    assert result.seconds < 40


def test_another_machine_is_refused_before_anything_is_installed(host: LabHost) -> None:
    machine = json.loads(record_path(host).read_text())["machine"]
    machine["board"]["uuid"] = "4c4c4544-0035-5310-8052-c7c04f504433"
    change_record(host, machine=machine)
    result = meet(host, host_rebuild_fingerprint=fingerprint(host))
    assert result.rc == 2
    assert "was made on 4c4c4544-0035-5310-8052-c7c04f504433. Nothing of its stack was installed" in result.message
    assert not (host.directory / f"{host.name}.rebuild.json").exists()


def test_behind_a_proxy_the_key_that_is_known_decides(host: LabHost, tmp_path: Path) -> None:
    """Nobody can scan there; ssh itself refuses every other key."""
    port, proxy = port_of(host.lab, host.name), tmp_path / "proxy"
    proxy.write_text(f"#!/bin/bash\nexec 3<> /dev/tcp/{ADDRESS}/{port}; cat <&3 & exec cat >&3\n")
    proxy.chmod(0o755)
    beyond = {"ansible_host": "192.0.2.77", "ansible_ssh_extra_args": f"-o ProxyCommand={proxy}"}
    assert "through" in refused(host, **beyond).message
    files, before = host.lab.directory / "known_hosts", known_hosts(host)
    try:
        files.write_text(f"{before}[192.0.2.77]:{port} {OTHER_KEY}\n")
        assert "REMOTE HOST IDENTIFICATION HAS CHANGED" in meet(host, **beyond).message
        keys = "".join(f"[192.0.2.77]:{port} {key}\n" for key in keys_of(host.lab, host.name))
        files.write_text(before + keys)
        met = meet(host, **beyond)
        assert met.rc == 0, met.message
        assert known_hosts(host) == before + keys
    finally:
        files.write_text(before)


def test_a_clock_far_in_the_past_is_told_before_apt_fails_on_it(host: LabHost) -> None:
    host.sh("printf '#!/bin/sh\\necho 946684800\\n' > /usr/local/bin/date && chmod +x /usr/local/bin/date")
    try:
        result = meet(host, host_rebuild_fingerprint=fingerprint(host))
    finally:
        host.sh("rm /usr/local/bin/date")
    assert result.rc == 2
    assert "the host's clock says 2000-01-01 00:00 UTC" in result.message
    assert "TLS" in result.message


def test_a_given_fingerprint_replaces_the_old_key(host: LabHost) -> None:
    result = meet(host, host_rebuild_fingerprint=fingerprint(host))
    assert result.rc == 0, result.message
    place = f"[{ADDRESS}]:{port_of(host.lab, host.name)} "
    lines = [line for line in known_hosts(host).splitlines() if line.startswith(place)]
    assert len(lines) == 1
    assert lines[0].removeprefix(place) in keys_of(host.lab, host.name)
    assert (host.directory / f"{host.name}.rebuild.json").exists()
    assert meet(host).changed == 0, "a second time nothing is left to do"


def test_the_key_of_the_record_is_accepted_without_a_word(host: LabHost) -> None:
    change_record(host, ssh_host_keys=keys_of(host.lab, host.name))
    result = meet(host)
    assert result.rc == 0, result.message
    assert "its key is that of the record" in result.stdout


def test_a_certificate_of_the_labs_ca_is_accepted(host: LabHost) -> None:
    authority = host.directory / "ca"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", authority], check=True)
    key = host.directory / "ssh_host_ed25519_key.pub"
    key.write_text(host.sh("cat /etc/ssh/ssh_host_ed25519_key.pub").stdout)
    subprocess.run(["ssh-keygen", "-q", "-s", authority, "-I", host.name, "-h", "-n", ADDRESS, key], check=True)
    host.put(host.directory / "ssh_host_ed25519_key-cert.pub", "/etc/ssh/")
    path = host.lab.directory / "known_hosts"
    before = path.read_text()
    refused(host)  # as long as sshd does not show it
    host.sh("echo 'HostCertificate /etc/ssh/ssh_host_ed25519_key-cert.pub' > /etc/ssh/sshd_config.d/ca.conf")
    host.sh("systemctl reload ssh")
    try:
        refused(host)  # and as long as known_hosts does not name the CA
        path.write_text(f"{before}@cert-authority {ADDRESS},[{ADDRESS}]:* {(host.directory / 'ca.pub').read_text()}")
        result = meet(host)
        assert result.rc == 0, result.message
        assert "its key is signed by the lab's CA" in result.stdout
        assert OTHER_KEY not in path.read_text()
        assert "@cert-authority" in path.read_text()
    finally:
        host.sh("rm /etc/ssh/sshd_config.d/ca.conf && systemctl reload ssh")
        path.write_text(before)


@pytest.fixture(scope="module")
def pythonless(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabHost]:
    """Start a host, record it and take its python3 away."""
    lab.add_host("pythonless")
    host = LabHost(lab, "pythonless", tmp_path_factory.mktemp("pythonless"))
    done = host.apply("host_record", host_record_directory=str(host.directory))
    assert done.rc == 0, done.message
    without_python(host)
    yield host
    lab.remove_host("pythonless")


@pytest.mark.whole
def test_no_python_and_no_sudo_is_told_with_the_cure(pythonless: LabHost) -> None:
    host = pythonless
    host.sh("useradd -m -s /bin/bash admin && cp -r /root/.ssh /home/admin/ && chown -R admin: /home/admin/.ssh")
    asked = meet(host, ansible_user="admin")
    assert asked.rc == 2
    assert "cannot become root on this host: Missing sudo password" in asked.message
    assert "--ask-become-pass" in asked.message
    host.sh("SUDO_FORCE_REMOVE=yes apt-get -q -y purge sudo && ! command -v sudo")
    result = meet(host, ansible_user="admin")
    assert result.rc == 2
    assert "there is no sudo on this host" in result.message
    assert "there is no python3 either" in result.message
    assert "apt-get install -y sudo python3" in result.message
    wrong = meet(host, ansible_user="nobody-here")
    assert "ssh still does not get in" in wrong.message
    assert "-e ansible_user=NAME" in wrong.message


def test_python_is_installed_by_apt_or_the_reason_is_told(pythonless: LabHost) -> None:
    """The last test of this host, which has python3 afterwards."""
    host = pythonless
    host.sh("cp -r /etc/apt /root/apt && rm -f /etc/apt/sources.list /etc/apt/sources.list.d/*")
    host.sh("rm -rf /var/lib/apt/lists/*")
    failed = meet(host)
    assert failed.rc == 2
    assert "python3 could not be installed: E: " in failed.message
    host.sh("cp -r /root/apt/. /etc/apt/")
    result = meet(host)
    assert (result.rc, result.changed) == (0, 1), result.message
    assert host.sh("command -v python3").stdout


def test_a_difference_fails_the_comparison_and_keeps_the_record_of_before(host: LabHost) -> None:
    expect_keys(host.lab, host.name, keys_of(host.lab, host.name))
    assert meet(host).rc == 0
    promise = host.directory / f"{host.name}.rebuild.json"
    early = compare(host)
    assert early.rc == 2
    assert "from before the rebuild" in early.message
    kept = json.loads(promise.read_text())
    kept["record"]["installed"]["cuda"] = ["12.9.1"]
    promise.write_text(json.dumps(kept))
    assert host.apply("host_record", host_record_directory=str(host.directory)).rc == 0
    different = compare(host)
    assert different.rc == 2
    assert "CUDA toolkits: before 12.9.1, now none" in different.message
    assert promise.exists()
    kept["record"]["installed"]["cuda"] = []
    promise.write_text(json.dumps(kept))
    assert compare(host).rc == 0
    assert not promise.exists()


def compare(host: LabHost) -> PlayResult:
    return host.apply_tasks("host_rebuild", "compare", host_rebuild_directory=str(host.directory))
