# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Drift: what has changed is named, all of it at once, and what could not be read is not taken for good."""

from __future__ import annotations

import pytest

from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_files as files
from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_state as states
from ansible_collections.gpulab.workstation.plugins.module_utils import _gpu_facts as gpu
from ansible_collections.gpulab.workstation.plugins.module_utils._host_facts import Unreadable
from ansible_collections.gpulab.workstation.plugins.module_utils._verify import Outcome
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_drift import judge_drift, named_files
from driver_states import KERNEL, OLD, VERSION, good, gpu_facts, kernel, wanted

NEXT = "6.17.0-5-generic"
LIBCUDA = f"/usr/lib/x86_64-linux-gnu/libcuda.so.{VERSION}"
ALTERED = (
    f"The installed file '/usr/lib/x86_64-linux-gnu/./libcuda.so.{VERSION}' has a different checksum (1) than (2)."
)
IMAGE = states.Initramfs("/boot/initrd.img", 1.0, ("nvidia",), has_our_settings=True)
PACKAGE = gpu.Package("nvidia-driver-535", "535.183")


def test_a_driver_that_nobody_touched() -> None:
    check = judge_drift(good(), wanted(), {})
    assert (check.name, check.outcome) == ("driver_drift", Outcome.PASS)
    assert check.why == f"driver {VERSION} (open) is as it was installed, for 1 kernels"


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (good(sanity=ALTERED), f"{ALTERED} (the file belongs to the package libcuda1 now)"),
        (good(kernels=(kernel(), kernel(NEXT, module=None))), f"the module of kernel {NEXT}: it has no module"),
        (good(kernels=(kernel(incomplete="3 of 4 modules are there"),)), f"the module of kernel {KERNEL}: 3 of 4"),
        (good(record=states.Record("570.1", "d2")), "a driver 570.1 was installed over it from another .run"),
        (good(gpu=gpu_facts(packages=(PACKAGE,))), "packages of another driver are installed: nvidia-driver-535"),
        (good(dkms=(*good().dkms, states.DkmsEntry(OLD, "", "added"))), f"DKMS has another driver, nvidia/{OLD}"),
        (good(strays=(("/usr/lib/libcuda.so.1.2", "1.2"),)), "files of another driver are there: /usr/lib/libcuda"),
        (good(record=None), "no driver from a .run is installed"),
        (good(marker=None), "nothing proves that the installation was finished"),
        (good(kernels=(kernel(module_time=2.0, initramfs=IMAGE),)), f"the initramfs of {KERNEL}: it holds an older"),
    ],
    ids=["library-overwritten-by-a-package", "one-kernel-without", "a-module-missing", "second-run-file", "packages",
         "second-in-dkms", "other-libraries", "removed", "reinstalled-by-hand", "initramfs"],
)  # fmt: skip
def test_what_has_changed_is_named(state: states.DriverState, words: str) -> None:
    check = judge_drift(state, wanted(), {LIBCUDA: "libcuda1"})
    assert check.outcome is Outcome.FAIL
    assert words in check.why


def test_everything_is_named_at_once() -> None:
    state = good(
        sanity=ALTERED, kernels=(kernel(), kernel(NEXT, module=None)), gpu=gpu_facts(packages=(PACKAGE,)),
        files={**good().files, files.PIN: None},
    )  # fmt: skip
    check = judge_drift(state, wanted(), {})
    assert len(check.figures["differs"]) == 3
    assert check.figures["settings"] == [f"{files.PIN} was changed"]
    assert check.why.count(";") == 3


def test_changed_settings_are_something_to_look_at() -> None:
    check = judge_drift(good(files={**good().files, files.PIN: None}, unit_enabled=False), wanted(), {})
    assert check.outcome is Outcome.WARN
    assert f"{files.PIN} was changed; nvidia-persistenced.service is not enabled" in check.why


@pytest.mark.parametrize("what", [states.DKMS_READ, states.OWNERS_READ, states.COLLATERAL_READ])
def test_what_could_not_be_read_is_not_proven_and_no_excuse(what: str) -> None:
    note = (Unreadable(what, "it does not answer"),)
    assert judge_drift(good(unreadable=note), wanted(), {}).outcome is Outcome.NOT_PROVEN
    assert judge_drift(good(unreadable=note, marker=None), wanted(), {}).outcome is Outcome.FAIL
    other = (Unreadable("sessions of logind", "no bus"),)
    assert judge_drift(good(unreadable=other), wanted(), {}).outcome is Outcome.PASS


def test_the_files_that_the_installer_complains_about() -> None:
    assert named_files(ALTERED) == [LIBCUDA]
    assert named_files("Unable to find any installed NVIDIA driver.") == []
    assert named_files(None) == []
