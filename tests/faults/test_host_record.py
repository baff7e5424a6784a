# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Records of hosts: kept on both sides, never of less than before, never with a secret."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from labhost import LabHost, Playbook, PlayResult

from gpulab.lab import Lab

FACT = "/etc/ansible/facts.d/gpulab.fact"
SWAPPED = "/etc/ssh/ssh_host_swapped_key.pub"


@pytest.fixture(scope="module")
def shared(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabHost]:
    lab.add_host("recorded")
    yield LabHost(lab, "recorded", tmp_path_factory.mktemp("recorded"))
    lab.remove_host("recorded")


@pytest.fixture
def host(shared: LabHost, tmp_path: Path) -> LabHost:
    """Return the file's host without a record."""
    shared.sh(f"rm -f {FACT} {SWAPPED}")
    return LabHost(shared.lab, shared.name, tmp_path)


@pytest.fixture(scope="module")
def first(shared: LabHost) -> PlayResult:
    """Record the host for the first time."""
    return shared.apply("host_record", host_record_directory=str(shared.directory))


def test_a_second_record_changes_nothing(shared: LabHost, first: PlayResult) -> None:
    second = shared.apply("host_record", host_record_directory=str(shared.directory))
    assert (first.rc, first.changed, second.rc, second.changed) == (0, 1, 0, 0), second.stdout
    on_controller = json.loads((shared.directory / f"{shared.name}.json").read_text())
    assert on_controller == json.loads(shared.sh(f"cat {FACT}").stdout)


def test_capture_writes_the_record_and_nothing_else(host: LabHost, tmp_path: Path) -> None:
    arguments = ["-i", str(host.lab.inventory), "playbooks/capture.yml", "-l", host.name]
    variables = json.dumps({"gpulab_records_directory": str(tmp_path / "records")})
    host.sh("touch /root/before; sync")
    done = Playbook([*arguments, "-e", variables], tmp_path / "record.jsonl").wait()
    assert (done.rc, done.changed) == (0, 1), done.stdout
    written = host.sh("find / -xdev -newer /root/before -type f").stdout.split()
    its_own = ("/var/log/", "/root/.ansible/", "/run/", "/tmp/", "/var/lib/systemd/")  # of host, Ansible
    assert [path for path in written if not path.startswith(its_own)] == [FACT]
    [record] = (tmp_path / "records").iterdir()
    assert json.loads(record.read_text()) == json.loads(host.sh(f"cat {FACT}").stdout)
    again = Playbook([*arguments, "-e", variables], tmp_path / "record.jsonl").wait()
    assert (again.rc, again.changed) == (0, 0), again.stdout


def test_a_host_that_came_back_empty_does_not_overwrite_its_record(
    shared: LabHost, first: PlayResult, host: LabHost, tmp_path: Path
) -> None:
    assert first.rc == 0
    path = tmp_path / f"{host.name}.json"
    whole = {**json.loads((shared.directory / path.name).read_text()), "departures": []}
    path.write_text(json.dumps(whole))
    result = host.apply("host_record", host_record_directory=str(tmp_path))
    assert result.rc == 2
    assert "has lost what its record says: no driver on disk" in result.message
    assert f"playbooks/rebuild.yml -l {host.name}" in result.message
    assert json.loads(path.read_text()) == whole


@pytest.mark.whole
def test_a_directory_that_cannot_be_written_is_told(host: LabHost, tmp_path: Path) -> None:
    (tmp_path / "records").write_text("a file where the directory should be")
    result = host.apply("host_record", host_record_directory=str(tmp_path / "records"))
    assert result.rc == 2
    assert "set host_record_directory" in result.message


def test_check_mode_leaves_no_file(host: LabHost, tmp_path: Path) -> None:
    result = host.apply("host_record", check=True, host_record_directory=str(tmp_path / "records"))
    assert (result.rc, result.changed) == (0, 1), result.stdout
    assert host.sh(f"test -e {FACT}", check=False).returncode == 1
    assert not (tmp_path / "records").exists()


def test_a_private_key_is_never_recorded(host: LabHost, tmp_path: Path) -> None:
    host.sh(f"cp /etc/ssh/ssh_host_ed25519_key {SWAPPED}")  # a private key under a public name
    result = host.apply("host_record", host_record_directory=str(tmp_path))
    assert result.rc == 0, result.stdout
    body = host.sh("sed -n 2p /etc/ssh/ssh_host_ed25519_key").stdout.strip()
    for text in (host.sh(f"cat {FACT}").stdout, (tmp_path / f"{host.name}.json").read_text(), result.stdout):
        assert "PRIVATE" not in text
        assert body not in text


def test_kept_keys_are_seen_nowhere_else(host: LabHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = tmp_path / "records"
    (tmp_path / "password").write_text("the vault's password\n")
    monkeypatch.setenv("ANSIBLE_VAULT_PASSWORD_FILE", str(tmp_path / "password"))
    monkeypatch.setenv("ANSIBLE_VERBOSITY", "4")
    wanted = {"host_record_directory": str(records), "host_record_private_keys": True}
    first = host.apply("host_record", **wanted)
    assert (first.rc, first.changed) == (0, 1), first.stdout
    kept = records / f"{host.name}.host-keys.yml"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert kept.read_text().startswith("$ANSIBLE_VAULT;")
    public = host.sh("cat /etc/ssh/ssh_host_*_key.pub").stdout  # a private file holds that half too, in whole lines
    lines = host.sh("cat /etc/ssh/ssh_host_*_key").stdout.splitlines()
    private = [line for line in lines if len(line) > 40 and line not in public]
    assert private
    seen = [path.read_text(errors="replace") for path in tmp_path.rglob("*") if path.is_file()]
    seen += [first.stdout, host.sh(f"cat {FACT}; journalctl --no-pager -q").stdout]
    # Every key of a kind begins with the same lines: format, cipher, length.
    assert not [line for line in private if not line.startswith("b3BlbnNz") and any(line in text for text in seen)]
    assert not [text for text in seen if "PRIVATE KEY" in text]
    assert host.apply("host_record", **wanted).changed == 0


def test_keys_are_not_kept_without_a_vault_password(host: LabHost, tmp_path: Path) -> None:
    wanted = {"host_record_directory": str(tmp_path / "records"), "host_record_private_keys": True}
    result = host.apply("host_record", **wanted)
    assert result.rc == 2
    assert "no vault password in this run" in result.message
    assert "--ask-vault-pass" in result.message
    assert not (tmp_path / "records").exists()
