# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What DKMS knows of the driver, where its own program stops half-way."""

from __future__ import annotations

from pathlib import Path

import pytest

import driverhost
from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_findings as findings
from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_steps as steps
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_dkms import TREE, read_dkms
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_plan import plan_driver
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_reader import read_driver
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_state import DkmsEntry
from ansible_collections.gpulab.workstation.plugins.module_utils._reading import Reading
from driver_states import OLD, VERSION, wanted
from driverhost import KERNEL
from fakehost import FakeHost

# What dkms 3.0.10 says where /var/lib/dkms/nvidia/VERSION/source leads nowhere; its status is 0.
STOPPED = (0, "", "Error! Could not locate dkms.conf file.\nFile: source/dkms.conf does not exist.\n")


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    """Return a host with a driver of whose source somebody has removed what DKMS builds from."""
    host = FakeHost(tmp_path)
    driverhost.add_base(host)
    driverhost.add_driver(host)
    host.add(f"{TREE}/{VERSION}/{KERNEL}/x86_64/module/nvidia.ko", "x")
    host.symlink(f"/usr/src/nvidia-{VERSION}", f"{TREE}/{VERSION}/source")
    host.symlink(f"{VERSION}/{KERNEL}/x86_64", f"{TREE}/kernel-{KERNEL}-x86_64")
    host.commands["dkms status -m nvidia"] = STOPPED
    return host


def test_an_entry_whose_source_is_gone_is_broken_and_the_driver_installed_anew(host: FakeHost) -> None:
    state = read_driver(host, wanted())
    assert state.dkms == (DkmsEntry(VERSION, "", "broken"),)
    assert not state.unread
    assert findings.install_reasons(state, wanted()) == (f"DKMS has lost the source of nvidia/{VERSION}",)
    actions = [step.action for step in plan_driver(state, wanted()).steps]
    assert actions.index("forget") < actions.index("install")


def test_the_others_are_asked_about_alone(host: FakeHost) -> None:
    host.add(f"{TREE}/{OLD}/source/dkms.conf", "x")
    host.add(f"{TREE}/original_module/x", "x")
    host.commands[f"dkms status -m nvidia -v {OLD}"] = (0, f"nvidia/{OLD}, {KERNEL}, x86_64: built\n", "")
    reading = Reading(host)
    assert read_dkms(reading) == (DkmsEntry(VERSION, "", "broken"), DkmsEntry(OLD, KERNEL, "built"))
    assert reading.unreadable == []


def test_whole_entries_are_told_at_once_and_those_of_other_modules_are_not_asked_for(host: FakeHost) -> None:
    host.remove(f"{TREE}/{VERSION}/source")
    host.add(f"{TREE}/{VERSION}/source/dkms.conf", "x")
    host.commands["dkms status"] = STOPPED  # of a module that comes before the driver's
    host.commands["dkms status -m nvidia"] = (0, f"nvidia/{VERSION}, {KERNEL}, x86_64: installed\n", "")
    assert read_dkms(Reading(host)) == (DkmsEntry(VERSION, KERNEL, "installed"),)


def test_a_broken_entry_is_forgotten_with_the_links_to_its_builds(host: FakeHost) -> None:
    host.commands["dkms remove"] = STOPPED
    steps.forget(host, VERSION, "/var/log/gpulab/gpu_driver.log")
    assert not host.exists(TREE)
