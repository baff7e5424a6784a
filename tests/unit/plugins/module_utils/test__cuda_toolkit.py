# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What counts as a toolkit that is right, and what an installer's failure means."""

from __future__ import annotations

import dataclasses
import typing as t
from pathlib import Path

import pytest

from ansible_collections.gpulab.workstation.plugins.module_utils import _cuda_toolkit as toolkits
from ansible_collections.gpulab.workstation.plugins.module_utils._cuda_toolkit import Marker, Toolkit, Wanted
from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError

FIXTURES = Path(__file__).parents[2] / "fixtures/nvcc"

RELEASE = {"version": "12.9.1", "file": "cuda.run", "sha256": "0" * 64, "sources": ["/mnt/cuda.run"], "state": None}
REAL = Wanted.from_release(RELEASE, "present")
BUILD_KNOWN = Wanted.from_release({**RELEASE, "build": "12.9.20250531"}, "present")
STANDIN = Wanted.from_release({**RELEASE, "standin": True, "size": 100}, "present")

WHOLE = Toolkit("12.9", "12.9.1", "12.9.86", "12.9.86")
LAB = Toolkit("12.9", "12.9.1", "13.0.88", "13.0.88", standin_claims="12.9.1", standin_carries="13.0.88")


@pytest.mark.parametrize("name", ["13.0.88-version.txt", "13.0.88-ptxas-version.txt"])
def test_tool_version(name: str) -> None:
    assert toolkits.parse_tool_version((FIXTURES / name).read_text()) == "13.0.88"


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ('{"cuda": {"name": "CUDA SDK", "version": "12.9.1"}}', "12.9.1"),
        ('{"cuda": {"name": "CUDA SDK", "vers', None),
        ('{"cuda": "12.9.1"}', None),
        ("[]", None),
        ("", None),
        (None, None),
    ],
    ids=["whole", "cut-off", "odd", "list", "empty", "absent"],
)
def test_version_json(text: str | None, version: str | None) -> None:
    assert toolkits.parse_version_json(text) == version


@pytest.mark.parametrize(
    ("text", "marker"),
    [
        (None, None),
        ('{"version": "12.9.1", "state": "installed"}', Marker("12.9.1", "installed")),
        ('{"version": "12.9', Marker("", "installing")),
    ],
    ids=["none", "whole", "cut-off"],
)
def test_marker(text: str | None, marker: Marker | None) -> None:
    assert toolkits.parse_marker(text) == marker


@pytest.mark.parametrize(
    ("said", "marker", "release"),
    [
        ("12.9.20250531", Marker("12.9.1", "installed"), "12.9.1"),
        ("12.9.20250531", Marker("12.9.1", "adopted"), "12.9.1"),
        ("12.9.20250531", Marker("12.9.1", "installing"), "12.9.20250531"),
        ("12.9.20250531", Marker("12.8.1", "installed"), "12.9.20250531"),
        ("12.9.20250531", None, "12.9.20250531"),
        ("12.9.1", Marker("12.9.0", "installed"), "12.9.1"),
        (None, Marker("12.9.1", "installed"), None),
    ],
    ids=["ours", "adopted", "at-work", "of-another", "nobodys", "a-package", "nothing"],
)
def test_a_runfile_says_when_it_was_built_and_our_note_which_release_that_is(
    said: str | None, marker: Marker | None, release: str | None
) -> None:
    assert toolkits.release_of(said, marker) == release


def edited(toolkit: Toolkit, **changes: t.Any) -> Toolkit:
    return dataclasses.replace(toolkit, **changes)


def built(build: str) -> Toolkit:
    return edited(WHOLE, version=build, build=build)


@pytest.mark.parametrize(
    ("toolkit", "wanted", "words"),
    [
        pytest.param(WHOLE, REAL, "", id="real"),
        pytest.param(LAB, STANDIN, "", id="standin"),
        pytest.param(None, REAL, "/usr/local/cuda-12.9 is not there", id="absent"),
        pytest.param(edited(WHOLE, version="12.9.0"), REAL, "version.json says 12.9.0", id="other-patch"),
        pytest.param(edited(WHOLE, version=None), REAL, "version.json says nothing", id="no-version"),
        pytest.param(built("12.9.20250531"), REAL, "", id="a-build-of-the-series"),
        pytest.param(built("12.8.20250303"), REAL, "version.json says 12.8.20250303", id="a-build-of-another-series"),
        pytest.param(built("12.9.20250531"), BUILD_KNOWN, "", id="the-known-build"),
        pytest.param(
            built("12.9.20250426"), BUILD_KNOWN, "version.json says 12.9.20250426", id="another-build-than-the-known"
        ),
        pytest.param(
            edited(WHOLE, build="12.9.20250426"),
            BUILD_KNOWN,
            "version.json says 12.9.20250426",
            id="replaced-behind-our-note",
        ),
        pytest.param(edited(WHOLE, nvcc=None), REAL, "nvcc cannot be run", id="nvcc-broken"),
        pytest.param(edited(WHOLE, ptxas=None), REAL, "ptxas cannot be run", id="ptxas-broken"),
        pytest.param(edited(WHOLE, nvcc="12.8.93"), REAL, "nvcc is 12.8.93, not of 12.9", id="nvcc-of-another"),
        pytest.param(edited(WHOLE, missing=("bin/nvlink",)), REAL, "bin/nvlink missing", id="one-file"),
        pytest.param(edited(WHOLE, missing=tuple("abcde")), REAL, "a, b, c and 2 more missing", id="many-files"),
        pytest.param(
            LAB,
            REAL,
            "it is a stand-in of the lab; nvcc is 13.0.88, not of 12.9",
            id="standin-where-the-real-is-wanted",
        ),
        pytest.param(
            WHOLE,
            STANDIN,
            "it is not the lab's stand-in, which the catalogue names; nvcc is 12.9.86, not None",
            id="real-where-the-standin-is-wanted",
        ),
        pytest.param(
            edited(LAB, nvcc="13.0.48"),
            STANDIN,
            "nvcc is 13.0.48, not 13.0.88",
            id="standin-with-other-tools-than-it-says",
        ),
        pytest.param(
            LAB,
            dataclasses.replace(STANDIN, carries="13.1.80"),
            "nvcc is 13.0.88, not 13.1.80",
            id="standin-carries-other-than-the-catalogue-says",
        ),
    ],
)
def test_problems(toolkit: Toolkit | None, wanted: Wanted, words: str) -> None:
    found = "; ".join(toolkits.problems(toolkit, wanted))
    assert found.startswith(words)
    assert bool(found) == bool(words)


@pytest.mark.parametrize(
    ("release", "state", "words"),
    [
        pytest.param({"version": "12.9"}, "present", "version '12.9'", id="two-numbers"),
        pytest.param({}, "present", "version ''", id="no-version"),
        pytest.param({"version": "12.9.1", "state": "gone"}, "present", "state 'gone'", id="no-state"),
        pytest.param({"version": "12.9.1", "file": "x"}, "present", "without sha256, sources", id="no-file"),
    ],
)
def test_a_release_that_makes_no_sense_is_refused(release: dict[str, t.Any], state: str, words: str) -> None:
    with pytest.raises(OperatorError) as error:
        Wanted.from_release(release, state)
    assert words in error.value.found
    assert "cuda_toolkit" in error.value.action


def test_an_absent_release_needs_only_its_version() -> None:
    assert not Wanted.from_release({"version": "12.9.1"}, "absent").present
    assert not Wanted.from_release({"version": "12.9.1", "state": "absent"}, "present").present


def test_space_is_data_with_defaults() -> None:
    assert (REAL.tmp_bytes, REAL.target_bytes) == (8 * 10**9, 10 * 10**9)
    assert (STANDIN.tmp_bytes, STANDIN.target_bytes) == (800, 800)
    told = Wanted.from_release({**RELEASE, "tmp_bytes": 5, "target_bytes": 6}, "present")
    assert (told.tmp_bytes, told.target_bytes) == (5, 6)


@pytest.mark.parametrize(
    ("rc", "output", "words"),
    [
        pytest.param(139, "line 70: 2913 Segmentation fault", "remove /tmp/cuda-installer.log", id="crash"),
        pytest.param(
            127, "error while loading shared libraries: libxml2.so.2: cannot", "package libxml2", id="libxml2"
        ),
        pytest.param(1, " Missing gcc. gcc is required to continue.", "install gcc", id="no-gcc"),
        pytest.param(1, "[ERROR]: unsupported compiler version: 15.1.0.", "plain gcc", id="gcc-too-new"),
        pytest.param(2, "Error in MD5 checksums: a is different from b", "damaged", id="damaged"),
        pytest.param(1, "tar: write error: No space left on device", "free space", id="disk-full"),
        pytest.param(126, "./cuda-installer: Permission denied", "noexec", id="noexec"),
        pytest.param(1, "Unknown option: --samples", "option", id="option"),
        pytest.param(1, "", "/var/log/cuda-installer.log", id="unknown"),
    ],
)
def test_explain_failure(rc: int, output: str, words: str) -> None:
    assert words in toolkits.explain_failure(rc, output)
