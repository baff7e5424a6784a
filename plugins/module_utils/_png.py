# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PNG pictures, read far enough to say whether something was painted (W3C: Portable Network Graphics, 5 and 9)."""

from __future__ import annotations

import struct
import typing as t
import zlib
from dataclasses import dataclass

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER = struct.Struct(">IIBBBBB")  # width, height, depth, colour type, compression, filter, interlace
_CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}  # by colour type: grey, RGB, both with alpha
_SUB, _UP, _AVERAGE, _PAETH = 1, 2, 3, 4


@dataclass(frozen=True)
class Picture:
    """Size of a picture, and the lowest and highest value in it: the same where nothing but one shade was painted."""

    width: int
    height: int
    darkest: int
    brightest: int


def read_png(data: bytes) -> Picture:
    """Read a picture of 8 bits per channel without interlacing, as pillow writes it; ValueError for anything else."""
    if not data.startswith(_SIGNATURE):
        raise ValueError("it is not a PNG file")
    body = b""
    header: tuple[int, ...] = ()
    for name, content in _chunks(data):
        if name == b"IHDR":
            header = _HEADER.unpack(content)
        elif name == b"IDAT":
            body += content
    if not header or header[2] != 8 or header[3] not in _CHANNELS or header[6]:  # noqa: PLR2004 - bits per channel
        raise ValueError("it is not a plain PNG of 8 bits per channel")
    try:
        raw = zlib.decompress(body)
    except zlib.error as error:
        raise ValueError(f"its data is damaged ({error})") from error
    width, height, channels = header[0], header[1], _CHANNELS[header[3]]
    values = set().union(*_rows(raw, width * channels, height, channels))
    return Picture(width, height, min(values), max(values))


def _chunks(data: bytes) -> t.Iterator[tuple[bytes, bytes]]:
    offset = len(_SIGNATURE)
    while offset + 12 <= len(data):
        length, name = struct.unpack_from(">I4s", data, offset)
        content = data[offset + 8 : offset + 8 + length]
        checksum = data[offset + 8 + length : offset + 12 + length]
        if len(checksum) < 4 or zlib.crc32(name + content) != int.from_bytes(checksum, "big"):  # noqa: PLR2004
            raise ValueError("it is cut off or damaged")
        yield name, content
        offset += 12 + length


def _rows(raw: bytes, length: int, height: int, channels: int) -> t.Iterator[bytearray]:
    """Undo the filter of every row, which stores differences to the pixels on the left and above."""
    if len(raw) != (length + 1) * height or not height:
        raise ValueError("its data does not have the size that its header says")
    above = bytearray(length)
    for start in range(0, len(raw), length + 1):
        kind = raw[start]
        row = bytearray(raw[start + 1 : start + 1 + length])
        for i in range(length if kind else 0):
            left = row[i - channels] if i >= channels else 0
            corner = above[i - channels] if i >= channels else 0
            row[i] = (row[i] + _prediction(kind, left, above[i], corner)) & 0xFF
        yield row
        above = row


def _prediction(kind: int, left: int, up: int, corner: int) -> int:
    if kind == _PAETH:
        estimate = left + up - corner
        nearest = min((abs(estimate - value), order) for order, value in enumerate((left, up, corner)))[1]
        return (left, up, corner)[nearest]
    return {_SUB: left, _UP: up, _AVERAGE: (left + up) // 2}[kind]


__all__ = ["Picture", "read_png"]
