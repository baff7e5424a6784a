# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""scripts/setup finds a Python with a made-up PATH and pyenv, or says how to get one."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gpulab import _bootstrap
from gpulab._errors import OperatorError

ROOT = Path(__file__).resolve().parents[3]


def fake_python(path: Path, version: str, *, ensurepip: bool = True, works: bool = True) -> Path:
    """Write a program that answers the probe as an interpreter of that version does."""
    major, minor = version.split(".")[:2]
    answer = json.dumps([[int(major), int(minor)], ensurepip, str(path)])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{answer}'\n" if works else "#!/bin/sh\necho not selected >&2\nexit 127\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "bin").mkdir()
    return tmp_path


def environ(place: Path, **more: str) -> dict[str, str]:
    return {"PATH": str(place / "bin"), "HOME": str(place / "home"), **more}


def test_on_the_path(place: Path) -> None:
    fake_python(place / "bin/python3", "3.11")
    wanted = fake_python(place / "bin/python3.12", "3.12")
    found = _bootstrap.find_python(environ(place))
    assert found
    assert found.path == str(wanted)


def test_python3_itself_is_taken_when_it_is_new_enough(place: Path) -> None:
    wanted = fake_python(place / "bin/python3", "3.13")
    fake_python(place / "bin/python3.14", "3.14")
    found = _bootstrap.find_python(environ(place))
    assert found
    assert found.path == str(wanted)


@pytest.mark.parametrize("variable", [True, False], ids=["PYENV_ROOT", "home"])
def test_among_pyenv_s_versions(place: Path, variable: bool) -> None:  # noqa: FBT001
    pyenv = place / ("elsewhere" if variable else "home/.pyenv")
    fake_python(place / "bin/python3", "3.11")
    fake_python(pyenv / "versions/3.9.18/bin/python3", "3.9")
    wanted = fake_python(pyenv / "versions/3.12.1/bin/python3", "3.12")
    found = _bootstrap.find_python(environ(place, **({"PYENV_ROOT": str(pyenv)} if variable else {})))
    assert found
    assert found.path == str(wanted)


def test_a_shim_that_does_not_run_is_passed_over(place: Path) -> None:
    fake_python(place / "bin/python3.12", "3.12", works=False)
    assert _bootstrap.find_python(environ(place)) is None


def test_one_that_can_make_an_environment_at_once_is_rather_taken(place: Path) -> None:
    fake_python(place / "bin/python3", "3.12", ensurepip=False)
    wanted = fake_python(place / "bin/python3.13", "3.13")
    found = _bootstrap.find_python(environ(place))
    assert found
    assert found.path == str(wanted)


def test_without_ensurepip_it_is_still_found(place: Path) -> None:
    fake_python(place / "bin/python3", "3.12", ensurepip=False)
    found = _bootstrap.find_python(environ(place))
    assert found
    assert not found.ensurepip


def test_too_old_ones_are_none(place: Path) -> None:
    fake_python(place / "bin/python3", "3.11")
    assert _bootstrap.find_python(environ(place)) is None


def test_where_uv_cannot_bring_one_the_ways_to_get_one_are_named(place: Path) -> None:
    uv = place / "bin/uv"
    uv.write_text("#!/bin/sh\necho 'error: Failed to download python' >&2\nexit 2\n")
    uv.chmod(0o755)
    with pytest.raises(OperatorError, match="pyenv install 3.12") as refused:
        _bootstrap.python_by_uv(environ(place), ROOT, place / "cache")
    assert "Failed to download python" in refused.value.found


def test_a_long_complaint_is_told_by_its_first_and_last_line() -> None:
    assert _bootstrap.brief("error: no\n  cause: a\n  cause: b\n") == "error: no ... cause: b"
    assert _bootstrap.brief("error: no\n") == "error: no"
    assert (
        _bootstrap.brief("Downloading x\nerror: no\n  cause: hash\n\nExpected:\n 1\n")
        == "error: no ... cause: hash Expected: 1"
    )
    assert _bootstrap.brief("") == "(it said nothing)"


def test_a_uv_of_an_earlier_run_is_used_again(place: Path) -> None:
    assert _bootstrap.find_uv(environ(place), place / "cache") is None
    fake_python(place / "cache/uv/bin/uv", "0.0")
    assert _bootstrap.find_uv(environ(place), place / "cache") == str(place / "cache/uv/bin/uv")


def test_a_uv_that_brings_one(place: Path) -> None:
    uv = place / "bin/uv"
    uv.write_text('#!/bin/sh\nif [ "$2" = find ]; then echo /managed/python3.12; fi\n')
    uv.chmod(0o755)
    assert _bootstrap.python_by_uv(environ(place), ROOT, place / "cache") == "/managed/python3.12"


@pytest.mark.parametrize(
    ("version", "stamp", "usable"),
    [
        pytest.param("3.12", None, True, id="without-a-stamp-it-is-adopted"),
        pytest.param("3.12", "here", True, id="made-here"),
        pytest.param("3.12", "/moved/from", False, id="the-checkout-was-moved"),
        pytest.param("3.11", "here", False, id="too-old"),
    ],
)
def test_whether_an_environment_can_be_kept(place: Path, version: str, stamp: str | None, usable: bool) -> None:  # noqa: FBT001
    fake_python(place / ".venv/bin/python", version)
    if stamp:
        root = str(place) if stamp == "here" else stamp
        (place / ".venv" / _bootstrap.STAMP).write_text(json.dumps({"root": root}))
    assert _bootstrap.is_usable(place / ".venv", place) is usable


def test_no_environment_yet(place: Path) -> None:
    assert not _bootstrap.is_usable(place / ".venv", place)


def script(place: Path) -> subprocess.CompletedProcess[str]:
    """Run a copy of scripts/setup, whose PATH holds only what the test put there and the shell's own tools."""
    for tool in ("dirname", "readlink", "bash"):
        (place / "bin" / tool).symlink_to(shutil.which(tool) or tool)
    copy = place / "checkout/scripts/setup"
    copy.parent.mkdir(parents=True)
    copy.write_bytes((ROOT / "scripts/setup").read_bytes())
    copy.chmod(0o755)
    (place / "checkout/src").mkdir()
    return subprocess.run([copy, "--dev"], check=False, capture_output=True, text=True, env=environ(place))


def test_the_script_takes_any_python_for_the_bootstrap(place: Path) -> None:
    python = place / "bin/python3"
    python.write_text('#!/bin/sh\nif [ "$1" = -c ]; then exit 0; fi\necho "$PYTHONPATH: $*"\n')
    python.chmod(0o755)
    ran = script(place)
    assert (ran.returncode, ran.stdout) == (0, "src: -m gpulab._bootstrap --dev\n")


def test_the_script_without_any_python(place: Path) -> None:
    ran = script(place)
    assert ran.returncode == 2
    assert ran.stderr.startswith("Found: no python3")
    assert "To do: install python3" in ran.stderr


def test_the_bootstrap_s_probe_tells_the_truth_of_this_python() -> None:
    found = _bootstrap.probe(sys.executable)
    assert found
    assert found.version == sys.version_info[:2]
