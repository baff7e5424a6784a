# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which GPU code a program or library carries, read from the file itself: no driver, no GPU, no cuobjdump.

nvcc puts device code into the ELF sections ``.nv_fatbin`` and (for separate compilation) ``__nv_relfatbin``: one or
more containers, each a header and a row of entries whose headers say kind, architecture and size. Only headers are
read, so a library of a gigabyte costs a few megabytes of reading. NVIDIA does not publish the layout; it was checked
against cuobjdump of CUDA 13.2 on files of nvcc 13.0 for sm_75 to sm_120f and on the libraries of torch 2.9.1.
Code that a program carries in another way (a cubin in its data, NVRTC at run time) is not seen.
"""

from __future__ import annotations

import enum
import struct
import typing as t
from collections import Counter
from dataclasses import dataclass

from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._host import Host

SECTIONS = (".nv_fatbin", "__nv_relfatbin")

_ELF = b"\x7fELF\x02\x01"  # 64 bit, little endian
_EM_CUDA = 190
_NOBITS = 8
_CONTAINER = struct.Struct("<IHHQ")  # magic, version, header size, size of the entries
_CONTAINER_MAGIC = 0xBA55ED50
_ENTRY = struct.Struct("<HHIQIIHHIIIQQQ")  # kind, -, header size, size, compressed, -, -, -, arch, -, -, flags, -, -
_SECTION = struct.Struct("<IIQQQQIIQQ")  # name, type, -, -, offset, size, link, -, -, -
_ALIGNMENT = 8
_COMPRESSED = 0x2000 | 0x8000  # LZ4, zstd
_ARCH_SPECIFIC, _FAMILY_SPECIFIC = 0x100000, 0x200000
_WINDOW = 1 << 16
_XINDEX = 0xFFFF


class CodeKind(str, enum.Enum):
    """What an entry holds."""

    PTX = "ptx"
    MACHINE = "elf"
    LTO = "lto"
    UNKNOWN = "unknown"


_KINDS = {1: CodeKind.PTX, 2: CodeKind.MACHINE, 8: CodeKind.LTO}
_PREFIXES = {CodeKind.PTX: "compute_", CodeKind.MACHINE: "sm_", CodeKind.LTO: "lto_", CodeKind.UNKNOWN: "unknown_"}


@dataclass(frozen=True)
class DeviceCode:
    """One piece of device code; ``arch`` is 120, 120a or 120f, ``size`` the bytes it takes in the file."""

    kind: CodeKind
    arch: str
    size: int
    compressed: bool = False

    @property
    def name(self) -> str:
        """Return nvcc's name for it: sm_120, compute_120, lto_120."""
        return _PREFIXES[self.kind] + self.arch


def read_device_code(host: Host, path: str) -> tuple[DeviceCode, ...]:
    """Return the device code in an ELF file, a cubin or a bare fatbin; empty where there is none."""
    view = _View(host, path)
    head = view.read(0, 64)
    if head[:4] == struct.pack("<I", _CONTAINER_MAGIC):
        return tuple(_containers(view, 0, view.size))
    if head[: len(_ELF)] != _ELF:
        raise _damaged(path, f"starts with {head[:4]!r}", "an ELF file of 64 bit or a fatbin")
    machine, flags = struct.unpack_from("<H", head, 18)[0], struct.unpack_from("<I", head, 48)[0]
    if machine == _EM_CUDA:
        return (DeviceCode(CodeKind.MACHINE, _cubin_arch(head[8], flags), view.size),)
    found: list[DeviceCode] = []
    for offset, size in _sections(view, head):
        found.extend(_containers(view, offset, size))
    return tuple(found)


def summarise(codes: t.Iterable[DeviceCode]) -> dict[str, int]:
    """Return how many pieces of each kind and architecture there are: {"sm_120": 3, "compute_120": 1}."""
    return dict(sorted(Counter(code.name for code in codes).items()))


def not_native(codes: t.Sequence[DeviceCode], arch: str) -> list[str]:
    """Say what keeps a file from being machine code for exactly one architecture (``arch`` as in nvcc's sm_<arch>)."""
    if not codes:
        return ["it carries no device code at all"]
    wrong = summarise(code for code in codes if (code.kind, code.arch) != (CodeKind.MACHINE, arch))
    return [f"it carries {count} x {name}" for name, count in wrong.items()]


class _View:
    """A file read in windows, so that many small headers do not cost a system call each."""

    def __init__(self, host: Host, path: str) -> None:
        status = host.status(host.realpath(path))
        if status is None:
            raise _damaged(path, "is not there", "a readable file")
        self.path = path
        self.size = status.size
        self._host = host
        self._start = 0
        self._data = b""

    def read(self, offset: int, size: int) -> bytes:
        """Return bytes of the file; fewer than asked for only at its end."""
        if not self._start <= offset <= offset + size <= self._start + len(self._data):
            self._data = self._host.read_bytes(self.path, max(size, _WINDOW), offset) or b""
            self._start = offset
        return self._data[offset - self._start : offset - self._start + size]

    def unpack(self, layout: struct.Struct, offset: int) -> tuple[int, ...]:
        """Return the fields of a structure at an offset."""
        data = self.read(offset, layout.size)
        if len(data) < layout.size:
            raise _damaged(self.path, f"ends at byte {offset + len(data)}", "a whole file")
        return layout.unpack(data)


def _sections(view: _View, head: bytes) -> list[tuple[int, int]]:
    """Return offset and size of the sections with device code (elf(5), gABI for the counts in section 0)."""
    table = struct.unpack_from("<Q", head, 40)[0]
    entry_size, count, names_index = struct.unpack_from("<HHH", head, 58)
    if table == 0 or entry_size != _SECTION.size:
        raise _damaged(view.path, "has no table of sections", "one, to find the device code by")
    first = view.unpack(_SECTION, table)
    count = count or first[5]
    names_index = first[6] if names_index == _XINDEX else names_index
    rows = [view.unpack(_SECTION, table + index * _SECTION.size) for index in range(count)]
    names_at, names_size = rows[names_index][4], rows[names_index][5]
    names = view.read(names_at, names_size)
    wanted = []
    for row in rows:
        name = names[row[0] : names.find(b"\0", row[0])].decode("ascii", "replace")
        if name in SECTIONS and row[1] != _NOBITS:
            wanted.append((row[4], row[5]))
    return wanted


def _containers(view: _View, offset: int, size: int) -> t.Iterator[DeviceCode]:
    """Walk containers that lie one behind the other, with zero bytes between them as padding."""
    end = offset + size
    if end > view.size:
        raise _damaged(view.path, f"ends at byte {view.size}", f"{end} bytes")
    while offset < end:
        word = view.read(offset, min(_ALIGNMENT, end - offset))
        if not any(word):
            offset += len(word)
            continue
        magic, _version, header_size, length = view.unpack(_CONTAINER, offset)
        if magic != _CONTAINER_MAGIC or header_size < _CONTAINER.size or offset + header_size + length > end:
            raise _damaged(view.path, f"holds something unknown at byte {offset}", "a container of device code")
        yield from _entries(view, offset + header_size, offset + header_size + length)
        offset += header_size + length


def _entries(view: _View, offset: int, end: int) -> t.Iterator[DeviceCode]:
    while offset < end:
        fields = view.unpack(_ENTRY, offset)
        kind, header_size, size, arch, flags = fields[0], fields[2], fields[3], fields[8], fields[11]
        following = offset + header_size + size
        if header_size < _ENTRY.size or following > end:
            raise _damaged(view.path, f"holds a broken entry at byte {offset}", "entries that fit their container")
        suffix = "a" if flags & _ARCH_SPECIFIC else "f" if flags & _FAMILY_SPECIFIC else ""
        name = str(arch) + suffix if kind in _KINDS else f"{kind}_{arch}{suffix}"
        yield DeviceCode(_KINDS.get(kind, CodeKind.UNKNOWN), name, size, bool(flags & _COMPRESSED))
        offset = following


def _cubin_arch(abi_version: int, flags: int) -> str:
    """Return a cubin's base architecture: bits 8 to 15 of e_flags since ABI 8 (CUDA 13), bits 0 to 7 before."""
    return str((flags >> 8) & 0xFF if abi_version >= 8 else flags & 0xFF)  # noqa: PLR2004 - the ABI of CUDA 13


def _damaged(path: str, found: str, expected: str) -> OperatorError:
    return OperatorError(
        found=f"{path} {found}.",
        expected=f"{expected}.",
        action="if the file came from an installation, repeat that installation; else build it again.",
    )


__all__ = ["SECTIONS", "CodeKind", "DeviceCode", "not_native", "read_device_code", "summarise"]
