# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The driver as a component: every step of a plan can be applied, and the unpacked driver does not stay behind."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import driverhost
from ansible_collections.gpulab.workstation.plugins.module_utils import (
    _driver_change,
    _driver_plan,
    _driver_transaction,
)
from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_journal as journals
from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_rollback as rollback
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_component import DriverComponent, SettledDriver
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_journal import Journal, Phase
from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._plan import Step
from driver_states import PARAMS, wanted
from fakehost import FakeHost

WORK = "/opt/gpulab-driver"


def test_every_action_of_a_plan_has_its_change(tmp_path: Path) -> None:
    planned: set[str] = set()
    for file in (_driver_plan.__file__, _driver_change.__file__, _driver_transaction.__file__):
        planned |= set(re.findall(r'Step\(\s*"(\w+)"', Path(file).read_text(encoding="utf-8")))
    component = DriverComponent.from_params(PARAMS)
    known = component._changes(FakeHost(tmp_path), component.wanted, lambda _: None)
    assert planned == {*known, "roll_back"}


@pytest.mark.parametrize(
    "step",
    [
        Step("extract", "", {"directory": WORK}),
        Step("install", "", {"directory": WORK, "arguments": [], "kernel": driverhost.KERNEL, "services": []}),
        Step("build", "", {"kernel": driverhost.KERNEL}),
        Step("prove", "", {"kernels": [driverhost.KERNEL]}),
    ],
    ids=lambda step: step.action,
)
def test_a_failure_leaves_no_unpacked_driver(tmp_path: Path, step: Step) -> None:
    host = FakeHost(tmp_path)
    driverhost.add_base(host)
    host.add(f"{WORK}/package/nvidia-installer", "x")
    with pytest.raises(OperatorError):
        DriverComponent.from_params(PARAMS).apply(host, step, lambda _: None)
    assert not host.exists(WORK)


def test_the_unpacked_driver_makes_room_before_the_way_back_is_gone(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    driverhost.add_driver(host)
    release = {**PARAMS["release"], "version": "590.48.01", "sha256": "b" * 64}
    component = DriverComponent.from_params({**PARAMS, "release": release})
    rollback.begin(host, component.wanted, journals.describe(wanted()))
    host.remove("/usr/bin/nvidia-smi")
    host.add(f"{WORK}/package/nvidia-installer", "x")
    seen = []

    def read(_: tuple[str, ...]) -> tuple[int, str, str]:
        seen.append(host.exists(WORK))
        return 0, "", ""

    host.commands["dkms status"] = read
    step = Step("install", "", {"directory": WORK, "arguments": [], "kernel": driverhost.KERNEL, "services": []})
    with pytest.raises(OperatorError, match="could not be put back"):
        component.apply(host, step, lambda _: None)
    assert seen == [False]


def test_a_step_in_between_keeps_it(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    host.add(f"{WORK}/package/nvidia-installer", "x")
    step = Step("file", "", {"path": "/etc/modprobe.d/x.conf", "text": "# x\n"})
    DriverComponent.from_params(PARAMS).apply(host, step, lambda _: None)
    assert host.exists(WORK)
    assert host.read_text("/etc/modprobe.d/x.conf") == "# x\n"
    DriverComponent.from_params(PARAMS).apply(host, Step("file", "", {**step.params, "text": None}), lambda _: None)
    assert not host.exists("/etc/modprobe.d/x.conf")


def test_after_a_restart_a_driver_is_looked_after_in_the_directories_of_its_change(tmp_path: Path) -> None:
    """The role that restarts asks with the state alone; without a note, as an older version leaves none, as it asks."""
    host = FakeHost(tmp_path)
    driverhost.add_driver(host)
    own = {"cache_directory": "/srv/cache", "work_directories": ["/srv/work"]}
    asked = SettledDriver.from_params({**PARAMS, "state": "settled"})
    for changes, cache, work in (({"places": own}, "/srv/cache", ("/srv/work",)), ({}, "/var/cache/gpulab", None)):
        journal = Journal(Phase.INSTALLED, journals.describe(wanted()), None, **changes)
        host.add(journals.JOURNAL, journal.to_text())
        assert asked.read(host) is not None
        assert asked.wanted.cache_directory == cache
        assert asked.wanted.work_directories == (work or asked.asked.work_directories)


def test_a_change_notes_its_directories(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    for _ in range(2):  # the second goes on with the first, which was killed
        rollback.begin(host, wanted(work_directories=["/srv/work"]), None)
        assert host.read_text(journals.JOURNAL)
        assert journals.parse_journal(host.read_text(journals.JOURNAL)).places == {  # type: ignore[union-attr]
            "cache_directory": "/var/cache/gpulab", "work_directories": ["/srv/work"],
        }  # fmt: skip
