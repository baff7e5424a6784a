# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kept host keys read back: only this host's, only those of its record, and no message shows one."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
import yaml

import hostkeys
from ansible_collections.gpulab.workstation.plugins.plugin_utils import _kept_keys as written
from gpulab import _kept_keys
from gpulab._errors import OperatorError


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, dict[str, str]]:
    return hostkeys.make(tmp_path, "ecdsa", "ed25519")


def read(text: str, keys: dict[str, dict[str, str]]) -> tuple[_kept_keys.HostKey, ...]:
    return _kept_keys.parse(text, "ws-01", [key["public"] for key in keys.values()], "records/ws-01.host-keys.yml")


def test_what_host_record_has_written_is_read(tmp_path: Path, keys: dict[str, dict[str, str]]) -> None:
    keys |= hostkeys.make(tmp_path, "rsa", words=("-m", "PEM"))
    found = read(written.render("ws-01", keys), keys)
    assert {key.kind: {"private": key.private, "public": key.public} for key in found} == keys
    assert _kept_keys.KINDS == written.KINDS
    assert not [line for line in hostkeys.secrets(keys) if line in repr(found)]


def changed(whole: dict[str, dict[str, str]], **parts: t.Any) -> str:
    return yaml.safe_dump({**yaml.safe_load(written.render("ws-01", whole)), **parts})


def test_what_is_not_whole_or_not_this_hosts_is_refused_without_a_word_of_it(keys: dict[str, dict[str, str]]) -> None:
    ed25519 = keys["ed25519"]
    cut_off = {"ed25519": {**ed25519, "private": ed25519["private"][:300]}}
    quoted = {"ed25519": {**ed25519, "private": ed25519["private"].replace("-----END", "_END_\nreboot\n-----END")}}
    broken = ed25519["private"] + ": [" + ed25519["private"]
    cases = [
        ("", "is no file of host keys"),
        (broken, "is no file of host keys"),
        (changed(keys, schema="host_keys-0"), "is no file of host keys"),
        (changed(keys, host="ws-02"), "has the keys of ws-02, not of ws-01"),
        (changed(keys, keys={}), "has no key in it"),
        (changed(keys, keys=cut_off), "or not whole"),
        (changed(keys, keys=quoted), "or not whole"),
        (changed(keys, keys={"ed25519": ed25519["private"]}), "or not whole"),
        (changed(keys, keys={"dsa": ed25519}), "none of rsa, ecdsa, ed25519"),
        (changed(keys, keys={"ed25519": {**ed25519, "public": "ssh-ed25519 A'; reboot"}}), "or not whole"),
    ]
    for text, words in cases:
        with pytest.raises(OperatorError) as refused:
            read(text, keys)
        assert refused.value.found.startswith("records/ws-01.host-keys.yml ")
        assert words in refused.value.found
        assert not [line for line in hostkeys.secrets(keys) if line in str(refused.value)]
        assert refused.value.__cause__ is None


def test_keys_that_the_record_does_not_have_are_refused(keys: dict[str, dict[str, str]]) -> None:
    with pytest.raises(OperatorError, match=r"has other keys \(ecdsa\) than the record of ws-01"):
        read(written.render("ws-01", keys), {"ed25519": keys["ed25519"]})
