# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What recorded texts about a host mean."""

from __future__ import annotations

import ssl
import struct

import pytest
from cryptography import x509

import recorded
from ansible_collections.gpulab.workstation.plugins.module_utils import _host_facts as facts
from gpulab.commands.signing_key import make_pair

SESSIONS = "logind/252-debian12-two-sessions.txt"
UTMP = "logind/utmp-debian12-ssh-terminal.bin"


OWN = "mok_signing_key='/k'  # ours\n"


@pytest.mark.parametrize(
    ("settings", "system", "pair"),
    [
        ("", "debian 12", facts.DKMS_PAIR),
        ("", "ubuntu 24.04", facts.UBUNTU_PAIR),
        (f"{OWN}mok_certificate=/c\n", "debian 12", ("/k", "/c")),
        (f"{OWN}mok_certificate=/c\n", "ubuntu 24.04", ("/k", "/c")),
        (f"{OWN}mok_certificate=/c\n", "ubuntu 22.04", facts.UBUNTU_PAIR),
        (OWN, "ubuntu 24.04", ("/k", facts.DKMS_PAIR[1])),
        ("mok_certificate=/c\n", "ubuntu 24.04", facts.UBUNTU_PAIR),
        ("mok_signing_key=$home/k\n", "debian 12", facts.DKMS_PAIR),
        (f"{OWN}mok_signing_key=/last\n", "debian 12", ("/last", facts.DKMS_PAIR[1])),
    ],
    ids=["debian", "ubuntu", "own", "own-ubuntu", "own-jammy", "key-alone", "certificate-alone", "no-path", "last"],
)
def test_the_pair_that_dkms_signs_with(settings: str, system: str, pair: tuple[str, str]) -> None:
    name, _, version = system.partition(" ")
    assert facts.parse_dkms_pair(settings, facts.OperatingSystem(name, version, system)) == pair


@pytest.mark.parametrize(
    ("text", "release"),
    [
        ('ID=ubuntu\nVERSION_ID="24.04"\n', "ubuntu 24.04"),
        ("ID=debian\nVERSION_ID='12'\n# VERSION_ID=13\n", "debian 12"),
        ("ID=debian\n", "debian"),
        ("", "unknown"),
    ],
    ids=["ubuntu", "debian", "debian-testing", "empty"],
)
def test_operating_system(text: str, release: str) -> None:
    assert facts.parse_os_release(text).release == release


@pytest.mark.parametrize(
    ("variable", "state"),
    [
        (b"\x06\0\0\0\x01", "on"),
        (b"\x06\0\0\0\0", "off"),
        (b"\x06\0\0\0", None),
        (b"\x06\0\0\0\x07", None),
        (b"", None),
    ],
)
def test_secure_boot_variable(variable: bytes, state: str | None) -> None:
    assert facts.parse_secure_boot(variable) == state


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ("SecureBoot enabled\n", "on"),
        ("SecureBoot disabled\nPlatform is in Setup Mode\n", "off"),
        ("SecureBoot enabled\nSecureBoot validation is disabled in shim\n", "off"),
        ("EFI variables are not supported on this system\n", "not_uefi"),
        ("Failed to read SecureBoot\n", None),
    ],
)
def test_mokutil_state(text: str, state: str | None) -> None:
    assert facts.parse_mokutil_state(text) == state


@pytest.mark.parametrize(
    ("text", "enrolled"),
    [
        ("/var/lib/dkms/mok.pub is not enrolled\n", False),
        ("/var/lib/dkms/mok.pub is already enrolled\n", True),
        ("Failed to open /var/lib/dkms/mok.pub\n", None),
    ],
)
def test_mokutil_key(text: str, enrolled: bool | None) -> None:  # noqa: FBT001 - a table
    assert facts.parse_mokutil_test_key(text) is enrolled


def test_compiler_of_a_kernel() -> None:
    config = 'CONFIG_CC_VERSION_TEXT="gcc-12 (Debian 12.2.0-14+deb12u1) 12.2.0"\nCONFIG_CC_IS_GCC=y\n'
    assert facts.parse_compiler(config) == "gcc-12 (Debian 12.2.0-14+deb12u1) 12.2.0"
    assert facts.parse_compiler("CONFIG_CC_IS_GCC=y\n") == ""


@pytest.mark.parametrize(
    ("text", "compiler"),
    [
        (
            "Linux version 6.1.0-41-amd64 (d@example) (gcc-12 (Debian 12.2.0-14+deb12u1) 12.2.0, GNU ld 2.40) #1 SMP",
            "gcc-12 (Debian 12.2.0-14+deb12u1) 12.2.0",
        ),
        (
            "Linux version 6.8.0 (b@example) (x86_64-linux-gnu-gcc-13 (Ubuntu 13.3.0-6ubuntu2~24.04) 13.3.0, GNU ld)",
            "x86_64-linux-gnu-gcc-13 (Ubuntu 13.3.0-6ubuntu2~24.04) 13.3.0",
        ),
        ("Linux version 6.18.44-gpu (b@example) (gcc (GCC) 15.3.0, GNU ld 2.46) #1 SMP", "gcc (GCC) 15.3.0"),
        ("Linux version 6.9", ""),
    ],
    ids=["debian", "ubuntu", "plain-gcc", "none"],
)
def test_compiler_of_the_running_kernel(text: str, compiler: str) -> None:
    assert facts.parse_proc_version(text) == compiler


def test_sessions_of_logind() -> None:
    sessions = facts.parse_sessions(recorded.text(SESSIONS), own_pids={388})
    assert sessions == (
        facts.Session("alice", "sshd from 10.88.0.1", 388, own=True),
        facts.Session("alice", "logged out, processes left running", 389),
    )


@pytest.mark.parametrize("kind", ["greeter", "background", "manager", "lock-screen"])
def test_a_session_in_which_nobody_sits_is_none(kind: str) -> None:
    text = recorded.text(SESSIONS).replace("Class=user", f"Class={kind}")
    assert facts.parse_sessions(text, own_pids=()) == ()


def test_a_desktop_session() -> None:
    text = "Name=bob\nClass=user\nType=wayland\nSeat=seat0\nLeader=900\nState=active\n"
    assert facts.parse_sessions(text, own_pids=()) == (facts.Session("bob", "desktop on seat0", 900),)


def test_logins_in_utmp() -> None:
    found = facts.parse_utmp(recorded.data(UTMP), alive=lambda _pid: True, own_pids=())
    assert found == (facts.Session("alice", "login on pts/0 from 10.88.0.1", 346),)


def test_a_login_whose_process_is_gone_was_left_by_a_crash() -> None:
    assert facts.parse_utmp(recorded.data(UTMP), alive=lambda _pid: False, own_pids=()) == ()


def test_a_torn_utmp_is_read_as_far_as_it_goes() -> None:
    assert len(facts.parse_utmp(recorded.data(UTMP)[:-1], alive=lambda _pid: True, own_pids=())) == 0
    assert struct.calcsize("<hxxi32s4s32s256shhiii4i20x") * 3 == len(recorded.data(UTMP))


def test_utmp_adds_only_whom_logind_does_not_know() -> None:
    logind = (facts.Session("alice", "sshd", 388),)
    utmp = (facts.Session("alice", "login on pts/0", 390), facts.Session("bob", "login on tty1", 77))
    assert facts.merge_sessions(logind, utmp) == (*logind, utmp[1])


@pytest.mark.parametrize(
    ("text", "machine"),
    [
        ("podman\n", facts.Machine("container", "podman")),
        ("kvm\n", facts.Machine("vm", "kvm")),
        ("none\n", facts.Machine("bare_metal")),
        ("", None),
    ],
)
def test_systemd_detect_virt(text: str, machine: facts.Machine | None) -> None:
    assert facts.parse_detect_virt(text) == machine


@pytest.mark.parametrize(
    ("marks", "cpuinfo", "product", "machine"),
    [
        (["docker"], "", "", facts.Machine("container", "docker")),
        ([], "flags\t\t: fpu vme hypervisor lahf_lm\n", "Standard PC", facts.Machine("vm", "Standard PC")),
        ([], "flags\t\t: fpu vme\n", "Z790 AORUS", facts.Machine("bare_metal", "Z790 AORUS")),
        ([], "", "", facts.Machine("unknown")),
    ],
    ids=["container", "vm", "metal", "unknown"],
)
def test_machine_without_systemd(marks: list[str], cpuinfo: str, product: str, machine: facts.Machine) -> None:
    assert facts.guess_machine(container_marks=marks, cpuinfo=cpuinfo, product=product) == machine


def test_a_certificates_serial_number() -> None:
    text = make_pair("lab")[1]
    certificate = ssl.PEM_cert_to_DER_cert(text)
    assert facts.parse_serial_number(certificate) == x509.load_pem_x509_certificate(text.encode()).serial_number
    assert facts.parse_serial_number(certificate[:8]) is None
    assert facts.parse_serial_number(text.encode()) is None
    assert facts.parse_serial_number(b"") is None
