# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cache of built stand-ins and how files get from a cache into a depot."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from gpulab.lab import standins_cache


def test_the_key_follows_kind_version_and_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standins_cache, "SOURCES", tmp_path)
    (tmp_path / "a.py").write_text("1")
    key = standins_cache.sources_key("cuda", "1")
    assert key == standins_cache.sources_key("cuda", "1")
    assert key != standins_cache.sources_key("cuda", "2")
    assert key != standins_cache.sources_key("driver", "1")
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__/a.pyc").write_text("x")
    assert key == standins_cache.sources_key("cuda", "1")
    (tmp_path / "a.py").write_text("2")
    assert key != standins_cache.sources_key("cuda", "1")


def test_a_file_is_linked_and_a_changed_one_replaced(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "depot/files/target"
    source.write_text("one")
    standins_cache.link(source, target)
    assert target.samefile(source)
    other = tmp_path / "other"
    other.write_text("two")
    standins_cache.link(other, target)
    assert (target.read_text(), source.read_text()) == ("two", "one")
    assert [path.name for path in target.parent.iterdir()] == ["target"]


def test_on_another_file_system_it_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_source: Path, _target: Path) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(standins_cache.os, "link", refuse)
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_text("one")
    standins_cache.link(source, target)
    assert not target.samefile(source)
    assert target.read_text() == "one"


def test_only_what_is_served_is_linked(tmp_path: Path) -> None:
    for name in ("files/a.run", "conda/c/noarch/p.conda", "standin.json"):
        path = tmp_path / "built" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    standins_cache.link_tree(tmp_path / "built", tmp_path / "depot")
    linked = sorted(
        str(path.relative_to(tmp_path / "depot")) for path in (tmp_path / "depot").rglob("*") if path.is_file()
    )
    assert linked == ["conda/c/noarch/p.conda", "files/a.run"]
