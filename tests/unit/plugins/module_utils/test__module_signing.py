# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's pair on hosts with and without Secure Boot, before and after a visit, after a reinstallation, and away."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.gpulab.workstation.plugins.module_utils import _module_signing as signing
from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._module_signing import ModuleSigning
from fakehost import FakeHost
from gpulab.commands.signing_key import make_pair

EFI = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
KEY, CERTIFICATE = make_pair("a lab of a test")
DER = signing.parse_certificate(CERTIFICATE)
DEBIAN = ("/var/lib/dkms/mok.key", "/var/lib/dkms/mok.pub")
UBUNTU = ("/var/lib/shim-signed/mok/MOK.priv", "/var/lib/shim-signed/mok/MOK.der")


class Firmware:
    """A firmware that trusts certificates by content and keeps a list of requests, told as mokutil tells it."""

    def __init__(self, host: FakeHost) -> None:
        self.host = host
        self.trusted: set[bytes] = set()
        self.requests: dict[bytes, str] = {}
        host.commands["mokutil"] = self.answer
        host.commands["openssl passwd"] = (0, "$6$salt$hash\n", "")

    def answer(self, command: tuple[str, ...]) -> tuple[int, str, str]:
        path = command[2]
        content = self.host.read_bytes(path) or b""
        if command[1] == "--test-key":
            if content in self.trusted:
                return 1, f"{path} is already enrolled\n", ""
            if content in self.requests:
                return 1, f"{path} is already in the enrollment request\n", ""
            return 0, f"{path} is not enrolled\n", ""
        assert command[1] == "--import"
        hashed = self.host.status(command[4])
        assert hashed is not None
        assert hashed.mode == 0o600
        self.requests[content] = self.host.read_text(command[4]) or ""
        return 0, "", ""

    def visit(self) -> None:
        """Confirm every request at the console."""
        self.trusted |= set(self.requests)
        self.requests.clear()


def machine(root: Path, *, secure_boot: int | None = 1, os: str = "debian", virt: str = "none") -> FakeHost:
    host = FakeHost(root)
    host.add("/etc/os-release", f"ID={os}\n")
    host.commands["systemd-detect-virt"] = (0, f"{virt}\n", "")
    if secure_boot is not None:
        host.add(EFI, b"\x06\x00\x00\x00" + bytes([secure_boot]))
    return host


def wanted(**changes: t.Any) -> ModuleSigning:
    return ModuleSigning.from_params(
        {"state": "present", "key": KEY, "certificate": CERTIFICATE, "password": "abcd2345", **changes}
    )


def bring_about(host: FakeHost, component: ModuleSigning) -> list[str]:
    """Do what the plan says and return its actions; afterwards nothing must be left to do."""
    plan = component.plan(component.read(host))
    for step in plan.steps:
        component.apply(host, step, lambda _: None)
    assert component.plan(component.read(host)).steps == ()
    return [step.action for step in plan.steps]


def outcome(host: FakeHost, component: ModuleSigning) -> str:
    return str(component.report(component.read(host))["outcome"])


@pytest.mark.parametrize(("os", "paths"), [("debian", DEBIAN), ("ubuntu", UBUNTU)], ids=["debian", "ubuntu"])
def test_the_pair_lies_where_dkms_looks(tmp_path: Path, os: str, paths: tuple[str, str]) -> None:
    host = machine(tmp_path, secure_boot=0, os=os)
    assert bring_about(host, wanted()) == ["write", "write"]
    assert (host.read_text(paths[0]), host.read_bytes(paths[1])) == (KEY, DER)
    found = host.status(paths[0])
    assert found is not None
    assert found.mode == 0o600
    assert outcome(host, wanted()) == "off"


def test_it_lies_where_the_hosts_own_settings_send_dkms(tmp_path: Path) -> None:
    host = machine(tmp_path, secure_boot=0)
    host.add("/etc/dkms/framework.conf", "# mok_signing_key=/var/lib/dkms/mok.key\n")
    host.add("/etc/dkms/framework.conf.d/own.conf", 'mok_signing_key=/root/own.key\nmok_certificate="/root/own.der"\n')
    host.add("/etc/dkms/framework.conf.d/own.conf.dpkg-old", "mok_signing_key=/root/old.key\n")
    assert bring_about(host, wanted()) == ["write", "write"]
    assert (host.read_text("/root/own.key"), host.read_bytes("/root/own.der")) == (KEY, DER)


@pytest.mark.parametrize(("release", "names"), [("22.04", ["sbsigntool"]), ("24.04", [])], ids=["jammy", "noble"])
def test_what_signs_in_ubuntus_older_dkms_is_installed(tmp_path: Path, release: str, names: list[str]) -> None:
    host = machine(tmp_path, os="ubuntu")
    host.add("/etc/os-release", f'ID=ubuntu\nVERSION_ID="{release}"\n')
    Firmware(host)
    plan = wanted().plan(wanted().read(host))
    assert [step.params["names"] for step in plan.steps if step.action == "packages"] == ([names] if names else [])


def test_one_visit_is_asked_for_and_one_only(tmp_path: Path) -> None:
    host = machine(tmp_path)
    firmware = Firmware(host)
    assert bring_about(host, wanted()) == ["write", "write", "stage"]
    assert firmware.requests == {DER: "$6$salt$hash"}
    assert outcome(host, wanted()) == "console_visit"
    assert not host.exists("/run/gpulab/mok-hash")
    firmware.visit()
    assert bring_about(host, wanted()) == []
    assert outcome(host, wanted()) == "enrolled"


def test_a_reinstalled_machine_is_recognised_and_needs_no_password(tmp_path: Path) -> None:
    host = machine(tmp_path)
    Firmware(host).trusted.add(DER)
    component = wanted(password="")
    assert bring_about(host, component) == ["write", "write", "stage"]
    assert outcome(host, component) == "enrolled"
    assert not [command for command in host.ran if "--import" in command]


LISTS = (
    "/sys/firmware/efi/mok-variables/MokListRT",
    "/sys/firmware/efi/efivars/MokListRT-605dab50-e046-4300-abb6-3dd810dd8b23",
)


@pytest.mark.parametrize("path", LISTS, ids=["file", "variable"])
@pytest.mark.parametrize("ours", [True, False], ids=["ours", "another"])
def test_check_mode_knows_a_reinstalled_machine_before_it_has_the_certificate(
    tmp_path: Path, path: str, *, ours: bool
) -> None:
    """Its list of machines to walk to would name them all; mokutil, which is asked else, may be missing too."""
    host = machine(tmp_path)
    other = signing.parse_certificate(make_pair("another lab")[1])
    host.make_dirs(path.rsplit("/", 1)[0])
    host.write_chunks(path, [b"\x07\0\0\0", b"list of ", DER if ours else other, b"\0"])
    steps = [step.action for step in wanted().plan(wanted().read(host)).steps]
    assert ("stage" in steps) != ours
    assert outcome(host, wanted()) == ("enrolled" if ours else "console_visit")


def test_a_request_that_waits_since_before_a_reinstallation_is_not_made_twice(tmp_path: Path) -> None:
    host = machine(tmp_path)
    host.write_chunks("/sys/firmware/efi/efivars/MokNew-605dab50-e046-4300-abb6-3dd810dd8b23", [DER])
    assert "stage" not in [step.action for step in wanted().plan(wanted().read(host)).steps]
    assert outcome(host, wanted()) == "console_visit"


def test_another_enrolled_key_does_not_count(tmp_path: Path) -> None:
    host = machine(tmp_path)
    firmware = Firmware(host)
    firmware.trusted.add(signing.parse_certificate(make_pair("another lab")[1]))
    bring_about(host, wanted())
    assert outcome(host, wanted()) == "console_visit"


def test_the_hosts_own_pair_is_kept_and_put_back(tmp_path: Path) -> None:
    host = machine(tmp_path, secure_boot=0)
    for path in DEBIAN:
        host.add(path, "the host's own")
    assert bring_about(host, wanted()) == ["keep", "keep", "write", "write"]
    assert host.read_text(DEBIAN[0]) == KEY
    assert bring_about(host, wanted(state="absent")) == ["restore", "restore"]
    assert [host.read_text(path) for path in DEBIAN] == ["the host's own"] * 2
    assert not [path for path in DEBIAN if host.exists(path + signing.KEPT)]


def test_a_removal_killed_between_its_steps_keeps_the_hosts_own_key(tmp_path: Path) -> None:
    host = machine(tmp_path, secure_boot=0)
    for path in DEBIAN:
        host.add(path, "the host's own")
    bring_about(host, wanted())
    component = wanted(state="absent")
    component.apply(host, component.plan(component.read(host)).steps[0], lambda _: None)
    assert bring_about(host, component) == ["restore"]
    assert [host.read_text(path) for path in DEBIAN] == ["the host's own"] * 2


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_run_killed_between_steps_keeps_the_hosts_own_pair(tmp_path: Path, steps: int) -> None:
    host = machine(tmp_path, secure_boot=0)
    for path in DEBIAN:
        host.add(path, "the host's own")
    component = wanted()
    for step in component.plan(component.read(host)).steps[:steps]:
        component.apply(host, step, lambda _: None)
    bring_about(host, component)
    assert (host.read_text(DEBIAN[0]), host.read_bytes(DEBIAN[1])) == (KEY, DER)
    assert [host.read_text(path + signing.KEPT) for path in DEBIAN] == ["the host's own"] * 2


def test_without_a_named_pair_the_host_is_left_alone(tmp_path: Path) -> None:
    host = machine(tmp_path)
    Firmware(host)
    host.add(DEBIAN[0], "the host's own")
    component = wanted(key="", certificate="", password="")
    assert bring_about(host, component) == []
    assert outcome(host, component) == "unmanaged"


@pytest.mark.parametrize(
    ("host", "expected"),
    [({"secure_boot": None}, "off"), ({"virt": "podman"}, "off"), ({"secure_boot": 7}, "unreadable")],
    ids=["no-uefi", "container", "nonsense"],
)
def test_hosts_whose_firmware_does_not_matter_or_does_not_tell(
    tmp_path: Path, host: dict[str, t.Any], expected: str
) -> None:
    found = machine(tmp_path, **host)
    Firmware(found)
    found.commands["mokutil --sb-state"] = (1, "", "This system doesn't support Secure Boot")
    assert outcome(found, wanted()) == expected


@pytest.mark.parametrize("password", ["", "short", "x" * 17])
def test_a_password_that_nobody_could_type_is_refused_when_it_is_needed(tmp_path: Path, password: str) -> None:
    host = machine(tmp_path)
    Firmware(host)
    with pytest.raises(OperatorError, match=r"8 to 16, which somebody types once"):
        bring_about(host, wanted(password=password))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"key": ""}, "only the certificate of the lab's pair is given"),
        ({"certificate": ""}, "only the key of the lab's pair is given"),
        ({"key": "ssh-rsa AAAA"}, "is no private key"),
        ({"key": "-----BEGIN ENCRYPTED PRIVATE KEY-----"}, "is encrypted"),
        ({"certificate": "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----"}, "is no certificate"),
        ({"certificate": "nothing"}, "is no certificate"),
    ],
    ids=["no-key", "no-certificate", "other-key", "encrypted", "broken", "text"],
)
def test_what_is_no_pair_is_refused_before_the_host_is_read(changes: dict[str, str], words: str) -> None:
    with pytest.raises(OperatorError, match=words):
        wanted(**changes)


@pytest.mark.parametrize(
    ("command", "answer", "words"),
    [
        ("mokutil --import", (1, "", "Failed to enroll new keys"), "Failed to enroll new keys"),
        ("openssl passwd", (127, "", "openssl: not found"), "'openssl passwd' ended with 127"),
    ],
    ids=["mokutil", "openssl"],
)
def test_a_tool_that_fails_is_told_in_its_words(
    tmp_path: Path, command: str, answer: tuple[int, str, str], words: str
) -> None:
    host = machine(tmp_path)
    Firmware(host)
    host.commands[command] = answer
    with pytest.raises(OperatorError, match=words):
        bring_about(host, wanted())
    assert not host.exists("/run/gpulab/mok-hash")
