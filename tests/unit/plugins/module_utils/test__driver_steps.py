# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The changes around nvidia-installer."""

from __future__ import annotations

from pathlib import Path

import pytest

import driverhost
from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_files as files
from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_steps as steps
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_leftovers import INITRAMFS_SCRATCH
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_reader import read_driver
from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._host import Filesystem
from driver_states import OLD, VERSION, wanted
from driverhost import KERNEL, LIBRARIES
from fakehost import FakeHost

LOG = "/var/log/gpulab/gpu_driver.log"


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    """Return a host that is ready for a driver."""
    host = FakeHost(tmp_path)
    driverhost.add_base(host)
    host.add(f"/usr/src/nvidia-{VERSION}/dkms.conf", "x")
    host.commands.update({"dkms remove": (0, "", ""), "dkms install": (0, "", "")})
    return host


def test_a_module_is_built_anew_instead_of_taken_from_a_damaged_build(host: FakeHost) -> None:
    steps.build_with_dkms(host, VERSION, KERNEL, LOG)
    assert driverhost.changes(host) == [
        f"dkms remove -m nvidia -v {VERSION} -k {KERNEL}",
        f"dkms build -m nvidia -v {VERSION} -k {KERNEL}",
        f"dkms install --force -m nvidia -v {VERSION} -k {KERNEL}",
        f"depmod {KERNEL}",
    ]


def test_what_dkms_would_stumble_over_or_leave_beside_the_new_module_goes_first(host: FakeHost) -> None:
    """An interrupted build, and a damaged module of another compression, as nvidia-installer's are on Ubuntu 24.04."""
    host.add(f"/var/lib/dkms/nvidia/{VERSION}/{KERNEL}/x86_64/module/nvidia.ko", "x")
    host.symlink(f"{VERSION}/{KERNEL}/x86_64", f"/var/lib/dkms/nvidia/kernel-{KERNEL}-x86_64")
    for name in ("nvidia.ko", "nvidia-drm.ko.zst", "nvidia-fs.ko"):
        host.add(f"/lib/modules/{KERNEL}/updates/dkms/{name}", "x")
    modules = f"/lib/modules/{KERNEL}/updates/dkms"
    there: list[list[str]] = []

    def build(_command: tuple[str, ...]) -> tuple[int, str, str]:
        there.extend(host.listdir(path) for path in (f"/var/lib/dkms/nvidia/{VERSION}", "/var/lib/dkms/nvidia"))
        return 10, "Error! Bad return status\n", ""

    host.commands["dkms build"] = build
    with pytest.raises(OperatorError):
        steps.build_with_dkms(host, VERSION, KERNEL, LOG)
    assert there == [[], [VERSION]]
    assert host.listdir(modules) == ["nvidia-drm.ko.zst", "nvidia-fs.ko", "nvidia.ko"], "they may work still"
    host.commands["dkms build"] = (0, "", "")
    steps.build_with_dkms(host, VERSION, KERNEL, LOG)
    assert host.listdir(modules) == ["nvidia-fs.ko"]


def test_what_apts_own_hook_has_built_is_not_built_again(host: FakeHost) -> None:
    driverhost.add_modules(host)
    steps.build_with_dkms(host, VERSION, KERNEL, LOG)
    assert driverhost.changes(host) == []


def test_a_whole_module_is_built_again_for_its_signature(host: FakeHost) -> None:
    driverhost.add_modules(host)
    steps.build_with_dkms(host, VERSION, KERNEL, LOG, again=True)
    assert f"dkms install --force -m nvidia -v {VERSION} -k {KERNEL}" in driverhost.changes(host)


def test_a_failed_build_quotes_the_compiler(host: FakeHost) -> None:
    host.commands["dkms install"] = (10, "Error! Bad return status\n", "")
    host.add(f"/var/lib/dkms/nvidia/{VERSION}/build/make.log", "x.c:1:2: error: implicit declaration\nmake: *** 2\n")
    with pytest.raises(OperatorError, match="x.c:1:2: error: implicit declaration"):
        steps.build_with_dkms(host, VERSION, KERNEL, LOG)


def test_a_driver_without_source_cannot_serve_another_kernel(host: FakeHost) -> None:
    host.remove(f"/usr/src/nvidia-{VERSION}")
    with pytest.raises(OperatorError, match="dkms.conf is missing"):
        steps.build_with_dkms(host, VERSION, KERNEL, LOG)


def test_a_version_is_forgotten_with_its_directories(host: FakeHost) -> None:
    host.add(f"/var/lib/dkms/nvidia/{OLD}/build/x", "x")
    host.add(f"/usr/src/nvidia-{OLD}/dkms.conf", "x")
    steps.forget(host, OLD, LOG)
    assert host.listdir("/usr/src") == [f"linux-headers-{KERNEL}", f"nvidia-{VERSION}"]
    assert not host.exists("/var/lib/dkms/nvidia")


def test_sources_of_a_package_stay(host: FakeHost) -> None:
    host.add(f"/usr/src/nvidia-{OLD}/dkms.conf", "x")
    host.commands["dpkg-query --search"] = (0, f"nvidia-kernel-source-575: /usr/src/nvidia-{OLD}\n", "")
    steps.forget(host, OLD, LOG)
    assert host.exists(f"/usr/src/nvidia-{OLD}")


def test_libraries_that_a_package_owns_stay(host: FakeHost) -> None:
    mine, theirs = f"{LIBRARIES}/libcuda.so.{OLD}", f"{LIBRARIES}/libnvidia-ml.so.{OLD}"
    host.add(mine, "x")
    host.add(theirs, "x")
    host.commands["dpkg-query --search"] = (1, f"libnvidia-ml1:amd64: {theirs}\n", "no path found matching pattern x")
    steps.remove_strays(host, [mine, theirs], LOG)
    assert host.listdir(LIBRARIES) == [f"libnvidia-ml.so.{OLD}"]


def test_other_versions_go_after_an_installation(host: FakeHost) -> None:
    both = f"nvidia/{OLD}, {KERNEL}, x86_64: built\nnvidia/{VERSION}, {KERNEL}, x86_64: installed\n"
    host.commands["dkms status"] = (0, both, "")
    host.add(f"{LIBRARIES}/libcuda.so.{OLD}", "altered, and put back by its own uninstallation")
    host.add(f"{LIBRARIES}/libcuda.so.{VERSION}", "x")
    host.add(f"/usr/src/nvidia-{OLD}/x", "x")
    host.add(f"/lib/firmware/nvidia/{OLD}/gsp_ga10x.bin", "x")
    steps.tidy(host, VERSION, LOG)
    assert not host.exists(f"/usr/src/nvidia-{OLD}")
    assert host.listdir("/lib/firmware/nvidia") == []
    assert f"dkms remove -m nvidia -v {OLD} --all" in driverhost.changes(host)
    assert host.listdir(LIBRARIES) == [f"libcuda.so.{VERSION}"]


def test_the_account_and_the_unit_are_set_up_once(host: FakeHost) -> None:
    host.add("/etc/passwd", "root:x:0:0::/root:/bin/bash\n")
    host.commands.update({"useradd": (0, "", ""), "systemctl": (0, "", "")})
    steps.enable_service(host, LOG, start=False)
    assert [line.split()[0:2] for line in driverhost.changes(host)] == [
        ["useradd", "--system"], ["systemctl", "daemon-reload"], ["systemctl", "enable"],
    ]  # fmt: skip
    for name in ("passwd", "shadow", "group", "gshadow"):
        host.add(f"/etc/{name}", f"{files.ACCOUNT}:x:\n")
    host.ran.clear()
    steps.enable_service(host, LOG, start=True)
    assert driverhost.changes(host)[-1] == f"systemctl restart {files.UNIT_NAME}"
    assert "useradd" not in " ".join(driverhost.changes(host))


def test_only_the_stale_initramfs_is_rebuilt(host: FakeHost) -> None:
    driverhost.add_driver(host)
    host.add(f"/boot/initrd.img-{KERNEL}", "x")
    host.commands.update({"lsinitramfs": (0, "usr/lib/x/nouveau.ko\n", ""), "update-initramfs": (0, "", "")})
    steps.update_initramfs(host, wanted(), LOG)
    assert driverhost.changes(host) == [f"update-initramfs -u -k {KERNEL}"]
    host.commands["lsinitramfs"] = (0, "usr/bin/sh\n", "")
    host.ran.clear()
    steps.update_initramfs(host, wanted(), LOG)
    assert driverhost.changes(host) == []


def test_the_initramfs_is_unpacked_where_the_next_run_finds_what_a_kill_has_left(host: FakeHost) -> None:
    driverhost.add_driver(host)
    host.add(f"/boot/initrd.img-{KERNEL}", "x")
    host.add(f"{INITRAMFS_SCRATCH}/mkinitramfs_1/init", "of a killed one")
    seen: list[list[str]] = []

    def update(_argv: tuple[str, ...]) -> tuple[int, str, str]:
        seen.append(host.listdir(INITRAMFS_SCRATCH))
        host.add(f"{INITRAMFS_SCRATCH}/mkinitramfs_2/init")
        return 0, "", ""

    host.commands.update({"lsinitramfs": (0, "usr/lib/x/nouveau.ko\n", ""), "update-initramfs": update})
    steps.update_initramfs(host, wanted(), LOG)
    assert seen == [[]]
    assert not host.exists(INITRAMFS_SCRATCH)
    assert host.exists("/var/lib/gpulab"), "it holds more than that"


def test_a_full_boot_directory_forbids_the_restart(host: FakeHost) -> None:
    driverhost.add_driver(host)
    host.add(f"/boot/initrd.img-{KERNEL}", "x")
    words = "gzip: stdout: No space left on device\n"
    host.commands.update({"lsinitramfs": (0, "nouveau.ko\n", ""), "update-initramfs": (1, "", words)})
    with pytest.raises(OperatorError) as caught:
        steps.update_initramfs(host, wanted(), LOG)
    assert "No space left" in caught.value.found
    assert "do not restart before" in caught.value.action


def test_caches_go_with_the_directories_that_held_nothing_else(host: FakeHost) -> None:
    host.add("/var/cache/gpulab/aaaa/NVIDIA-Linux-x86_64-1.run", "x")
    host.add("/var/cache/gpulab/bbbb/NVIDIA-Linux-x86_64-2.run", "x")
    host.add("/var/cache/gpulab/bbbb/other", "x")
    host.add("/var/lib/gpulab/driver/kept/aaaa/x.run", "x")
    paths = [f"/var/cache/gpulab/{n}/NVIDIA-Linux-x86_64-{v}.run" for n, v in (("aaaa", 1), ("bbbb", 2))]
    steps.remove_caches(host, [*paths, "/var/lib/gpulab/driver"], "/var/cache/gpulab")
    assert host.listdir("/var/cache/gpulab") == ["bbbb"]
    assert host.listdir("/var/cache/gpulab/bbbb") == ["other"]
    assert not host.exists("/var/lib/gpulab")
    host.remove("/var/cache/gpulab/bbbb/other")  # as a removal that is killed here has left it
    host.make_dirs("/var/lib/gpulab")
    empty = read_driver(host, wanted(state="absent")).cached
    assert empty == ("/var/cache/gpulab/bbbb", "/var/lib/gpulab")
    steps.remove_caches(host, empty, "/var/cache/gpulab")
    assert (host.exists("/var/cache"), host.exists("/var/cache/gpulab")) == (True, False)
    assert read_driver(host, wanted(state="absent")).cached == ()


def test_a_cache_on_a_disk_of_its_own_stays(host: FakeHost) -> None:
    """A mount point cannot be removed, and lost+found in it must not be."""
    host.filesystems["/var/cache/gpulab"] = Filesystem("/var/cache/gpulab", "ext4", ("rw",), 10**12, 10**12)
    host.make_dirs("/var/cache/gpulab/lost+found")
    host.add("/var/cache/gpulab/aaaa/x.run", "x")
    steps.remove_caches(host, ["/var/cache/gpulab/aaaa/x.run"], "/var/cache/gpulab")
    assert host.listdir("/var/cache/gpulab") == ["lost+found"]
    host.remove("/var/cache/gpulab/lost+found")
    assert read_driver(host, wanted(state="absent")).cached == ()


def test_the_sweep_takes_what_the_uninstaller_leaves(host: FakeHost) -> None:
    """Cases m4 (altered library and its link) and m5, m6 (modules and DKMS tree)."""
    host.add(f"{LIBRARIES}/libcuda.so.{VERSION}", "altered")
    host.symlink(f"libcuda.so.{VERSION}", f"{LIBRARIES}/libcuda.so.1")
    host.symlink("libcuda.so.1", f"{LIBRARIES}/libcuda.so")
    host.symlink(f"libnvidia-ml.so.{VERSION}", f"{LIBRARIES}/libnvidia-ml.so.1")  # its library was removed by hand
    host.add(f"{LIBRARIES}/libc.so.6", "x")
    host.symlink("libz.so.1.3", f"{LIBRARIES}/libz.so")  # leads nowhere, and is nobody's business here
    host.add(f"/lib/modules/{KERNEL}/updates/dkms/nvidia.ko", "x")
    host.add(f"/var/lib/dkms/nvidia/{VERSION}/x", "x")
    host.add(files.MARKER, "x")
    steps.sweep(host, LOG)
    assert host.listdir(LIBRARIES) == ["libc.so.6", "libz.so"]
    assert host.listdir(f"/lib/modules/{KERNEL}/updates/dkms") == []
    assert not host.exists("/var/lib/dkms/nvidia")
    assert not host.exists(f"/usr/src/nvidia-{VERSION}")
    assert not host.exists(files.MARKER)
