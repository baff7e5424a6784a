# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading hosts of several kinds: nothing that cannot be read may pass for absent."""

from __future__ import annotations

from pathlib import Path

import pytest

import recorded
from ansible_collections.gpulab.workstation.plugins.module_utils._host import Filesystem
from ansible_collections.gpulab.workstation.plugins.module_utils._host_facts import (
    Kernel,
    Machine,
    SecureBoot,
    SigningKey,
)
from ansible_collections.gpulab.workstation.plugins.module_utils._host_reader import read_host
from ansible_collections.gpulab.workstation.plugins.module_utils._reading import Reading
from fakehost import FakeHost

EFIVAR = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
LIST = "loginctl list-sessions --no-legend --no-pager"


class Locked(FakeHost):
    """A host on which some files exist that this user may not read."""

    locked: tuple[str, ...] = ()

    def read_text(self, path: str) -> str | None:
        if path in self.locked:
            raise PermissionError(13, "Permission denied", path)
        return super().read_text(path)

    def read_bytes(self, path: str, size: int = -1, offset: int = 0) -> bytes | None:
        if path in self.locked:
            raise PermissionError(13, "Permission denied", path)
        return super().read_bytes(path, size, offset)


@pytest.fixture
def host(tmp_path: Path) -> Locked:
    """Return a Debian host as minimal as a host can be."""
    host = Locked(tmp_path, {"uname -m": (0, "x86_64\n", ""), "getconf GNU_LIBC_VERSION": (0, "glibc 2.36\n", "")})
    host.add("/etc/os-release", 'ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n')
    host.add("/proc/sys/kernel/osrelease", "6.1.0-41-amd64\n")
    host.add("/proc/self/status", "Name:\tpython3\nPid:\t500\nPPid:\t400\nUid:\t0\t0\t0\t0\n")
    host.add("/proc/400/status", "Name:\tsshd\nPid:\t400\nPPid:\t1\nUid:\t0\t0\t0\t0\n")
    host.add("/proc/1/status", "Name:\tsystemd\nPid:\t1\nPPid:\t0\n")
    host.add("/proc/1/environ", "HOME=/\0")
    host.add("/proc/cpuinfo", "flags\t\t: fpu vme\n")
    host.add("/etc/passwd", "root:x:0:0:root:/root:/bin/bash\nalice:x:1000:1000::/home/alice:/bin/bash\n")
    host.add("/run/utmp", b"")
    return host


def whats(reading: Reading) -> list[str]:
    return [item.what for item in reading.unreadable]


def test_a_minimal_host_is_read_without_a_gap(host: FakeHost) -> None:
    reading = Reading(host)
    found = read_host(reading)
    assert reading.unreadable == []
    assert (found.os.release, found.architecture, found.glibc) == ("debian 12", "x86_64", "2.36")
    assert (found.user, found.root, found.running_kernel) == ("root", True, "6.1.0-41-amd64")
    assert (found.gcc, found.kernels, found.sessions, found.tools) == (None, (), (), ())
    assert found.secure_boot == SecureBoot("not_uefi", "there is no /sys/firmware/efi")
    assert found.machine == Machine("unknown")


def test_what_is_missing_although_every_host_has_it_is_told(tmp_path: Path) -> None:
    reading = Reading(FakeHost(tmp_path))
    found = read_host(reading)
    assert found.os.id == "unknown"
    assert not found.root
    for what in ("running kernel", "own user", "operating system", "architecture", "glibc", "logged-in users"):
        assert what in whats(reading)


def test_kernels_with_their_headers_and_compilers(host: FakeHost) -> None:
    host.add("/boot/vmlinuz-6.1.0-41-amd64")
    host.add("/lib/modules/6.1.0-41-amd64/kernel/fs/ext4.ko")
    host.add("/usr/src/linux-headers-6.1/include/generated/uapi/linux/version.h")
    host.add("/usr/src/linux-headers-6.1/.config", 'CONFIG_CC_VERSION_TEXT="gcc-12 (Debian 12) 12.2.0"\n')
    host.symlink("../../../usr/src/linux-headers-6.1", "/lib/modules/6.1.0-41-amd64/build")
    host.add("/lib/modules/6.6.13-amd64/kernel/fs/ext4.ko")
    host.add("/boot/config-6.6.13-amd64", 'CONFIG_CC_VERSION_TEXT="gcc-13 (Debian 13) 13.2.0"\n')
    host.symlink("/usr/src/linux-headers-gone", "/lib/modules/6.6.13-amd64/build")
    host.add("/lib/modules/5.10.0-old/build/Makefile")
    assert read_host(Reading(host)).kernels == (
        Kernel("6.1.0-41-amd64", True, "/usr/src/linux-headers-6.1", "gcc-12 (Debian 12) 12.2.0"),  # noqa: FBT003
        Kernel("6.6.13-amd64", False, None, "gcc-13 (Debian 13) 13.2.0"),  # noqa: FBT003
    )


def test_the_compiler_of_the_running_kernel_is_in_proc(host: FakeHost) -> None:
    host.add("/boot/vmlinuz-6.1.0-41-amd64")
    host.add("/boot/vmlinuz-6.1.0-40-amd64")
    host.add("/proc/version", "Linux version 6.1.0-41-amd64 (a@example) (gcc-12 (Debian 12) 12.2.0, GNU ld) #1")
    reading = Reading(host)
    assert [kernel.compiler for kernel in read_host(reading).kernels] == ["", "gcc-12 (Debian 12) 12.2.0"]
    assert whats(reading) == ["compiler of kernel 6.1.0-40-amd64"]


def test_every_gcc_is_found(host: FakeHost) -> None:
    host.commands["gcc -dumpfullversion"] = (0, "12.2.0\n", "")
    for name in ("gcc", "gcc-12", "gcc-11", "gcc-ar-12"):
        host.add(f"/usr/bin/{name}")
    found = read_host(Reading(host))
    assert (found.gcc, found.gcc_majors) == ("12.2.0", (11, 12))


@pytest.mark.parametrize(
    ("variable", "commands", "state", "keys"),
    [
        (b"\x06\0\0\0\0", {}, "off", ()),
        (
            b"\x06\0\0\0\1",
            {"mokutil --test-key /var/lib/dkms/mok.pub": (1, "/var/lib/dkms/mok.pub is already enrolled\n", "")},
            "on",
            (SigningKey("/var/lib/dkms/mok.pub", True),),  # noqa: FBT003
        ),
        (None, {"mokutil --sb-state": (0, "SecureBoot disabled\n", "")}, "off", ()),
        (None, {}, "unreadable", ()),
    ],
    ids=["off", "on-with-key", "by-mokutil", "unreadable"],
)
def test_secure_boot(
    host: FakeHost,
    variable: bytes | None,
    commands: dict[str, tuple[int, str, str]],
    state: str,
    keys: tuple[SigningKey, ...],
) -> None:
    host.make_dirs("/sys/firmware/efi")
    host.add("/var/lib/dkms/mok.pub")
    host.commands.update(commands)
    if variable is not None:
        host.add(EFIVAR, variable)
    reading = Reading(host)
    found = read_host(reading).secure_boot
    assert (found.state, found.keys) == (state, keys)
    assert whats(reading) == (["Secure Boot"] if state == "unreadable" else [])


@pytest.mark.parametrize(
    ("shims", "state"),
    [(b"\x06\0\0\0\1", "off"), (b"\x06\0\0\0\0", "on"), (b"\x07\0\0\0\1", "on"), (b"", "on")],
    ids=["disabled", "not-disabled", "planted-by-the-system", "empty"],
)
def test_secure_boot_without_shims_validation_is_off(host: FakeHost, shims: bytes, state: str) -> None:
    host.add(EFIVAR, b"\x06\0\0\0\1")
    host.add("/sys/firmware/efi/efivars/MokSBStateRT-605dab50-e046-4300-abb6-3dd810dd8b23", shims)
    assert read_host(Reading(host)).secure_boot.state == state


def test_a_secure_boot_variable_that_may_not_be_read_is_not_off(host: Locked) -> None:
    host.add(EFIVAR, b"\x06\0\0\0\1")
    host.locked = (EFIVAR,)
    reading = Reading(host)
    assert read_host(reading).secure_boot.state == "unreadable"
    assert "Permission denied" in reading.unreadable[0].why


def test_a_sites_own_certificate_counts(host: FakeHost) -> None:
    host.add(EFIVAR, b"\x06\0\0\0\1")
    host.add("/etc/lab.der")
    host.commands["mokutil --test-key /etc/lab.der"] = (1, "/etc/lab.der is already enrolled\n", "")
    found = read_host(Reading(host), certificates=["/etc/lab.der", "/etc/gone.der"]).secure_boot
    assert found.keys == (SigningKey("/etc/lab.der", True),)  # noqa: FBT003


def test_a_certificate_is_known_by_its_number(host: FakeHost) -> None:
    host.add(EFIVAR, b"\x06\0\0\0\1")
    host.add("/var/lib/dkms/mok.pub", bytes.fromhex("300c 300a a003 020102 0203 a1b2c3"))
    host.commands["mokutil --test-key"] = (1, "/var/lib/dkms/mok.pub is already enrolled\n", "")
    assert read_host(Reading(host)).secure_boot.keys == (
        SigningKey("/var/lib/dkms/mok.pub", enrolled=True, serial=0xA1B2C3),
    )


def test_a_key_nobody_can_judge_is_told(host: FakeHost) -> None:
    host.add(EFIVAR, b"\x06\0\0\0\1")
    host.add("/var/lib/dkms/mok.pub")
    reading = Reading(host)
    assert read_host(reading).secure_boot.keys == (SigningKey("/var/lib/dkms/mok.pub", None),)
    assert whats(reading) == ["whether /var/lib/dkms/mok.pub is enrolled"]


def test_own_session_is_told_from_others(host: FakeHost) -> None:
    host.make_dirs("/run/systemd/system")
    host.commands[LIST] = (0, "8 0 root pts/1\n9 1000 alice\n", "")
    text = recorded.text("logind/252-debian12-two-sessions.txt").replace("Leader=388", "Leader=400")
    host.commands["loginctl show-session 8 9"] = (0, text, "")
    sessions = read_host(Reading(host)).sessions
    assert [(session.leader, session.own) for session in sessions] == [(400, True), (389, False)]


def test_logind_that_does_not_answer_is_told(host: FakeHost) -> None:
    host.make_dirs("/run/systemd/system")
    host.commands[LIST] = (1, "", "Failed to connect to bus: Host is down\n")
    reading = Reading(host)
    read_host(reading)
    assert whats(reading) == ["sessions of logind"]


@pytest.mark.parametrize(
    ("files", "commands", "machine"),
    [
        ({"/run/systemd/container": "podman\n"}, {}, Machine("container", "podman")),
        ({"/.dockerenv": ""}, {"systemd-detect-virt": (0, "kvm\n", "")}, Machine("container", "docker")),
        ({"/proc/1/environ": "PATH=/bin\0container=lxc\0"}, {}, Machine("container", "lxc")),
        ({}, {"systemd-detect-virt": (1, "none\n", "")}, Machine("bare_metal")),
        ({"/sys/class/dmi/id/product_name": "X570\n"}, {}, Machine("bare_metal", "X570")),
    ],
    ids=["systemd-container", "docker-in-a-vm", "lxc", "metal-by-systemd", "metal-by-firmware"],
)
def test_machine(
    host: FakeHost, files: dict[str, str], commands: dict[str, tuple[int, str, str]], machine: Machine
) -> None:
    for path, text in files.items():
        host.add(path, text)
    host.commands.update(commands)
    assert read_host(Reading(host)).machine == machine


def test_places_and_landmarks(host: FakeHost) -> None:
    host.filesystems["/var"] = Filesystem("/var", "xfs", ("ro", "noexec"), 10, 20)
    host.add("/usr/local/cuda/bin/nvcc")
    found = read_host(Reading(host), ["/var/cache/gpulab", "/usr"], ["/usr/local/cuda/bin/nvcc", "/usr/bin/none"])
    places = {place.path: (place.mount_point, place.noexec, place.read_only) for place in found.places}
    assert places == {"/var/cache/gpulab": ("/var", True, True), "/usr": ("/", False, False)}
    assert found.landmarks == ("/usr/local/cuda/bin/nvcc",)


@pytest.mark.parametrize(
    ("pattern", "there"),
    [
        ("/opt/envs/*/lib/python3.*/site-packages/torch", True),
        ("/opt/envs/*/lib/python3.*/site-packages/torchaudio", False),
        ("/srv/*/x", False),
        ("/opt/*", True),
    ],
)
def test_landmarks_may_be_patterns(host: FakeHost, pattern: str, there: bool) -> None:  # noqa: FBT001
    host.add("/opt/envs/base/lib/python3.11/os.py")
    host.add("/opt/envs/rtx5090/lib/python3.11/site-packages/torch/version.py")
    assert bool(read_host(Reading(host), (), [pattern]).landmarks) is there


@pytest.mark.parametrize(
    ("active", "running"), [((0, "active\n", ""), True), ((3, "inactive\n", ""), False)], ids=["runs", "stopped"]
)
def test_display_manager(host: FakeHost, active: tuple[int, str, str], running: bool) -> None:  # noqa: FBT001
    host.symlink("/lib/systemd/system/gdm3.service", "/etc/systemd/system/display-manager.service")
    host.commands["systemctl is-active display-manager.service"] = active
    found = read_host(Reading(host))
    assert (found.display_manager, found.desktop_running) == ("gdm3", running)


@pytest.mark.parametrize(
    ("lock", "comm", "running"),
    [
        (None, None, True),
        ("       812\n", "Xorg", True),
        ("       812\n", "Xwayland", True),
        ("       812\n", "Xvfb", False),
        ("       812\n", None, False),
        ("", None, True),
    ],
    ids=["no-lock", "a-server", "under-wayland", "without-a-screen", "killed", "half-a-lock"],
)
def test_a_socket_of_x_is_a_desktop_while_a_server_with_a_screen_has_it(
    host: FakeHost, lock: str | None, comm: str | None, running: bool  # noqa: FBT001
) -> None:  # fmt: skip
    host.add("/tmp/.X11-unix/X99")
    if lock is not None:
        host.add("/tmp/.X99-lock", lock)
    if comm is not None:
        host.add("/proc/812/comm", f"{comm}\n")
    assert read_host(Reading(host)).desktop_running is running
