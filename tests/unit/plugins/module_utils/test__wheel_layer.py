# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A layer of wheels from what is read to what lies on the host: fresh, repaired, refused, and on top of another."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._host import Filesystem
from ansible_collections.gpulab.workstation.plugins.module_utils._wheel_env import read_distributions
from ansible_collections.gpulab.workstation.plugins.module_utils._wheel_layer import WheelLayer
from fakehost import FakeHost
from wheelhost import ENV, SITE, UV_LOCK, FakeUv, add_env, add_uv, add_wheel, lock_line

CACHE = "/var/cache/gpulab/uv"
TORCH, IDNA = lock_line("torch", "2.9.1"), lock_line("idna", "3.20")
CU128 = {"torch/version.py": "__version__ = '2.9.1+cu128'\n"}
CU126 = {"torch/version.py": "__version__ = '2.9.1+cu126'\n"}
WHEELS: dict[str, t.Any] = {"torch==2.9.1": CU128, "idna==3.20": {"idna/__init__.py": "# 3.20\n"}}


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    made = FakeHost(tmp_path)
    add_env(made)
    add_uv(made)
    return made


@pytest.fixture
def uv(host: FakeHost) -> FakeUv:
    made = FakeUv(host, dict(WHEELS))
    made.install()
    return made


def layer(lock: str = TORCH + IDNA, name: str = "10-torch_stack", **params: t.Any) -> WheelLayer:
    options = {"env": ENV, "cache": CACHE, "index_url": "", "uv_lock": UV_LOCK, "lock": lock, "space_gb": 0.0}
    return WheelLayer.from_params({**options, **params}, "torch_stack", name, {"torch": "cu128"})


def bring_about(host: FakeHost, wanted: WheelLayer) -> list[str]:
    """Read, plan, apply, and see that nothing is left to do; return what was done."""
    changes = wanted.plan(wanted.read(host))
    for step in changes.steps:
        wanted.apply(host, step, lambda _detail: None)
    assert wanted.plan(wanted.read(host)).steps == ()
    return [step.title for step in changes.steps]


KEEP = "Keep pip and uv in the environment to the lock"


@pytest.mark.usefixtures("uv")
def test_a_fresh_environment(host: FakeHost) -> None:
    assert bring_about(host, layer()) == ["Install torch 2.9.1, idna 3.20", KEEP]
    assert bring_about(host, layer()) == []


def test_a_second_run_starts_nothing(host: FakeHost, uv: FakeUv) -> None:
    bring_about(host, layer())
    before = len(host.ran), len(uv.calls)
    layer().plan(layer().read(host))
    assert (len(host.ran), len(uv.calls)) == before


def test_only_what_is_wrong_is_repaired(host: FakeHost, uv: FakeUv) -> None:
    bring_about(host, layer())
    host.append_text(f"{SITE}/idna/__init__.py", "changed\n")
    uv.calls.clear()
    assert bring_about(host, layer()) == ["Repair idna 3.20"]
    assert [call[:3] for call in uv.calls] == [
        ("cache", "clean", "idna"),
        ("pip", "install", "--python"),
        ("pip", "install", "--python"),
    ]


@pytest.mark.usefixtures("uv")
def test_a_plugin_that_replaced_torch_is_undone_and_its_other_packages_stay(host: FakeHost) -> None:
    bring_about(host, layer())
    host.remove(f"{SITE}/torch-2.9.1.dist-info")
    add_wheel(host, "torch", "2.11.0", CU126, installer="pip")
    add_wheel(host, "plugin", "1.0", installer="pip")
    assert bring_about(host, layer()) == ["Install torch 2.9.1"]
    assert {d.name for d in read_distributions(host, SITE, {"torch", "plugin"})} == {"torch", "plugin"}


def test_what_uv_leaves_of_an_older_version_is_cleared_away(host: FakeHost, uv: FakeUv) -> None:
    add_wheel(host, "torch", "2.8.0", CU128)
    uv.leaves = "2.8.0"
    bring_about(host, layer(TORCH))
    assert [d.version for d in read_distributions(host, SITE, {"torch"})] == ["2.9.1"]


def test_a_lock_with_the_wrong_cuda_is_refused_when_it_shows(host: FakeHost, uv: FakeUv) -> None:
    uv.wheels["torch==2.9.1"] = CU126
    wanted = layer()
    (step, _keep) = wanted.plan(wanted.read(host)).steps
    with pytest.raises(OperatorError, match="the lock's torch 2.9.1 is the build cu126") as caught:
        wanted.apply(host, step, lambda _detail: None)
    assert "2.9.1+cu128" in caught.value.action


@pytest.mark.usefixtures("uv")
def test_a_killed_installation_goes_on(host: FakeHost) -> None:
    add_wheel(host, "torch", "2.9.1", CU128)  # linked, and not noted yet
    assert bring_about(host, layer()) == ["Repair torch 2.9.1, idna 3.20", KEEP]


def test_a_plan_can_be_made_before_there_is_an_environment(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    changes = layer().plan(layer().read(host))
    assert [step.title for step in changes.steps] == ["Bring uv 0.13.9", "Install torch 2.9.1, idna 3.20", KEEP]
    assert changes.after["wheels"] == {"torch": "2.9.1", "idna": "3.20"}


def test_without_an_environment_the_first_step_says_so(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    wanted = layer()
    step = wanted.plan(wanted.read(host)).steps[0]
    with pytest.raises(OperatorError, match="there is no Python environment in /opt/env"):
        wanted.apply(host, step, lambda _detail: None)
    assert host.ran == []


@pytest.mark.usefixtures("uv")
def test_the_layers_do_not_undo_each_other(host: FakeHost) -> None:
    lower, upper = layer(TORCH), layer(IDNA, "20-diffusion_stack")
    bring_about(host, lower)
    bring_about(host, upper)
    assert bring_about(host, lower) == []
    assert bring_about(host, upper) == []


@pytest.mark.usefixtures("uv")
def test_shared_packages_that_agree_belong_to_both(host: FakeHost) -> None:
    bring_about(host, layer(TORCH + IDNA))
    assert bring_about(host, layer(IDNA, "20-diffusion_stack")) == [KEEP]
    assert bring_about(host, layer(TORCH + IDNA)) == []


@pytest.mark.usefixtures("uv")
def test_locks_that_disagree_are_refused(host: FakeHost) -> None:
    bring_about(host, layer(TORCH + IDNA))
    upper = layer(lock_line("idna", "3.7"), "20-diffusion_stack")
    with pytest.raises(OperatorError, match=r"idna 3\.7 \(below: 3\.20\)"):
        upper.plan(upper.read(host))


def test_conda_and_the_lock_that_disagree_are_refused(host: FakeHost) -> None:
    add_wheel(host, "idna", "3.7", installer="conda")
    with pytest.raises(OperatorError, match="conda brought idna 3.7 to /opt/env, the lock has 3.20"):
        layer().plan(layer().read(host))


def small(free: float) -> Filesystem:
    return Filesystem("/var", "ext4", ("rw",), int(free * 10**9), 10**11)


def test_a_first_installation_without_room_is_refused(host: FakeHost) -> None:
    host.filesystems["/var"] = small(3.25)
    with pytest.raises(OperatorError, match=r"3\.2 GB free on /var, where /var/cache/gpulab/uv will be") as caught:
        layer(space_gb=10).plan(layer().read(host))
    assert "10.0 GB (torch_stack_space_gb)" in caught.value.expected


@pytest.mark.parametrize("case", ["cached", "installed"])
@pytest.mark.usefixtures("uv")
def test_room_is_not_asked_for_when_it_is_not_needed(host: FakeHost, case: str) -> None:
    if case == "cached":
        host.add(f"{CACHE}/archive-v0/torch")
    else:
        bring_about(host, layer())
    host.filesystems["/var"] = small(0.1)
    layer(space_gb=10).plan(layer().read(host))


def test_a_cache_on_another_file_system_is_told(host: FakeHost, uv: FakeUv) -> None:
    host.filesystems["/var"] = small(100)
    bring_about(host, layer())
    report = layer().report(layer().read(host))
    assert report["cache"] == {"path": CACHE, "shared": False}
    assert "every environment holds a copy" in report["warnings"][0]
    assert uv.calls[0][uv.calls[0].index("--link-mode") + 1] == "copy"


def test_a_cache_beside_the_environment_is_shared(host: FakeHost, uv: FakeUv) -> None:
    bring_about(host, layer())
    report = layer().report(layer().read(host))
    assert report["cache"]["shared"] is True
    assert "warnings" not in report
    assert uv.calls[0][uv.calls[0].index("--link-mode") + 1] == "hardlink"


def test_the_digest_of_a_lock_is_that_of_its_content() -> None:
    assert layer(TORCH + IDNA).lock_sha256 == layer(f"# new head\n{IDNA}\n{TORCH}").lock_sha256
    assert layer(TORCH + IDNA).lock_sha256 != layer(TORCH + lock_line("idna", "3.20", "b")).lock_sha256


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"env": "envs/rtx5090"}, "torch_stack_env is 'envs/rtx5090'"),
        ({"env": "/opt/my envs/a"}, "torch_stack_env is '/opt/my envs/a'"),
        ({"cache": "cache"}, "torch_stack_cache is 'cache'"),
        ({"uv_lock": UV_LOCK + IDNA}, "torch_stack_uv_lock pins uv, idna"),
        ({"uv_lock": ""}, "torch_stack_uv_lock is empty"),
    ],
)
def test_senseless_options_are_refused(params: dict[str, t.Any], words: str) -> None:
    with pytest.raises(OperatorError) as caught:
        layer(**params)
    assert words in caught.value.found


def test_titles_name_what_people_know() -> None:
    lock = "".join(lock_line(f"package-{n}", "1.0") for n in range(9)) + lock_line("diffusers", "0.40.0") + TORCH
    (_uv, step, _keep) = layer(lock).plan(layer(lock).read(FakeHost(Path("/nowhere")))).steps
    assert step.title == "Install diffusers 0.40.0, torch 2.9.1, package-0 1.0, package-1 1.0 and 7 more"
