# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures: every filter of PNG, and what is not taken for a picture."""

from __future__ import annotations

import struct
import zlib

import pytest

from ansible_collections.gpulab.workstation.plugins.module_utils._png import Picture, read_png

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(rows: list[bytes], width: int, *, colour: int = 2, depth: int = 8, interlace: int = 0) -> bytes:
    header = struct.pack(">IIBBBBB", width, len(rows), depth, colour, 0, 0, interlace)
    data = zlib.compress(b"".join(rows))
    half = len(data) // 2
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", data[:half]), chunk(b"IDAT", data[half:]), chunk(b"IEND", b"")]
    return SIGNATURE + b"".join(parts)


# The same two pixels, 10 20 30 and 13 22 35, written under every filter after a row of 10 20 30, 10 20 30.
FIRST = bytes([0, 10, 20, 30, 10, 20, 30])


@pytest.mark.parametrize(
    "row",
    [
        pytest.param([0, 10, 20, 30, 13, 22, 35], id="none"),
        pytest.param([1, 10, 20, 30, 3, 2, 5], id="left"),
        pytest.param([2, 0, 0, 0, 3, 2, 5], id="above"),
        pytest.param([3, 5, 10, 15, 3, 2, 5], id="average"),
        pytest.param([4, 0, 0, 0, 3, 2, 5], id="paeth"),
    ],
)
def test_every_filter_is_undone(row: list[int]) -> None:
    assert read_png(png([FIRST, bytes(row)], 2)) == Picture(2, 2, 10, 35)


def test_differences_wrap_around() -> None:
    assert read_png(png([bytes([1, 250, 10])], 2, colour=0)) == Picture(2, 1, 4, 250)


def test_one_shade() -> None:
    picture = read_png(png([bytes([0, *[7] * 6])] * 3, 2))
    assert picture.darkest == picture.brightest == 7


GOOD = png([FIRST], 2)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        pytest.param(b"", "not a PNG", id="empty"),
        pytest.param(b"<html>", "not a PNG", id="a page"),
        pytest.param(GOOD[:-20], "damaged", id="cut off"),
        pytest.param(GOOD[:20] + b"\xff" + GOOD[21:], "cut off or damaged", id="a flipped byte"),
        pytest.param(SIGNATURE, "not a plain PNG", id="no header"),
        pytest.param(png([FIRST], 2, depth=16), "not a plain PNG", id="16 bits"),
        pytest.param(png([FIRST], 2, colour=3), "not a plain PNG", id="a palette"),
        pytest.param(png([FIRST], 2, interlace=1), "not a plain PNG", id="interlaced"),
        pytest.param(png([FIRST], 3), "does not have the size", id="another size"),
    ],
)
def test_anything_else_is_not_a_picture(data: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_png(data)
