# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading a driver's layers from a host."""

from __future__ import annotations

from pathlib import Path

import pytest

import driverhost
import recorded
from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_findings as findings
from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_state as states
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_component import DriverComponent
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_plan import plan_driver
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_reader import read_driver
from driver_states import OLD, VERSION, wanted
from driverhost import KERNEL, LIBRARIES
from fakehost import FakeHost


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    """Return a host with the driver."""
    host = FakeHost(tmp_path)
    driverhost.add_driver(host)
    return host


def test_a_proven_driver_needs_nothing_and_reading_changes_nothing(host: FakeHost) -> None:
    before = driverhost.tree(host)
    state = read_driver(host, wanted())
    assert plan_driver(state, wanted()).steps == ()
    assert state.unreadable == ()
    assert state.sanity == ""
    assert driverhost.changes(host) == []
    assert driverhost.tree(host) == before


def test_sanity_has_a_log_of_its_own_and_runs_last(host: FakeHost) -> None:
    read_driver(host, wanted())
    sanity = [command for command in host.ran if "--sanity" in command]
    assert sanity == [("/usr/bin/nvidia-installer", "--sanity", "--silent", "--log-file-name=/dev/null")]
    assert host.ran[-1] == sanity[0]


def test_sanity_is_not_asked_where_something_cheaper_is_wrong(host: FakeHost) -> None:
    host.remove(f"{LIBRARIES}/libcuda.so.{VERSION}")
    state = read_driver(host, wanted())
    assert state.sanity is None
    assert findings.install_reasons(state, wanted()) == ("the linker finds no libcuda.so.1",)


def test_what_sanity_complains_about_is_told(host: FakeHost) -> None:
    words = "\nERROR: The installed file '/usr/bin/nvidia-smi' no longer exists.\n\n"
    host.commands["/usr/bin/nvidia-installer --sanity"] = (1, "", words)
    assert read_driver(host, wanted()).sanity == "The installed file '/usr/bin/nvidia-smi' no longer exists."


@pytest.mark.parametrize(
    ("path", "text"),
    [("/usr/bin/nvidia-smi", ""), ("/var/lib/nvidia/log", ""), ("/var/lib/gpulab/driver/proven.json", "{")],
    ids=["smi", "record", "marker"],
)
def test_an_emptied_file_is_not_taken_for_a_driver(host: FakeHost, path: str, text: str) -> None:
    host.add(path, text, mode=0o755)
    assert findings.install_reasons(read_driver(host, wanted()), wanted())


def test_a_program_that_cannot_be_started_is_none(host: FakeHost) -> None:
    host.chmod("/usr/bin/nvidia-smi", 0o644)
    assert read_driver(host, wanted()).programs == ("nvidia-installer",)


def test_a_directory_that_a_failed_run_left_is_no_kernel(host: FakeHost) -> None:
    host.make_dirs("/lib/modules/5.10.1-outer/video")  # case d1
    host.make_dirs("/lib/modules/6.1.0-40-cloud-amd64/updates/dkms")  # a kernel that was purged
    host.make_dirs("/lib/modules/6.1.0-41-own/kernel")  # modules that nothing can boot
    assert [kernel.release for kernel in read_driver(host, wanted()).kernels] == [KERNEL]


def test_a_kernel_knows_its_compiler_and_headers(host: FakeHost) -> None:
    (kernel,) = read_driver(host, wanted()).kernels
    assert kernel.compiler == "gcc-12 (Debian 12.2.0-14+deb12u1) 12.2.0"
    assert kernel.headers == f"/usr/src/linux-headers-{KERNEL}"
    assert kernel.module is not None
    assert (kernel.module.version, kernel.module.flavour) == (VERSION, "open")
    assert kernel.incomplete == ""


def test_modules_that_modinfo_cannot_read_are_told(host: FakeHost) -> None:
    damaged = "modinfo: ERROR: could not get modinfo from 'nvidia': Invalid argument\n"
    host.commands[f"modinfo -k {KERNEL} nvidia"] = (1, "", damaged)
    host.commands[f"modinfo -k {KERNEL} -F vermagic"] = (1, "", damaged)
    state = read_driver(host, wanted())
    assert findings.kernel_reasons(state, wanted()) == {KERNEL: "could not get modinfo from 'nvidia': Invalid argument"}


def test_the_initramfs_is_listed_where_there_is_one(host: FakeHost) -> None:
    host.add(f"/boot/initrd.img-{KERNEL}", "x")
    listing = recorded.text("lsinitramfs/0.142-debian12-nouveau.txt")
    host.commands["lsinitramfs"] = (0, listing, "")
    (kernel,) = read_driver(host, wanted()).kernels
    assert kernel.initramfs is not None
    assert kernel.initramfs.modules == ("nouveau",)
    del host.commands["lsinitramfs"]
    state = read_driver(host, wanted())
    assert state.kernels[0].initramfs is None
    assert [item.what for item in state.unreadable] == [f"initramfs of {KERNEL}"]


def test_libraries_of_another_version_are_strays(host: FakeHost) -> None:
    host.add(f"{LIBRARIES}/libnvidia-ml.so.{OLD}", "x")
    assert (f"{LIBRARIES}/libnvidia-ml.so.{OLD}", OLD) in read_driver(host, wanted()).strays


def test_sources_that_neither_dkms_nor_a_package_knows_are_strays(host: FakeHost) -> None:
    source = f"/usr/src/nvidia-{OLD}"
    host.add(f"{source}/dkms.conf", "x")
    assert (source, OLD) in read_driver(host, wanted()).strays
    host.commands["dpkg-query --search"] = (0, f"nvidia-kernel-source: {source}\n", "")
    assert (source, OLD) not in read_driver(host, wanted()).strays
    host.commands["dpkg-query --search"] = (2, "", "dpkg-query: error: no space\n")
    state = read_driver(host, wanted())
    assert (source, OLD) not in state.strays
    assert states.OWNERS_READ in [item.what for item in state.unreadable]


def test_sources_that_dkms_knows_are_its_own(host: FakeHost) -> None:
    host.add(f"/usr/src/nvidia-{OLD}/dkms.conf", "x")
    host.commands["dkms status -m nvidia"] = (0, f"nvidia/{OLD}, {KERNEL}, x86_64: built\n", "")
    assert OLD not in [version for _path, version in read_driver(host, wanted()).strays]


def test_what_purging_a_driver_would_take_along_is_asked_before(host: FakeHost) -> None:
    listed = "nvidia-driver-535\t535.183\tii \n"
    host.commands["dpkg-query -W -f=${binary:Package}\\t${Version}\\t${db:Status-Abbrev}\\n"] = (0, listed, "")
    simulated = "Purg nvidia-driver-535 [535.183]\nRemv cuda-demo [12.9]\nRemv x:i386 [1]\n"
    host.commands["apt-get --simulate -q purge nvidia-driver-535"] = (0, simulated, "")
    assert read_driver(host, wanted()).collateral == ("cuda-demo", "x")


@pytest.mark.parametrize("comm", ["nvidia-installe", "nvidia-uninstal"], ids=["installer", "uninstaller"])
def test_a_running_installer_is_seen_with_its_directory(host: FakeHost, comm: str) -> None:
    host.add("/proc/4711/comm", f"{comm}\n")
    host.symlink("/root/Downloads", "/proc/4711/cwd")
    (process,) = read_driver(host, wanted()).installers
    assert (process.pid, process.directory) == (4711, "/root/Downloads")


def test_parts_that_a_package_owns_are_no_leftovers(host: FakeHost) -> None:
    host.add("/usr/bin/nvidia-modprobe", "x", mode=0o755)
    host.add("/usr/bin/nvidia-ctk", "x", mode=0o755)
    told = f"nvidia-modprobe: /usr/bin/nvidia-modprobe\nfirmware-x: /usr/lib/firmware/nvidia/{VERSION}\n"
    host.commands["dpkg-query --search"] = (1, told, "dpkg-query: no path found matching pattern x")
    found = read_driver(host, wanted(state="absent")).leftovers
    assert "/usr/bin/nvidia-smi" in found
    assert not {"/usr/bin/nvidia-modprobe", "/usr/bin/nvidia-ctk", f"/lib/firmware/nvidia/{VERSION}"} & set(found)


def test_leftovers_are_looked_for_where_the_record_is_lost(host: FakeHost) -> None:
    assert read_driver(host, wanted()).leftovers == ()
    host.remove("/var/lib/nvidia/log")
    state = read_driver(host, wanted())
    assert "/usr/bin/nvidia-smi" in state.leftovers
    order = [step.action for step in plan_driver(state, wanted()).steps]
    assert order.index("try_build") < order.index("sweep") < order.index("install")


def test_a_removal_looks_for_leftovers(host: FakeHost) -> None:
    host.add(f"/lib/modules/{KERNEL}/kernel/drivers/video/nvidia-uvm.ko.zst", "x")
    host.add(f"/lib/modules/{KERNEL}/kernel/drivers/video/nvidiafb.ko", "x")
    host.add(f"/usr/src/nvidia-{VERSION}/dkms.conf", "x")
    host.add("/usr/lib/modprobe.d/nvidia-installer-disable-nouveau.conf", "x")
    state = read_driver(host, wanted(state="absent"))
    assert set(state.leftovers) == {
        "/usr/bin/nvidia-installer", "/usr/bin/nvidia-smi", f"/lib/modules/{KERNEL}/updates/dkms/nvidia.ko",
        f"/lib/modules/{KERNEL}/kernel/drivers/video/nvidia-uvm.ko.zst",
        f"/usr/src/nvidia-{VERSION}", f"/lib/firmware/nvidia/{VERSION}", "/var/lib/nvidia",
        f"{LIBRARIES}/libcuda.so.{VERSION}", f"{LIBRARIES}/libnvidia-ml.so.{VERSION}",
        f"{LIBRARIES}/libnvidia-ptxjitcompiler.so.{VERSION}",
    }  # fmt: skip
    assert state.installer_files == ("/usr/lib/modprobe.d/nvidia-installer-disable-nouveau.conf",)


def test_a_removal_that_was_killed_in_its_last_depmod_is_finished(tmp_path: Path) -> None:
    """Everything else is gone then: an unfinished index is all that the driver has left."""
    host, asked = FakeHost(tmp_path), wanted(state="absent")
    driverhost.add_base(host)
    host.add("/etc/passwd", "root:x:0:0::/root:/bin/bash\n")
    host.commands["systemctl is-enabled"] = (1, "", "")
    torn, at_work = (f"/lib/modules/{KERNEL}/modules.dep.{pid}.202980.1795698809" for pid in (1565, 77))
    for path in (torn, at_work, "/proc/77/comm"):
        host.add(path)
    state = read_driver(host, asked)
    assert state.leftovers == (torn,)
    [step] = plan_driver(state, asked).steps
    DriverComponent(asked).apply(host, step, lambda _: None)
    assert (host.exists(torn), host.exists(at_work)) == (False, True)
    assert plan_driver(read_driver(host, asked), asked).steps == ()
