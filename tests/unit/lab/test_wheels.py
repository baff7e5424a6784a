# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Locks, platform tags and the wheel cache; pip itself is the business of the lab's tests."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from gpulab._errors import OperatorError
from gpulab.lab import wheels

A, B, C = "a" * 64, "b" * 64, "c" * 64


def test_parse_lock() -> None:
    some = f"some-thing[extra]==1.0 \\\n    --hash=sha256:{A} \\\n    --hash=sha256:{B}\n"
    text = f"# Python 3.11\n{some}other==2 ; x > 1 --hash=sha256:{C}\n"
    assert wheels.parse_lock(text) == [
        wheels.Pin("some-thing", "1.0", (A, B)),
        wheels.Pin("other", "2", (C,)),
    ]


def test_a_pin_without_a_hash_is_refused() -> None:
    with pytest.raises(OperatorError, match="some-thing==1.0 without a sha256"):
        wheels.parse_lock("some-thing==1.0\n")


def test_platform_tags_end_with_the_oldest_hosts_glibc() -> None:
    tags = wheels.platform_tags()
    assert tags[0] == "manylinux_2_36_x86_64"
    assert {"manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64"} <= set(tags)
    assert "manylinux_2_39_x86_64" not in tags


def test_what_is_cached_is_linked_without_pip(tmp_path: Path) -> None:
    cache, depot = tmp_path / "cache", tmp_path / "depot"
    cache.mkdir()
    wheel = cache / "thing-1-py3-none-any.whl"
    wheel.write_bytes(b"wheel")
    digest = hashlib.sha256(b"wheel").hexdigest()
    (cache / "thing-1-py3-none-any.whl.sha256").write_text(digest + "\n")
    (tmp_path / "lock.txt").write_text(f"thing==1 --hash=sha256:{digest}\n")
    said: list[str] = []
    assert wheels.ensure(tmp_path / "lock.txt", cache, depot, said.append) == [wheel]
    assert said == []
    assert (depot / wheel.name).samefile(wheel)
    assert (depot / f"{wheel.name}.sha256").read_text().strip() == digest


def test_a_wheel_without_its_note_is_not_in_the_cache(tmp_path: Path) -> None:
    (tmp_path / "thing-1-py3-none-any.whl").write_bytes(b"half a whe")
    assert wheels.cached(tmp_path) == {}
