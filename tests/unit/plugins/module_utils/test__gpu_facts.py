# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What recorded texts about GPUs and drivers mean."""

from __future__ import annotations

import fnmatch

import pytest

import recorded
from ansible_collections.gpulab.workstation.plugins.module_utils import _gpu_facts as facts

EMPTY = "0x0000000000000000 0x0000000000000000 0x0000000000000000\n"
# Layout of a GeForce: a 32-bit BAR0 of 64 MiB, a 64-bit BAR1, a 64-bit BAR3, I/O ports and a ROM.
GEFORCE = (
    "0x00000000dc000000 0x00000000dfffffff 0x0000000000040200\n"
    "0x{start:016x} 0x{end:016x} 0x000000000014220c\n" + EMPTY
    + "0x0000010000000000 0x0000010001ffffff 0x000000000014220c\n" + EMPTY
    + "0x000000000000f000 0x000000000000f07f 0x0000000000040101\n"
    + "0x00000000e0000000 0x00000000e007ffff 0x0000000000046200\n"
)  # fmt: skip


@pytest.mark.parametrize("size", [256 << 20, 32 << 30], ids=["rebar-off", "rebar-on"])
def test_bar1_is_the_second_memory_region_of_a_geforce(size: int) -> None:
    start = 0x1000000000
    assert facts.parse_bar1_bytes(GEFORCE.format(start=start, end=start + size - 1)) == size


def test_bar1_of_a_card_with_64_bit_regions_only() -> None:
    resource = recorded.text("host/h100-ubuntu24-container.txt").split("/resource\n")[1].split("== ")[0]
    assert facts.parse_bar1_bytes(resource) == 128 << 30


@pytest.mark.parametrize("resource", ["", EMPTY * 6], ids=["empty-file", "no-regions"])
def test_no_region_is_no_bar1(resource: str) -> None:
    assert facts.parse_bar1_bytes(resource) is None


@pytest.mark.parametrize(
    ("text", "version", "flavour"),
    [
        (
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.159.04  Release Build  (builder@example)\n",
            "580.159.04",
            "open",
        ),
        (
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.163.01  Tue Apr  8 12:41:17 UTC 2025\n",
            "550.163.01",
            "proprietary",
        ),
        (
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  575.64  Release Build\n",
            "575.64",
            "open",
        ),
    ],
    ids=["open", "proprietary", "two-part-version"],
)
def test_loaded_driver(text: str, version: str, flavour: str) -> None:
    assert facts.parse_nvrm_version(text) == facts.DriverModule(version, flavour)


def test_a_text_without_version_is_no_driver() -> None:
    assert facts.parse_nvrm_version("GCC version: 12.2.0\n") is None


MODINFO = """filename:       /lib/modules/6.1.0-50-cloud-amd64/updates/dkms/nvidia.ko
alias:          char-major-195-*
version:        595.45.04
supported:      external
license:        {licence}
firmware:       nvidia/595.45.04/gsp_tu10x.bin
sig_id:         PKCS#7
signer:         DKMS module signing key
sig_key:        0A:B1:02
sig_hashalgo:   sha256
signature:      4F:00:11:
		22:33
"""


@pytest.mark.parametrize(
    ("licence", "flavour"),
    [("Dual MIT/GPL", "open"), ("NVIDIA", "proprietary"), ("GPL", "unknown")],
)
def test_driver_on_disk(licence: str, flavour: str) -> None:
    found = facts.parse_modinfo(MODINFO.format(licence=licence), "6.1.0-50-cloud-amd64")
    assert found == facts.DriverModule(
        "595.45.04",
        flavour,
        "6.1.0-50-cloud-amd64",
        "/lib/modules/6.1.0-50-cloud-amd64/updates/dkms/nvidia.ko",
        "DKMS module signing key",
        0xAB102,
    )


def test_a_module_without_a_signature_names_no_key() -> None:
    text = "".join(line for line in MODINFO.splitlines(keepends=True) if not line.startswith("sig"))
    found = facts.parse_modinfo(text.format(licence="NVIDIA"), "6.1.0-50-cloud-amd64")
    assert found is not None
    assert (found.signer, found.key) == ("", None)


def test_the_linker_takes_the_first_of_a_name() -> None:
    paths = facts.parse_ldconfig(recorded.text("gpu/ldconfig-ubuntu24-h100.txt"))
    assert paths["libcuda.so.1"] == "/usr/local/nvidia/lib64/libcuda.so.1"
    assert set(facts.LIBRARIES) <= set(paths)


@pytest.mark.parametrize(
    ("path", "version"),
    [
        ("/usr/lib/x86_64-linux-gnu/libcuda.so.580.178.04", "580.178.04"),
        ("/usr/lib/libcuda.so.575.64", "575.64"),
        ("/usr/lib/libcuda.so.1", None),
    ],
)
def test_library_version(path: str, version: str | None) -> None:
    assert facts.library_version(path) == version


def test_packages_that_are_a_driver() -> None:
    rows = [
        ("libnvidia-compute-570:amd64", "570.86.10-0ubuntu1", "ii "),
        ("libnvidia-compute-570:i386", "570.86.10-0ubuntu1", "ii "),
        ("libnvidia-container1:amd64", "1.17.8-1", "ii "),
        ("nvidia-container-toolkit", "1.17.8-1", "ii "),
        ("nvidia-docker2", "2.14.0-1", "ii "),
        ("nvidia-driver-570-open", "570.86.10-0ubuntu1", "hi "),
        ("libnvidia-ml-dev", "11.8.89~11.8.0-5", "ii "),
        ("nvidia-opencl-dev", "11.8.89~11.8.0-5", "ii "),
        ("nvidia-kernel-common", "550.1", "rc "),
        ("nvidia-libopencl1-dev", "", "un "),
        ("linux-modules-nvidia-570-generic", "6.8", "iF "),
    ]
    text = "".join("\t".join(row) + "\n" for row in rows)
    found = [package.name for package in facts.parse_driver_packages(text)]
    both = ["libnvidia-compute-570:amd64", "libnvidia-compute-570:i386"]
    assert found == [*both, "linux-modules-nvidia-570-generic", "nvidia-driver-570-open"]


def test_of_debians_packages_all_of_the_driver_are_one_and_the_toolkits_are_none() -> None:
    rows = [line.split() for line in recorded.text("apt/debian12-nvidia-packages.txt").splitlines() if line[:1] != "#"]
    driver = ("nvidia-graphics-drivers", "nvidia-open-gpu-", "nvidia-support", "nvidia-settings", "nvidia-xconfig",
              "nvidia-persistenced")  # fmt: skip
    wanted = sorted(name for source, name in rows if source.startswith(driver))
    asked = [name for _, name in rows if any(fnmatch.fnmatchcase(name, pattern) for pattern in facts.DRIVER_PACKAGES)]
    found = facts.parse_driver_packages("".join(f"{name}\t1\tii \n" for name in asked))
    assert [package.name for package in found] == wanted


@pytest.mark.parametrize("name", ["nvidia-fs", "nvidia-fs-dkms", "nvidia-gds-12-9", "nvidia-openjdk-8-jre"])
def test_other_products_are_no_driver(name: str) -> None:
    assert facts.parse_driver_packages(f"{name}\t1\tii \n") == ()


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        ("python3", "job"),
        ("nvidia-persiste", "service"),
        ("gnome-shell", "display"),
        ("Xorg", "display"),
        ("xdg-desktop-por", "display"),
    ],
)
def test_what_holds_a_gpu(command: str, kind: str) -> None:
    assert facts.holder_kind(command) == kind


@pytest.mark.parametrize(
    ("text", "speed"), [("32.0 GT/s PCIe\n", 32.0), ("2.5 GT/s PCIe\n", 2.5), ("Unknown\n", None), (None, None)]
)
def test_link_speed(text: str | None, speed: float | None) -> None:
    assert facts.parse_link_speed(text) == speed


@pytest.mark.parametrize(("text", "width"), [("16\n", 16), ("0\n", None), ("255\n", None), (None, None)])
def test_link_width(text: str | None, width: int | None) -> None:
    assert facts.parse_link_width(text) == width
