# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answer files: held against their formats, and against what an admin may write into the inventory."""

from __future__ import annotations

import json
import re
import subprocess
import typing as t
from pathlib import Path

import jsonschema
import pytest
import yaml

import hostkeys
from ansible_collections.gpulab.workstation.plugins.plugin_utils import _kept_keys as kept
from gpulab import _autoinstall, _vault, cli
from gpulab._errors import OperatorError
from gpulab._kept_keys import HostKey
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


def test_no_password_is_not_an_empty_one() -> None:
    """cloud-init unlocks an account whose password is "!" and the installer asks it to, which leaves an empty one."""
    identity = yaml.safe_load(_autoinstall.user_data(answers()))["autoinstall"]["identity"]
    assert identity == {"hostname": "ws-01", "username": "admin", "password": "*"}
    assert "passwd/user-password-crypted password *\n" in _autoinstall.preseed(answers())


@pytest.mark.parametrize(
    ("disk", "match"),
    [
        ("", {"size": "largest"}),
        ("/dev/nvme0n1", {"path": "/dev/nvme0n1"}),
        ("/dev/disk/by-id/nvme-Samsung_SSD_990_PRO_2TB_S7_1", {"serial": "Samsung_SSD_990_PRO_2TB_S7_1"}),
        ("/dev/disk/by-id/ata-WDC_X-1", {"serial": "WDC_X-1"}),
        ("/dev/disk/by-id/nvme-Samsung_SSD_990_PRO_2TB_S7X0NS0", {"serial": "Samsung_SSD_990_PRO_2TB_S7X0NS0*"}),
    ],
    ids=["largest", "name", "nvme", "ata", "nvme-older"],
)
def test_ubuntus_installer_is_told_of_a_disk_in_its_own_words(disk: str, match: dict[str, str]) -> None:
    document = yaml.safe_load(_autoinstall.user_data(answers(disk=disk)))
    assert document["autoinstall"]["storage"]["layout"]["match"] == match


@pytest.mark.parametrize(
    "name",
    ["by-id/nvme-eui.0025", "by-id/wwn-0x5002", "by-id/ata-X-part1", "by-id/usb-X-0:0", "by-path/pci-0000-ata-1"],
)
def test_a_disk_that_it_cannot_be_told_of_is_refused(name: str) -> None:
    """What follows from a place, or ends in what others begin with, could be another disk."""
    with pytest.raises(OperatorError, match="which Ubuntu's installer cannot be told of"):
        _autoinstall.user_data(answers(disk=f"/dev/disk/{name}"))


@pytest.mark.parametrize(("wish", "services"), [("security", "security"), ("all", "security, updates")])
def test_debian_goes_on_with_security_updates_whatever_the_installer_brings(wish: str, services: str) -> None:
    text = _autoinstall.preseed(answers(updates=wish))
    assert "d-i pkgsel/update-policy select unattended-upgrades\n" in text
    assert f"d-i apt-setup/services-select multiselect {services}\n" in text


def test_debians_installer_is_told_of_a_disk_by_its_own_name() -> None:
    """It knows /dev/nvme0n1 and not the link to it."""
    text = _autoinstall.preseed(answers(disk="/dev/disk/by-id/nvme-X_1"))
    assert 'early_command string debconf-set partman-auto/disk "$(readlink -f /dev/disk/by-id/nvme-X_1)"\n' in text
    assert "d-i partman-auto/disk" not in text


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
    (tmp_path / "etc/hosts").write_text("127.0.0.1\tlocalhost\n127.0.1.1\tdebian\n")
    subprocess.run(["sh", "-c", command], check=True)
    assert (tmp_path / "etc/hostname").read_text() == "ws-01\n"
    assert (tmp_path / "etc/hosts").read_text() == "127.0.0.1\tlocalhost\n127.0.1.1 ws-01\n"
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


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    return hostkeys.make(tmp_path_factory.mktemp("keys"), "ecdsa", "ed25519", "rsa")


@pytest.fixture
def old_keys(keys: dict[str, dict[str, str]]) -> tuple[HostKey, ...]:
    return tuple(HostKey(kind, key["public"], key["private"]) for kind, key in keys.items())


def fingerprints(directory: Path) -> list[str]:
    """Return what ssh-keygen says of the private halves in a directory; it refuses a file that others may read."""
    private = sorted(directory.glob("ssh_host_*_key"))
    shown = [subprocess.run(["ssh-keygen", "-y", "-f", path], check=True, capture_output=True) for path in private]
    return [" ".join(done.stdout.decode().split()[:2]) for done in shown]


def test_ubuntus_new_system_gets_the_old_keys_from_cloud_init(
    tmp_path: Path, keys: dict[str, dict[str, str]], old_keys: tuple[HostKey, ...]
) -> None:
    document = yaml.safe_load(_autoinstall.user_data(answers(), old_keys))["autoinstall"]
    jsonschema.validate(document, SCHEMA)
    given = document["user-data"]["ssh_keys"]
    assert set(given) == {f"{kind}_{half}" for kind in keys for half in ("private", "public")}
    for name, text in given.items():  # as cloud-init does it: cc_ssh.py, CONFIG_KEY_TO_FILE
        kind, _, half = name.partition("_")
        path = tmp_path / f"ssh_host_{kind}_key{'.pub' if half == 'public' else ''}"
        path.write_text(text)
        path.chmod(0o600)
    assert fingerprints(tmp_path) == [key["public"] for key in keys.values()]
    assert (tmp_path / "ssh_host_rsa_key.pub").read_text() == f"{keys['rsa']['public']}\n"
    assert "user-data" not in yaml.safe_load(_autoinstall.user_data(answers()))["autoinstall"]


def test_debians_installer_runs_the_file_beside_the_answers(
    tmp_path: Path, keys: dict[str, dict[str, str]], old_keys: tuple[HostKey, ...]
) -> None:
    path = tmp_path / "preseed.cfg"
    path.write_text(_autoinstall.preseed(answers(), host_keys=True))
    done = subprocess.run(["debconf-set-selections", "-c", path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert not [line for line in hostkeys.secrets(keys) if line in path.read_text()], "the installer logs its lines"
    target, ram = tmp_path / "target", tmp_path / "ram"
    for directory in (target / "etc/ssh", target / "etc/sudoers.d", ram, tmp_path / "bin"):
        directory.mkdir(parents=True)
    (target / "etc/hosts").write_text("127.0.1.1\tdebian\n")
    for name in ("ssh_host_ed25519_key", "ssh_host_dsa_key", "ssh_host_dsa_key.pub", "sshd_config"):
        (target / "etc/ssh" / name).write_text("as the installation made it\n")
    script = _autoinstall.host_keys_script("ws-01", old_keys).replace("/target", str(target))
    (tmp_path / _autoinstall.HOST_KEYS).write_text(script)
    for name, line in {"in-target": "true", "preseed_fetch": f'cp "{tmp_path}/$1" "$2"'}.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    line = next(line for line in path.read_text().splitlines() if "late_command" in line).split(" string ", 1)[1]
    command = re.sub(r"(?<=\s)/tmp(?=/)", str(ram), line).replace("/target", str(target))
    subprocess.run(["sh", "-c", command], check=True, env={"PATH": f"{tmp_path}/bin:/usr/bin:/bin"})
    assert fingerprints(target / "etc/ssh") == [key["public"] for key in keys.values()]
    modes = {path.name: path.stat().st_mode & 0o777 for path in (target / "etc/ssh").glob("ssh_host_*")}
    assert modes == {
        f"ssh_host_{kind}_key{suffix}": mode for kind in keys for suffix, mode in (("", 0o600), (".pub", 0o644))
    }
    assert list(ram.iterdir()) == []


@pytest.fixture
def kept_keys(tmp_path: Path, keys: dict[str, dict[str, str]]) -> list[str]:
    """Have a record with its kept keys; return the command line that brings them back, without --output."""
    (tmp_path / "password").write_text("the vault's password\n")
    (tmp_path / "records").mkdir()
    recorded = {"ssh_host_keys": [key["public"] for key in keys.values()]}
    (tmp_path / "records/ws-01.json").write_text(json.dumps(recorded))
    _vault.encrypt(kept.render("ws-01", keys), tmp_path / "records/ws-01.host-keys.yml", tmp_path / "password")
    return [
        "autoinstall", "ws-01", "-i", str(tmp_path / "hosts.yml"), "--restore-host-keys",
        "--records", str(tmp_path / "records"), "--vault-password-file", str(tmp_path / "password"),
    ]  # fmt: skip


def secrets_in(text: str, keys: dict[str, dict[str, str]]) -> list[str]:
    return [line for line in hostkeys.secrets(keys) if line in text]


@pytest.mark.usefixtures("inventory")
def test_the_command_restores_kept_keys_and_prints_none(
    tmp_path: Path, kept_keys: list[str], keys: dict[str, dict[str, str]], capfd: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    assert cli.main([*kept_keys, "--output", str(output)]) == 0
    printed = capfd.readouterr()
    assert secrets_in(printed.out + printed.err, keys) == []
    assert "hold the private ssh host keys (ecdsa, ed25519, rsa) of ws-01" in printed.out
    assert "no fingerprint is needed" in printed.out
    texts = {path.name: path.read_text() for path in output.iterdir()}
    assert {name: bool(secrets_in(text, keys)) for name, text in texts.items()} == {
        "user-data": True, "meta-data": False, "preseed.cfg": False, "host-keys.sh": True,
    }  # fmt: skip
    assert _autoinstall.HOST_KEYS in texts["preseed.cfg"]
    assert {path.stat().st_mode & 0o777 for path in output.iterdir()} == {0o600}
    again = [word for word in kept_keys if word != "--restore-host-keys"]
    assert cli.main([*again, "--output", str(output)]) == 0
    assert [path.name for path in output.iterdir() if secrets_in(path.read_text(), keys)] == [], "nothing is left over"
    assert _autoinstall.HOST_KEYS not in (output / "preseed.cfg").read_text()


@pytest.mark.usefixtures("inventory")
def test_keys_that_cannot_be_restored_are_told_and_nothing_is_written(
    tmp_path: Path, kept_keys: list[str], keys: dict[str, dict[str, str]], capfd: pytest.CaptureFixture[str]
) -> None:
    def refused() -> str:
        assert cli.main([*kept_keys, "--output", str(tmp_path / "out")]) == 2
        assert not (tmp_path / "out").exists()
        told = capfd.readouterr()
        assert secrets_in(told.out + told.err, keys) == []
        return told.err

    (tmp_path / "password").write_text("another password\n")
    assert "could not open" in refused()
    (tmp_path / "records/ws-01.host-keys.yml").unlink()
    assert "no private host keys of ws-01 were kept" in refused()
    (tmp_path / "records/ws-01.json").write_text("{")
    assert "no record of ws-01 that can be read" in refused()


def test_without_the_option_nobody_looks_for_keys(
    tmp_path: Path, inventory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["autoinstall", "ws-01", "-i", str(inventory), "--records", str(tmp_path / "nowhere")]
    assert cli.main([*command, "--output", str(tmp_path / "out")]) == 0
    assert "host_rebuild_fingerprint=SHA256" in capsys.readouterr().out
    assert not (tmp_path / "out" / _autoinstall.HOST_KEYS).exists()
