# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""QEMU's arguments: one address of the depot for every host, files in the machine's directory, flash for UEFI only."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpulab.lab.vms import qemu

NETWORK = qemu.Network("10.88.0.1")


def command(firmware: qemu.Firmware | None = None) -> list[str]:
    return qemu.command(("qemu", *qemu.TCG), NETWORK, 2222, memory_mib=1024, firmware=firmware, seeds=("hostname",))


@pytest.mark.parametrize(
    ("host", "nameserver", "first"),
    [
        pytest.param("10.88.0.1", "10.88.0.3", "10.88.0.15", id="first-address"),
        pytest.param("10.89.4.3", "10.89.4.4", "10.89.4.15", id="the-nameservers-address"),
        pytest.param("192.168.7.15", "192.168.7.3", "192.168.7.16", id="the-guests-address"),
    ],
)
def test_the_guest_finds_the_depot_where_containers_do(host: str, nameserver: str, first: str) -> None:
    network = qemu.Network(host)
    assert network.nameserver == nameserver
    user = network.arguments(2222)[1].split(",")
    assert {f"host={host}", f"dns={nameserver}", f"dhcpstart={first}"} <= set(user)
    assert user[-1] == "hostfwd=tcp:127.0.0.1:2222-:22"


def test_files_lie_in_the_machines_directory() -> None:
    line = " ".join(command())
    assert "file=disk.qcow2," in line
    assert "name=opt/gpulab/hostname,file=seed/hostname" in line
    assert "logfile=console.log" in line
    assert "pflash" not in line


def test_secure_boot_has_flash_that_only_the_firmware_writes() -> None:
    words = command(qemu.Firmware(Path("/firmware/code.fd"), "nvram.fd"))
    assert "q35,smm=on" in words
    assert "driver=cfi.pflash01,property=secure,value=on" in words
    assert [word for word in words if "pflash,format" in word] == [
        "if=pflash,format=raw,unit=0,readonly=on,file=/firmware/code.fd",
        "if=pflash,format=raw,unit=1,file=nvram.fd",
    ]


def test_under_firmware_fewer_translations_are_kept() -> None:
    assert "tcg,thread=multi,tb-size=512" in command()
    assert "tcg,thread=multi,tb-size=128" in command(qemu.Firmware(Path("/firmware/code.fd"), "nvram.fd"))


@pytest.mark.parametrize(("here", "each"), [(None, 1), (1, 1), (2, 1), (3, 1), (4, 2), (64, 2)])
def test_two_machines_have_no_more_processors_than_this_one(
    monkeypatch: pytest.MonkeyPatch, here: int | None, each: int
) -> None:
    monkeypatch.setattr(qemu.os, "cpu_count", lambda: here)
    words = command()
    assert words[words.index("-smp") + 1] == str(each)


BOOTS = "echo 'Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)'"


@pytest.mark.parametrize(
    ("kvm", "starts"), [(BOOTS, True), ("echo 'SeaBIOS'", False), ("sleep 60", False)], ids=["boots", "ends", "hangs"]
)
def test_kvm_is_used_where_a_kernel_starts_with_it_and_asked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kvm: str, *, starts: bool
) -> None:
    """QEMU is a few lines of shell here."""
    program = tmp_path / qemu.PROGRAM
    told = '[ "$1" != --version ] || exec echo QEMU emulator version 10.0.2'
    program.write_text(f"#!/bin/sh\n{told}\necho started >> {tmp_path}/log\n{kvm}\n")
    program.chmod(0o755)
    (tmp_path / "kvm").touch()
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(qemu, "DEVICE", tmp_path / "kvm")
    monkeypatch.setattr(qemu, "PROBE_SECONDS", 1)
    said: list[str] = []
    wanted = (qemu.PROGRAM, *(qemu.KVM if starts else qemu.TCG))
    assert qemu.accelerated(tmp_path / "vmlinuz", tmp_path / "cache", said.append) == wanted
    assert qemu.accelerated(tmp_path / "vmlinuz", tmp_path / "cache", said.append) == wanted
    assert len(said) == 1
    assert (tmp_path / "log").read_text() == "started\n"


def test_without_the_device_nothing_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / qemu.PROGRAM
    told = '[ "$1" != --version ] || exec echo QEMU emulator version 11.1.0'
    program.write_text(f"#!/bin/sh\n{told}\necho started >> {tmp_path}/log\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(qemu, "DEVICE", tmp_path / "kvm")
    assert qemu.accelerated(tmp_path / "vmlinuz", tmp_path, print) == (qemu.PROGRAM, *qemu.TCG)
    assert not (tmp_path / "log").exists()
