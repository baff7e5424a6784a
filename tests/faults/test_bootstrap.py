# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A machine without a Python that is new enough (Debian 12): the locked uv brings one, or it is said how to get one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from pythonbuild import write_source

from gpulab import _bootstrap, _paths
from gpulab._errors import OperatorError

VERSION = ".".join(map(str, sys.version_info[:2]))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Share the uv that the first test installs."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let uv know one Python only: this one, from a file of this machine."""
    listed = write_source(tmp_path / "source")
    monkeypatch.setattr(_bootstrap, "MINIMUM", sys.version_info[:2])
    monkeypatch.setenv("UV_PYTHON_DOWNLOADS_JSON_URL", listed.as_uri())
    monkeypatch.setenv("UV_PYTHON_INSTALL_DIR", str(tmp_path / "pythons"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return listed


def bring(cache: Path) -> str:
    return _bootstrap.python_by_uv({"HOME": "/nonexistent"}, _paths.repository(), cache)


@pytest.mark.whole
@pytest.mark.usefixtures("source")
def test_uv_brings_a_python_that_makes_environments(cache: Path, tmp_path: Path) -> None:
    python = bring(cache)
    assert python.startswith(f"{tmp_path}/pythons/cpython-{VERSION}")
    _bootstrap.make_environment(python, tmp_path / "venv")
    told = subprocess.run([tmp_path / "venv/bin/python", "-m", "pip", "--version"], capture_output=True, text=True)  # noqa: PLW1510
    assert told.stdout.startswith("pip "), told.stderr
    assert str(tmp_path / "venv") in told.stdout
    assert not list((tmp_path / "home").glob("**/bin/python*")), "nothing of it is put on the PATH"


def test_a_python_of_another_hash_is_refused(cache: Path, tmp_path: Path, source: Path) -> None:
    listed = json.loads(source.read_text(encoding="utf-8"))
    for entry in listed.values():
        entry["sha256"] = "0" * 64
    source.write_text(json.dumps(listed), encoding="utf-8")
    with pytest.raises(OperatorError, match="uv could not download one: .*[Hh]ash mismatch") as refused:
        bring(cache)
    assert "UV_PYTHON_INSTALL_MIRROR" in refused.value.action
    assert not list((tmp_path / "pythons").glob("cpython-*"))
