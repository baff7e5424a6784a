# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts in, steps out: what is planned for every state of Miniforge and of the environment."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest

import condahost
from ansible_collections.gpulab.workstation.plugins.module_utils._conda_lock import Installed, parse_record
from ansible_collections.gpulab.workstation.plugins.module_utils._conda_plan import make_plan, package_changes
from ansible_collections.gpulab.workstation.plugins.module_utils._conda_state import (
    BASHRC,
    Base,
    BaseKind,
    Environment,
    EnvironmentKind,
    State,
    condarc_text,
    profile_text,
    with_bashrc_block,
)
from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError

WISH = condahost.wish()


def installed(distribution: str, **changes: t.Any) -> Installed:
    subdir, files = condahost.PACKAGES.get(distribution, ("noarch", ()))
    found = parse_record(condahost.record(distribution, subdir, files, **changes))
    assert found is not None
    return found


RECORDS = {found.name: found for found in map(installed, condahost.PACKAGES)}
GOOD = State(
    base=Base(BaseKind.OURS, "26.3.2-3"),
    environment=Environment(EnvironmentKind.PRESENT, RECORDS),
    condarc=condarc_text(WISH),
    profile=profile_text(WISH),
    bashrc=with_bashrc_block("# bash\n"),
    free_bytes=5 * 10**9,
)
FRESH = State(
    base=Base(BaseKind.ABSENT),
    environment=Environment(EnvironmentKind.ABSENT),
    bashrc="# bash\n",
    free_bytes=5 * 10**9,
)


def with_records(changed: dict[str, Installed | None], **environment: t.Any) -> State:
    """Return the good state with some records replaced, added or (None) gone."""
    records = {name: record for name, record in {**RECORDS, **changed}.items() if record is not None}
    return replace(GOOD, environment=Environment(EnvironmentKind.PRESENT, records, **environment))


def actions(state: State) -> list[str]:
    return [step.action for step in make_plan(WISH, state).steps]


EVERYTHING = [
    "fetch_installer",
    "fetch_packages",
    "install_base",
    "write_condarc",
    "create_environment",
    "write_profile",
    "write_bashrc",
]


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        pytest.param(GOOD, [], id="as wanted"),
        pytest.param(FRESH, EVERYTHING, id="fresh host"),
        pytest.param(
            replace(FRESH, base=Base(BaseKind.UNFINISHED)),
            [*EVERYTHING[:2], "remove_unfinished", *EVERYTHING[2:]],
            id="installation cut off",
        ),
        pytest.param(
            replace(GOOD, base=Base(BaseKind.UNFINISHED_UPDATE, "26.1.0")),
            ["fetch_installer", "install_base"],
            id="update cut off",
        ),
        pytest.param(
            replace(GOOD, base=Base(BaseKind.OURS, "26.1.0-0")), ["fetch_installer", "install_base"], id="older"
        ),
        pytest.param(
            replace(GOOD, base=Base(BaseKind.OURS, "27.1.0-0")), ["fetch_installer", "install_base"], id="rolled back"
        ),
        pytest.param(
            replace(GOOD, base=Base(BaseKind.ADOPTED, "25.1.0")),
            ["fetch_installer", "install_base"],
            id="adopted, older",
        ),
        pytest.param(replace(GOOD, base=Base(BaseKind.ADOPTED, "26.3.2")), [], id="adopted, same"),
        pytest.param(replace(GOOD, base=Base(BaseKind.ADOPTED, "26.7.1")), [], id="adopted, newer"),
        pytest.param(replace(GOOD, base=Base(BaseKind.ADOPTED, "26.9.0.dev1")), [], id="adopted, not comparable"),
        pytest.param(replace(GOOD, condarc="channels:\n  - bioconda\n"), ["write_condarc"], id="settings edited"),
        pytest.param(replace(GOOD, profile=None), ["write_profile"], id="profile gone"),
        pytest.param(replace(GOOD, bashrc="# bash\n"), ["write_bashrc"], id="block gone"),
        pytest.param(replace(GOOD, bashrc=None), ["write_bashrc"], id="no bashrc"),
        pytest.param(replace(GOOD, closed=("/opt/miniforge3/envs",)), ["open_permissions"], id="closed to others"),
        pytest.param(
            replace(GOOD, environment=Environment(EnvironmentKind.ABSENT)),
            ["fetch_packages", "create_environment"],
            id="environment gone",
        ),
        pytest.param(
            replace(GOOD, environment=Environment(EnvironmentKind.UNFINISHED)),
            ["fetch_packages", "create_environment"],
            id="creation cut off",
        ),
        pytest.param(
            with_records({"python": installed("python-3.12.1-h1_0_cpython")}),
            ["fetch_packages", "create_environment"],
            id="another Python",
        ),
        pytest.param(with_records({"python": None}), ["fetch_packages", "create_environment"], id="no Python"),
        pytest.param(with_records({"pip": None}), ["fetch_packages", "link_packages"], id="missing"),
        pytest.param(with_records({"nodejs": installed("nodejs-24.1.0-h0_0")}), ["remove_packages"], id="extra"),
        pytest.param(
            with_records({"pip": installed("pip-25.0-pyh0_0")}), ["fetch_packages", "link_packages"], id="other version"
        ),
        pytest.param(
            with_records({}, missing_files={"tzdata": ("share/zoneinfo/UTC",)}),
            ["fetch_packages", "remove_packages", "link_packages"],
            id="files gone",
        ),
        pytest.param(
            with_records({}, interrupted=("pip",)),
            ["fetch_packages", "remove_packages", "link_packages"],
            id="change cut off, still recorded",
        ),
        pytest.param(
            with_records({"pip": None}, interrupted=("pip",)), ["fetch_packages", "link_packages"], id="change cut off"
        ),
    ],
)
def test_steps(state: State, expected: list[str]) -> None:
    assert actions(state) == expected


def test_files_are_fetched_before_anything_changes() -> None:
    planned = actions(replace(FRESH, base=Base(BaseKind.UNFINISHED)))
    assert planned.index("fetch_packages") < planned.index("remove_unfinished")


def test_a_damaged_package_goes_out_before_it_comes_in_again() -> None:
    changes = package_changes(with_records({}, missing_files={"tzdata": ("a",)}).environment, WISH.lock)
    assert (changes.unlink, changes.link) == (("tzdata",), ("tzdata",))


def test_a_patch_release_of_python_is_replaced_in_place() -> None:
    changes = package_changes(with_records({"python": installed("python-3.11.1-h1_0_cpython")}).environment, WISH.lock)
    assert (changes.rebuild, changes.link, changes.unlink) == (False, ("python",), ())


def test_titles_say_what_was_found() -> None:
    state = with_records(
        {"pip": installed("pip-25.0-pyh0_0"), "nodejs": installed("nodejs-24.1.0-h0_0")},
        missing_files={"tzdata": ("share/UTC", "share/GMT")},
    )
    assert [step.title for step in make_plan(WISH, state).steps] == [
        "Fetch 2 packages for the environment rtx5090",
        "Remove from rtx5090: nodejs-24.1.0-h0_0, tzdata-2026c-h0_0",
        "Link into rtx5090: pip-26.2-pyh0_0 (found pip-25.0-pyh0_0), tzdata-2026c-h0_0 (lacks share/UTC and 1 more)",
    ]


def test_the_diff_shows_packages() -> None:
    plan = make_plan(WISH, with_records({"pip": installed("pip-25.0-pyh0_0")}))
    assert plan.before["packages"]["pip"] == "pip-25.0-pyh0_0"
    assert plan.after["packages"]["pip"] == "pip-26.2-pyh0_0"
    assert make_plan(WISH, GOOD).before == make_plan(WISH, GOOD).after


@pytest.mark.parametrize(
    ("state", "found", "action"),
    [
        pytest.param(
            replace(FRESH, base=Base(BaseKind.LICENSED, "26.1.0", "its conda comes from pkgs/main")),
            "/opt/miniforge3 is Miniconda or Anaconda (its conda comes from pkgs/main)",
            "set conda_env_prefix",
            id="Miniconda",
        ),
        pytest.param(
            replace(FRESH, base=Base(BaseKind.UNKNOWN, "", "there is no bin/conda")),
            "is no conda installation and none that gpulab began (there is no bin/conda)",
            "move it away",
            id="something else",
        ),
        pytest.param(
            replace(GOOD, environment=Environment(EnvironmentKind.UNKNOWN)),
            "/opt/miniforge3/envs/rtx5090 is there and is no conda environment",
            "conda_env_name",
            id="environment is something else",
        ),
        pytest.param(
            replace(GOOD, licensed_settings={"/etc/conda/.condarc": ("defaults",)}),
            "/etc/conda/.condarc lists defaults",
            "take defaults out of /etc/conda/.condarc",
            id="defaults for the machine",
        ),
        pytest.param(
            replace(GOOD, closed_parents=("/opt",)), "other users cannot pass /opt", "chmod o+x /opt", id="closed"
        ),
        pytest.param(replace(FRESH, free_bytes=10**9), "1000 MB free on /", "free space on /", id="small disk"),
    ],
)
def test_refusals_say_what_was_found_and_what_to_do(state: State, found: str, action: str) -> None:
    with pytest.raises(OperatorError) as refusal:
        make_plan(WISH, state)
    assert found in refusal.value.found
    assert action in refusal.value.action
    assert "Nothing was changed." in refusal.value.action


def test_all_refusals_come_at_once() -> None:
    state = replace(
        GOOD,
        base=Base(BaseKind.LICENSED, "", "x"),
        closed_parents=("/opt",),
        licensed_settings={"/etc/c": ("defaults",)},
    )
    with pytest.raises(OperatorError) as refusal:
        make_plan(WISH, state)
    assert refusal.value.found.count(";") == 2


@pytest.mark.parametrize(("free", "refused"), [(300_000_000, True), (400_000_000, False)])
def test_a_stand_in_needs_the_room_of_a_stand_in(free: int, refused: bool) -> None:  # noqa: FBT001
    wish = condahost.wish(installer=condahost.installer(size=37_000_000, standin=True), standin=True)
    if refused:
        with pytest.raises(OperatorError, match="356 MB for Miniforge"):
            make_plan(wish, replace(FRESH, free_bytes=free))
    else:
        assert make_plan(wish, replace(FRESH, free_bytes=free)).steps


def test_settings_give_defaults_another_meaning() -> None:
    assert condarc_text(WISH).splitlines()[1:] == [
        "channels:",
        "  - conda-forge",
        "default_channels:",
        "  - https://conda.anaconda.org/conda-forge",
        "auto_activate: false",
    ]
    aliased = condarc_text(condahost.wish(channel_alias="http://m.example/conda/"))
    assert "channel_alias: http://m.example/conda\n" in aliased
    assert "  - http://m.example/conda/conda-forge\n" in aliased


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("# bash\n", id="plain"),
        pytest.param("# bash", id="no last newline"),
        pytest.param("# a\n# BEGIN gpulab conda_env\nold\n# END gpulab conda_env\n# b\n", id="older block"),
    ],
)
def test_the_block_in_bashrc_is_written_once(text: str) -> None:
    once = with_bashrc_block(text)
    assert once.count("# BEGIN gpulab") == 1
    assert ". /etc/profile.d/gpulab-conda.sh" in once
    assert "old" not in once
    assert with_bashrc_block(once) == once
    assert all(line in once for line in text.splitlines() if line != "old")


def test_the_place_of_the_block_is_named() -> None:
    assert make_plan(WISH, replace(GOOD, bashrc="")).steps[0].title == f"Keep a block in {BASHRC}"
