# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's half of host_record: private keys are kept only if wanted, only encrypted, and seen nowhere else."""

from __future__ import annotations

import json
import subprocess
import typing as t
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from ansible.parsing.vault import VaultSecret, VaultSecretsContext
from ansible.plugins.action import ActionBase

import hostkeys
from ansible_collections.gpulab.workstation.plugins.action import host_record
from ansible_collections.gpulab.workstation.plugins.plugin_utils._vault import Vault
from records import record

SECRETS = [("default", VaultSecret(b"the vault's password"))]


class Scripted(host_record.ActionModule):
    """The action with a module that answers with a record, and a host whose /etc/ssh is a directory."""

    def __init__(self, directory: Path, ssh: Path, made: dict[str, t.Any], **arguments: t.Any) -> None:
        check_mode = bool(arguments.pop("check_mode", False))
        self._task = SimpleNamespace(args={"records_directory": str(directory), **arguments}, check_mode=check_mode)
        self._loader = SimpleNamespace(get_basedir=lambda: "/nowhere")
        self.ssh, self.made, self.sent, self.answers = ssh, made, list[dict[str, t.Any]](), list[str]()

    def _execute_module(self, **call: t.Any) -> dict[str, t.Any]:
        self.sent.append(call["module_args"])
        return {"changed": False, "record": self.made}

    def _low_level_execute_command(self, cmd: str, *, in_data: bytes) -> dict[str, t.Any]:
        line = cmd.replace("/etc/ssh", str(self.ssh))
        done = subprocess.run(["sh", "-c", line], check=True, capture_output=True, input=in_data)
        self.answers.append(cmd + done.stdout.decode() + done.stderr.decode())
        return {"stdout": done.stdout.decode()}


@pytest.fixture
def vault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(VaultSecretsContext, "_current", VaultSecretsContext(SECRETS))


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ActionBase, "run", lambda *_a, **_k: {})


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, dict[str, str]]:
    (tmp_path / "ssh").mkdir()
    return hostkeys.make(tmp_path / "ssh", "ecdsa", "ed25519")


def action(tmp_path: Path, keys: dict[str, dict[str, str]], **arguments: t.Any) -> Scripted:
    made = record(ssh_host_keys=[key["public"] for key in keys.values()])
    return Scripted(tmp_path / "records", tmp_path / "ssh", made, **arguments)


def run(action: Scripted) -> dict[str, t.Any]:
    return action.run(task_vars={"inventory_hostname": "ws-01"})


@pytest.mark.usefixtures("vault")
def test_by_default_no_private_key_is_even_looked_at(tmp_path: Path, keys: dict[str, dict[str, str]]) -> None:
    done = action(tmp_path, keys)
    answer = run(done)
    assert (done.answers, answer["host_keys_path"]) == ([], None)
    assert [path.name for path in (tmp_path / "records").iterdir()] == ["ws-01.json"]


@pytest.mark.usefixtures("vault")
def test_the_keys_lie_encrypted_beside_the_record_and_nowhere_else(
    tmp_path: Path, keys: dict[str, dict[str, str]], capfd: pytest.CaptureFixture[str]
) -> None:
    first = action(tmp_path, keys, private_keys=True)
    answer = run(first)
    path = tmp_path / "records/ws-01.host-keys.yml"
    assert (answer["changed"], answer["host_keys_path"]) == (True, str(path))
    assert answer["host_keys"] == ["ecdsa", "ed25519"]
    assert path.stat().st_mode & 0o777 == 0o600
    assert yaml.safe_load(Vault(SECRETS).read(path) or "")["keys"] == keys
    seen = [path.read_text() for path in (tmp_path / "records").iterdir()]
    seen += [json.dumps(answer), json.dumps(first.sent), *capfd.readouterr()]
    seen += first.answers  # Ansible shows these with -vvv
    assert not [line for line in hostkeys.secrets(keys) for text in seen if line in text]
    assert len(first.answers) == 1
    assert run(action(tmp_path, keys, private_keys=True))["changed"] is False


@pytest.mark.usefixtures("vault")
def test_new_keys_of_the_host_take_the_place_of_the_old(tmp_path: Path, keys: dict[str, dict[str, str]]) -> None:
    run(action(tmp_path, keys, private_keys=True))
    for path in (tmp_path / "ssh").iterdir():
        path.unlink()
    new = hostkeys.make(tmp_path / "ssh", "ed25519")
    assert run(action(tmp_path, new, private_keys=True))["changed"] is True
    text = Vault(SECRETS).read(tmp_path / "records/ws-01.host-keys.yml")
    assert yaml.safe_load(text or "")["keys"] == new


@pytest.mark.usefixtures("vault")
def test_check_mode_tells_the_change_and_writes_nothing(tmp_path: Path, keys: dict[str, dict[str, str]]) -> None:
    answer = run(action(tmp_path, keys, private_keys=True, check_mode=True))
    assert (answer["changed"], answer["host_keys_path"]) == (True, None)
    assert not (tmp_path / "records").exists()


@pytest.mark.parametrize("check_mode", [True, False], ids=["check", "earnest"])
def test_without_a_vault_password_nothing_is_looked_at(
    tmp_path: Path, keys: dict[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch, *, check_mode: bool
) -> None:
    monkeypatch.setattr(VaultSecretsContext, "_current", VaultSecretsContext([]))
    refused = action(tmp_path, keys, private_keys="yes", check_mode=check_mode)
    answer = run(refused)
    assert answer["failed"] is True
    assert answer["msg"].startswith("Found: no vault password in this run, and the private ssh host keys of ws-01 are")
    assert "--vault-password-file" in answer["action"]
    assert (refused.sent, refused.answers) == ([], [])
    assert not (tmp_path / "records").exists()


@pytest.mark.usefixtures("vault")
def test_a_host_that_came_back_empty_loses_neither_record_nor_keys(
    tmp_path: Path, keys: dict[str, dict[str, str]]
) -> None:
    run(action(tmp_path, keys, private_keys=True))
    before = {path: path.read_bytes() for path in (tmp_path / "records").iterdir()}
    empty = action(tmp_path, hostkeys.make(tmp_path, "ed25519"), private_keys=True)
    empty.made["departures"] = ["no driver on disk, the stack has 580.178.04"]
    answer = run(empty)
    assert "has lost what its record says: no driver on disk" in answer["msg"]
    assert empty.answers == []
    assert {path: path.read_bytes() for path in (tmp_path / "records").iterdir()} == before


@pytest.mark.usefixtures("vault")
def test_a_directory_that_cannot_be_written_is_told(tmp_path: Path, keys: dict[str, dict[str, str]]) -> None:
    (tmp_path / "records").write_text("a file where the directory should be")
    answer = run(action(tmp_path, keys, private_keys=True))
    assert "To do: set host_record_directory to one." in answer["msg"]
