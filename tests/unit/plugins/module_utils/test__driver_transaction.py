# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When there is a way back, when it is gone, and how a host learns what a restart has brought."""

from __future__ import annotations

import dataclasses
import typing as t

import pytest

from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_state as states
from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_transaction as transaction
from ansible_collections.gpulab.workstation.plugins.module_utils import _gpu_facts as gpu
from ansible_collections.gpulab.workstation.plugins.module_utils import _host_facts as hosts
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_journal import Journal, Phase
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_plan import plan_driver, plan_settled
from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from driver_states import (
    KERNEL,
    OLD,
    SHA,
    VERSION,
    bare,
    described,
    good,
    gpu_facts,
    host_facts,
    kernel,
    module,
    wanted,
)

OLD_SHA = "c" * 64
FORMER = described(OLD, OLD_SHA)
CONTAINER = hosts.Machine("container", "podman")
JOB = gpu.Holder(4711, "python3", "ada", "job", ("/dev/nvidia0",))


def journal(phase: Phase, **changes: t.Any) -> Journal:
    """Return the account of a change from the former driver to the wanted one."""
    begun = Journal(phase, described(), FORMER, boot="boot-1").moved(phase, 1_800_000_000.0)
    return dataclasses.replace(begun, **changes)


def former(**changes: t.Any) -> states.DriverState:
    """Return a host that the former driver serves well."""
    state = good(
        record=states.Record(OLD, "d0"), marker=states.Marker(OLD, "open", OLD_SHA, "d0"), installed=FORMER,
        dkms=(states.DkmsEntry(OLD, KERNEL, "installed"),), kernels=(kernel(module=module(OLD)),), firmware=(OLD,),
        gpu=gpu_facts(driver_loaded=module(OLD, kernel="")), strays=(), kept=frozenset({OLD_SHA}),
    )  # fmt: skip
    return dataclasses.replace(state, **changes)


def loaded(version: str | None) -> gpu.GpuFacts:
    return gpu_facts(driver_loaded=module(version, kernel="") if version else None)


def actions(state: states.DriverState, **ask: t.Any) -> list[str]:
    return [step.action for step in plan_driver(state, wanted(**ask)).steps]


@pytest.mark.parametrize(
    ("state", "version", "words"),
    [
        (former(), OLD, ""),
        (bare(), None, "no driver of this role"),
        (former(marker=None), None, "no driver of this role"),
        (former(installed=None), None, "no driver of this role"),
        (former(installed=described(OLD, "d" * 64)), None, "no driver of this role"),
        (former(kept=frozenset()), None, f"{OLD} (open) cannot be put back, its .run is not kept"),
        (good(sanity="x differs"), None, "is the one to be installed"),
        (former(journal=journal(Phase.DONE)), OLD, ""),
        (bare(journal=journal(Phase.REPLACING), kept=frozenset({OLD_SHA})), OLD, ""),
        (good(journal=journal(Phase.INSTALLED), gpu=loaded(OLD), kept=frozenset({OLD_SHA})), OLD, ""),
    ],
    ids=["proven", "fresh", "unproven", "of-an-older-role", "of-another-file", "not-kept", "same", "done",
         "killed", "never-loaded"],
)  # fmt: skip
def test_the_way_back_is_the_last_driver_that_was_seen_to_be_good(
    state: states.DriverState, version: str | None, words: str
) -> None:
    origin, reason = transaction.way_back(state, wanted())
    assert (origin["version"] if origin else None) == version
    assert words in reason


def test_the_way_back_is_kept_before_anything_is_touched() -> None:
    steps = plan_driver(former(), wanted()).steps
    order = [step.action for step in steps]
    assert order[: order.index("begin")] == ["fetch", "extract", "try_build"]
    assert next(step for step in steps if step.action == "begin").params == {"origin": FORMER, "kernels": [KERNEL]}
    assert order[-1] == "commit"


def test_a_kernel_that_the_old_driver_is_too_old_for_is_not_built_for_on_the_way_back() -> None:
    state = former()
    held = dataclasses.replace(state, kernels=(*state.kernels, kernel("6.8.0-99-generic", module=None)))
    begin = next(step for step in plan_driver(held, wanted()).steps if step.action == "begin")
    assert begin.params["origin"] == {**FORMER, "ignored_kernels": ["6.8.0-99-generic"]}


def test_an_open_account_is_closed_even_where_nothing_else_is_to_be_done() -> None:
    assert actions(good(journal=journal(Phase.REPLACING), gpu=loaded(OLD))) == ["commit"]
    assert actions(good(journal=journal(Phase.DONE))) == []
    assert actions(good(installed=None)) == ["commit"]
    assert actions(good(kept=frozenset())) == ["fetch", "commit"]


@pytest.mark.parametrize(
    ("state", "awaits"),
    [
        (bare(), True),
        (bare(gpu=gpu_facts(driver_loaded=None, libraries=())), False),
        (bare(gpu=gpu_facts(devices=(), driver_loaded=None, libraries=())), False),
        (bare(host=host_facts(machine=CONTAINER)), False),
        (former(), False),
    ],
    ids=["nouveau-holds-the-card", "loads-at-once", "no-card", "container", "idle-upgrade"],
)
def test_what_only_a_restart_can_show_is_noted(state: states.DriverState, awaits: bool) -> None:  # noqa: FBT001
    assert plan_driver(state, wanted()).steps[-1].params == {"awaits_restart": awaits}


def test_a_way_back_that_was_cut_off_goes_on_before_anything_else() -> None:
    state = bare(journal=journal(Phase.ROLLING_BACK, why="no space left."), kept=frozenset({OLD_SHA}))
    plan = plan_driver(state, wanted())
    assert [(step.action, step.params) for step in plan.steps] == [("roll_back", {"why": "no space left."})]
    assert plan.after["installed"] == OLD
    other = wanted(release={"version": "590.48.01", "file": "x.run", "sha256": "e" * 64, "sources": []})
    assert "install" in [step.action for step in plan_driver(state, other).steps]


def test_a_change_that_was_cut_off_goes_on_beside_the_loaded_module_if_people_have_come() -> None:
    busy = gpu_facts(driver_loaded=module(OLD, kernel=""), processes=(JOB,))
    with pytest.raises(OperatorError, match="python3"):
        plan_driver(former(gpu=busy), wanted())
    half = former(gpu=busy, marker=None, journal=journal(Phase.REPLACING))
    install = next(step for step in plan_driver(half, wanted()).steps if step.action == "install")
    assert "--skip-module-load" in install.params["arguments"]


AFTER: dict[str, t.Any] = {"boot": "boot-2", "kept": frozenset({SHA, OLD_SHA})}


@pytest.mark.parametrize(
    ("state", "steps"),
    [
        (good(journal=journal(Phase.INSTALLED), **AFTER), ["load", "commit"]),
        (good(journal=journal(Phase.INSTALLED), gpu=loaded(None), **AFTER), ["load", "commit"]),
        (good(journal=journal(Phase.INSTALLED), gpu=loaded(OLD), **AFTER), ["roll_back"]),
        (good(journal=journal(Phase.INSTALLED), gpu=loaded(OLD)), []),
        (good(journal=journal(Phase.DONE), gpu=loaded(None), **AFTER), []),
        (good(), []),
    ],
    ids=["loaded", "not-loaded", "the-old-one-is-loaded", "not-restarted-yet", "nothing-waits", "no-account"],
)
def test_after_the_restart(state: states.DriverState, steps: list[str]) -> None:
    plan = plan_settled(state, wanted())
    assert [step.action for step in plan.steps] == steps
    assert plan_settled(None, wanted()).steps == ()


@pytest.mark.parametrize(
    ("state", "steps"),
    [
        (good(journal=journal(Phase.REPLACING)), ["load", "commit"]),
        (good(journal=journal(Phase.REPLACING, target=described(OLD, OLD_SHA))), ["load", "commit"]),
        (good(journal=journal(Phase.REPLACING), gpu=loaded(OLD)), ["commit"]),
    ],
    ids=["first-module-loaded", "of-a-driver-that-was-there-before", "old-one-loaded"],
)
def test_a_run_that_was_killed_while_it_loaded_is_gone_on_with(state: states.DriverState, steps: list[str]) -> None:
    """Its first module is loaded then: the others have to be tried too. Beside the old one none can be."""
    assert actions(state) == steps


def test_a_later_run_finds_the_same_and_needs_nothing_where_the_driver_is_loaded() -> None:
    assert actions(good(journal=journal(Phase.DONE), **AFTER)) == []
    assert actions(good(journal=journal(Phase.INSTALLED), gpu=loaded(OLD), **AFTER)) == ["roll_back"]
    assert "load" in actions(good(journal=journal(Phase.INSTALLED), gpu=loaded(None), **AFTER))


def test_a_restart_by_hand_that_has_loaded_the_driver_ends_the_wait() -> None:
    """A wait that never ends would take a driver that somebody installs later for a failed restart."""
    assert actions(good(journal=journal(Phase.INSTALLED), **AFTER)) == ["load", "commit"]
    assert actions(good(journal=journal(Phase.INSTALLED), gpu=loaded(None), **AFTER))[-1] == "commit"


def test_a_driver_that_failed_after_a_restart_is_not_tried_again_by_itself() -> None:
    failed = journal(Phase.ROLLED_BACK, after_restart=True, why="no such device.", put_back=OLD)
    state = former(journal=failed)
    with pytest.raises(OperatorError) as caught:
        plan_driver(state, wanted())
    assert "no such device." in caught.value.found
    assert f"{OLD} was put back at 2027-01-15 08:00 UTC" in caught.value.found
    assert "gpu_driver_retry" in caught.value.action
    assert "install" in actions(state, retry=True)
    assert "install" in actions(former(journal=dataclasses.replace(failed, after_restart=False)))
    other = wanted(flavour="proprietary")
    assert "install" in [step.action for step in plan_driver(state, other).steps]
    assert VERSION in caught.value.found
