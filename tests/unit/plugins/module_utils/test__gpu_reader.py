# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading GPUs and drivers of hosts of several kinds."""

from __future__ import annotations

from pathlib import Path

import pytest

import recorded
from ansible_collections.gpulab.workstation.plugins.module_utils import _gpu_facts as facts
from ansible_collections.gpulab.workstation.plugins.module_utils._gpu_reader import read_gpu, read_holders
from ansible_collections.gpulab.workstation.plugins.module_utils._reading import Reading
from fakehost import FakeHost

CARD = "/sys/bus/pci/devices/0000:01:00.0"
KERNEL = "6.1.0-50-cloud-amd64"


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    """Return a host with an empty PCI bus, dpkg and ldconfig."""
    host = FakeHost(tmp_path, {"ldconfig -p": (0, "", ""), "dpkg-query -W": (1, "", "no packages found")})
    host.make_dirs("/sys/bus/pci/devices")
    return host


def add_card(host: FakeHost, address: str = "0000:01:00.0", **fields: str) -> None:
    card = {"class": "0x030000", "vendor": "0x10de", "device": "0x2b85", **fields}
    for name, text in card.items():
        host.add(f"/sys/bus/pci/devices/{address}/{name}", f"{text}\n")


def test_a_recorded_gpu_host(host: FakeHost) -> None:
    recorded.plant(host, "host/h100-ubuntu24-container.txt")
    host.commands["ldconfig -p"] = (0, recorded.text("gpu/ldconfig-ubuntu24-h100.txt"), "")
    for name in ("libcuda.so", "libnvidia-ml.so", "libnvidia-ptxjitcompiler.so", "libnvidia-nvvm.so"):
        host.add(f"/usr/local/nvidia/lib64/{name}.580.159.04")
    for soname in facts.LIBRARIES:
        target = soname.rsplit(".", 1)[0] + ".580.159.04"
        host.symlink(target, f"/usr/local/nvidia/lib64/{soname}")
    reading = Reading(host)
    found = read_gpu(reading, [])
    assert reading.unreadable == []
    (card,) = found.nvidia_gpus
    assert (card.vendor, card.device, card.class_code, card.driver) == ("10de", "2330", "0302", "nvidia")
    assert card.subsystem == "10de:16c1"
    assert card.bar1_bytes == 128 << 30
    assert card.link == facts.PciLink(32.0, 32.0, 16, 16)
    assert card.name == "NVIDIA H100 80GB HBM3 (10de:2330 at 0000:00:06.0)"
    assert found.driver_loaded == facts.DriverModule("580.159.04", "open")
    assert [(library.soname, library.version) for library in found.libraries] == [
        (soname, "580.159.04") for soname in facts.LIBRARIES
    ]


def test_a_host_without_pci_says_so(tmp_path: Path) -> None:
    reading = Reading(FakeHost(tmp_path, {"ldconfig -p": (0, "", ""), "dpkg-query -W": (0, "", "")}))
    assert read_gpu(reading, []).devices == ()
    assert [item.what for item in reading.unreadable] == ["PCI devices"]


def test_a_card_whose_driver_is_not_loaded(host: FakeHost) -> None:
    add_card(host, current_link_width="8", max_link_width="16", resource="")
    add_card(host, "0000:00:02.0", vendor="0x8086", device="0xa780")
    add_card(host, "0000:00:1f.3", **{"class": "0x040300"})
    reading = Reading(host)
    found = read_gpu(reading, [])
    assert [(card.vendor, card.driver) for card in found.devices] == [("8086", None), ("10de", None)]
    assert found.nvidia_gpus[0].link == facts.PciLink(None, None, 8, 16)
    assert found.driver_loaded is None
    assert [item.what for item in reading.unreadable] == ["BAR1 of 0000:01:00.0"]


def test_a_loaded_module_without_version_file_is_still_loaded(host: FakeHost) -> None:
    host.add("/sys/module/nvidia/version", "575.64.05\n")
    reading = Reading(host)
    assert read_gpu(reading, []).driver_loaded == facts.DriverModule("575.64.05", "unknown")
    assert [item.what for item in reading.unreadable] == ["flavour of the loaded driver"]


def test_driver_on_disk_for_each_kernel(host: FakeHost) -> None:
    text = "filename:       /lib/modules/k/updates/dkms/nvidia.ko\nversion:        595.45.04\nlicense:        NVIDIA\n"
    host.commands[f"modinfo -k {KERNEL} nvidia"] = (0, text, "")
    host.commands["modinfo -k 6.8.0-new nvidia"] = (1, "", "modinfo: ERROR: Module nvidia not found.\n")
    reading = Reading(host)
    (module,) = read_gpu(reading, [KERNEL, "6.8.0-new"]).driver_on_disk
    assert (module.kernel, module.version, module.flavour) == (KERNEL, "595.45.04", "proprietary")
    assert reading.unreadable == []


def test_without_modinfo_nobody_knows_what_is_on_disk(host: FakeHost) -> None:
    reading = Reading(host)
    assert read_gpu(reading, [KERNEL]).driver_on_disk == ()
    assert [item.what for item in reading.unreadable] == [f"driver on disk for {KERNEL}"]


def test_a_library_in_the_cache_but_not_on_disk_is_told(host: FakeHost) -> None:
    host.commands["ldconfig -p"] = (0, "\tlibcuda.so.1 (libc6,x86-64) => /usr/lib/libcuda.so.1\n", "")
    reading = Reading(host)
    assert read_gpu(reading, []).libraries == ()
    assert [item.what for item in reading.unreadable] == ["libcuda.so.1"]


def test_nouveau_with_the_cards_it_drives(host: FakeHost) -> None:
    host.make_dirs("/sys/module/nouveau")
    host.symlink("../../../../devices/pci0000:00/0000:01:00.0", "/sys/bus/pci/drivers/nouveau/0000:01:00.0")
    host.add("/sys/bus/pci/drivers/nouveau/new_id")
    host.make_dirs("/sys/module/nova_core")
    assert read_gpu(Reading(host), []).conflicting == (
        facts.ConflictingModule("nouveau", ("0000:01:00.0",)),
        facts.ConflictingModule("nova_core", ()),
    )


def test_modules_that_keep_the_drivers_loaded(host: FakeHost) -> None:
    for path in ("nvidia/holders/nvidia_uvm", "nvidia/holders/gdrdrv", "nvidia_modeset/holders/nvidia_drm"):
        host.make_dirs(f"/sys/module/{path}")
    host.make_dirs("/sys/module/drm/holders/i915")
    assert read_gpu(Reading(host), []).dependents == ("gdrdrv", "nvidia_drm", "nvidia_uvm")


def test_distribution_packages(host: FakeHost) -> None:
    host.commands["dpkg-query -W"] = (1, "nvidia-driver-570-open\t570.86.10\tii \n", "no packages found matching x")
    assert read_gpu(Reading(host), []).packages == (facts.Package("nvidia-driver-570-open", "570.86.10"),)


def test_processes_that_hold_a_gpu(host: FakeHost) -> None:
    host.add("/dev/nvidia0")
    host.add("/etc/passwd", "alice:x:1000:1000::/:/bin/sh\n")
    for pid, command, target in (
        ("77", "python3", "/dev/nvidia0"),
        ("78", "nvidia-persiste", "/dev/nvidiactl"),
        ("79", "bash", "/dev/null"),
    ):
        host.add(f"/proc/{pid}/comm", f"{command}\n")
        host.add(f"/proc/{pid}/status", "Uid:\t1000\t1000\t1000\t1000\n")
        host.symlink(target, f"/proc/{pid}/fd/3")
    assert read_holders(Reading(host)) == (
        facts.Holder(77, "python3", "alice", "job", ("/dev/nvidia0",)),
        facts.Holder(78, "nvidia-persiste", "alice", "service", ("/dev/nvidiactl",)),
    )


def test_processes_that_may_not_be_looked_at_are_counted(tmp_path: Path) -> None:
    class Foreign(FakeHost):
        def listdir(self, path: str) -> list[str]:
            if path.endswith("/fd"):
                raise PermissionError(13, "Permission denied", path)
            return super().listdir(path)

    host = Foreign(tmp_path)
    host.add("/dev/nvidia0")
    host.add("/proc/77/comm", "python3\n")
    reading = Reading(host)
    assert read_holders(reading) == ()
    assert [item.why for item in reading.unreadable] == ["the open files of 1 processes may not be read by this user"]


def test_without_device_nodes_no_process_is_looked_at(host: FakeHost) -> None:
    host.add("/dev/null")
    host.symlink("/dev/nvidia0", "/proc/77/fd/3")
    assert read_holders(Reading(host)) == ()
