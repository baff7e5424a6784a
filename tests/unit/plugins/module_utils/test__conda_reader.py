# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Miniforge and environments as they lie on a host, whole, half and foreign."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ansible_collections.gpulab.workstation.plugins.module_utils import _conda_reader as reader
from ansible_collections.gpulab.workstation.plugins.module_utils._conda_plan import make_plan
from ansible_collections.gpulab.workstation.plugins.module_utils._conda_state import BaseKind, EnvironmentKind
from condahost import ENVIRONMENT, PREFIX, add_environment, add_everything, add_miniforge, add_package, wish
from fakehost import FakeHost


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    found = FakeHost(tmp_path)
    found.make_dirs("/opt")
    return found


def half_installation(host: FakeHost) -> None:
    host.add(f"{PREFIX}/conda-meta/history")
    reader.note_unfinished(host, PREFIX, {"what": "install"})


def half_update(host: FakeHost) -> None:
    add_miniforge(host, conda="26.1.0")
    add_environment(host)
    reader.note_unfinished(host, PREFIX, {"what": "update"})


def installation_whose_note_stayed(host: FakeHost) -> None:
    add_miniforge(host, ours="")
    add_environment(host)
    reader.note_unfinished(host, PREFIX, {"what": "install"})


@pytest.mark.parametrize(
    ("prepare", "kind", "version"),
    [
        pytest.param(lambda _host: None, BaseKind.ABSENT, "", id="nothing"),
        pytest.param(lambda host: host.make_dirs(PREFIX), BaseKind.ABSENT, "", id="empty directory"),
        pytest.param(add_miniforge, BaseKind.OURS, "26.3.2-3", id="ours"),
        pytest.param(lambda host: add_miniforge(host, ours=""), BaseKind.ADOPTED, "26.3.2", id="somebody else's"),
        pytest.param(half_installation, BaseKind.UNFINISHED, "", id="installation cut off"),
        pytest.param(half_update, BaseKind.UNFINISHED_UPDATE, "26.1.0", id="update cut off"),
        pytest.param(installation_whose_note_stayed, BaseKind.UNFINISHED_UPDATE, "26.3.2", id="environments are kept"),
        pytest.param(lambda host: host.add(f"{PREFIX}/data"), BaseKind.UNKNOWN, "", id="something else"),
        pytest.param(lambda host: host.add(PREFIX, "a file"), BaseKind.UNKNOWN, "", id="a file"),
        pytest.param(
            lambda host: add_miniforge(host, ours="", channel="https://repo.anaconda.com/pkgs/main/linux-64"),
            BaseKind.LICENSED,
            "26.3.2",
            id="Miniconda",
        ),
        pytest.param(
            lambda host: (add_miniforge(host, ours=""), add_package(host, "anaconda-2025.12-py313_0", PREFIX)),
            BaseKind.LICENSED,
            "26.3.2",
            id="Anaconda",
        ),
    ],
)
def test_what_lies_at_the_prefix(
    host: FakeHost, prepare: Callable[[FakeHost], object], kind: BaseKind, version: str
) -> None:
    prepare(host)
    found = reader.read_state(host, wish()).base
    assert (found.kind, found.version) == (kind, version)


def test_a_whole_host_needs_nothing(host: FakeHost) -> None:
    add_everything(host)
    assert make_plan(wish(), reader.read_state(host, wish())).steps == ()
    assert host.ran == []


@pytest.mark.parametrize(
    ("prepare", "kind"),
    [
        pytest.param(lambda _host: None, EnvironmentKind.ABSENT, id="nothing"),
        pytest.param(lambda host: host.make_dirs(ENVIRONMENT), EnvironmentKind.ABSENT, id="empty directory"),
        pytest.param(add_environment, EnvironmentKind.PRESENT, id="whole"),
        pytest.param(lambda host: host.add(f"{ENVIRONMENT}/data"), EnvironmentKind.UNKNOWN, id="something else"),
        pytest.param(
            lambda host: reader.note_unfinished(host, ENVIRONMENT, {"what": "create"}),
            EnvironmentKind.ABSENT,
            id="noted only",
        ),
        pytest.param(
            lambda host: (add_environment(host), reader.note_unfinished(host, ENVIRONMENT, {"what": "create"})),
            EnvironmentKind.UNFINISHED,
            id="creation cut off",
        ),
    ],
)
def test_what_lies_at_the_environment(
    host: FakeHost, prepare: Callable[[FakeHost], object], kind: EnvironmentKind
) -> None:
    prepare(host)
    assert reader.read_state(host, wish()).environment.kind is kind


def test_files_that_are_gone_are_found(host: FakeHost) -> None:
    add_environment(host)
    host.remove(f"{ENVIRONMENT}/lib/python3.11/os.py")
    found = reader.read_state(host, wish()).environment
    assert found.missing_files == {"python": ("lib/python3.11/os.py",)}


def test_a_link_that_leads_nowhere_is_not_gone(host: FakeHost) -> None:
    add_environment(host)
    host.symlink("elsewhere", f"{ENVIRONMENT}/share/zoneinfo/UTC")
    assert reader.read_state(host, wish()).environment.missing_files == {}


def test_a_record_that_was_cut_off_names_its_package(host: FakeHost) -> None:
    add_environment(host)
    path = f"{ENVIRONMENT}/conda-meta/pip-26.2-pyh0_0.json"
    host.add(path, '{"name": "pi')
    found = reader.read_state(host, wish()).environment
    assert found.interrupted == ("pip",)
    assert "pip" not in found.records
    assert reader.broken_records(host, ENVIRONMENT) == [path]


def test_an_interrupted_change_names_its_packages(host: FakeHost) -> None:
    add_environment(host)
    reader.note_unfinished(host, ENVIRONMENT, {"what": "change", "names": ["pip"]})
    assert reader.read_state(host, wish()).environment.interrupted == ("pip",)


def test_notes_come_and_go(host: FakeHost) -> None:
    reader.note_unfinished(host, "/a", {"what": "install"})
    reader.note_unfinished(host, "/b", {"what": "create"})
    reader.forget_unfinished(host, "/a")
    assert json.loads(host.read_text(f"{reader.STATE}/unfinished.json") or "") == {"/b": {"what": "create"}}
    reader.forget_unfinished(host, "/b")
    assert host.status(f"{reader.STATE}/unfinished.json") is None


def test_directories_closed_to_others_are_found(host: FakeHost) -> None:
    add_everything(host)
    host.chmod(f"{PREFIX}/envs", 0o700)
    host.chmod("/opt", 0o750)
    found = reader.read_state(host, wish())
    assert (found.closed, found.closed_parents) == ((f"{PREFIX}/envs",), ("/opt",))


@pytest.mark.parametrize("path", ["/etc/conda/.condarc", "/etc/conda/condarc.d/site.yml", f"{PREFIX}/.condarc"])
def test_licensed_channels_of_the_machine_are_found(host: FakeHost, path: str) -> None:
    add_everything(host)
    host.add(path, "channels:\n  - defaults\n")
    assert reader.read_state(host, wish()).licensed_settings == {path: ("defaults",)}
