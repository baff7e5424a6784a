# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files of an environment are libraries, and what lies in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.gpulab.workstation.plugins.module_utils._verify_extension_reader import read_extensions
from fakehost import FakeHost
from recorded import data
from verifyhost import PYTHON
from wheelhost import SITE, add_env, fatbin


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    made = FakeHost(tmp_path)
    add_env(made)
    return made


def read(host: FakeHost, **known: dict[str, int]) -> dict[str, dict[str, int] | str]:
    found = read_extensions(host, PYTHON, {f"{SITE}/{name}.so": codes for name, codes in known.items()})
    assert found is not None
    return {x.path: x.error if x.codes is None else dict(x.codes) for x in found}


def test_every_library_at_any_depth(host: FakeHost) -> None:
    host.add(f"{SITE}/a/_C.cpython-311-x86_64-linux-gnu.so", data("fatbin/sm_120.o"))
    host.add(f"{SITE}/a/lib/deep/b.so", data("fatbin/no-device-code.o"))
    host.add(f"{SITE}/c.libs/libc.so", data("fatbin/ptx.o"))
    host.add(f"{SITE}/a/module.py", "print()")
    host.add(f"{SITE}/a-1.dist-info/RECORD", "a.so,,\n")
    host.symlink("b.so", f"{SITE}/a/lib/deep/b-link.so")
    found = read(host)
    assert list(found) == ["a/_C.cpython-311-x86_64-linux-gnu.so", "a/lib/deep/b.so", "c.libs/libc.so"]
    assert list(found.values()) == [{"sm_120": 1}, {}, {"compute_120": 1}]


def test_what_was_read_before_is_not_read_again(host: FakeHost) -> None:
    host.add(f"{SITE}/torch.so", "not looked at")
    assert read(host, torch={"sm_90": 397}) == {"torch.so": {"sm_90": 397}}


def test_a_file_that_is_cut_off_has_an_error(host: FakeHost) -> None:
    host.add(f"{SITE}/a.so", data("fatbin/sm_120.o")[:3000])
    assert "ends at byte" in read(host)["a.so"]


@pytest.mark.parametrize("content", [b"GROUP ( libc.so.6 )", b"", b"\xcf\xfa\xed\xfe", fatbin(120)])
def test_what_is_no_library_of_this_system_carries_nothing(host: FakeHost, content: bytes) -> None:
    host.add(f"{SITE}/a.so", content)
    assert read(host) == {"a.so": {}}


def test_a_python_without_an_environment(host: FakeHost) -> None:
    assert read_extensions(host, "/usr/bin/python3", {}) is None
