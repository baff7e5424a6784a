# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Machine code in libraries: what is read, what is believed without reading, and what counts as proven."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.gpulab.workstation.plugins.module_utils._native_code import (
    Library,
    find_libraries,
    judge,
    read_libraries,
    sm_name,
)
from ansible_collections.gpulab.workstation.plugins.module_utils._wheel_env import read_distributions
from fakehost import FakeHost
from wheelhost import ENV, SITE, add_env, add_wheel, fatbin

AUDIO = "torchaudio/lib/libtorchaudio.so"


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    made = FakeHost(tmp_path)
    add_env(made)
    add_wheel(
        made, "torchaudio", "2.9.1", {AUDIO: fatbin(90, 120), "torchaudio/__init__.py": "", "torchaudio/x.so": ""}
    )
    return made


def find(host: FakeHost, package: str = "torchaudio") -> tuple[Library, ...]:
    return find_libraries(host, ENV, SITE, read_distributions(host, SITE, {package}), {package})


def read(host: FakeHost) -> list[str]:
    told: list[str] = []
    read_libraries(host, ENV, SITE, find(host), told.append)
    return told


def test_libraries_are_found_where_the_family_keeps_its_kernels(host: FakeHost) -> None:
    assert [(library.path, library.codes) for library in find(host)] == [(AUDIO, None)]


def test_of_other_packages_every_library_is_looked_at(host: FakeHost) -> None:
    add_wheel(host, "plugin", "1.0", {"plugin/a.so": fatbin(120), "plugin.libs/b.so.12": fatbin(90), "plugin/c.py": ""})
    assert [library.path for library in find(host, "plugin")] == ["plugin/a.so", "plugin.libs/b.so.12"]


def test_what_was_read_is_not_read_again(host: FakeHost) -> None:
    assert len(read(host)) == 1
    assert read(host) == []
    assert find(host)[0].codes == {"sm_90": 1, "sm_120": 1}


def test_another_file_is_read_again(host: FakeHost) -> None:
    read(host)
    add_wheel(host, "torchaudio", "2.9.1", {AUDIO: fatbin(80, 90)})
    assert find(host)[0].codes is None
    assert len(read(host)) == 1
    assert find(host)[0].codes == {"sm_80": 1, "sm_90": 1}


@pytest.mark.parametrize("field", ["size", "mtime", "record"])
def test_a_note_on_another_file_is_not_believed(host: FakeHost, field: str) -> None:
    read(host)
    path = f"{ENV}/etc/gpulab/native-code.json"
    text = host.read_text(path) or ""
    host.write_text(path, text.replace(f'"{field}": ', f'"{field}": 1').replace(': 1"', ': "1'))
    assert find(host)[0].codes is None


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"torchaudio/lib/libtorchaudio.so": 1}'])
def test_an_unreadable_note_is_no_note(host: FakeHost, text: str) -> None:
    host.add(f"{ENV}/etc/gpulab/native-code.json", text)
    assert find(host)[0].codes is None


def library(path: str, **codes: int) -> Library:
    return Library("torch", path, 1, 1.0, "sha256=x", codes)


LACKS = "no machine code sm_120 in "
UNREAD = Library("torch", "a.so", 1, 1.0, "sha256=x")


@pytest.mark.parametrize(
    ("libraries", "outcome", "why"),
    [
        pytest.param([library("a.so", sm_90=3, sm_120=3), library("b.so")], "pass", "", id="all with kernels have it"),
        pytest.param([library("a.so", sm_120=3), library("b.so", sm_90=1)], "fail", LACKS + "b.so", id="one lacks it"),
        pytest.param([library("a.so", compute_120=3)], "fail", LACKS + "a.so", id="only PTX"),
        pytest.param([library("a.so", sm_120a=3)], "fail", LACKS + "a.so", id="only the specific variant"),
        pytest.param([library("a.so")], "fail", "none of its libraries carries GPU code", id="no kernels"),
        pytest.param([UNREAD], "not_proven", "its libraries were not read yet", id="not read"),
        pytest.param([], "not_proven", "no library of it was found", id="no library"),
    ],
)
def test_the_verdict(libraries: list[Library], outcome: str, why: str) -> None:
    verdict = judge("torch", libraries, "12.0", in_lock=True)
    assert (verdict.outcome, verdict.why) == (outcome, why)


def test_nothing_is_said_about_a_package_that_the_lock_does_not_have() -> None:
    verdict = judge("torch", [library("a.so", sm_120=1)], "12.0", in_lock=False)
    assert verdict.outcome == "not_proven"
    assert "the lock has no torch" in verdict.why


@pytest.mark.parametrize(
    ("arch", "codes", "outcome"),
    [
        pytest.param("8.9", {"sm_86": 3}, "pass", id="an older minor version runs"),
        pytest.param("8.6", {"sm_89": 3}, "fail", id="a newer one does not"),
        pytest.param("9.0", {"sm_89": 3}, "fail", id="another major version does not"),
        pytest.param("12.1", {"sm_120": 3}, "pass", id="as on GB10"),
    ],
)
def test_binary_compatibility(arch: str, codes: dict[str, int], outcome: str) -> None:
    assert judge("torch", [library("a.so", **codes)], arch, in_lock=True).outcome == outcome


@pytest.mark.parametrize(("arch", "name"), [("12.0", "sm_120"), ("9.0", "sm_90"), ("10.0", "sm_100")])
def test_the_name_of_machine_code(arch: str, name: str) -> None:
    assert sm_name(arch) == name
