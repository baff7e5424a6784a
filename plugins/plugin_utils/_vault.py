# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ansible-vault with the secrets of the run: what the controller keeps encrypted is written and read back by these."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field
from pathlib import Path

from ansible import constants
from ansible.errors import AnsibleError
from ansible.parsing.vault import VaultLib, VaultSecretsContext, is_encrypted, match_encrypt_secret

from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.plugin_utils._files import write_whole


@dataclass(frozen=True)
class Vault:
    """The vault secrets that this run was given."""

    secrets: t.Sequence[tuple[str, t.Any]] = field(repr=False)

    def write(self, path: Path, text: str) -> bool:
        """Have a text in a file that its owner alone may read, encrypted; False where it is there already."""
        if self.has(path, text):
            return False
        wanted = constants.config.get_config_value("DEFAULT_VAULT_ENCRYPT_IDENTITY")
        vault_id, secret = match_encrypt_secret(self.secrets, encrypt_vault_id=wanted)
        encrypted: bytes = VaultLib(self.secrets).encrypt(text, secret, vault_id=vault_id)
        write_whole(path, encrypted.decode(), mode=0o600)
        return True

    def has(self, path: Path, text: str) -> bool:
        """Tell whether a file holds this text already, and nobody but its owner may read it."""
        return self.read(path) == text and not path.stat().st_mode & 0o077

    def read(self, path: Path) -> str | None:
        """Return what a file holds; None where there is none, or one that is not encrypted."""
        try:
            encrypted = path.read_bytes()
        except FileNotFoundError:
            return None
        if not is_encrypted(encrypted):
            return None
        try:
            return bytes(VaultLib(self.secrets).decrypt(encrypted)).decode()
        except AnsibleError:
            raise OperatorError(
                found=f"{path} does not open with a vault password of this run.",
                expected="the password that it was encrypted with.",
                action=f"give that one too (--vault-id), or remove {path}: it is written anew.",
            ) from None


def vault_of_run(purpose: str) -> Vault:
    """Return the vault of this run; refuse where it was given no secret."""
    context = VaultSecretsContext.current(optional=True)
    secrets = context.secrets if context else []
    if not secrets:
        raise OperatorError(
            found=f"no vault password in this run, and {purpose}.",
            expected="a vault password, without which nothing secret is written to the controller's disk.",
            action="run again with --ask-vault-pass or --vault-password-file FILE (or ANSIBLE_VAULT_PASSWORD_FILE).",
        )
    return Vault(secrets)


__all__ = ["Vault", "vault_of_run"]
