# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What lies in an environment, compared with a lock: every way in which a wheel can be other than the lock's."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.gpulab.workstation.plugins.module_utils._pip_lock import LockedWheel, parse_lock
from ansible_collections.gpulab.workstation.plugins.module_utils._wheel_env import (
    Cure,
    Finding,
    compare,
    find_site_packages,
    note_provenance,
    owned_by_conda,
    parse_record,
    read_distributions,
    read_provenance,
)
from fakehost import FakeHost
from wheelhost import ENV, SITE, Files, add_env, add_wheel, lock_line

FILES: Files = {
    "tool/__init__.py": "# tool\n",
    "tool/core.so": b"\x7fELF" * 9,
    "../../../bin/tool": "#!/opt/env/bin/python\n",
}
LOCK = parse_lock(lock_line("tool", "1.0"), "lock")


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    made = FakeHost(tmp_path)
    add_env(made)
    return made


def installed_from_lock(host: FakeHost, lock: tuple[LockedWheel, ...] = LOCK) -> None:
    names = {wheel.name for wheel in lock}
    note_provenance(host, ENV, lock, read_distributions(host, SITE, names))


def findings(
    host: FakeHost, lock: tuple[LockedWheel, ...] = LOCK, builds: t.Mapping[str, str] | None = None
) -> tuple[Finding, ...]:
    distributions = read_distributions(host, SITE, {wheel.name for wheel in lock})
    return compare(lock, distributions, read_provenance(host, ENV), builds or {})


def only(host: FakeHost, lock: tuple[LockedWheel, ...] = LOCK, **builds: str) -> tuple[Cure, str]:
    (finding,) = findings(host, lock, builds)
    return finding.cure, finding.reason


@pytest.mark.parametrize("installer", ["uv", "pip"])
def test_what_the_lock_says_needs_nothing(host: FakeHost, installer: str) -> None:
    add_wheel(host, "tool", "1.0", FILES, installer=installer)
    add_wheel(host, "somebodys-plugin", "7.0")
    installed_from_lock(host)
    assert findings(host) == ()


def test_nothing_is_started_to_find_out(host: FakeHost) -> None:
    add_wheel(host, "tool", "1.0", FILES)
    findings(host)
    assert host.ran == []


def test_a_missing_wheel(host: FakeHost) -> None:
    assert only(host) == (Cure.INSTALL, "is not installed")


def test_another_version(host: FakeHost) -> None:
    add_wheel(host, "tool", "0.9", FILES)
    assert only(host) == (Cure.INSTALL, "is 0.9, the lock has 1.0")


def test_two_records_of_one_package(host: FakeHost) -> None:
    add_wheel(host, "tool", "1.0", FILES)
    add_wheel(host, "tool", "0.9", FILES)
    assert only(host) == (Cure.REPEAT, "is recorded twice, as 0.9 and 1.0")


def test_the_name_may_be_spelt_otherwise(host: FakeHost) -> None:
    lock = parse_lock(lock_line("typing-extensions", "4.0"), "lock")
    add_wheel(host, "Typing_Extensions", "4.0", {"typing_extensions.py": "# x\n"})
    installed_from_lock(host, lock)
    assert findings(host, lock) == ()


def test_files_that_a_killed_installation_did_not_bring(host: FakeHost) -> None:
    add_wheel(host, "tool", "1.0", FILES)
    installed_from_lock(host)
    host.remove(f"{SITE}/tool/core.so")
    host.remove(f"{ENV}/bin/tool")
    assert only(host) == (Cure.REPEAT, "lacks files: tool/core.so, ../../../bin/tool")


def test_a_record_that_a_killed_installation_did_not_write(host: FakeHost) -> None:
    add_wheel(host, "tool", "1.0", FILES)
    host.remove(f"{SITE}/tool-1.0.dist-info/RECORD")
    assert only(host) == (Cure.REPEAT, "lacks files: tool-1.0.dist-info/RECORD")


def test_a_file_that_was_edited_is_the_same_file_in_the_cache(host: FakeHost) -> None:
    add_wheel(host, "tool", "1.0", FILES)
    installed_from_lock(host)
    host.append_text(f"{SITE}/tool/__init__.py", "import evil\n")
    assert only(host) == (Cure.DISTRUST, "has altered files: tool/__init__.py")


def test_a_wheel_that_nobody_installed_from_a_lock(host: FakeHost) -> None:
    add_wheel(host, "tool", "1.0", FILES)
    assert only(host) == (Cure.REPEAT, "was not installed from a lock")


def test_another_build_of_the_same_version(host: FakeHost) -> None:
    add_wheel(host, "tool", "1.0", FILES)
    installed_from_lock(host)
    add_wheel(host, "tool", "1.0", {**FILES, "tool/core.so": b"\x7fELF" * 8 + b"ABCD"}, installer="pip")
    assert only(host) == (Cure.REPEAT, "was replaced by another build of the same version")


def test_the_same_wheel_from_another_installer_is_the_same(host: FakeHost) -> None:
    add_wheel(host, "tool", "1.0", FILES)
    installed_from_lock(host)
    script = {"../../../bin/tool": "#!/elsewhere/python3.11 with another first line\n"}
    notes = {"tool-1.0.dist-info/REQUESTED": "", "tool-1.0.dist-info/direct_url.json": "{}"}
    add_wheel(host, "tool", "1.0", {**FILES, **script, **notes}, installer="pip")
    assert findings(host) == ()


def test_a_lock_with_another_file_for_the_same_version(host: FakeHost) -> None:
    add_wheel(host, "tool", "1.0", FILES)
    installed_from_lock(host)
    lock = parse_lock(lock_line("tool", "1.0", "b"), "lock")
    assert only(host, lock) == (Cure.REPEAT, "was installed from another file than the lock has")


def test_a_lock_with_one_hash_more_is_still_the_same_wheel(host: FakeHost) -> None:
    add_wheel(host, "tool", "1.0", FILES)
    installed_from_lock(host)
    lock = parse_lock(f"tool==1.0 --hash=sha256:{'b' * 64} --hash=sha256:{'a' * 64}", "lock")
    assert findings(host, lock) == ()


VERSION_PY = "from typing import Optional\n__version__ = '{}'\ndebug = False\ncuda: Optional[str] = {}\n"


@pytest.mark.parametrize(
    ("stated", "cuda", "reason"),
    [
        pytest.param("2.9.1+cu128", "'12.8'", "", id="as PyPI has it: the number without, the file with cu128"),
        pytest.param("2.9.1", "'12.8'", "", id="only cuda says it"),
        pytest.param("2.9.1+cu126", "'12.6'", "is the build cu126, not cu128", id="for another CUDA"),
        pytest.param("2.9.1+cpu", "None", "is the build cpu, not cu128", id="for the CPU"),
        pytest.param("2.9.1", "None", "is the build without CUDA, not cu128", id="says nothing"),
    ],
)
def test_the_number_of_a_torch_release_does_not_say_its_cuda(
    host: FakeHost, stated: str, cuda: str, reason: str
) -> None:
    lock = parse_lock(lock_line("torch", "2.9.1"), "lock")
    add_wheel(host, "torch", "2.9.1", {"torch/version.py": VERSION_PY.format(stated, cuda)})
    installed_from_lock(host, lock)
    found = findings(host, lock, {"torch": "cu128"})
    assert [(f.cure, f.reason) for f in found] == ([(Cure.REPEAT, reason)] if reason else [])


@pytest.mark.parametrize("recorded", ["2.9.1", "2.9.1+cu128"])
@pytest.mark.parametrize("locked", ["2.9.1", "2.9.1+cu128"])
def test_a_local_version_is_the_same_thing(host: FakeHost, recorded: str, locked: str) -> None:
    lock = parse_lock(lock_line("torch", locked), "lock")
    add_wheel(host, "torch", recorded, {"torch/version.py": VERSION_PY.format("2.9.1+cu128", "'12.8'")})
    installed_from_lock(host, lock)
    assert findings(host, lock, {"torch": "cu128"}) == ()


def test_a_file_that_two_wheels_bring_is_whole_in_either_size(host: FakeHost) -> None:
    lock = parse_lock(lock_line("nvidia-one", "1.0") + lock_line("nvidia-two", "1.0"), "lock")
    add_wheel(host, "nvidia-one", "1.0", {"nvidia/__init__.py": ""})
    add_wheel(host, "nvidia-two", "1.0", {"nvidia/__init__.py": "# two\n"})
    installed_from_lock(host, lock)
    assert findings(host, lock) == ()


def test_what_conda_brought_in_the_locks_version_stays(host: FakeHost) -> None:
    add_wheel(host, "tool", "1.0", FILES, installer="conda")
    assert findings(host) == ()
    assert owned_by_conda(LOCK[0], read_distributions(host, SITE, {"tool"})) is None


def test_what_conda_brought_in_another_version_is_named(host: FakeHost) -> None:
    add_wheel(host, "tool", "0.9", FILES, installer="conda\n")
    found = owned_by_conda(LOCK[0], read_distributions(host, SITE, {"tool"}))
    assert found is not None
    assert found.version == "0.9"


def test_notes_on_other_wheels_stay(host: FakeHost) -> None:
    other = parse_lock(lock_line("other", "2.0"), "lock")
    add_wheel(host, "tool", "1.0", FILES)
    add_wheel(host, "other", "2.0")
    installed_from_lock(host)
    installed_from_lock(host, other)
    assert findings(host, (*LOCK, *other)) == ()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"tool": 1}', '{"tool": {"version": "1.0"}}'])
def test_an_unreadable_note_is_no_note(host: FakeHost, text: str) -> None:
    host.add(f"{ENV}/etc/gpulab/wheels.json", text)
    assert read_provenance(host, ENV) == {}


def test_conda_forges_link_beside_the_library_is_not_taken(host: FakeHost) -> None:
    host.symlink("python3.11", f"{ENV}/lib/python3.1")
    assert find_site_packages(host, ENV) == SITE


@pytest.mark.parametrize("lacking", [f"{ENV}/bin/python", f"{ENV}/lib"], ids=["python", "lib"])
def test_no_environment(host: FakeHost, lacking: str) -> None:
    host.remove(lacking)
    assert find_site_packages(host, ENV) is None


def test_records_with_commas_and_without_sizes() -> None:
    text = 'a.py,sha256=x,3\n"with,comma.py",sha256=y,4\r\nRECORD,,\n__pycache__/a.pyc,,\nb.pyc,sha256=z,5\nbroken\n'
    assert [(f.path, f.size) for f in parse_record(text)] == [("a.py", 3), ("with,comma.py", 4)]
