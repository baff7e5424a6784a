# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running the .run: what it said against what it did."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

import driverhost
import recorded
from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_files as files
from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_findings as findings
from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_run as run
from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_state as states
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_reader import read_driver
from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._host import Filesystem
from driver_states import OLD, SHA, VERSION, wanted
from driverhost import KERNEL
from fakehost import FakeHost

WORK = "/opt/gpulab-driver"
LOG = "/var/log/gpulab/gpu_driver.log"
PARAMS: dict[str, t.Any] = {
    "directory": WORK, "arguments": ["--silent", "-M", "open"], "kernel": KERNEL, "services": [],
}  # fmt: skip
COMPLETE = (
    "-> Installation of the NVIDIA Accelerated Graphics Driver for Linux-x86_64"
    f" (version: {VERSION}) is now complete.\n"
)
ALREADY = f"ERROR: Failed to load DKMS tarball: Error! nvidia-{VERSION} is already added!\n"
OLD_RECORD = f"1.0-5756405 ({OLD})\nNVIDIA Accelerated Graphics Driver\n1: /usr/src/nvidia-{OLD}/Kbuild\n1\n"


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    """Return a host that is ready for a driver."""
    host = FakeHost(tmp_path)
    driverhost.add_base(host)
    host.commands["dkms remove"] = (0, "", "")
    return host


def installs(host: FakeHost, said: str = "") -> t.Callable[[tuple[str, ...]], tuple[int, str, str]]:
    """Return an installer that does its work."""

    def installer(_command: tuple[str, ...]) -> tuple[int, str, str]:
        driverhost.add_modules(host)
        host.add("/var/lib/nvidia/log", driverhost.RECORD)
        host.add(run.INSTALL_LOG, COMPLETE)
        return 0, "", said

    return installer


def failure(host: FakeHost, answer: t.Any) -> str:
    host.commands["./nvidia-installer"] = answer
    with pytest.raises(OperatorError) as caught:
        run.install(host, wanted(), PARAMS, LOG)
    return str(caught.value)


def count(host: FakeHost, start: str) -> int:
    return sum(1 for command in host.ran if " ".join(command).startswith(start))


def test_an_installation_that_did_its_work_is_run_once(host: FakeHost) -> None:
    host.commands["./nvidia-installer"] = installs(host)
    run.install(host, wanted(), PARAMS, LOG)
    started = next(command for command in host.ran if command[0] == "./nvidia-installer")
    assert started == (
        "./nvidia-installer", "--silent", "-M", "open", f"--tmpdir={WORK}/scratch",
        f"--log-file-name={run.INSTALL_LOG}",
    )  # fmt: skip
    assert count(host, "./nvidia-installer") == 1
    assert count(host, "dkms remove") == 0
    assert "ldconfig" in driverhost.changes(host)


def test_a_stale_dkms_entry_is_removed_and_the_installer_run_again(host: FakeHost) -> None:
    """Cases g5, g6 and q3: status 0, no module, and only this line to tell."""
    answers = iter([lambda _: (0, "", ALREADY), installs(host)])
    host.commands["./nvidia-installer"] = lambda command: next(answers)(command)  # noqa: PLW0108 - another one each time
    run.install(host, wanted(), PARAMS, LOG)
    assert count(host, "./nvidia-installer") == 2
    assert count(host, f"dkms remove -m nvidia -v {VERSION} --all") == 1


def test_status_0_without_a_module_is_a_failure_in_dkms_words(host: FakeHost) -> None:
    message = failure(host, (0, "", "ERROR: Failed to load DKMS tarball: dkms: database is locked\n"))
    assert f"ended with status 0, but there is no nvidia module for {KERNEL}" in message
    assert "DKMS refused the modules: dkms: database is locked" in message


def test_status_0_with_a_module_outside_dkms_is_not_proven_in_dkms_words(host: FakeHost) -> None:
    """Case g4: the module is there and loads, and the next kernel would have none."""
    driverhost.add_driver(host)
    host.remove(files.MARKER)
    refused = "ERROR: Failed to run `/usr/sbin/dkms install --no-depmod -m nvidia`: Error! install refused\n"
    outside = recorded.text("modinfo/30-debian12-nvidia.txt").replace("/updates/dkms/", "/kernel/drivers/video/")

    def installer(_command: tuple[str, ...]) -> tuple[int, str, str]:
        host.commands["dkms status"] = (0, f"nvidia/{VERSION}, {KERNEL}, x86_64: built\n", "")
        host.commands[f"modinfo -k {KERNEL} nvidia"] = (0, outside, "")
        host.add(run.INSTALL_LOG, f"{refused}{COMPLETE}")
        return 0, "", refused

    host.commands["./nvidia-installer"] = installer
    run.install(host, wanted(), PARAMS, LOG)
    with pytest.raises(OperatorError) as caught:
        run.prove(host, wanted(), [KERNEL], LOG)
    assert f"the module of {KERNEL} lies outside DKMS" in caught.value.found
    assert f"{KERNEL}: DKMS says built" in caught.value.found
    assert "install refused" in caught.value.found
    assert not host.exists(files.MARKER)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((135, "Received signal SIGBUS; aborting.\n", ""), "died of SIGBUS, which it does when the disk is full"),
        ((-7, "", ""), "died of SIGBUS"),
        ((137, "", ""), "was killed"),
        ((126, "", "Permission denied"), "may not be executed where it was unpacked"),
        ((1, "", "ERROR: The nvidia kernel module was not created.\n"), "the kernel modules do not compile"),
        ((1, "", "ERROR: something new\n"), "ended with 1: ERROR: something new"),
    ],
    ids=["sigbus-by-shell", "sigbus", "killed", "noexec", "build", "unknown"],
)
def test_failures_say_what_and_whether_a_driver_is_left(host: FakeHost, answer: t.Any, words: str) -> None:
    message = failure(host, answer)
    assert words in message
    assert "no driver is installed now" in message


def test_an_old_driver_that_stays_is_named_and_its_settings_stay(host: FakeHost) -> None:
    host.add("/var/lib/nvidia/log", OLD_RECORD)
    host.add(files.MODPROBE, "x")
    host.commands["./nvidia-installer"] = (1, "", "ERROR: The nvidia kernel module was not created.\n")
    with pytest.raises(OperatorError, match=f"driver {OLD} is recorded as installed"):
        run.install(host, wanted(), PARAMS, LOG)
    assert host.read_text(files.MODPROBE) == "x"


def test_an_installer_that_fails_late_leaves_no_driver_but_the_head_of_a_record(host: FakeHost) -> None:
    def fails(_command: tuple[str, ...]) -> tuple[int, str, str]:
        host.add("/var/lib/nvidia/log", "".join(driverhost.RECORD.splitlines(keepends=True)[:2]))
        return 1, "", "ERROR: Installation has failed.\n"

    host.add(files.MODPROBE, "x")
    host.commands["./nvidia-installer"] = fails
    with pytest.raises(OperatorError, match="no driver is installed now"):
        run.install(host, wanted(), PARAMS, LOG)
    assert not host.exists(files.MODPROBE), "nouveau has the screen again"


@pytest.mark.parametrize(("arguments", "tried"), [([], True), (["--skip-module-load"], False)], ids=["loads", "not"])
def test_what_nvidia_drm_needs_is_loaded_before_the_installer_tries_it(
    host: FakeHost, arguments: list[str], *, tried: bool
) -> None:
    host.commands["./nvidia-installer"] = installs(host)
    run.install(host, wanted(), {**PARAMS, "arguments": ["--silent", *arguments]}, LOG)
    asked = [command for command in host.ran if command[0] in ("modprobe", "./nvidia-installer")]
    assert (asked[-2:-1] == [("modprobe", "--quiet", "drm_client_lib")]) == tried


def test_the_drivers_services_are_stopped_before_the_installation(host: FakeHost) -> None:
    host.commands["systemctl stop"] = (0, "", "")
    host.commands["./nvidia-installer"] = installs(host)
    services = [files.UNIT_NAME, "nvidia-powerd.service"]
    run.install(host, wanted(), {**PARAMS, "services": services}, LOG)
    order = [command for command in host.ran if command[0] in ("systemctl", "./nvidia-installer")]
    assert order[:-1] == [("systemctl", "stop", service) for service in services]
    assert order[-1][0] == "./nvidia-installer"


def test_a_host_that_is_left_without_a_driver_gets_nouveau_back(host: FakeHost) -> None:
    host.add(files.MODPROBE, "x")
    host.add("/etc/modprobe.d/nvidia-installer-disable-nouveau.conf", "x")
    failure(host, (1, "", ""))
    assert host.listdir("/etc/modprobe.d") == []


def test_a_record_that_cannot_be_read_does_not_stop_the_next_installation(host: FakeHost) -> None:
    host.add("/var/lib/nvidia/log", "1.0-58017804 (580.178.04)\nNVIDIA\n")
    seen: list[bool] = []

    def installer(command: tuple[str, ...]) -> tuple[int, str, str]:
        seen.append(host.exists("/var/lib/nvidia/log"))
        return installs(host)(command)

    host.commands["./nvidia-installer"] = installer
    run.install(host, wanted(), PARAMS, LOG)
    assert seen == [False]


def test_an_old_log_cannot_mislead(host: FakeHost) -> None:
    host.add(run.INSTALL_LOG, COMPLETE)
    message = failure(host, (1, "", 'unrecognized option: "--x"\nERROR: Invalid commandline\n'))
    assert "does not know an option of ours" in message
    assert not host.exists(run.INSTALL_LOG)


def test_only_a_whole_driver_is_marked_as_proven(host: FakeHost) -> None:
    driverhost.add_driver(host)
    host.add(run.INSTALL_LOG, COMPLETE)
    host.remove(files.MARKER)
    run.prove(host, wanted(), [KERNEL], LOG)
    marker = states.parse_marker(host.read_text(files.MARKER))
    assert marker == states.Marker(VERSION, "open", SHA, host.sha256("/var/lib/nvidia/log") or "")


def test_a_kernel_that_came_meanwhile_does_not_speak_against_a_driver(host: FakeHost) -> None:
    """By unattended-upgrades, after the modules were planned; the next plan has a step for it."""
    driverhost.add_driver(host)
    host.add(run.INSTALL_LOG, COMPLETE)
    host.add("/boot/vmlinuz-6.1.0-99-amd64", "x")
    host.make_dirs("/lib/modules/6.1.0-99-amd64/kernel")
    missing = (1, "", "modinfo: ERROR: Module nvidia not found.\n")
    host.commands["modinfo -k 6.1.0-99-amd64"] = missing
    state = read_driver(host, wanted())
    assert list(findings.kernel_reasons(state, wanted())) == ["6.1.0-99-amd64"]
    host.remove(files.MARKER)
    run.prove(host, wanted(), [KERNEL], LOG)
    assert host.exists(files.MARKER)
    host.remove(files.MARKER)
    with pytest.raises(OperatorError, match="6.1.0-99-amd64: it has no module"):
        run.prove(host, wanted(), [KERNEL, "6.1.0-99-amd64"], LOG)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda host: host.remove("/usr/bin/nvidia-smi"), "/usr/bin/nvidia-smi is missing or empty"),
        (lambda host: host.commands.update({"dkms status": (0, f"nvidia/{VERSION}, {KERNEL}, x86_64: built\n", "")}),
         f"{KERNEL}: DKMS says built"),
        (lambda host: host.add(run.INSTALL_LOG, "-> done.\n"), "no line that says the installation is complete"),
        (lambda host: host.commands.update({"/usr/bin/nvidia-installer --sanity": (1, "", "ERROR: x differs\n")}),
         "x differs"),
    ],
    ids=["copy-cut-short", "dkms-not-installed", "no-success-line", "sanity"],
)  # fmt: skip
def test_a_half_driver_is_not(host: FakeHost, damage: t.Callable[[FakeHost], object], words: str) -> None:
    driverhost.add_driver(host)
    host.add(run.INSTALL_LOG, COMPLETE)
    host.remove(files.MARKER)
    damage(host)
    with pytest.raises(OperatorError) as caught:
        run.prove(host, wanted(), [KERNEL], LOG)
    assert words in str(caught.value)
    assert not host.exists(files.MARKER)


def test_unpacking_starts_from_an_empty_directory_of_roots_own(host: FakeHost) -> None:
    host.add(f"{WORK}/package/left-by-a-killed-run", "x")
    run_file = f"/var/cache/gpulab/{SHA[:12]}/NVIDIA-Linux-x86_64-{VERSION}.run"

    def unpacker(command: tuple[str, ...]) -> tuple[int, str, str]:
        assert command == ("sh", run_file, "--extract-only", "--target", f"{WORK}/package")
        assert host.listdir(f"{WORK}/package") == []
        host.add(f"{WORK}/package/nvidia-installer", "x")
        return 0, "", ""

    host.commands["sh"] = unpacker
    run.unpack(host, wanted(), WORK, LOG)
    status = host.status(WORK)
    assert status is not None
    assert status.mode == 0o700


def test_an_unpacking_that_says_0_without_an_installer_is_a_failure(host: FakeHost) -> None:
    host.commands["sh"] = (0, "", "")
    with pytest.raises(OperatorError, match="unpacking .* ended with 0"):
        run.unpack(host, wanted(), WORK, LOG)


def test_a_disk_that_fills_up_while_unpacking_is_told_with_what_is_free(host: FakeHost) -> None:
    host.filesystems["/opt"] = Filesystem("/opt", "ext4", ("rw",), 2_000_000, 9 * 10**9)
    host.commands["sh"] = (1, "tar: nvidia-smi: Cannot write: No space left on device\nExtraction failed.\n", "")
    with pytest.raises(OperatorError) as caught:
        run.unpack(host, wanted(), WORK, LOG)
    assert "ended with 1: " in caught.value.found
    assert "No space left on device" in caught.value.found
    assert "2 MB free on /opt" in caught.value.found
    assert "gpu_driver_work_directories" in caught.value.action


def test_compilers_of_a_killed_run_are_ended_and_nobody_elses(host: FakeHost) -> None:
    for pid, comm, place in (("50", "cc1", f"{WORK}/package/kernel-open"), ("51", "cc1", "/home/ada"),
                             ("52", "make", f"{WORK}-other")):  # fmt: skip
        host.add(f"/proc/{pid}/comm", f"{comm}\n")
        host.symlink(place, f"/proc/{pid}/cwd")
    host.commands["kill"] = (0, "", "")
    run.settle_orphans(host, WORK)
    assert [command for command in host.ran if command[0] == "kill"] == [("kill", "-KILL", "50")]


def test_an_installer_of_a_killed_run_is_waited_for(host: FakeHost) -> None:
    host.add("/proc/60/comm", "nvidia-installe\n")
    host.symlink(f"{WORK}/package", "/proc/60/cwd")
    started = host.clock
    host.commands["kill"] = (0, "", "")
    run.settle_orphans(host, WORK)
    assert host.clock - started >= 900


def test_a_build_that_fails_elsewhere_is_told_before_anything_is_touched(host: FakeHost) -> None:
    error = "/usr/src/x/nv.c:12:3: error: too few arguments to function 'get_user_pages'\n"
    host.commands.update({"nproc": (0, "8\n", ""), "cp -a": (0, "", ""), "make -k -j8": (2, error, "")})
    host.make_dirs(f"/lib/modules/{KERNEL}/source")
    with pytest.raises(OperatorError) as caught:
        run.try_build(host, wanted(), WORK, [KERNEL], LOG, lambda _: None)
    assert "too few arguments to function" in caught.value.found
    assert "The present driver is as it was" in caught.value.action
    make = next(command for command in host.ran if command[0] == "make")
    assert f"SYSSRC=/lib/modules/{KERNEL}/source" in make
    assert f"SYSOUT=/lib/modules/{KERNEL}/build" in make


@pytest.mark.parametrize(
    ("copying", "compiling"),
    [
        ("", "make[3]: *** [Makefile:264: nvidia.mod] Error 2\nerror: closing file x.d: No space left on device\n"),
        ("cp: error writing 'nv.c': No space left on device\n", "make: *** No rule to make target 'nv.o'.\n"),
    ],
    ids=["compiling", "copying"],
)
def test_a_disk_that_fills_up_while_the_build_is_tried_is_told_and_not_the_kernel_blamed(
    host: FakeHost, copying: str, compiling: str
) -> None:
    host.filesystems["/opt"] = Filesystem("/opt", "ext4", ("rw",), 0, 9 * 10**9)
    host.commands.update({"nproc": (0, "8\n", ""), "cp -a": (1, copying, ""), "make -k -j8": (2, compiling, "")})
    with pytest.raises(OperatorError) as caught:
        run.try_build(host, wanted(), WORK, [KERNEL], LOG, lambda _: None)
    assert f"cannot be built for {KERNEL}: the disk is full (0 MB free on /opt)." in caught.value.found
    assert "gpu_driver_work_directories" in caught.value.action
    assert "newer driver" not in caught.value.action
    assert "The present driver is as it was" in caught.value.action


def test_a_damaged_run_is_refused_by_its_own_check(host: FakeHost) -> None:
    path = f"/var/cache/gpulab/{SHA[:12]}/NVIDIA-Linux-x86_64-{VERSION}.run"
    host.add(path, "x")
    ask = wanted()
    assert ask.artefact is not None
    release = {"file": ask.artefact.file, "sha256": host.sha256(path), "sources": ["x"], "version": VERSION}
    ask = wanted(release=release)
    assert ask.artefact is not None
    host.add(f"/var/cache/gpulab/{ask.artefact.sha256[:12]}/{ask.artefact.file}", "x")
    host.commands["sh"] = (2, "Error in SHA256 checksums: A is different from B\n", "")
    with pytest.raises(OperatorError, match="--check' ended with 2: Error in SHA256 checksums"):
        run.fetch_run(host, ask, lambda _: None, LOG)
