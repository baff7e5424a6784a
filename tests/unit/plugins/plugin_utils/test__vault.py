# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets on the controller's disk: encrypted with what the run was given, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible.parsing.vault import VaultSecret, VaultSecretsContext

from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.plugin_utils._vault import Vault, vault_of_run

VAULT = Vault([("default", VaultSecret(b"the vault's password"))])
OTHER = Vault([("default", VaultSecret(b"another"))])


def test_a_text_is_encrypted_for_its_owner_and_written_once(tmp_path: Path) -> None:
    path = tmp_path / "records/ws-01.host-keys.yml"
    assert VAULT.write(path, "a secret\n") is True
    written = path.read_text()
    assert written.startswith("$ANSIBLE_VAULT;")
    assert path.stat().st_mode & 0o777 == 0o600
    assert VAULT.read(path) == "a secret\n"
    assert VAULT.write(path, "a secret\n") is False
    assert path.read_text() == written
    assert VAULT.write(path, "another secret\n") is True
    assert VAULT.read(path) == "another secret\n"


def test_a_file_that_others_may_read_is_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "file"
    VAULT.write(path, "a secret\n")
    path.chmod(0o644)
    assert VAULT.write(path, "a secret\n") is True
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_lies_there_in_the_clear_does_not_stay(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("a secret\n")
    assert VAULT.write(path, "a secret\n") is True
    assert "a secret" not in path.read_text()


def test_the_vault_identity_of_the_configuration_encrypts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANSIBLE_VAULT_ENCRYPT_IDENTITY", "lab")
    two = Vault([("mine", VaultSecret(b"mine")), ("lab", VaultSecret(b"the lab's"))])
    two.write(tmp_path / "file", "a secret\n")
    assert (tmp_path / "file").read_text().splitlines()[0].endswith(";lab")
    assert Vault([("x", VaultSecret(b"the lab's"))]).read(tmp_path / "file") == "a secret\n"


def test_a_file_of_another_password_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "file"
    OTHER.write(path, "a secret\n")
    before = path.read_bytes()
    with pytest.raises(OperatorError, match="does not open with a vault password of this run") as refused:
        VAULT.write(path, "a secret\n")
    assert "--vault-id" in refused.value.action
    assert path.read_bytes() == before


def test_a_run_without_a_password_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for context in (None, VaultSecretsContext([])):
        monkeypatch.setattr(VaultSecretsContext, "_current", context)
        with pytest.raises(OperatorError, match="no vault password in this run, and keys are to be kept") as refused:
            vault_of_run("keys are to be kept")
        assert "--ask-vault-pass" in refused.value.action
    monkeypatch.setattr(VaultSecretsContext, "_current", VaultSecretsContext(list(VAULT.secrets)))
    assert vault_of_run("keys are to be kept").secrets == VAULT.secrets


def test_a_vault_does_not_show_its_secrets() -> None:
    assert "a password" not in repr(Vault([("default", "a password")]))
