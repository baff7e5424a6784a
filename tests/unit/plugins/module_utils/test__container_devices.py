# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The specification by which containers get the cards follows the driver, from reading it to writing it again."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest

import driverhost
from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_steps as steps
from ansible_collections.gpulab.workstation.plugins.module_utils._container_devices import (
    ContainerDevices,
    Specification,
    parse_specification,
)
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_component import DriverComponent
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_journal import Journal, Phase
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_plan import plan_driver, plan_settled
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_reader import read_driver
from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._verify import Outcome
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_drift import judge_drift
from driver_states import OLD, VERSION, described, good, gpu_facts, module, wanted
from driverhost import LIBRARIES
from fakehost import FakeHost

LOG = "/var/log/gpulab/gpu_driver.log"
ADMINS, SERVICES = "/etc/cdi/nvidia.yaml", "/var/run/cdi/nvidia.yaml"
UNIT = "nvidia-cdi-refresh.service"
OLD_NAMES = f"it names libraries of driver {OLD}"
STALE = Specification(ADMINS, (OLD,), ())


def specification(version: str, kind: str = "nvidia.com/gpu") -> str:
    """Return one in the form of nvidia-ctk 1.18 (cmd/nvidia-ctk/cdi/generate/generate_test.go)."""
    return f"""---
cdiVersion: 0.5.0
kind: {kind}
devices:
    - name: "0"
      containerEdits:
        deviceNodes:
            - path: /dev/nvidia0
              hostPath: /dev/nvidia0
containerEdits:
    hooks:
        - hookName: createContainer
          path: /usr/bin/nvidia-cdi-hook
          args: [nvidia-cdi-hook, enable-cuda-compat, --host-driver-version={version}]
    mounts:
        - hostPath: {LIBRARIES}/libcuda.so.{version}
          containerPath: {LIBRARIES}/libcuda.so.{version}
          options: [ro, nosuid, nodev, rbind, rprivate]
        - hostPath: /usr/bin/nvidia-smi
          containerPath: /usr/bin/nvidia-smi
"""


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    """Return a host with the driver, a specification of the former one, and nvidia-ctk without its service."""
    host = FakeHost(tmp_path)
    driverhost.add_driver(host)
    host.add(ADMINS, specification(OLD))
    host.commands[f"systemctl is-enabled {UNIT}"] = (1, "disabled\n", "")
    host.commands["nvidia-ctk cdi generate"] = written(host, ADMINS, VERSION)
    return host


def written(host: FakeHost, path: str, version: str) -> t.Callable[[tuple[str, ...]], tuple[int, str, str]]:
    """Answer a command by writing the specification of a version."""

    def answer(_argv: tuple[str, ...]) -> tuple[int, str, str]:
        host.add(path, specification(version))
        return 0, "", ""

    return answer


def with_service(host: FakeHost) -> None:
    host.commands[f"systemctl is-enabled {UNIT}"] = (0, "enabled\n", "")
    host.commands["systemctl reset-failed"] = (0, "", "")
    host.commands[f"systemctl restart {UNIT}"] = written(host, SERVICES, VERSION)


def planned(**changes: t.Any) -> list[str]:
    return [step.action for step in plan_driver(good(**changes), wanted()).steps]


def named(*found: Specification, service: bool = False, tool: bool = True) -> ContainerDevices:
    return ContainerDevices(found, service, tool)


def test_a_specification_is_read_as_yaml_and_as_json() -> None:
    paths = ("/dev/nvidia0", f"{LIBRARIES}/libcuda.so.{VERSION}", "/usr/bin/nvidia-smi")
    assert parse_specification(specification(VERSION)) == ("nvidia.com/gpu", paths)
    edits = {"mounts": [{"hostPath": path, "containerPath": path} for path in paths]}
    for indent in (None, 2):
        text = json.dumps({"cdiVersion": "0.5.0", "kind": "nvidia.com/gpu", "containerEdits": edits}, indent=indent)
        assert parse_specification(text) == ("nvidia.com/gpu", paths)
    assert parse_specification("") == ("", ())


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (Specification(ADMINS, (VERSION,), ()), ""),
        (Specification(ADMINS, (), ()), ""),
        (Specification(ADMINS, (OLD,), ("/x",)), OLD_NAMES),
        (Specification(ADMINS, (OLD, VERSION), ()), OLD_NAMES),
        (
            Specification(ADMINS, (VERSION,), ("/usr/bin/nvidia-smi",)),
            "it names what is not there: /usr/bin/nvidia-smi",
        ),
        (Specification(ADMINS, (VERSION,), ("/a", "/b", "/c")), "it names what is not there: /a, and 2 more"),
    ],
    ids=["right", "names-no-library", "former-driver", "both", "file-gone", "files-gone"],
)
def test_what_is_wrong_with_a_specification(found: Specification, reason: str) -> None:
    assert found.outdated(VERSION) == reason


def test_a_host_without_containers_is_not_asked_about_them(host: FakeHost) -> None:
    host.remove(ADMINS)
    host.add("/etc/cdi/other.yaml", specification(OLD, "example.com/gpu"))
    assert read_driver(host, wanted()).containers == ContainerDevices()
    assert not [command for command in host.ran if UNIT in command]


def test_the_specification_that_counts_is_read(host: FakeHost) -> None:
    """The toolkit's service writes below /var/run, which has the last word."""
    found = read_driver(host, wanted()).containers
    assert found.outdated(VERSION) == {ADMINS: OLD_NAMES}
    assert (found.service, found.tool) == (False, True)
    host.add(SERVICES, specification(VERSION))
    with_service(host)
    found = read_driver(host, wanted()).containers
    assert [spec.path for spec in found.specifications] == [SERVICES]
    assert found.outdated(VERSION) == {}
    assert found.service


def test_a_file_that_is_gone_counts_and_a_device_does_not(host: FakeHost) -> None:
    host.add(ADMINS, specification(VERSION))
    assert read_driver(host, wanted()).containers.outdated(VERSION) == {}
    host.remove("/usr/bin/nvidia-smi")
    assert "/usr/bin/nvidia-smi" in read_driver(host, wanted()).containers.outdated(VERSION)[ADMINS]


def test_it_is_written_again_where_the_driver_is_loaded_and_by_nobody_else() -> None:
    assert planned(containers=named(STALE)) == ["containers"]
    assert planned(containers=named(Specification(ADMINS, (VERSION,), ()))) == []
    assert planned(containers=named(STALE, tool=False)) == []
    assert planned(containers=named(STALE), gpu=gpu_facts(driver_loaded=module(OLD, kernel=""))) == []


def test_it_comes_after_the_new_driver_is_loaded_and_noted() -> None:
    again = good(marker=None, containers=named(STALE))
    found = [step.action for step in plan_driver(again, wanted()).steps]
    assert found[-2:] == ["commit", "containers"]
    assert found.index("load") < found.index("containers")


def test_after_the_restart_that_a_driver_waited_for_it_is_written_again() -> None:
    journal = Journal(Phase.INSTALLED, described(), described(OLD, "c" * 64), boot="boot-0")
    state = good(journal=journal, containers=named(STALE))
    assert [step.action for step in plan_settled(state, wanted()).steps] == ["load", "commit", "containers"]
    other = good(journal=journal, containers=named(STALE), gpu=gpu_facts(driver_loaded=module(OLD, kernel="")))
    assert [step.action for step in plan_settled(other, wanted()).steps] == ["roll_back"]


def test_of_several_specifications_the_tool_writes_none() -> None:
    """It would name the cards in each; that two of them name a card is an error to whatever starts containers."""
    second = Specification("/etc/cdi/second.yaml", (OLD,), ())
    assert planned(containers=named(STALE, second)) == []
    assert planned(containers=named(STALE, second, service=True)) == ["containers"]
    report = DriverComponent(wanted()).report(good(containers=named(STALE, second)))
    assert [note for note in report["notes"] if "for it is one of several" in note] == report["notes"]


def test_a_removal_leaves_it_alone() -> None:
    steps_of = plan_driver(good(containers=named(STALE)), wanted(state="absent")).steps
    assert "containers" not in [step.action for step in steps_of]


def test_nvidia_ctk_writes_it(host: FakeHost) -> None:
    steps.write_for_containers(host, VERSION, ADMINS, LOG, service=False)
    assert host.ran[0] == ("nvidia-ctk", "cdi", "generate", f"--output={ADMINS}")
    assert read_driver(host, wanted()).containers.outdated(VERSION) == {}


def test_the_toolkits_service_writes_it_even_after_it_has_failed_too_often(host: FakeHost) -> None:
    with_service(host)
    steps.write_for_containers(host, VERSION, ADMINS, LOG, service=True)
    assert [command[1] for command in host.ran[:2]] == ["reset-failed", "restart"]
    assert not [command for command in host.ran if command[0] == "nvidia-ctk"]


def test_a_tool_that_fails_or_writes_the_former_driver_again_is_told(host: FakeHost) -> None:
    host.commands["nvidia-ctk cdi generate"] = (1, "", "failed to initialize NVML: Driver Not Loaded\n")
    with pytest.raises(OperatorError, match="ended with 1: failed to initialize NVML") as told:
        steps.write_for_containers(host, VERSION, ADMINS, LOG, service=False)
    assert "The driver itself is installed" in str(told.value)
    host.commands["nvidia-ctk cdi generate"] = written(host, ADMINS, OLD)
    with pytest.raises(OperatorError, match=f"ended with 0: {ADMINS}: {OLD_NAMES}"):
        steps.write_for_containers(host, VERSION, ADMINS, LOG, service=False)


def test_without_the_toolkit_it_is_said_and_nothing_is_done(host: FakeHost) -> None:
    del host.commands["nvidia-ctk cdi generate"]
    component = DriverComponent(wanted())
    state = component.read(host)
    assert component.plan(state).steps == ()
    words = "containers get no card until it is written again by hand, for there is no nvidia-ctk to do it"
    assert f"{ADMINS}: {OLD_NAMES}; {words}" in component.report(state)["notes"]


def test_verification_warns_of_it() -> None:
    check = judge_drift(good(containers=named(STALE)), wanted(), {})
    assert check.outcome is Outcome.WARN
    assert f"{ADMINS}: {OLD_NAMES}" in check.why
