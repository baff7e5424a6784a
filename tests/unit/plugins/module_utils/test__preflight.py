# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts in, reasons out: each fault alone is refused in its own words, and all of them at once."""

from __future__ import annotations

import dataclasses
import typing as t

import pytest

from ansible_collections.gpulab.workstation.plugins.module_utils._gpu_facts import (
    ConflictingModule,
    DisplayDevice,
    GpuFacts,
    Package,
    PciLink,
)
from ansible_collections.gpulab.workstation.plugins.module_utils._host_facts import (
    DKMS_PAIR,
    UBUNTU_PAIR,
    HostFacts,
    Kernel,
    Machine,
    OperatingSystem,
    Place,
    SecureBoot,
    SigningKey,
    Unreadable,
)
from ansible_collections.gpulab.workstation.plugins.module_utils._preflight import (
    Facts,
    Need,
    Wanted,
    judge,
)
from ansible_collections.gpulab.workstation.plugins.module_utils._refusal import Refusal, render

RTX5090 = DisplayDevice(
    "0000:01:00.0", "0300", "10de", "2b85", "1043:8a1c", None, 32 << 30, PciLink(2.5, 32.0, 16, 16)
)  # fmt: skip
VGA = DisplayDevice("0000:00:02.0", "0300", "8086", "a780", None, "i915", None, None)
ROOT = Place("/opt", "/", "ext4", 100 * 10**9, 900 * 10**9, noexec=False, read_only=False)
GOOD_HOST = HostFacts(
    os=OperatingSystem("debian", "12", "Debian GNU/Linux 12 (bookworm)"),
    architecture="x86_64",
    python="3.11.2",
    user="root",
    root=True,
    clock=1_795_000_000.0,
    machine=Machine("bare_metal", "Z790 AORUS"),
    glibc="2.36",
    running_kernel="6.1.0-41-amd64",
    kernels=(Kernel("6.1.0-41-amd64", image=True, headers="/usr/src/linux-headers-6.1", compiler="gcc-12"),),
    secure_boot=SecureBoot("off"),
    places=(ROOT, dataclasses.replace(ROOT, path="/usr/local")),
)
GOOD = Facts(GOOD_HOST, GpuFacts(devices=(VGA, RTX5090)))
WANTED = Wanted()


def with_host(**changes: t.Any) -> Facts:
    return dataclasses.replace(GOOD, host=dataclasses.replace(GOOD_HOST, **changes))


def with_gpu(**changes: t.Any) -> Facts:
    return dataclasses.replace(GOOD, gpu=dataclasses.replace(GOOD.gpu, **changes))


def one(facts: Facts, wanted: Wanted = WANTED) -> Refusal:
    """Return the only reason against a host."""
    (refusal,) = judge(facts, wanted).refusals
    return refusal


def test_a_good_host_is_neither_refused_nor_warned_about() -> None:
    verdict = judge(GOOD, dataclasses.replace(WANTED, needs=(Need("wheels", "/opt", 50),)))
    assert (verdict.refusals, verdict.warnings) == ((), ())


@pytest.mark.parametrize(
    ("facts", "found", "action"),
    [
        (with_host(root=False, user="alice"), "as the user alice", "become: true"),
        (with_host(clock=946_684_800.0), "2000-01-01", "timedatectl"),
        (with_host(python="3.9.2"), "Python 3.9.2", "ansible_python_interpreter"),
        (
            with_host(os=OperatingSystem("debian", "", "Debian GNU/Linux trixie/sid")),
            "does not say",
            "supported system",
        ),
        (
            with_gpu(devices=(VGA,)),
            "no NVIDIA GPU on the PCI bus; the display controllers there are: 8086:a780",
            "gpulab_",
        ),
        (with_gpu(devices=()), "and no other display controller", "Above 4G"),
        (with_host(secure_boot=SecureBoot("on")), "no key on this host", "gpulab signing-key"),
        (
            with_host(secure_boot=SecureBoot("on", "", (SigningKey("/var/lib/dkms/mok.pub", enrolled=False),))),
            "/var/lib/dkms/mok.pub is not known to be enrolled",
            "mokutil --import /var/lib/dkms/mok.pub",
        ),
        (
            with_host(secure_boot=SecureBoot("on", "", (SigningKey("/var/lib/dkms/mok.pub", enrolled=None),))),
            "not known to be enrolled",
            "mokutil --import",
        ),
    ],
    ids=[
        "not-root",
        "clock",
        "python",
        "unnamed-release",
        "other-gpu",
        "no-gpu",
        "no-key",
        "key-not-enrolled",
        "key-nobody-can-judge",
    ],
)
def test_one_fault_one_reason(facts: Facts, found: str, action: str) -> None:
    refusal = one(facts)
    assert found in refusal.found
    assert refusal.expected
    assert action in refusal.action


def test_a_pci_bus_that_cannot_be_read_is_no_proof_of_absence() -> None:
    facts = dataclasses.replace(
        with_gpu(devices=()), unreadable=(Unreadable("PCI devices", "there is no /sys/bus/pci"),)
    )
    assert "PCI devices cannot be read: there is no /sys/bus/pci" in one(facts).found


def test_a_host_that_is_meant_to_have_no_gpu() -> None:
    assert judge(with_gpu(devices=()), Wanted(expect_gpu=False)).refusals == ()
    assert "says that this host has no GPU" in judge(GOOD, Wanted(expect_gpu=False)).warnings[0]


def test_an_enrolled_key_satisfies_secure_boot() -> None:
    keys = (SigningKey("/a", enrolled=False), SigningKey("/b", enrolled=True))
    named = with_host(secure_boot=SecureBoot("on", "", keys), named_certificates=("/a", "/b"))
    assert judge(named, WANTED).refusals == ()
    own = with_host(secure_boot=SecureBoot("on", "", (SigningKey(DKMS_PAIR[1], enrolled=True),)))
    assert judge(own, WANTED).refusals == ()


def test_a_key_that_dkms_does_not_sign_with_does_not() -> None:
    keys = (SigningKey(UBUNTU_PAIR[1], enrolled=False), SigningKey(DKMS_PAIR[1], enrolled=True))
    ubuntu = {"secure_boot": SecureBoot("on", "", keys), "dkms_pair": UBUNTU_PAIR}
    assert judge(with_host(**ubuntu, named_certificates=(DKMS_PAIR[1],)), WANTED).refusals == ()
    [refusal] = judge(with_host(**ubuntu), WANTED).refusals
    assert refusal.found.startswith(f"Secure Boot is on, and {UBUNTU_PAIR[1]} is not known to be enrolled")


def test_a_key_that_a_later_role_brings_is_told_and_not_refused() -> None:
    keys = (SigningKey("/var/lib/dkms/mok.pub", enrolled=False),)
    verdict = judge(with_host(secure_boot=SecureBoot("on", "", keys)), Wanted(signing_managed=True))
    assert verdict.refusals == ()
    assert ["the lab's key will be asked for" in warning for warning in verdict.warnings] == [True]
    assert judge(GOOD, Wanted(signing_managed=True)).warnings == ()


def test_a_container_has_no_secure_boot_of_its_own() -> None:
    facts = with_host(secure_boot=SecureBoot("on"), machine=Machine("container", "podman"))
    assert judge(facts, WANTED).refusals == ()


class TestSpace:
    def test_what_goes_to_one_file_system_is_added_up(self) -> None:
        needs = (Need("CUDA", "/usr/local", 60), Need("wheels", "/opt", 50.5))
        refusal = one(GOOD, Wanted(needs=needs))
        assert refusal.found == "100.0 GB free on / (ext4)."
        assert refusal.expected == "110.5 GB: 60.0 GB in /usr/local for CUDA, 50.5 GB in /opt for wheels."
        assert refusal.action.startswith("free 10.5 GB on /")

    def test_separate_file_systems_are_judged_apart(self) -> None:
        small = dataclasses.replace(ROOT, path="/opt", mount_point="/opt", free_bytes=51 * 10**9)
        facts = with_host(places=(small, dataclasses.replace(ROOT, path="/usr/local")))
        needs = (Need("CUDA", "/usr/local", 60), Need("wheels", "/opt", 50.5))
        assert judge(facts, Wanted(needs=needs)).refusals == ()

    def test_work_that_has_been_done_needs_no_room(self) -> None:
        facts = with_host(landmarks=("/usr/local/cuda/bin/nvcc",))
        need = Need("CUDA", "/usr/local", 600, unless="/usr/local/cuda/bin/nvcc")
        assert judge(facts, Wanted(needs=(need,))).refusals == ()
        assert "600.0 GB" in one(GOOD, Wanted(needs=(need,))).expected

    def test_a_noexec_directory_where_an_installer_must_run(self) -> None:
        facts = with_host(places=(dataclasses.replace(ROOT, path="/tmp", mount_point="/tmp", noexec=True),))
        needs = (Need("unpacking", "/tmp", 1, executable=True), Need("building", "/tmp", 1, executable=True))
        refusal = one(facts, Wanted(needs=needs))
        assert refusal.found == "/tmp is on /tmp, mounted noexec."
        assert "remount,exec /tmp" in refusal.action

    def test_the_first_alternative_that_will_do_is_taken(self) -> None:
        noexec = dataclasses.replace(ROOT, path="/cache", mount_point="/cache", noexec=True)
        small = dataclasses.replace(ROOT, path="/small", mount_point="/small", free_bytes=10**9)
        need = Need("unpacking", "/cache", 3, executable=True, alternatives=("/small", "/opt"))
        assert judge(with_host(places=(noexec, small, ROOT)), Wanted(needs=(need,))).refusals == ()
        assert one(with_host(places=(noexec, small)), Wanted(needs=(need,))).found == "1.0 GB free on /small (ext4)."
        both = one(with_host(places=(noexec, dataclasses.replace(small, noexec=True))), Wanted(needs=(need,)))
        assert both.found == "/cache is on /cache, mounted noexec; /small is on /small, mounted noexec."

    def test_noexec_is_fine_for_files_that_are_only_kept(self) -> None:
        facts = with_host(places=(dataclasses.replace(ROOT, noexec=True),))
        assert judge(facts, Wanted(needs=(Need("wheels", "/opt", 1),))).refusals == ()

    def test_a_read_only_file_system(self) -> None:
        facts = with_host(places=(dataclasses.replace(ROOT, read_only=True),))
        assert "mounted read-only." in one(facts, Wanted(needs=(Need("wheels", "/opt", 1),))).found


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (with_host(secure_boot=SecureBoot("unreadable", "no efivarfs")), "Secure Boot could not be read (no efivarfs)"),
        (
            with_gpu(devices=(dataclasses.replace(RTX5090, bar1_bytes=256 << 20),)),
            "BAR1 of 256 MiB: Resizable BAR is off",
        ),
        (with_gpu(devices=(dataclasses.replace(RTX5090, link=PciLink(2.5, 32.0, 4, 16)),)), "4 of 16 PCIe lanes"),
        (
            with_gpu(conflicting=(ConflictingModule("nouveau", ("0000:01:00.0",)),)),
            "nouveau is loaded and drives 0000:01",
        ),
        (with_gpu(packages=(Package("nvidia-driver-570-open", "570.86"),)), "nvidia-driver-570-open 570.86"),
        (
            with_host(kernels=(Kernel("6.8.0-51", image=True, headers=None, compiler=""),)),
            "No headers are installed for 6.8.0-51",
        ),
    ],
    ids=["secure-boot", "bar1", "lanes", "nouveau", "packages", "headers"],
)
def test_what_an_operator_should_know(facts: Facts, words: str) -> None:
    verdict = judge(facts, WANTED)
    assert verdict.refusals == ()
    assert [words in warning for warning in verdict.warnings] == [True]


def test_the_speed_of_an_idle_link_is_no_news() -> None:
    assert RTX5090.link == PciLink(2.5, 32.0, 16, 16)
    assert judge(GOOD, WANTED).warnings == ()


def test_all_reasons_at_once_in_80_columns() -> None:
    places = (dataclasses.replace(ROOT, noexec=True, free_bytes=10**9),)
    facts = Facts(
        dataclasses.replace(GOOD_HOST, root=False, clock=0.0, places=places, secure_boot=SecureBoot("on")),
        GpuFacts(devices=(VGA,)),
    )
    needs = (Need("unpacking the driver", "/opt", 3, executable=True), Need("wheels", "/opt", 3))
    verdict = judge(facts, Wanted(needs=needs))
    text = render(verdict.refusals, "lab-1")
    assert len(verdict.refusals) == 6
    assert text.startswith("lab-1 is refused for 6 reasons; nothing was changed.\n\n1.  Found:    modules run")
    assert [line.split()[0] for line in text.splitlines() if "Found:" in line] == ["1.", "2.", "3.", "4.", "5.", "6."]
    assert text.count("Expected:") == text.count("To do:") == 6
    assert max(map(len, text.splitlines())) < 80
