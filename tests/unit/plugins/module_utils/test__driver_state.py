# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What recorded texts about a driver's layers mean."""

from __future__ import annotations

import pytest

import recorded
from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_state as states
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_state import DkmsEntry

CLOUD = "6.1.0-50-cloud-amd64"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("3.0.10-debian12-added", [("595.45.04", "", "added", False)]),
        ("3.0.10-debian12-built", [("595.45.04", CLOUD, "built", False)]),
        ("3.0.10-debian12-diff", [("595.45.04", CLOUD, "installed", False)]),
        (
            "3.0.10-debian12-two-versions",
            [("580.95.05", CLOUD, "built", False), ("595.45.04", CLOUD, "installed", True)],
        ),
        (
            "3.0.10-debian12-two-kernels",
            [
                ("580.178.04", "6.1.0-56-amd64", "installed", True),
                ("580.178.04", "6.1.0-56-cloud-amd64", "installed", True),
            ],
        ),
    ],
)
def test_recorded_dkms_status(name: str, expected: list[tuple[str, str, str, bool]]) -> None:
    entries = states.parse_dkms_status(recorded.text(f"dkms/{name}.txt"))
    assert [(e.version, e.kernel, e.state, e.sound) for e in entries] == expected


@pytest.mark.parametrize(
    ("line", "entry"),
    [
        ("nvidia/515.48.07, 5.15.0-43-generic, x86_64: installed",
         DkmsEntry("515.48.07", "5.15.0-43-generic", "installed")),
        ("nvidia, 470.57.02, 5.4.0-81-generic, x86_64: installed",
         DkmsEntry("470.57.02", "5.4.0-81-generic", "installed")),
        ("nvidia, 470.57.02: added", DkmsEntry("470.57.02", "", "added")),
        ("nvidia/580.142, 6.8.0-51-generic, x86_64: installed (original_module exists)",
         DkmsEntry("580.142", "6.8.0-51-generic", "installed", "original_module exists")),
        ("nvidia/580.142, 6.8.0-51-generic, x86_64: built (WARNING! Missing some built modules!)",
         DkmsEntry("580.142", "6.8.0-51-generic", "built", "WARNING! Missing some built modules!")),
        ("nvidia/580.142, 6.14.0-1-generic, x86_64: installed (Differences between built and installed modules)",
         DkmsEntry("580.142", "6.14.0-1-generic", "installed", "Differences between built and installed modules")),
        ("nvidia/580.142: broken", DkmsEntry("580.142", "", "broken")),
    ],
    ids=["2.8.7", "2.8.1", "2.8.1-added", "3.0-original", "3.0-missing", "3.4-differences", "3.2-broken"],
)  # fmt: skip
def test_dkms_lines_of_other_versions(line: str, entry: DkmsEntry) -> None:
    assert states.parse_dkms_status(line + "\n") == (entry,)


@pytest.mark.parametrize(
    ("entry", "sound"),
    [
        (DkmsEntry("1", "k", "installed", "original_module exists"), True),
        (DkmsEntry("1", "k", "installed", "Differences between built and installed modules"), False),
        (DkmsEntry("1", "k", "installed", "Built modules are missing in the kernel modules folder"), False),
        (DkmsEntry("1", "k", "built"), False),
    ],
    ids=["kept-original", "differences", "missing", "built"],
)
def test_an_installed_entry_is_sound_unless_dkms_remarks_on_it(entry: DkmsEntry, sound: bool) -> None:  # noqa: FBT001
    assert entry.sound is sound


def test_other_modules_of_dkms_are_not_ours() -> None:
    text = "nvidia-current/550.163.01, 6.1.0-50-amd64, x86_64: installed\nzfs/2.1.11: added\nError! Could not open\n"
    assert states.parse_dkms_status(text) == ()


@pytest.mark.parametrize(
    ("stdout", "stderr", "expected"),
    [
        (recorded.text("modinfo/30-debian12-vermagic.txt"), "", ""),
        ("", "modinfo: ERROR: could not get modinfo from 'nvidia': Invalid argument\n",
         "could not get modinfo from 'nvidia': Invalid argument"),
        ("", "libkmod: ERROR ../libkmod/libkmod-module.c:191 kmod_module_parse_depline: ctx=0x55aaeef142a0\n"
         + "modinfo: ERROR: could not get modinfo from 'nvidia': No such file or directory\n" * 2,
         "could not get modinfo from 'nvidia': No such file or directory"),
        ("6.1.0-56-cloud-amd64 SMP\n", "modinfo: ERROR: Module nvidia-uvm not found.\n",
         "Module nvidia-uvm not found."),
        ("6.1.0-50-cloud-amd64 SMP\n" * 4, "", "built for kernel 6.1.0-50-cloud-amd64"),
        ("6.1.0-56-cloud-amd64 SMP\n" * 3, "", "3 of 4 modules are there"),
    ],
    ids=["whole", "truncated-ko", "removed-ko", "uvm-missing", "other-kernel", "three"],
)  # fmt: skip
def test_modules_must_all_be_there_for_this_kernel(stdout: str, stderr: str, expected: str) -> None:
    assert states.parse_vermagic(stdout, stderr, "6.1.0-56-cloud-amd64") == expected


@pytest.mark.parametrize(
    ("head", "version"),
    [
        (
            b"1.0-59545004 (595.45.04)\nNVIDIA Accelerated Graphics Driver\n1: /usr/src/nvidia-595.45.04/Kbuild\n",
            "595.45.04",
        ),
        (b"1.0-57564 (575.64)\nNVIDIA Accelerated Graphics Driver\n100: /usr/bin/nvidia-smi\n77 0755 0 0\n", "575.64"),
        (b"1.0-59545004 (595.45.04)\nNVIDIA Accelerated Graphics Driver for Linux-x86_64\n", None),
        (b"", None),
        (b"1.0-59545004 (595.4", None),
        (b"\0\0\0\0", None),
    ],
    ids=["whole", "two-part", "killed-at-dkms-import", "empty", "cut-off", "zeros"],
)
def test_the_record_names_its_version_in_the_first_line(head: bytes, version: str | None) -> None:
    assert states.parse_record(head, "d").version == version


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"version": "580.142"}'])
def test_a_damaged_marker_is_none(text: str | None) -> None:
    assert states.parse_marker(text) is None


def test_a_marker_survives_its_file() -> None:
    marker = states.Marker("580.142", "open", "a", "b")
    assert states.parse_marker(marker.to_text()) == marker


def test_initramfs_with_nouveau_and_our_settings() -> None:
    listing = recorded.text("lsinitramfs/0.142-debian12-nouveau.txt")
    image = states.parse_initramfs(listing, "/boot/i", 1.0, "50-gpulab-nvidia.conf")
    assert image.modules == ("nouveau",)
    assert image.has_our_settings
    assert not states.parse_initramfs(listing, "/boot/i", 1.0, "51-other.conf").has_our_settings


@pytest.mark.parametrize(
    ("path", "modules"),
    [
        ("usr/lib/modules/6.8.0-51-generic/updates/dkms/nvidia-drm.ko.zst", ("nvidia-drm",)),
        ("usr/lib/modules/6.17.0-5-generic/kernel/drivers/gpu/nova-core/nova_core.ko.zst", ("nova_core",)),
        ("usr/lib/modules/6.8.0-51-generic/kernel/drivers/video/fbdev/nvidia/nvidiafb.ko", ()),
        ("usr/lib/modules/6.1.0-56-amd64/kernel/drivers/net/ethernet/nvidia/forcedeth.ko", ()),
        ("usr/lib/firmware/nvidia/580.142/gsp_ga10x.bin", ()),
    ],
    ids=["compressed", "nova", "framebuffer", "ethernet", "firmware"],
)
def test_only_graphics_drivers_in_an_initramfs_matter(path: str, modules: tuple[str, ...]) -> None:
    assert states.parse_initramfs(path, "/boot/i", 1.0, "x").modules == modules


def test_libraries_that_carry_a_driver_version() -> None:
    names = ["libcuda.so.1", "libcuda.so.580.142", "libnvidia-ml.so.575.57.08", "libcudart.so.12.9.79",
             "libnvidia-container.so.1.17.8", "libGLX_nvidia.so.580.142", "libcudnn.so.9.10.2"]  # fmt: skip
    assert states.driver_libraries(names) == (
        ("libcuda.so.580.142", "580.142"),
        ("libnvidia-ml.so.575.57.08", "575.57.08"),
        ("libGLX_nvidia.so.580.142", "580.142"),
    )


def test_installed_packages_are_those_that_can_be_used() -> None:
    """The two kernel packages as dpkg of Debian 12 left them, when DKMS could not build for a new kernel."""
    text = "gcc\tii \nnvidia-driver-535\trc \nmake\thi \nlinux-image-6.1.0-56-amd64\tiF \nlinux-image-amd64\tiU \n"
    text += "dkms\tiU \ngcc-13\tiF \nman-db\tit \nbroken\tiH \n\nodd\n"
    kernels = ("linux-image-6.1.0-56-amd64", "linux-image-amd64")
    assert states.parse_installed_packages(text) == {"gcc", "make", "man-db", *kernels}
    assert states.parse_unconfigured_kernels(text) == kernels


@pytest.mark.parametrize(
    ("text", "package"),
    [
        ("gcc-12 (Debian 12.2.0-14+deb12u1) 12.2.0", "gcc-12"),
        ("x86_64-linux-gnu-gcc-12 (Ubuntu 12.3.0-1ubuntu1~22.04) 12.3.0", "gcc-12"),
        ("gcc (GCC) 13.2.1 20231011", "gcc"),
        ("Ubuntu clang version 18.1.3", None),
        ("", None),
    ],
    ids=["debian-12", "jammy-hwe", "own-build", "clang", "unknown"],
)
def test_the_package_of_the_kernels_compiler(text: str, package: str | None) -> None:
    assert states.compiler_package(text) == package


def test_headers_follow_each_kernel_metapackage() -> None:
    installed = ["linux-image-generic-hwe-22.04", "linux-image-6.8.0-51-generic", "linux-image-cloud-amd64",
                 "linux-image-unsigned-6.8.0-51-generic", "linux-image-extra-virtual", "linux-image-amd64-dbg",
                 "linux-headers-generic"]  # fmt: skip
    assert states.header_metapackages(installed) == ("linux-headers-cloud-amd64", "linux-headers-generic-hwe-22.04")


def test_kernels_are_ordered_by_number() -> None:
    releases = ["6.11.0-8-generic", "6.8.0-9-generic", "6.8.0-51-generic", "5.15.0-113-generic"]
    ordered = sorted(releases, key=states.release_order)
    assert ordered == ["5.15.0-113-generic", "6.8.0-9-generic", "6.8.0-51-generic", "6.11.0-8-generic"]
