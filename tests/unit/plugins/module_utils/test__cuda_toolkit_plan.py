# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts in, steps and refusals out."""

from __future__ import annotations

import dataclasses
import typing as t

import pytest

from ansible_collections.gpulab.workstation.plugins.module_utils._cuda_toolkit import (
    LINK,
    PROFILE,
    Marker,
    Toolkit,
    Wanted,
)
from ansible_collections.gpulab.workstation.plugins.module_utils._cuda_toolkit_plan import (
    State,
    Wish,
    linker_text,
    make_plan,
)
from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._host import Filesystem


def release(version: str, state: str = "present", **more: t.Any) -> Wanted:
    data = {"version": version, "file": f"cuda_{version}.run", "sha256": "0" * 64, "sources": ["/mnt/x"], **more}
    return Wanted.from_release(data, state)


def found(version: str, state: str | None = "installed", **changes: t.Any) -> Toolkit:
    series = version.rsplit(".", 1)[0]
    marker = None if state is None else Marker(version, state)
    return dataclasses.replace(Toolkit(series, version, f"{series}.86", f"{series}.86", marker=marker), **changes)


NEW, OLD = release("12.9.1"), release("12.8.1")
ROOMY = Filesystem("/", "ext4", ("rw",), 100 * 10**9, 900 * 10**9)


def state(wish: Wish, *toolkits: Toolkit, **changes: t.Any) -> State:
    """Return a host on which the environment is right for the wish."""
    default = wish.default_release
    settled = State(
        found={toolkit.series: toolkit for toolkit in toolkits},
        link_kind="link" if default else None,
        link_target=default.path if default else None,
        linker_text=linker_text(wish) if default else None,
        profile_text=PROFILE if default else None,
        filesystems=dict.fromkeys((wish.cache_directory, wish.work_directory, "/usr/local"), ROOMY),
    )
    return dataclasses.replace(settled, **changes)


def test_a_killed_installation_goes_on_with_the_room_that_it_has_taken() -> None:
    wish = Wish((NEW,))
    full = dict.fromkeys(
        (wish.cache_directory, wish.work_directory, "/usr/local"), Filesystem("/", "ext4", ("rw",), 10**10, 10**12)
    )
    there = {"fetched": {NEW.version: 6 * 10**9}, "unpacked": 5 * 10**9, "halves": {NEW.version: 4 * 10**9}}
    with pytest.raises(OperatorError, match=r"10.0 GB free on /."):
        make_plan(wish, state(wish, filesystems=full))
    assert make_plan(wish, state(wish, filesystems=full, **there)).steps
    with pytest.raises(OperatorError, match=r"10.0 GB free on /."):
        make_plan(wish, state(wish, filesystems=full, **{**there, "fetched": {OLD.version: 6 * 10**9}}))


def actions(wish: Wish, host: State) -> list[str]:
    return [" ".join([step.action, *map(str, step.params.values())]) for step in make_plan(wish, host).steps]


BOTH = Wish((NEW, OLD))


@pytest.mark.parametrize(
    ("wish", "host", "expected"),
    [
        pytest.param(Wish((NEW,)), state(Wish((NEW,)), found("12.9.1")), [], id="nothing-to-do"),
        pytest.param(BOTH, state(BOTH, found("12.9.1"), found("12.8.1")), [], id="two-side-by-side"),
        pytest.param(
            Wish((NEW,), packages=("libxml2",)),
            state(
                Wish((NEW,)),
                link_kind=None,
                link_target=None,
                linker_text=None,
                profile_text=None,
                missing_packages=("libxml2",),
            ),
            ["packages", "fetch 12.9.1", "install 12.9.1", "link /usr/local/cuda-12.9", "linker", "profile"],
            id="fresh-host",
        ),
        pytest.param(
            Wish((NEW,)),
            state(Wish((NEW,)), found("12.9.1", "installing")),
            ["fetch 12.9.1", "install 12.9.1"],
            id="killed-half-way-though-it-looks-whole",
        ),
        pytest.param(
            Wish((NEW,)),
            state(Wish((NEW,)), found("12.9.1", nvcc=None)),
            ["fetch 12.9.1", "install 12.9.1"],
            id="drifted",
        ),
        pytest.param(
            Wish((NEW,)),
            state(Wish((NEW,)), found("12.9.0")),
            ["fetch 12.9.1", "install 12.9.1"],
            id="other-patch-release",
        ),
        pytest.param(
            Wish((NEW,)), state(Wish((NEW,)), found("12.9.1", None)), ["adopt 12.9.1"], id="made-by-somebody-else"
        ),
        pytest.param(Wish((NEW,)), state(Wish((NEW,)), found("12.9.1", "adopted")), [], id="adopted-before"),
        pytest.param(
            Wish((NEW,)),
            state(Wish((NEW,)), found("12.9.1"), found("11.8.0", None, nvcc=None)),
            [],
            id="a-broken-one-that-nobody-asked-about",
        ),
        pytest.param(
            Wish((NEW, OLD), default="12.8.1"),
            state(BOTH, found("12.9.1"), found("12.8.1")),
            ["link /usr/local/cuda-12.8", "linker"],
            id="other-default",
        ),
        pytest.param(
            Wish((NEW, release("12.8.1", "absent"))),
            state(BOTH, found("12.9.1"), found("12.8.1")),
            ["remove 12.8.1", "linker"],
            id="remove-one",
        ),
        pytest.param(
            Wish((release("12.9.1", "absent"),)),
            state(Wish((NEW,)), found("12.9.1")),
            ["remove 12.9.1", "unlink", "forget"],
            id="remove-the-last",
        ),
        pytest.param(Wish((release("12.9.1", "absent"),)), state(Wish(())), [], id="removed-before"),
        pytest.param(
            Wish((release("12.9.1", "absent"),)),
            state(Wish(()), found("12.9.0")),
            [],
            id="another-release-of-the-series-is-not-meant",
        ),
        pytest.param(
            Wish((release("12.9.1", "absent"),)),
            state(Wish(()), Toolkit("12.9", None, None, None, marker=Marker("12.9.1", "installing"))),
            ["remove 12.9.1"],
            id="remove-what-was-killed-half-way",
        ),
        pytest.param(
            Wish((NEW,)),
            state(Wish((NEW,)), found("12.9.1"), linker_cache_stale=True),
            ["linker"],
            id="killed-before-ldconfig",
        ),
        pytest.param(
            Wish((NEW,)), state(Wish((NEW,)), found("12.9.1"), profile_text="old\n"), ["profile"], id="profile"
        ),
        pytest.param(
            Wish((NEW,)),
            state(Wish((NEW,)), found("12.9.1"), link_target="/usr/local/cuda-11.8"),
            ["link /usr/local/cuda-12.9"],
            id="link-elsewhere",
        ),
    ],
)
def test_plan(wish: Wish, host: State, expected: list[str]) -> None:
    assert actions(wish, host) == expected


def test_the_default_comes_first_in_the_linkers_order() -> None:
    assert linker_text(Wish((NEW, OLD), default="12.8.1")).splitlines()[1:] == [
        "/usr/local/cuda-12.8/lib64",
        "/usr/local/cuda-12.9/lib64",
    ]


def test_before_and_after_say_what_changes() -> None:
    wish = Wish((NEW, release("12.8.1", "absent")))
    plan = make_plan(wish, state(Wish((OLD,)), found("12.8.1")))
    assert plan.before == {"toolkits": {"12.8": "12.8.1"}, LINK: "/usr/local/cuda-12.8"}
    assert plan.after == {"toolkits": {"12.9": "12.9.1"}, LINK: "/usr/local/cuda-12.9"}
    settled = make_plan(Wish((NEW,)), state(Wish((NEW,)), found("12.9.1")))
    assert settled.before == settled.after


def mounts(wish: Wish, **free: int) -> dict[str, Filesystem]:
    paths = {"cache": wish.cache_directory, "work": wish.work_directory, "target": "/usr/local"}
    return {
        path: Filesystem(f"/{name}", "ext4", ("rw",), free.get(name, 10**12), 10**12) for name, path in paths.items()
    }


@pytest.mark.parametrize(
    ("wish", "host", "words"),
    [
        pytest.param(
            Wish((NEW,)),
            state(Wish((NEW,)), found("12.9.1", None, nvcc=None)),
            "cuda-12.9 was not made by this role",
            id="a-broken-toolkit-of-somebody-else",
        ),
        pytest.param(
            Wish((NEW,)),
            state(Wish((NEW,)), found("12.9.0", "adopted")),
            "version.json says 12.9.0",
            id="another-release-of-somebody-else",
        ),
        pytest.param(
            Wish((release("12.9.1", "absent"),)),
            state(Wish(()), found("12.9.1", None)),
            "was not made by this role",
            id="removal-of-somebody-elses",
        ),
        pytest.param(
            Wish((NEW,)),
            state(Wish((NEW,)), found("12.9.1"), link_kind="directory"),
            "/usr/local/cuda is a directory",
            id="link-is-a-directory",
        ),
        pytest.param(
            Wish((NEW, release("12.9.0"))), state(Wish(())), "names 12.9.1, 12.9.0, which share", id="two-of-a-series"
        ),
        pytest.param(
            Wish((NEW,), default="12.8.1"),
            state(Wish((NEW,)), found("12.9.1")),
            "cuda_toolkit_default is 12.8.1",
            id="default-not-present",
        ),
        pytest.param(
            Wish((NEW,)),
            state(Wish((NEW,)), filesystems=mounts(Wish((NEW,)), target=9 * 10**9)),
            "9.0 GB free on /target",
            id="target-full",
        ),
        pytest.param(
            Wish((NEW,)),
            state(Wish((NEW,)), filesystems=mounts(Wish((NEW,)), work=7 * 10**9)),
            "7.0 GB free on /work",
            id="work-full",
        ),
        pytest.param(
            Wish((NEW,)),
            state(Wish((NEW,)), filesystems=mounts(Wish((NEW,)), cache=5 * 10**9)),
            "5.0 GB free on /cache",
            id="cache-full",
        ),
        pytest.param(
            Wish((NEW,)),
            state(
                Wish((NEW,)),
                filesystems=dict.fromkeys(
                    (Wish(()).cache_directory, Wish(()).work_directory, "/usr/local"),
                    Filesystem("/", "ext4", ("rw",), 23 * 10**9, 10**12),
                ),
            ),
            "23.0 GB free on /",
            id="everything-on-one-file-system",
        ),
        pytest.param(
            Wish((NEW,)),
            state(
                Wish((NEW,)),
                filesystems={
                    **mounts(Wish((NEW,))),
                    Wish(()).work_directory: Filesystem("/var", "ext4", ("rw", "noexec"), 10**12, 10**12),
                },
            ),
            "/var, which is mounted noexec",
            id="noexec",
        ),
    ],
)
def test_refusals(wish: Wish, host: State, words: str) -> None:
    with pytest.raises(OperatorError) as error:
        make_plan(wish, host)
    assert words in error.value.found
    assert error.value.action


def test_every_reason_is_named_at_once() -> None:
    host = state(Wish((NEW,)), link_kind="directory", filesystems=mounts(Wish((NEW,)), target=1, work=1))
    with pytest.raises(OperatorError) as error:
        make_plan(Wish((NEW,)), host)
    assert all(word in error.value.found for word in ("is a directory", "/target", "/work"))


def test_space_is_not_asked_for_when_nothing_is_installed() -> None:
    host = state(Wish((NEW,)), found("12.9.1"), filesystems=mounts(Wish((NEW,)), target=0, work=0, cache=0))
    assert make_plan(Wish((NEW,)), host).steps == ()
