# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is found wrong with a driver: on the hosts that recorded runs left behind, and layer by layer."""

from __future__ import annotations

import dataclasses
import json
import typing as t
from pathlib import Path

import pytest

from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_findings as findings
from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_state as states
from ansible_collections.gpulab.workstation.plugins.module_utils import _gpu_facts as gpu
from ansible_collections.gpulab.workstation.plugins.module_utils import _host_facts as hosts
from driver_states import KERNEL, OLD, PARAMS, RELEASE, VERSION, good, gpu_facts, host_facts, kernel, module, wanted

CASES = Path(__file__).parents[3] / "fixtures/nvidia-installer"
CLOUD = "6.1.0-50-cloud-amd64"
NEW = "595.45.04"
LAST_DIGIT = "580.178.03"  # of the wanted version but for the last digit, which counts as well
SIGNED = {"signing_key": "/root/mok.key", "signing_certificate": "/root/mok.der"}


def recorded_state(case: str) -> states.DriverState:
    """Return the host that a recorded run left behind, as the listing in its record shows it."""
    state: dict[str, t.Any] = json.loads((CASES / f"{case}.json").read_text(encoding="utf-8"))["state"]
    fields = zip(("version", "filename", "license"), state["modinfo"], strict=False)
    text = "".join(f"{key}: {value}\n" for key, value in fields) if len(state["modinfo"]) == 3 else ""
    known = gpu.parse_modinfo(text, CLOUD)
    links = dict(line.split(" -> ") for line in state["libraries"] if " -> " in line)
    libraries = tuple(
        gpu.Library(name, links[name], gpu.library_version(links[name])) for name in states.LIBRARIES if name in links
    )
    signer = " ".join(state.get("signer", []))
    return good(
        gpu=gpu_facts(libraries=libraries, driver_loaded=None, devices=()),
        kernels=(kernel(CLOUD, module=known and dataclasses.replace(known, signer=signer)),),
        dkms=states.parse_dkms_status("\n".join(state["dkms"])),
        record=states.Record(NEW, "d1") if "log" in state["records"] else None,
        marker=None,
        programs=tuple(name for name in findings.PROGRAMS if name in state["programs"]),
        firmware=tuple(state["firmware"]),
    )


@pytest.mark.parametrize(
    ("case", "install", "kernels"),
    [
        ("g1-dkms-missing", "DKMS does not know nvidia/595.45.04", "DKMS says nothing"),
        ("g3-tar-missing", "DKMS does not know nvidia/595.45.04", "DKMS says nothing"),
        ("g8-no-dkms", "DKMS does not know nvidia/595.45.04", "DKMS says nothing"),
        ("g2-dkms-fails", "DKMS does not know nvidia/595.45.04", "it has no module"),
        ("g4-dkms-install-fails", "lies outside DKMS", "DKMS says built"),
        ("g6-dkms-stale-added", "", "it has no module"),
        ("h1-root-full-fresh-1500k", "", "it has no module"),
        ("k5-sanity-dkms-modules-removed", "", "it has no module"),
        ("o1-type-proprietary", "is proprietary, not open", ""),
        ("o3-no-type-nogpu", "is proprietary, not open", ""),
        ("m6-uninstall-dkms-remove-fails", "no driver from a .run is installed", ""),
        ("a-fresh", "", ""),
        ("b-upgrade", "", ""),
    ],
)
def test_exit_status_0_does_not_hide_what_a_run_left_behind(case: str, install: str, kernels: str) -> None:
    state = recorded_state(case)
    ask = wanted(release={**RELEASE, "version": NEW})
    assert install in " ".join(findings.install_reasons(state, ask, proven=False))
    assert bool(install) == bool(findings.install_reasons(state, ask, proven=False))
    assert kernels in " ".join(findings.kernel_reasons(state, ask).values())
    assert bool(kernels) == bool(findings.kernel_reasons(state, ask))


@pytest.mark.parametrize(
    ("case", "reasons"),
    [
        ("n1-sign-with-keys", ()),
        ("n3-sign-secret-only", (f"the module of {CLOUD} is not signed",)),
        ("n5-secureboot-on-no-keys", (f"the module of {CLOUD} is not signed",)),
        ("n7-dkms-mok-present-no-option", (f"the module of {CLOUD} is not signed",)),
    ],
)
def test_unsigned_modules_are_found_where_signatures_are_wanted(case: str, reasons: tuple[str, ...]) -> None:
    ask = wanted(release={**RELEASE, "version": NEW}, **SIGNED)
    assert findings.install_reasons(recorded_state(case), ask, proven=False) == reasons


def library(name: str, version: str) -> gpu.Library:
    return gpu.Library(name, f"/usr/lib/x86_64-linux-gnu/{name}.{version}", version)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ""),
        ({"record": None}, "no driver from a .run is installed"),
        ({"record": states.Record(None, "d1")}, "is damaged"),
        ({"record": states.Record(OLD, "d1")}, f"driver {OLD} is installed"),
        ({"marker": None}, "nothing proves that the installation was finished"),
        ({"record": states.Record(VERSION, "d2")}, "nothing proves that the installation was finished"),
        ({"marker": states.Marker(VERSION, "open", "b" * 64, "d1")}, "another file (sha256 bbbbbbbbbbbb"),
        ({"dkms": ()}, f"DKMS does not know nvidia/{VERSION}"),
        ({"dkms": (states.DkmsEntry(VERSION, "", "broken"),)}, "lost the source"),
        ({"kernels": (kernel(module=module(path="/lib/modules/x/kernel/drivers/video/nvidia.ko")),)}, "outside DKMS"),
        ({"kernels": (kernel(module=module(flavour="proprietary")),)}, "is proprietary, not open"),
        ({"gpu": gpu_facts(libraries=())}, "the linker finds no libcuda.so.1"),
        ({"gpu": gpu_facts(libraries=tuple(library(n, OLD) for n in states.LIBRARIES))}, f"libcuda.so.1.{OLD}"),
        ({"gpu": gpu_facts(libraries=tuple(library(n, LAST_DIGIT) for n in states.LIBRARIES))},
         f"libcuda.so.1.{LAST_DIGIT}"),
        ({"programs": ("nvidia-installer",)}, "/usr/bin/nvidia-smi is missing or empty"),
        ({"firmware": (OLD,)}, f"/lib/firmware/nvidia/{VERSION} has no firmware"),
        ({"sanity": "The installed file 'x' no longer exists."}, "--sanity: The installed file"),
    ],
    ids=["good", "none", "damaged-record", "other-version", "no-marker", "marker-of-another-run", "other-file",
         "dkms-forgot", "dkms-broken", "outside-dkms", "flavour", "no-libraries", "library-overwritten", "last-digit",
         "no-smi", "no-firmware", "sanity"],
)  # fmt: skip
def test_reasons_to_install(changes: dict[str, t.Any], expected: str) -> None:
    found = "; ".join(findings.install_reasons(good(**changes), wanted()))
    assert expected in found
    assert bool(expected) == bool(found)


@pytest.mark.parametrize(
    ("changes", "dkms", "expected"),
    [
        ({}, "installed", None),
        ({"module": None}, "installed", "it has no module"),
        ({"module": None, "incomplete": "could not get modinfo from 'nvidia'"}, "installed", "could not get modinfo"),
        ({"module": module(OLD)}, "installed", f"its module is {OLD}"),
        ({"incomplete": "Module nvidia-uvm not found."}, "installed", "nvidia-uvm"),
        ({}, "built", "DKMS says built"),
        ({}, "installed (Differences between built and installed modules)", "Differences between"),
    ],
    ids=["good", "missing", "truncated", "old", "uvm-missing", "only-built", "differs"],
)
def test_reasons_to_build_for_a_kernel(changes: dict[str, t.Any], dkms: str, expected: str | None) -> None:
    entries = states.parse_dkms_status(f"nvidia/{VERSION}, {KERNEL}, x86_64: {dkms}")
    found = findings.kernel_reasons(good(kernels=(kernel(**changes),), dkms=entries), wanted())
    assert (expected is None) == (not found)
    assert expected is None or expected in found[KERNEL]


MOK, LAB, OTHER = "/var/lib/dkms/mok.pub", 0xA1, 0xB2


@pytest.mark.parametrize(
    ("module_of_next", "key", "expected"),
    [
        ({"signer": "lab", "key": LAB}, hosts.SigningKey(MOK, enrolled=True, serial=LAB), ""),
        ({}, hosts.SigningKey(MOK, enrolled=True, serial=LAB), "its module is not signed"),
        ({"signer": "DKMS", "key": OTHER}, hosts.SigningKey(MOK, enrolled=True, serial=LAB),
         f"its module is signed by 'DKMS', and not with the key of {MOK}"),
        ({"signer": "DKMS", "key": OTHER}, hosts.SigningKey(MOK, enrolled=True), ""),
        ({"signer": "DKMS"}, hosts.SigningKey(MOK, enrolled=True, serial=LAB), ""),
        ({"signer": "DKMS", "key": OTHER}, hosts.SigningKey(MOK, enrolled=False, serial=LAB), ""),
        ({"signer": "DKMS", "key": OTHER}, hosts.SigningKey("/etc/lab.der", enrolled=True, serial=LAB), ""),
    ],
    ids=["lab", "unsigned", "another", "no-certificate", "no-key-named", "not-enrolled", "not-dkms-pair"],
)  # fmt: skip
def test_a_kernels_module_is_signed_again(
    module_of_next: dict[str, t.Any], key: hosts.SigningKey, expected: str
) -> None:
    following = "6.17.0-5-generic"
    signed = kernel(module=module(signer="lab", key=LAB))
    kernels = (signed, kernel(following, module=module(kernel=following, **module_of_next)))
    dkms = tuple(states.DkmsEntry(VERSION, each.release, "installed") for each in kernels)
    secure = host_facts(secure_boot=hosts.SecureBoot("on", "", (key,)))
    found = findings.kernel_reasons(good(host=secure, kernels=kernels, dkms=dkms), wanted())
    assert found == ({following: expected} if expected else {})
    assert findings.kernel_reasons(good(kernels=kernels, dkms=dkms), wanted()) == {}


def test_a_kernel_that_is_ignored_needs_no_module() -> None:
    state = good(kernels=(kernel(), kernel("6.17.0-5-generic", module=None, headers=None)))
    assert list(findings.kernel_reasons(state, wanted())) == ["6.17.0-5-generic"]
    assert not findings.kernel_reasons(state, wanted(ignored_kernels=["6.17.0-5-generic"]))
    assert findings.missing_packages(state, wanted(ignored_kernels=["6.17.0-5-generic"])) == ()


@pytest.mark.parametrize("tool", ["dkms", "gcc", "kmod", "libc6-dev", "make", "tar"])
def test_every_tool_of_a_build_is_brought_where_it_is_missing(tool: str) -> None:
    """Cases g1 and g3: without dkms or tar nvidia-installer leaves DKMS out, and says nothing."""
    assert findings.missing_packages(good(), wanted()) == ()
    assert findings.missing_packages(good(installed_packages=good().installed_packages - {tool}), wanted()) == (tool,)


def test_each_kernels_own_compiler_and_headers_are_needed() -> None:
    hwe = kernel(
        "6.8.0-51-generic", compiler="x86_64-linux-gnu-gcc-12 (Ubuntu 12.3.0-1ubuntu1~22.04) 12.3.0", headers=None
    )
    ga = kernel("5.15.0-113-generic", compiler="gcc (Ubuntu 11.4.0-1ubuntu1~22.04) 11.4.0")
    installed = frozenset({"linux-image-generic-hwe-22.04", "dkms", "gcc", "kmod", "libc6-dev", "make", "tar"})
    state = good(kernels=(ga, hwe), installed_packages=installed)
    assert findings.missing_packages(state, wanted()) == (
        "gcc-12", "linux-headers-6.8.0-51-generic", "linux-headers-generic-hwe-22.04",
    )  # fmt: skip


def test_a_libglvnd_that_is_there_in_part_is_completed() -> None:
    """nvidia-installer brings its own where none is there, and ends where a part is, after the old driver has gone."""
    assert findings.missing_packages(good(), wanted()) == ()
    part = good(installed_packages=good().installed_packages | {"libgl1", "libglx0", "libglvnd0"})
    assert findings.missing_packages(part, wanted()) == ("libegl1", "libgles2", "libopengl0")


@pytest.mark.parametrize(
    ("modules", "ours", "modified", "expected"),
    [
        ((), False, 0.0, ""),
        (("nouveau",), True, 20.0, ""),
        (("nouveau",), False, 20.0, "holds nouveau and not our modprobe settings"),
        (("nova_core",), False, 20.0, "holds nova_core"),
        (("nouveau",), True, 5.0, "older than our modprobe settings"),
        (("nvidia",), True, 20.0, ""),
        (("nvidia",), True, 9.0, "older NVIDIA module"),
    ],
    ids=["nothing", "blacklisted", "nouveau", "nova", "old-settings", "nvidia", "old-nvidia"],
)
def test_which_initramfs_is_stale(modules: tuple[str, ...], ours: bool, modified: float, expected: str) -> None:  # noqa: FBT001
    image = states.Initramfs("/boot/initrd.img", modified, modules, ours)
    state = good(kernels=(kernel(initramfs=image, module_time=10.0),), settings_time=7.0)
    found = findings.stale_initramfs(state, wanted())
    assert bool(expected) == bool(found)
    assert expected in found.get(KERNEL, "")


def test_an_initramfs_must_not_keep_a_removed_module() -> None:
    image = states.Initramfs("/boot/initrd.img", 20.0, ("nvidia",), has_our_settings=True)
    found = findings.stale_initramfs(good(kernels=(kernel(initramfs=image, module=None),)), wanted())
    assert "there is none on disk" in found[KERNEL]


@pytest.mark.parametrize(("ours", "expected"), [(True, {KERNEL: "it holds our modprobe settings"}), (False, {})])
def test_without_a_driver_an_initramfs_must_not_keep_nouveau_off(ours: bool, expected: dict[str, str]) -> None:  # noqa: FBT001
    """As on a virtual machine after a removal: the settings were gone from the disk, and nouveau stayed off."""
    image = states.Initramfs("/boot/initrd.img", 20.0, ("nouveau",), ours)
    state = good(kernels=(kernel(initramfs=image, module=None),), files={})
    assert findings.stale_initramfs(state, wanted(state="absent")) == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ""),
        ({"gpu": gpu_facts(driver_loaded=module(OLD, kernel=""))},
         f"driver {OLD} (open) is loaded, {VERSION} is installed"),
        ({"gpu": gpu_facts(driver_loaded=module(flavour="proprietary", kernel=""))}, "(proprietary) is loaded"),
        ({"gpu": gpu_facts(driver_loaded=module(LAST_DIGIT, kernel=""))},
         f"driver {LAST_DIGIT} (open) is loaded, {VERSION} is installed"),
        ({"gpu": gpu_facts(driver_loaded=None, conflicting=(gpu.ConflictingModule("nouveau", ("0000:01:00.0",)),))},
         "nouveau is loaded and holds 0000:01:00.0"),
        ({"gpu": gpu_facts(driver_loaded=None, conflicting=(gpu.ConflictingModule("nova_core", ("0000:01:00.0",)),))},
         "nova_core is loaded and holds 0000:01:00.0"),
        ({"host": host_facts(running_kernel="6.8.0-49-generic")}, "kernel 6.8.0-49-generic runs but is not installed"),
        ({"host": host_facts(running_kernel="6.8.0-49-generic", machine=hosts.Machine("container", "podman"))}, ""),
    ],
    ids=["good", "old-loaded", "flavour-loaded", "last-digit-loaded", "nouveau", "nova", "kernel-gone", "container"],
)  # fmt: skip
def test_reasons_to_restart(changes: dict[str, t.Any], expected: str) -> None:
    found = "; ".join(findings.reboot_reasons(good(**changes), wanted()))
    assert expected in found
    assert bool(expected) == bool(found)


@pytest.mark.parametrize(
    ("state", "enrolled", "own", "signs"),
    [
        ("off", hosts.DKMS_PAIR[1], hosts.DKMS_PAIR, False),
        ("on", "", hosts.DKMS_PAIR, False),
        ("on", hosts.DKMS_PAIR[1], hosts.DKMS_PAIR, True),
        ("on", hosts.UBUNTU_PAIR[1], hosts.UBUNTU_PAIR, True),
        ("on", hosts.DKMS_PAIR[1], hosts.UBUNTU_PAIR, False),
    ],
    ids=["off", "not-enrolled", "debian", "ubuntu", "enrolled-where-nobody-looks"],
)
def test_dkms_own_pair_signs_where_secure_boot_knows_it(
    state: str, enrolled: str, own: tuple[str, str], *, signs: bool
) -> None:
    keys = tuple(hosts.SigningKey(path, path == enrolled) for path in (hosts.UBUNTU_PAIR[1], hosts.DKMS_PAIR[1]))
    found = good(host=host_facts(secure_boot=hosts.SecureBoot(state, "", keys), dkms_pair=own))
    assert findings.signing_pair(found, wanted()) == (own if signs else None)
    assert findings.signing_pair(found, wanted(**SIGNED)) == ("/root/mok.key", "/root/mok.der")


def test_files_that_drifted_are_named_with_what_they_should_hold() -> None:
    state = good()
    drifted = {**state.files, "/etc/modprobe.d/50-gpulab-nvidia.conf": "# emptied\n"}
    found = findings.outdated_files(good(files=drifted), wanted())
    assert list(found) == ["/etc/modprobe.d/50-gpulab-nvidia.conf"]
    assert "blacklist nouveau" in (found["/etc/modprobe.d/50-gpulab-nvidia.conf"] or "")
    assert PARAMS["hold_packages"] is True
    assert set(findings.outdated_files(state, wanted(hold_packages=False)).values()) == {None}
