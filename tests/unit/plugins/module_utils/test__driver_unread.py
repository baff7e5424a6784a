# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tools that do not answer: silence is not absence, neither for who installs nor for who reports."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

import driverhost
from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_files as files
from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_findings as findings
from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_leftovers as leftovers
from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_rollback as rollback
from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_run as run
from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_steps as steps
from ansible_collections.gpulab.workstation.plugins.module_utils import _verify_drift_family as drift
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_plan import plan_driver
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_reader import read_driver
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_wanted import Wanted
from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._in_the_way import RefusalError
from ansible_collections.gpulab.workstation.plugins.module_utils._plan import Step
from ansible_collections.gpulab.workstation.plugins.module_utils._verify import Outcome
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_run import read_context
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_wish import Wish
from driver_states import VERSION, described, wanted
from driverhost import KERNEL, LIBRARIES
from fakehost import FakeHost

LOG = "/var/log/gpulab/gpu_driver.log"
LATE = (124, "", "")
COMPLETE = (
    "-> Installation of the NVIDIA Accelerated Graphics Driver for Linux-x86_64"
    f" (version: {VERSION}) is now complete.\n"
)
ALL_PACKAGES = "dpkg-query -W -f=${Package}\\t${db:Status-Abbrev}\\n"
DRIVER_PACKAGES = "dpkg-query -W -f=${binary:Package}\\t${Version}\\t${db:Status-Abbrev}\\n"
SANITY = "/usr/bin/nvidia-installer --sanity"
LISTING = f"modinfo -k {KERNEL} nvidia"
VERMAGIC = f"modinfo -k {KERNEL} -F vermagic"

# What fails and how, and the words about it.
SILENT: dict[str, tuple[str, tuple[int, str, str], str]] = {
    "dkms": ("dkms status", (1, "", "Error! Could not read /var/lib/dkms\n"),
             "'dkms status' did not answer (dkms: Error! Could not read /var/lib/dkms)"),
    "dkms-late": ("dkms status", (124, f"nvidia/{VERSION}, x", ""),
                  "'dkms status' did not answer (dkms: no answer within 120 s)"),
    "dkms-without-room": ("dkms status", (0, "", "Error! Unable to make temporary file.\n"),
                          "'dkms status' did not answer (dkms: Error! Unable to make temporary file)"),
    "packages": (ALL_PACKAGES, (2, "", "dpkg-query: error: cannot read the status file\n"),
                 "'dpkg-query -W' did not answer (dpkg-query: error: cannot read the status file)"),
    "driver-packages": (DRIVER_PACKAGES, LATE, "'dpkg-query -W' did not answer (dpkg-query: no answer within 120 s)"),
    "linker": ("ldconfig -p", LATE, "'ldconfig -p' did not answer"),
    "modinfo": (LISTING, LATE, f"'modinfo -k {KERNEL} nvidia' did not answer (modinfo: no answer within 120 s)"),
    "vermagic": (VERMAGIC, (-9, "", ""), f"'modinfo -k {KERNEL} nvidia' did not answer (modinfo: ended with -9)"),
    "sanity": (SANITY, LATE, "'nvidia-installer --sanity' did not answer (no answer within 300 s)"),
}  # fmt: skip


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    """Return a host on which the driver is as it should be."""
    host = FakeHost(tmp_path)
    driverhost.add_driver(host)
    return host


def refusal(host: FakeHost, **ask: t.Any) -> RefusalError:
    before = driverhost.tree(host)
    with pytest.raises(RefusalError) as caught:
        plan_driver(read_driver(host, wanted(**ask)), wanted(**ask))
    assert driverhost.changes(host) == []
    assert driverhost.tree(host) == before
    return caught.value


@pytest.mark.parametrize(("command", "answer", "words"), SILENT.values(), ids=SILENT)
def test_what_does_not_answer_is_a_refusal_and_no_reason_to_install(
    host: FakeHost, command: str, answer: tuple[int, str, str], words: str
) -> None:
    host.commands[command] = answer
    refused = refusal(host)
    assert refused.found.startswith(words)
    assert refused.found.count("did not answer") == 1
    assert "without it nobody knows what is installed" in refused.expected
    assert refused.action.endswith("Nothing has been changed.")
    assert [blocker.kind for blocker in refused.blockers] == ["host"]  # nobody to wait for


@pytest.mark.parametrize(("command", "answer", "words"), SILENT.values(), ids=SILENT)
def test_what_does_not_answer_is_not_drift_and_not_proven_either(
    host: FakeHost, command: str, answer: tuple[int, str, str], words: str
) -> None:
    host.commands[command] = answer
    context = read_context(host, Wish(arch="12.0", require=(), expect_gpu=False), lambda _: None)
    (check,) = drift.checks(context)
    assert (check.outcome, check.figures["differs"]) == (Outcome.NOT_PROVEN, [])
    assert words.partition("(")[2].rstrip(")") in check.why


@pytest.mark.parametrize(("command", "answer", "words"), SILENT.values(), ids=SILENT)
def test_an_installation_is_not_proven_without_their_answer(
    host: FakeHost, command: str, answer: tuple[int, str, str], words: str
) -> None:
    host.add(run.INSTALL_LOG, COMPLETE)
    host.remove(files.MARKER)
    host.commands[command] = answer
    if command == ALL_PACKAGES:  # which packages are there beside it proves nothing about a driver
        run.prove(host, wanted(), [KERNEL], LOG)
        return
    with pytest.raises(OperatorError) as caught:
        run.prove(host, wanted(), [KERNEL], LOG)
    assert words in caught.value.found
    assert not host.exists(files.MARKER)


def test_all_silence_is_told_at_once_with_what_else_is_wrong(host: FakeHost) -> None:
    host.commands["dkms status"] = host.commands["ldconfig -p"] = LATE
    host.remove("/var/lib/nvidia/log")
    host.add("/usr/lib/nvidia/alternate-install-present")
    found = refusal(host).found
    assert found.count("did not answer") == 2
    assert "alternate-install-present" in found


def test_a_host_without_dkms_is_not_a_silent_one(host: FakeHost) -> None:
    del host.commands["dkms status"], host.commands["dkms"]
    assert "DKMS does not know" in findings.install_reasons(read_driver(host, wanted()), wanted())[0]


def test_a_dkms_that_complains_about_one_entry_has_answered(host: FakeHost) -> None:
    lost = f"Error! nvidia/{VERSION}: Missing the module source directory or the symbolic link pointing to it.\n"
    host.commands["dkms status"] = (0, f"nvidia/{VERSION}: broken\n", lost)
    assert "lost the source" in findings.install_reasons(read_driver(host, wanted()), wanted())[0]


def test_a_host_without_modinfo_has_no_module(tmp_path: Path) -> None:
    """A bare container has no kmod until the plan's own packages bring it."""
    host = FakeHost(tmp_path)
    driverhost.add_base(host)
    del host.commands["modinfo"]
    assert "install" in [step.action for step in plan_driver(read_driver(host, wanted()), wanted()).steps]


def test_a_module_that_modinfo_complains_about_is_damaged_and_built_anew(host: FakeHost) -> None:
    host.commands[LISTING] = host.commands[VERMAGIC] = (1, "", "modinfo: ERROR: could not get modinfo from 'nvidia'\n")
    assert [step.action for step in plan_driver(read_driver(host, wanted()), wanted()).steps] == ["build"]


def test_an_ignored_kernel_may_stay_silent(host: FakeHost) -> None:
    host.commands[LISTING] = host.commands[VERMAGIC] = LATE
    ask = wanted(ignored_kernels=[KERNEL])
    assert "build" not in [step.action for step in plan_driver(read_driver(host, ask), ask).steps]


# Removing


@pytest.mark.parametrize("silent", ["dkms status", DRIVER_PACKAGES, "dpkg-query --search"])
def test_nothing_is_removed_on_a_host_that_does_not_say_what_is_whose(host: FakeHost, silent: str) -> None:
    host.commands[silent] = (2, "", "error\n")
    assert f"'{' '.join(silent.split()[:2])}' did not answer" in refusal(host, state="absent").found


@pytest.mark.parametrize("silent", ["ldconfig -p", ALL_PACKAGES, LISTING])
def test_a_removal_does_not_ask_for_what_it_does_not_decide_by(host: FakeHost, silent: str) -> None:
    host.commands[silent] = (2, "", "error\n")
    ask = wanted(state="absent")
    assert "uninstall" in [step.action for step in plan_driver(read_driver(host, ask), ask).steps]


def test_files_are_not_taken_for_nobodys_because_dpkg_is_silent(host: FakeHost) -> None:
    stray = f"{LIBRARIES}/libcuda.so.1.2.3"
    host.add(stray, "x")
    host.commands["dpkg-query --search"] = (2, "", "dpkg-query: error: no space\n")
    with pytest.raises(OperatorError, match="ended with 2: dpkg-query: error: no space"):
        steps.remove_strays(host, [stray], LOG)
    with pytest.raises(OperatorError):
        leftovers.leftovers(host)
    assert host.exists(stray)


def test_a_purge_is_not_begun_before_it_is_known_what_goes_along(host: FakeHost) -> None:
    host.commands[DRIVER_PACKAGES] = (0, "nvidia-driver-535\t535.183\tii \n", "")
    host.commands["apt-get --simulate"] = LATE
    host.remove("/var/lib/nvidia/log")
    assert "'apt-get --simulate purge' did not answer" in refusal(host).found


# On the way


def test_the_way_back_does_not_depend_on_packages_that_it_does_not_install(host: FakeHost) -> None:
    ask = wanted(release={"version": "590.48.01", "file": "new.run", "sha256": "b" * 64, "sources": []})
    rollback.begin(host, ask, described())
    host.commands[ALL_PACKAGES] = (2, "", "error\n")
    host.remove(files.MODPROBE)

    def apply(_: Wanted, step: Step) -> None:
        host.add(step.params["path"], step.params["text"])

    error = OperatorError(found="the disk is full.", expected="room.", action="free some.")
    with pytest.raises(OperatorError, match=f"Driver {VERSION} .open. was put back; the host works as before"):
        rollback.after_failure(host, ask, Step("install", ""), error, apply)


def test_an_initramfs_that_nobody_can_list_is_written_anew_with_a_change_and_else_left(host: FakeHost) -> None:
    host.add(f"/boot/initrd.img-{KERNEL}", "x")
    host.commands.update({"lsinitramfs": (1, "", "cpio: premature end of archive\n"), "update-initramfs": (0, "", "")})
    state = read_driver(host, wanted())
    assert findings.unlisted_initramfs(state) == (KERNEL,)
    assert plan_driver(state, wanted()).steps == ()
    other = wanted(module_options={"nvidia-drm": {"modeset": 0}})
    (step,) = [step for step in plan_driver(state, other).steps if step.action == "initramfs"]
    assert "where nobody can list it" in step.title
    steps.update_initramfs(host, wanted(), LOG)
    assert driverhost.changes(host) == [f"update-initramfs -u -k {KERNEL}"]


def test_a_module_in_the_initramfs_is_no_drift_where_nobody_says_what_is_on_disk(host: FakeHost) -> None:
    host.add(f"/boot/initrd.img-{KERNEL}", "x")
    host.commands["lsinitramfs"] = (0, "usr/lib/modules/x/updates/dkms/nvidia.ko\n", "")
    host.commands[LISTING] = host.commands[VERMAGIC] = LATE
    assert findings.stale_initramfs(read_driver(host, wanted()), wanted()) == {}
    host.commands[LISTING] = host.commands[VERMAGIC] = (1, "", "modinfo: ERROR: Module nvidia not found.\n")
    assert "there is none on disk" in findings.stale_initramfs(read_driver(host, wanted()), wanted())[KERNEL]


def test_where_no_program_lists_an_initramfs_none_is_written(host: FakeHost) -> None:
    host.add(f"/boot/initrd.img-{KERNEL}", "x")
    state = read_driver(host, wanted())
    assert [note.what for note in state.unreadable] == [f"initramfs of {KERNEL}"]
    assert findings.unlisted_initramfs(state) == ()
