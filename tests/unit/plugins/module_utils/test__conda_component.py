# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps on a fake host: which programs are run, what is placed where, and what is said when they fail."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest

import condahost
from ansible_collections.gpulab.workstation.plugins.module_utils import _conda_reader as reader
from ansible_collections.gpulab.workstation.plugins.module_utils._conda_component import CondaEnv
from ansible_collections.gpulab.workstation.plugins.module_utils._conda_lock import LockedPackage
from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._host import UrlAnswer
from ansible_collections.gpulab.workstation.plugins.module_utils._plan import Step
from condahost import ENVIRONMENT, PACKAGES, PREFIX, add_environment, add_miniforge, add_package
from fakehost import FakeHost, chunks

UMASK = ("sh", "-c", 'umask 022; exec "$@"', "sh")
CONDA = f"{' '.join(UMASK)} {PREFIX}/bin/conda"
LIST = f"{reader.STATE}/rtx5090.txt"


def served(data: bytes) -> t.Callable[[int], UrlAnswer]:
    return lambda offset: UrlAnswer(206 if offset else 200, "application/octet-stream", None, chunks(data[offset:]))


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    """Return a host that reaches the channel and both sources of the installer."""
    found = FakeHost(tmp_path)
    for distribution, (subdir, _files) in PACKAGES.items():
        found.urls[condahost.url(distribution, subdir)] = served(condahost.package_bytes(distribution))
    for source in condahost.installer()["sources"]:
        found.urls[source] = served(condahost.INSTALLER_BYTES)
    return found


def apply(host: FakeHost, action: str, *, component: CondaEnv | None = None, **params: t.Any) -> None:
    (component or CondaEnv.from_params(condahost.params())).apply(
        host, Step(action, action, params), lambda _text: None
    )


def locked(name: str) -> LockedPackage:
    return condahost.wish().lock.by_name[name]


def notes(host: FakeHost) -> dict[str, t.Any]:
    found: dict[str, t.Any] = json.loads(host.read_text(f"{reader.STATE}/unfinished.json") or "{}")
    return found


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"prefix": "/opt/mini forge"}, id="space"),
        pytest.param({"prefix": "opt/miniforge3"}, id="relative"),
        pytest.param({"prefix": "/"}, id="root"),
        pytest.param({"prefix": "/opt/it's"}, id="quote"),
        pytest.param({"environment": "../rtx5090"}, id="name is a path"),
        pytest.param({"environment": "-rf"}, id="name is an option"),
        pytest.param({"environment": ""}, id="no name"),
    ],
)
def test_a_prefix_or_name_that_makes_no_sense_is_refused(changes: dict[str, str]) -> None:
    with pytest.raises(OperatorError, match="correct conda_env_prefix or conda_env_name"):
        CondaEnv.from_params(condahost.params(**changes))


def test_the_installer_is_run_and_its_result_looked_at(host: FakeHost) -> None:
    def install(_argv: tuple[str, ...]) -> tuple[int, str, str]:
        assert notes(host) == {PREFIX: {"what": "install"}}
        assert host.status(PREFIX) is None  # the installer refuses a directory that is there
        add_miniforge(host, ours="")
        return 0, "installation finished.", ""

    host.commands["sh -c"] = install
    host.make_dirs(PREFIX)
    apply(host, "fetch_installer")
    apply(host, "install_base", update=False)
    [command] = host.ran
    assert command[:4] == UMASK
    assert command[4] == "bash"
    assert command[5].endswith("/Miniforge3-26.3.2-3-Linux-x86_64.sh")
    assert command[6:] == ("-b", "-p", PREFIX)
    assert json.loads(host.read_text(reader.marker_path(PREFIX)) or "")["version"] == "26.3.2-3"
    assert notes(host) == {}
    assert host.status(command[5]) is None  # 100 MB that nobody needs any more


def test_an_update_keeps_what_is_there(host: FakeHost) -> None:
    add_miniforge(host, ours="26.1.0-0", conda="26.1.0")
    add_environment(host)

    def update(argv: tuple[str, ...]) -> tuple[int, str, str]:
        assert argv[6:] == ("-b", "-u", "-p", PREFIX)
        host.remove(f"{PREFIX}/conda-meta/conda-26.1.0-py313_0.json")
        add_package(host, "conda-26.3.2-py313_0", PREFIX)
        return 0, "", ""

    host.commands["sh -c"] = update
    apply(host, "install_base", update=True)
    assert json.loads(host.read_text(reader.marker_path(PREFIX)) or "")["version"] == "26.3.2-3"
    assert host.status(f"{ENVIRONMENT}/conda-meta/history") is not None


@pytest.mark.parametrize(
    ("rc", "leaves", "words"),
    [
        pytest.param(1, False, r"ended with 1 and no conda in /opt/miniforge3 afterwards", id="fails"),
        pytest.param(0, False, r"ended with 0 and no conda in /opt/miniforge3 afterwards", id="says 0, leaves nothing"),
        pytest.param(137, True, r"ended with 137 and conda 26.3.2 in /opt/miniforge3", id="killed"),
    ],
)
def test_exit_status_0_alone_proves_nothing(host: FakeHost, rc: int, leaves: bool, words: str) -> None:  # noqa: FBT001
    def install(_argv: tuple[str, ...]) -> tuple[int, str, str]:
        if leaves:
            add_miniforge(host, ours="")
        return rc, "one\ntwo\nERROR: three\n", ""

    host.commands["sh -c"] = install
    with pytest.raises(OperatorError, match=words) as failure:
        apply(host, "install_base", update=False)
    assert "'bash /var/cache/gpulab/" in failure.value.found
    assert "one | two | ERROR: three" in failure.value.found
    assert "/var/log/gpulab/conda_env.log" in failure.value.action
    assert host.status(reader.marker_path(PREFIX)) is None
    assert notes(host) == {PREFIX: {"what": "install"}}


def test_packages_are_placed_where_conda_looks(host: FakeHost) -> None:
    add_miniforge(host)
    cache = f"{PREFIX}/pkgs"
    host.add(f"{cache}/urls.txt", "https://other.example/conda-forge/noarch/pip-26.2-pyh0_0.conda\n")
    host.add(f"{cache}/pip-26.2-pyh0_0/info/index.json", "unpacked from who knows what")
    host.add(f"{cache}/pip-26.2-pyh0_0.tar.bz2", "the other format")
    host.add(f"{cache}/pip-26.2-pyh0_0.conda", "another file of that name")
    host.commands[CONDA] = (0, "", "")
    apply(host, "create_environment")
    for distribution in PACKAGES:
        assert host.read_bytes(f"{cache}/{distribution}.conda") == condahost.package_bytes(distribution)
    assert host.status(f"{cache}/pip-26.2-pyh0_0") is None
    assert host.status(f"{cache}/pip-26.2-pyh0_0.tar.bz2") is None
    addresses = (host.read_text(f"{cache}/urls.txt") or "").split()
    assert addresses == [
        "https://other.example/conda-forge/noarch/pip-26.2-pyh0_0.conda",
        *(package.url for package in condahost.wish().lock.packages),
    ]
    assert host.listdir("/var/cache/gpulab/conda") == []
    assert [call[4:] for call in host.ran] == [
        (f"{PREFIX}/bin/conda", "create", "--yes", "--quiet", "--offline", "--prefix", ENVIRONMENT, "--file", LIST)
    ]
    assert host.read_text(LIST) == "@EXPLICIT\n" + "".join(f"{p.url}\n" for p in condahost.wish().lock.packages)
    apply(host, "link_packages", names=["pip"])
    assert (host.read_text(f"{cache}/urls.txt") or "").split() == addresses


def test_a_wrong_package_stops_before_conda(host: FakeHost) -> None:
    add_miniforge(host)
    host.urls[locked("pip").url] = served(b"something else")
    with pytest.raises(OperatorError, match=rf"no source gave pip-26.2-pyh0_0.conda.*{locked('pip').sha256}"):
        apply(host, "fetch_packages", names=["python", "pip"])
    assert host.ran == []


def test_the_mirror_is_asked_first(host: FakeHost) -> None:
    asked: list[str] = []

    def answer(offset: int) -> UrlAnswer:
        asked.append("mirror")
        return served(condahost.package_bytes("pip-26.2-pyh0_0"))(offset)

    host.urls = {"http://m.example/conda/conda-forge/noarch/pip-26.2-pyh0_0.conda": answer}
    component = CondaEnv.from_params(condahost.params(mirror="http://m.example/conda"))
    apply(host, "fetch_packages", component=component, names=["pip"])
    assert asked == ["mirror"]


def test_upstream_has_what_the_mirror_lacks(host: FakeHost) -> None:
    mirrored = "http://m.example/conda/conda-forge/noarch/pip-26.2-pyh0_0.conda"
    host.urls[mirrored] = lambda _offset: UrlAnswer(404, "text/html", None, iter(()))
    component = CondaEnv.from_params(condahost.params(mirror="http://m.example/conda"))
    apply(host, "fetch_packages", component=component, names=["pip"])
    found = host.listdir("/var/cache/gpulab/conda")
    assert found == [locked("pip").sha256[:12]]


def test_what_the_cache_of_conda_has_is_not_fetched(host: FakeHost) -> None:
    host.add(f"{PREFIX}/pkgs/pip-26.2-pyh0_0.conda", condahost.package_bytes("pip-26.2-pyh0_0"))
    host.urls = {}
    apply(host, "fetch_packages", names=["pip"])


def test_a_half_environment_goes_before_it_is_made_anew(host: FakeHost) -> None:
    add_miniforge(host)
    add_environment(host)

    def create(_argv: tuple[str, ...]) -> tuple[int, str, str]:
        assert host.status(ENVIRONMENT) is None
        assert notes(host) == {ENVIRONMENT: {"what": "create"}}
        return 0, "", ""

    host.commands[CONDA] = create
    apply(host, "create_environment")
    assert notes(host) == {}


def test_a_failed_creation_stays_noted(host: FakeHost) -> None:
    add_miniforge(host)
    host.commands[CONDA] = (1, "", "OfflineError: EnforceUnusedAdapter called with url https://conda.example")
    with pytest.raises(OperatorError, match="conda create --yes .* ended with 1 .*OfflineError"):
        apply(host, "create_environment")
    assert notes(host) == {ENVIRONMENT: {"what": "create"}}


def test_removing_leaves_dependents_alone(host: FakeHost) -> None:
    add_miniforge(host)
    add_environment(host)
    host.commands[CONDA] = (0, "", "")
    apply(host, "remove_packages", names=["nodejs"], link=[])
    assert [call[5:] for call in host.ran] == [
        ("remove", "--yes", "--quiet", "--offline", "--prefix", ENVIRONMENT, "--force-remove", "nodejs")
    ]
    assert notes(host) == {}


def test_what_goes_out_to_come_back_is_at_hand_and_noted(host: FakeHost) -> None:
    add_miniforge(host)
    add_environment(host)
    broken = f"{ENVIRONMENT}/conda-meta/tzdata-2026c-h0_0.json"
    host.add(broken, "{")

    def remove(_argv: tuple[str, ...]) -> tuple[int, str, str]:
        assert host.sha256(f"{PREFIX}/pkgs/pip-26.2-pyh0_0.conda") == locked("pip").sha256
        assert host.status(broken) is None  # conda refuses an environment with a record that it cannot read
        return 0, "", ""

    host.commands[CONDA] = remove
    apply(host, "remove_packages", names=["pip"], link=["pip", "tzdata"])
    assert notes(host) == {ENVIRONMENT: {"what": "change", "names": ["pip", "tzdata"]}}
    host.commands[CONDA] = (0, "", "")
    apply(host, "link_packages", names=["pip", "tzdata"])
    assert notes(host) == {}


def test_users_are_served(host: FakeHost) -> None:
    host.add("/etc/bash.bashrc", "# bash\n")
    host.commands["chmod"] = (0, "", "")
    for action in ("write_condarc", "write_profile", "write_bashrc", "open_permissions"):
        apply(host, action)
    assert ". '/opt/miniforge3/etc/profile.d/conda.sh'" in (host.read_text("/etc/profile.d/gpulab-conda.sh") or "")
    assert (host.read_text("/etc/bash.bashrc") or "").startswith("# bash\n# BEGIN gpulab conda_env\n")
    assert "- conda-forge" in (host.read_text(f"{PREFIX}/condarc.d/50-gpulab.yml") or "")
    assert host.ran == [("chmod", "-R", "a+rX", PREFIX)]


def test_every_planned_step_can_be_applied() -> None:
    """A step that the plan knows and the component does not would only be seen on a host in that state."""
    source = Path(__file__).parents[4] / "plugins/module_utils/_conda_plan.py"
    planned = {part.split('"')[0] for part in source.read_text(encoding="utf-8").split('Step("')[1:]}
    assert planned == set(CondaEnv.from_params(condahost.params())._steps)
