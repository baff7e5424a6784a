# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private host keys between a host and the vault: what is read, which are kept, and that no message shows one."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

import hostkeys
from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.plugin_utils import _kept_keys


def look(directory: Path, password: str) -> str:
    """Look at a host whose /etc/ssh is this directory."""
    line = _kept_keys.READ.replace("/etc/ssh", str(directory))
    done = subprocess.run(["sh", "-c", line], check=True, capture_output=True, text=True, input=f"{password}\n")
    return done.stdout


def test_the_keys_are_read_as_they_are(tmp_path: Path) -> None:
    made = hostkeys.make(tmp_path, "ecdsa", "ed25519")
    (tmp_path / "ssh_host_dsa_key").write_text("an obsolete kind\n")
    password = _kept_keys.new_password()
    answer = look(tmp_path, password)
    assert _kept_keys.parse_read(answer, password) == {kind: key["private"] for kind, key in made.items()}
    assert not [line for line in hostkeys.secrets(made) if line in answer]
    assert look(tmp_path, password) != answer
    assert _kept_keys.parse_read(answer, _kept_keys.new_password()) == {}


def test_what_a_login_shell_prints_and_a_terminals_line_ends_do_no_harm(tmp_path: Path) -> None:
    key = hostkeys.make(tmp_path, "ed25519")["ed25519"]["private"]
    shown = f"Welcome to ws-01!\n{look(tmp_path, 'word')}".replace("\n", "\r\n")
    assert _kept_keys.parse_read(shown, "word") == {"ed25519": key}


@pytest.mark.parametrize("answer", ["", "gpulab-sealed\n", "gpulab-sealed\nU2FsdGVk\n", "sh: openssl: not found\n"])
def test_an_answer_that_does_not_open_has_no_key(answer: str) -> None:
    assert _kept_keys.parse_read(answer, "word") == {}


def test_without_openssl_there_is_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hostkeys.make(tmp_path, "ed25519")
    answer = look(tmp_path, "word")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert _kept_keys.parse_read(answer, "word") == {}


def test_a_host_without_keys_and_one_that_may_not_read_them(tmp_path: Path) -> None:
    assert _kept_keys.parse_read(look(tmp_path, "word"), "word") == {}
    (tmp_path / "ssh_host_rsa_key").write_text("cut off")
    assert _kept_keys.parse_read(look(tmp_path, "word"), "word") == {}


@pytest.mark.parametrize("words", [(), ("-m", "PEM")], ids=["as OpenSSH writes it", "as older systems wrote it"])
def test_the_public_half_is_the_one_beside_it(tmp_path: Path, words: tuple[str, ...]) -> None:
    for key in hostkeys.make(tmp_path, "rsa", "ecdsa", words=words).values():
        assert _kept_keys.public_half(key["private"]) == key["public"]


def test_a_key_with_a_password_or_cut_off_opens_nothing(tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "a password", "-f", str(locked)], check=True)
    whole = hostkeys.make(tmp_path, "ed25519")["ed25519"]["private"]
    assert _kept_keys.public_half(locked.read_text()) is None
    assert _kept_keys.public_half(whole[:200]) is None


def test_only_what_the_record_will_recognise_is_kept(tmp_path: Path) -> None:
    made = hostkeys.make(tmp_path, "ecdsa", "ed25519")
    found = {kind: key["private"] for kind, key in made.items()}
    assert _kept_keys.matching(found, [made["ed25519"]["public"]], "ws-01") == {"ed25519": made["ed25519"]}
    with pytest.raises(OperatorError, match=r"none of the private ssh host keys of ws-01 .*\(ecdsa, ed25519 of") as no:
        _kept_keys.matching(found, [], "ws-01")
    assert not [line for line in hostkeys.secrets(made) if line in str(no.value)]
    with pytest.raises(OperatorError, match="none could be read"):
        _kept_keys.matching({}, [made["ed25519"]["public"]], "ws-01")


def test_the_text_is_the_same_whatever_the_order(tmp_path: Path) -> None:
    made = hostkeys.make(tmp_path, "ecdsa", "ed25519")
    text = _kept_keys.render("ws-01", made)
    assert text == _kept_keys.render("ws-01", dict(reversed(made.items())))
    assert yaml.safe_load(text) == {"schema": "host_keys-1", "host": "ws-01", "keys": made}
