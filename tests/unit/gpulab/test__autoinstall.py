# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answer files: held against their formats, and against what an admin may write into the inventory."""

from __future__ import annotations

import json
import subprocess
import typing as t
from pathlib import Path

import jsonschema
import pytest
import yaml

from gpulab import _autoinstall, cli
from gpulab._errors import OperatorError
from gpulab.commands import autoinstall

SCHEMA = json.loads((Path(__file__).parents[1] / "fixtures/autoinstall/written-parts.json").read_text())
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFQ9ke5dfATkM/rgvR6pB/knABz6/oa0kGUJI5lLVtiG"
HASH = "$6$" + "saltsalt$" + "h" * 86
KINDS = [
    {},
    {"password_hash": HASH},
    {"password_hash": HASH, "sudo_password": False},
    {"layout": "direct", "disk": "/dev/disk/by-id/nvme-X_1", "updates": "all"},
]
IDS = ["no password", "a password", "a password, sudo without", "direct on one disk"]


def answers(**given: t.Any) -> _autoinstall.Answers:
    mapping = {"authorized_keys": [f"{KEY} it's me"], **given}
    return _autoinstall.read_answers("ws-01", {"ansible_user": "admin", "gpulab_autoinstall": mapping})


@pytest.mark.parametrize("given", KINDS, ids=IDS)
def test_ubuntus_file_has_the_form_of_autoinstall(given: dict[str, t.Any]) -> None:
    text = _autoinstall.user_data(answers(**given))
    assert text.startswith("#cloud-config\n")
    document = yaml.safe_load(text)
    assert list(document) == ["autoinstall"]
    jsonschema.validate(document["autoinstall"], SCHEMA)
    assert document["autoinstall"]["ssh"]["authorized-keys"] == [KEY], "the comment is left out"


@pytest.mark.parametrize("given", KINDS, ids=IDS)
def test_debians_file_is_one_that_debconf_reads(tmp_path: Path, given: dict[str, t.Any]) -> None:
    path = tmp_path / "preseed.cfg"
    path.write_text(_autoinstall.preseed(answers(**given)))
    done = subprocess.run(["debconf-set-selections", "-c", path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_debconf_would_notice_a_broken_file(tmp_path: Path) -> None:
    path = tmp_path / "preseed.cfg"
    path.write_text(_autoinstall.preseed(answers()).replace("d-i time/zone string", "d-i time/zone"))
    done = subprocess.run(["debconf-set-selections", "-c", path], capture_output=True, text=True, check=False)
    assert "Unknown type Etc/UTC, skipping line" in done.stderr, "the status is 0 whatever it skips"


@pytest.mark.parametrize("given", KINDS, ids=IDS)
def test_the_shell_lines_are_shell(given: dict[str, t.Any]) -> None:
    lines = [line for line in _autoinstall.preseed(answers(**given)).splitlines() if "_command string " in line]
    assert lines
    for line in lines:
        subprocess.run(["sh", "-n", "-c", line.split(" string ", 1)[1]], check=True)


def test_sudo_asks_for_nothing_where_there_is_no_password() -> None:
    for text in (_autoinstall.user_data(answers()), _autoinstall.preseed(answers())):
        assert "NOPASSWD" in text
    with_password = answers(password_hash=HASH)
    for text in (_autoinstall.user_data(with_password), _autoinstall.preseed(with_password)):
        assert "NOPASSWD" not in text
        assert HASH in text


def test_the_late_command_lets_the_key_in(tmp_path: Path) -> None:
    line = next(line for line in _autoinstall.preseed(answers()).splitlines() if "late_command" in line)
    command = line.split(" string ", 1)[1].replace("/target", str(tmp_path)).replace("in-target chown", "true")
    (tmp_path / "etc/sudoers.d").mkdir(parents=True)
    subprocess.run(["sh", "-c", command], check=True)
    keys = tmp_path / "home/admin/.ssh/authorized_keys"
    assert keys.read_text() == f"{KEY}\n"
    assert keys.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "etc/sudoers.d/90-admin").read_text() == "admin ALL=(ALL:ALL) NOPASSWD:ALL\n"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"layuot": "lvm"}, "layuot is none of its keys"),
        ({"layout": "zfs"}, "layout is 'zfs', not direct or lvm"),
        ({"updates": "never"}, "updates is 'never'"),
        ({"authorized_keys": []}, "nobody could log in"),
        ({"authorized_keys": ["ssh-ed25519 AAA'; reboot #"]}, "which is no public key"),
        ({"password_hash": "secret"}, "password_hash is no hash"),
        ({"user": "root"}, "user is 'root'"),
        ({"user": "me; reboot"}, "not a user's name"),
        ({"disk": "sda"}, "not a path below /dev"),
        ({"disk": "/dev/sda\nd-i x"}, "not a path below /dev"),
        ({"locale": "en US"}, "locale has a blank"),
        ({"sudo_password": "no"}, "not true or false"),
    ],
)
def test_answers_that_no_installer_would_take_are_refused(given: dict[str, t.Any], words: str) -> None:
    with pytest.raises(OperatorError) as refused:
        answers(**given)
    assert words in refused.value.found
    assert "secret" not in refused.value.found


def test_what_is_no_mapping_and_no_hostname_is_refused() -> None:
    with pytest.raises(OperatorError, match="not a mapping"):
        _autoinstall.read_answers("ws-01", {"gpulab_autoinstall": ["lvm"]})
    with pytest.raises(OperatorError, match="RFC 1123"):
        _autoinstall.read_answers("ws_01.lab", {"ansible_user": "admin"})


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    path = tmp_path / "hosts.yml"
    wishes = {"authorized_keys": [KEY], "password_hash": HASH}
    variables = {"ansible_user": "admin", "gpulab_autoinstall": wishes}
    path.write_text(json.dumps({"all": {"hosts": {"ws-01": variables}}}))
    return path


def test_the_command_writes_for_its_owner_alone_and_prints_no_secret(
    tmp_path: Path, inventory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["autoinstall", "ws-01", "-i", str(inventory), "--output", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr()
    assert HASH not in printed.out + printed.err
    assert "ALL of the largest disk is erased" in printed.out
    for name in ("user-data", "meta-data", "preseed.cfg"):
        assert (tmp_path / "out" / name).stat().st_mode & 0o777 == 0o600
    assert HASH in (tmp_path / "out" / "user-data").read_text()


def test_an_unknown_host_is_refused(inventory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["autoinstall", "ws-09", "-i", str(inventory)]) == 2
    assert "the inventory has no ws-09" in capsys.readouterr().err


def test_ones_own_key_is_the_default(tmp_path: Path) -> None:
    assert autoinstall.own_keys(tmp_path) == []
    (tmp_path / ".ssh").mkdir()
    for name in ("id_rsa.pub", "id_ed25519.pub"):
        (tmp_path / ".ssh" / name).write_text(f"{KEY} {name}\n")
    assert autoinstall.own_keys(tmp_path) == [f"{KEY} id_ed25519.pub"]


def test_a_password_becomes_a_hash_that_is_accepted() -> None:
    made = autoinstall.hashed("correct horse")
    assert answers(password_hash=made).password_hash == made
