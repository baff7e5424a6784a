# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tiny ELF shared libraries, written byte by byte, so that a stand-in needs no compiler and is the same every time.

A library has a SONAME (ldconfig makes its link from it) and functions that do nothing but return a number.
Layout by the System V ABI, "Object Files" and "Dynamic Linking"; machine codes EM_386 and EM_X86_64.
"""

from __future__ import annotations

import struct
import typing as t
from dataclasses import dataclass

_PAGE = 0x1000
_PT_LOAD, _PT_DYNAMIC, _PT_GNU_STACK = 1, 2, 0x6474E551
_R, _W, _X = 4, 2, 1
_DT_HASH, _DT_STRTAB, _DT_SYMTAB, _DT_STRSZ, _DT_SYMENT, _DT_SONAME = 4, 5, 6, 10, 11, 14
_GLOBAL_FUNCTION = 0x12
_MACHINES = {32: 3, 64: 62}


@dataclass(frozen=True)
class _Format:
    """The sizes and orders in which 32-bit and 64-bit files differ."""

    bits: int

    @property
    def word(self) -> str:
        return "Q" if self.bits == 64 else "I"  # noqa: PLR2004

    @property
    def header_size(self) -> int:
        return 64 if self.bits == 64 else 52  # noqa: PLR2004

    @property
    def program_header_size(self) -> int:
        return 56 if self.bits == 64 else 32  # noqa: PLR2004

    def header(self, program_headers: int) -> bytes:
        ident = b"\x7fELF" + bytes([2 if self.bits == 64 else 1, 1, 1]) + bytes(9)  # noqa: PLR2004
        rest = struct.pack(
            f"<HHI{self.word * 3}IHHHHHH",
            *(3, _MACHINES[self.bits], 1, 0, self.header_size, 0, 0),
            *(self.header_size, self.program_header_size, program_headers, 0, 0, 0),
        )
        return ident + rest

    def program_header(self, kind: int, flags: int, offset: int, size: int, align: int) -> bytes:
        if self.bits == 64:  # noqa: PLR2004
            return struct.pack("<IIQQQQQQ", kind, flags, offset, offset, offset, size, size, align)
        return struct.pack("<IIIIIIII", kind, offset, offset, offset, size, size, flags, align)

    def symbol(self, name: int, value: int, size: int) -> bytes:
        kind, section = (_GLOBAL_FUNCTION, 1) if name else (0, 0)
        if self.bits == 64:  # noqa: PLR2004
            return struct.pack("<IBBHQQ", name, kind, 0, section, value, size)
        return struct.pack("<IIIBBH", name, value, size, kind, 0, section)

    def dynamic(self, entries: t.Sequence[tuple[int, int]]) -> bytes:
        return b"".join(struct.pack(f"<{self.word * 2}", *entry) for entry in (*entries, (0, 0)))


def _padded(data: bytes, alignment: int = 16) -> bytes:
    return data + bytes(-len(data) % alignment)


def shared_library(soname: str, functions: t.Mapping[str, int], notice: str, *, bits: int = 64, size: int = 0) -> bytes:
    """Return a shared library of at least ``size`` bytes whose functions return the given numbers."""
    form = _Format(bits)
    names = b"\0" + soname.encode() + b"\0" + b"".join(name.encode() + b"\0" for name in functions)
    strings = _padded(names)
    text = b"".join(_padded(b"\xb8" + struct.pack("<i", number) + b"\xc3") for number in functions.values())
    count = len(functions) + 1
    # One bucket, and a chain through all symbols: number of buckets, of symbols, first symbol, then each successor.
    chain = [0, *range(2, count), 0][: count + 1] if functions else [0]
    table = _padded(struct.pack(f"<{3 + count}I", 1, count, 1 if functions else 0, *(chain + [0] * count)[:count]))
    start = len(_padded(bytes(form.header_size + 4 * form.program_header_size)))
    hash_at = start
    strings_at = hash_at + len(table)
    symbols_at = strings_at + len(strings)
    symbols = [form.symbol(0, 0, 0)]
    text_at = symbols_at + len(_padded(symbols[0] * count))
    position = 1 + len(soname) + 1
    for number, name in enumerate(functions):
        symbols.append(form.symbol(position, text_at + 16 * number, 6))
        position += len(name) + 1
    body = table + strings + _padded(b"".join(symbols)) + text + notice.encode() + b"\0"
    dynamic_at = -(-(start + len(body)) // _PAGE) * _PAGE
    dynamic = form.dynamic(
        [
            *((_DT_SONAME, 1), (_DT_HASH, hash_at), (_DT_STRTAB, strings_at), (_DT_SYMTAB, symbols_at)),
            *((_DT_STRSZ, len(names)), (_DT_SYMENT, len(symbols[0]))),
        ]
    )
    headers = [
        form.program_header(_PT_LOAD, _R | _X, 0, start + len(body), _PAGE),
        form.program_header(_PT_LOAD, _R | _W, dynamic_at, len(dynamic), _PAGE),
        form.program_header(_PT_DYNAMIC, _R | _W, dynamic_at, len(dynamic), 8),
        form.program_header(_PT_GNU_STACK, _R | _W, 0, 0, 16),
    ]
    image = _padded(form.header(len(headers)) + b"".join(headers)) + body
    image = image.ljust(dynamic_at, b"\0") + dynamic
    return image.ljust(size, b"\0")
