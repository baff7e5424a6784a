# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host whose driver is as wanted, to be made worse by the tests."""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_files as files
from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_findings as findings
from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_journal as journals
from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_state as states
from ansible_collections.gpulab.workstation.plugins.module_utils import _gpu_facts as gpu
from ansible_collections.gpulab.workstation.plugins.module_utils import _host_facts as hosts
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_wanted import Wanted, wanted_from_params

VERSION = "580.178.04"
OLD = "575.64.05"
KERNEL = "6.8.0-51-generic"
SHA = "a" * 64
GB = 10**9
CARD = gpu.DisplayDevice("0000:01:00.0", "0300", "10de", "2b85", None, "nvidia", None, None)
RELEASE: dict[str, t.Any] = {
    "version": VERSION, "flavour": "open", "file": f"NVIDIA-Linux-x86_64-{VERSION}.run", "size": 400_000_000,
    "sha256": SHA, "sources": ["http://depot/x.run"], "standin": False,
}  # fmt: skip
PARAMS: dict[str, t.Any] = {
    "state": "present", "release": RELEASE, "flavour": None, "cache_directory": "/var/cache/gpulab",
    "work_directories": ["/var/cache/gpulab", "/opt"], "replace_distro_driver": True, "allow_running": False,
    "signing_key": None, "signing_certificate": None, "module_options": {"nvidia-drm": {"modeset": 1}},
    "persistenced": True, "hold_packages": True, "compat32": False, "ignored_kernels": [], "retry": False,
}  # fmt: skip


def wanted(**changes: t.Any) -> Wanted:
    """Return what the role asks for by default, with changes."""
    return wanted_from_params({**PARAMS, **changes})


def described(version: str = VERSION, sha256: str = SHA, **changes: t.Any) -> journals.Driver:
    """Return a driver as the host notes it once it is committed."""
    release = {**RELEASE, "version": version, "sha256": sha256, "file": f"NVIDIA-Linux-x86_64-{version}.run"}
    return {**journals.describe(wanted(release=release)), "sources": [], **changes}


def module(version: str = VERSION, flavour: str = "open", kernel: str = KERNEL, **more: t.Any) -> gpu.DriverModule:
    """Return a module of a kernel, where DKMS puts it."""
    path = f"/lib/modules/{kernel}/updates/dkms/nvidia.ko"
    return gpu.DriverModule(version, flavour, kernel, more.get("path", path), more.get("signer", ""), more.get("key"))


def kernel(release: str = KERNEL, **changes: t.Any) -> states.KernelState:
    """Return an installed kernel with headers and the wanted module."""
    text = "x86_64-linux-gnu-gcc-13 (Ubuntu 13.2.0-23ubuntu4) 13.2.0"
    known = states.KernelState(release, f"/usr/src/linux-headers-{release}", text, module(kernel=release))
    return dataclasses.replace(known, **changes)


def host_facts(**changes: t.Any) -> hosts.HostFacts:
    """Return a workstation with Ubuntu that runs its installed kernel."""
    places = tuple(
        hosts.Place(path, "/", "ext4", 500 * GB, 900 * GB, noexec=False, read_only=False)
        for path in ("/usr", "/lib/modules", "/var/lib", "/var/cache/gpulab", "/opt")
    )
    facts = hosts.HostFacts(
        os=hosts.OperatingSystem("ubuntu", "24.04", "Ubuntu 24.04.3 LTS"), architecture="x86_64", python="3.12.3",
        user="root", root=True, clock=1_800_000_000.0, machine=hosts.Machine("bare_metal"), running_kernel=KERNEL,
        secure_boot=hosts.SecureBoot("off"), places=places, tools=("systemd", "modinfo", "dkms"),
    )  # fmt: skip
    return dataclasses.replace(facts, **changes)


def gpu_facts(**changes: t.Any) -> gpu.GpuFacts:
    """Return one card, driven by the wanted driver."""
    libraries = tuple(
        gpu.Library(name, f"/usr/lib/x86_64-linux-gnu/{name.removesuffix('.1')}.{VERSION}", VERSION)
        for name in states.LIBRARIES
    )
    facts = gpu.GpuFacts(devices=(CARD,), driver_loaded=module(kernel=""), libraries=libraries)
    return dataclasses.replace(facts, **changes)


def good(**changes: t.Any) -> states.DriverState:
    """Return a host that needs nothing."""
    texts = files.managed_files(wanted().module_options, present=True, hold_packages=True, persistenced=True)
    packages = {"dkms", "gcc", "gcc-13", "kmod", "libc6-dev", "make", "tar", "linux-image-generic",
                "linux-headers-generic", f"linux-headers-{KERNEL}"}  # fmt: skip
    state = states.DriverState(
        host=host_facts(), gpu=gpu_facts(), kernels=(kernel(),),
        dkms=(states.DkmsEntry(VERSION, KERNEL, "installed"),), record=states.Record(VERSION, "d1"),
        marker=states.Marker(VERSION, "open", SHA, "d1"), programs=findings.PROGRAMS, firmware=(VERSION,),
        strays=((f"/usr/lib/x86_64-linux-gnu/libcuda.so.{VERSION}", VERSION),), sanity="",
        installed_packages=frozenset(packages), files=texts, unit_enabled=True, services=(files.UNIT_NAME,),
        account=True, installed=described(), kept=frozenset({SHA}), boot="boot-1",
    )  # fmt: skip
    return dataclasses.replace(state, **changes)


def bare(**changes: t.Any) -> states.DriverState:
    """Return a freshly installed host with a card that nouveau holds."""
    nouveau = gpu.ConflictingModule("nouveau", (CARD.address,))
    state = good(
        gpu=gpu_facts(driver_loaded=None, libraries=(), conflicting=(nouveau,)),
        kernels=(kernel(module=None, headers=None),),
        dkms=(), record=None, marker=None, programs=(), firmware=(), strays=(), sanity=None,
        installed_packages=frozenset({"linux-image-generic", "kmod", "tar"}), files={}, unit_enabled=False,
        services=(), account=False, installed=None, kept=frozenset(),
    )  # fmt: skip
    return dataclasses.replace(state, **changes)
