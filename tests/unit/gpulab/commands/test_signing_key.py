# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's pair for modules: usable by the tools that sign with it, never in the clear, never overwritten."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from gpulab import cli
from gpulab.commands.signing_key import make_pair, make_password


def test_the_pair_is_one_that_openssl_takes(tmp_path: Path) -> None:
    key, certificate = make_pair("our lab")
    for name, text in (("key", key), ("certificate", certificate)):
        (tmp_path / name).write_text(text)
    shown = subprocess.run(
        ["openssl", "x509", "-in", tmp_path / "certificate", "-noout", "-text"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert "CN = our lab" in shown
    assert "CA:FALSE" in shown
    assert "Code Signing, 1.3.6.1.4.1.2312.16.1.2" in shown
    of_key = subprocess.run(["openssl", "pkey", "-in", tmp_path / "key", "-pubout"], check=True, capture_output=True)
    of_certificate = subprocess.run(
        ["openssl", "x509", "-in", tmp_path / "certificate", "-noout", "-pubkey"], check=True, capture_output=True
    )
    assert of_key.stdout == of_certificate.stdout


def test_the_password_fits_the_console() -> None:
    passwords = {make_password() for _ in range(200)}
    assert len(passwords) == 200
    assert not {letter for password in passwords for letter in password} & set("01ilozy")
    assert {len(password) for password in passwords} == {12}


def test_the_file_is_encrypted_and_never_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vault, output = tmp_path / "vault", tmp_path / "group_vars/signing.yml"
    vault.write_text("the vault's password\n")
    arguments = ["signing-key", "--output", str(output), "--vault-password-file", str(vault)]
    assert cli.main(arguments) == 0
    written = output.read_text()
    assert written.startswith("$ANSIBLE_VAULT;")
    view = [str(Path(sys.executable).with_name("ansible-vault")), "view", f"--vault-password-file={vault}", str(output)]
    text = subprocess.run(view, check=True, capture_output=True, text=True).stdout
    assert set(yaml.safe_load(text)["gpulab_signing"]) == {"key", "certificate", "password"}
    assert cli.main(arguments) == 2
    assert "is there already" in capsys.readouterr().err
    assert output.read_text() == written
