# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of a real nvcc, hand-made containers, and damaged ones."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._fatbin import (
    CodeKind,
    DeviceCode,
    not_native,
    read_device_code,
    summarise,
)
from fakehost import FakeHost

FIXTURES = Path(__file__).parents[2] / "fixtures/fatbin"


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    return FakeHost(tmp_path)


def read(host: FakeHost, data: bytes) -> tuple[DeviceCode, ...]:
    host.add("/lib/x.so", data)
    return read_device_code(host, "/lib/x.so")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sm_120.o", {"sm_120": 1}),
        ("sm_120a.o", {"sm_120a": 1}),
        ("sm_120f.o", {"sm_120f": 1}),
        ("sm_90-sm_120-ptx.o", {"compute_120": 1, "sm_120": 1, "sm_90": 1}),
        ("ptx.o", {"compute_120": 1}),
        ("rdc.o", {"sm_120": 1}),
        ("lto.o", {"lto_120": 1}),
        ("compressed.o", {"sm_90": 1}),
        ("sm_120.cubin", {"sm_120": 1}),
        ("sm_90.fatbin", {"sm_90": 1}),
        ("no-device-code.o", {}),
    ],
)
def test_recorded_files(host: FakeHost, name: str, expected: dict[str, int]) -> None:
    assert summarise(read(host, (FIXTURES / name).read_bytes())) == expected


def test_compression_is_seen(host: FakeHost) -> None:
    assert [code.compressed for code in read(host, (FIXTURES / "compressed.o").read_bytes())] == [True]
    assert [code.compressed for code in read(host, (FIXTURES / "sm_120.o").read_bytes())] == [False]


def entry(kind: int, arch: int, payload: bytes = b"\1" * 24, flags: int = 0x11) -> bytes:
    header = struct.pack("<HHIQIIHHIIIQQQ", kind, 0x101, 64, len(payload), 0, 0, 8, 1, arch, 0, 0, flags, 0, 0)
    return header + payload


def container(*entries: bytes) -> bytes:
    return struct.pack("<IHHQ", 0xBA55ED50, 1, 16, sum(map(len, entries))) + b"".join(entries)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(container(), {}, id="empty-container"),
        pytest.param(container(entry(2, 75, flags=0x2011)), {"sm_75": 1}, id="lz4"),
        pytest.param(container(entry(99, 120)), {"unknown_99_120": 1}, id="unknown-kind"),
        pytest.param(
            container(entry(2, 80)) + bytes(48) + container(entry(2, 90), entry(1, 90)),
            {"compute_90": 1, "sm_80": 1, "sm_90": 1},
            id="padding-between-containers",
        ),
        pytest.param(container(*[entry(2, 120, b"\1" * 70_000)] * 5), {"sm_120": 5}, id="longer-than-a-window"),
    ],
)
def test_containers(host: FakeHost, data: bytes, expected: dict[str, int]) -> None:
    assert summarise(read(host, data)) == expected


@pytest.mark.parametrize(
    ("data", "found"),
    [
        pytest.param(b"<!DOCTYPE html>", "starts with b'<!DO'", id="no-elf"),
        pytest.param(b"", "starts with b''", id="empty"),
        pytest.param(b"\x7fELF\x01\x01" + bytes(58), "starts with b'\\x7fELF'", id="32-bit"),
        pytest.param((FIXTURES / "sm_120.o").read_bytes()[:9000], "ends at byte", id="truncated"),
        pytest.param(container(entry(2, 120))[:-8], "something unknown at byte 0", id="container-cut-off"),
        pytest.param(container(entry(2, 120)) + b"\xff" * 16, "something unknown at byte 104", id="garbage-behind"),
        pytest.param(
            container(entry(2, 120)[:8] + struct.pack("<Q", 1 << 40) + entry(2, 120)[16:]),
            "broken entry at byte 16",
            id="entry-too-long",
        ),
    ],
)
def test_a_damaged_file_is_refused(host: FakeHost, data: bytes, found: str) -> None:
    with pytest.raises(OperatorError, match="Found: /lib/x.so") as error:
        read(host, data)
    assert found in error.value.found


def test_a_missing_file_is_refused(host: FakeHost) -> None:
    with pytest.raises(OperatorError, match="is not there"):
        read_device_code(host, "/lib/none.so")


def code(kind: CodeKind, arch: str) -> DeviceCode:
    return DeviceCode(kind, arch, 100)


@pytest.mark.parametrize(
    ("codes", "words"),
    [
        pytest.param([code(CodeKind.MACHINE, "120")], [], id="native"),
        pytest.param([], ["it carries no device code at all"], id="nothing"),
        pytest.param(
            [code(CodeKind.MACHINE, "120"), code(CodeKind.MACHINE, "90")], ["it carries 1 x sm_90"], id="two-archs"
        ),
        pytest.param(
            [code(CodeKind.MACHINE, "120"), code(CodeKind.PTX, "120")], ["it carries 1 x compute_120"], id="ptx"
        ),
        pytest.param([code(CodeKind.LTO, "120")], ["it carries 1 x lto_120"], id="lto"),
        pytest.param([code(CodeKind.MACHINE, "120a")], ["it carries 1 x sm_120a"], id="other-variant"),
        pytest.param([code(CodeKind.UNKNOWN, "9_120")], ["it carries 1 x unknown_9_120"], id="unknown"),
    ],
)
def test_not_native(codes: list[DeviceCode], words: list[str]) -> None:
    assert not_native(codes, "120") == words
