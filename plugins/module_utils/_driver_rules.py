# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules about the driver and the toolkit: with each other, with kernels, compilers, glibc and GPUs."""

from __future__ import annotations

from ansible_collections.gpulab.workstation.plugins.module_utils._rule import Broken, Rule, sm_names
from ansible_collections.gpulab.workstation.plugins.module_utils._stack import Stack
from ansible_collections.gpulab.workstation.plugins.module_utils._stack_facts import StackFacts
from ansible_collections.gpulab.workstation.plugins.module_utils._versions import DriverVersion, series


def _driver_installable(stack: Stack, _facts: StackFacts) -> Broken | None:
    artefact = stack.driver.artefact
    if artefact.not_installable is None:
        return None
    return Broken(
        f"driver {artefact.version} cannot be installed: {artefact.not_installable}",
        "a release with a .run of its own and one sha256 on record",
    )


def _cuda_driver(stack: Stack, _facts: StackFacts) -> Broken | None:
    if stack.driver.number >= stack.cuda.minimum_driver:
        return None
    return Broken(
        f"driver {stack.driver.number} with CUDA {stack.cuda.artefact.version}",
        f"driver {stack.cuda.minimum_driver} or newer for CUDA {stack.cuda.artefact.version}",
    )


def _driver_kernel(stack: Stack, facts: StackFacts) -> Broken | None:
    oldest, newest = stack.catalogue.kernel_min, stack.driver.kernel_max
    wrong = [kernel for kernel in facts.kernels if not series(oldest) <= series(kernel) <= series(newest)]
    if not wrong:
        return None
    return Broken(
        f"driver {stack.driver.number} with kernel {', '.join(wrong)}",
        f"kernels {oldest} to {newest}, for which its module is known to build",
        f"{stack.driver.kernel_source} (catalogue/drivers.yml)",
    )


def _device_known(stack: Stack, facts: StackFacts) -> Broken | None:
    nvidia = [pci_id for pci_id in facts.pci_ids if pci_id.startswith("10de:")]
    if not nvidia or any(pci_id in stack.catalogue.devices for pci_id in nvidia):
        return None
    return Broken(
        f"GPU {', '.join(nvidia)}",
        "a GPU of catalogue/devices.yml",
        nearest=f"an entry for {nvidia[0]} in the devices.yml of an overlay",
    )


def _device_driver(stack: Stack, facts: StackFacts) -> Broken | None:
    def knows(first: DriverVersion | None) -> bool:
        return first is None or stack.driver.number >= first

    wrong = [device for device in facts.devices(stack.catalogue) if not knows(device.first_driver)]
    if not wrong:
        return None
    return Broken(
        f"driver {stack.driver.number} with " + ", ".join(f"{device.name} ({device.pci_id})" for device in wrong),
        " and ".join(f"driver {device.first_driver} or newer for {device.name}" for device in wrong),
    )


def _device_flavour(stack: Stack, facts: StackFacts) -> Broken | None:
    flavour = facts.driver_flavour or stack.flavour
    if flavour == "open":
        return None
    present = facts.devices(stack.catalogue)
    of_stack = [device for device in stack.catalogue.devices.values() if device.arch == stack.arch]
    wrong = [device for device in (present or of_stack) if device.open_only]
    if not wrong:
        return None
    names = ", ".join(f"{device.name} ({device.pci_id})" for device in wrong[:3]) + (" and others" if wrong[3:] else "")
    return Broken(
        f"{flavour} kernel modules with {names}",
        "open kernel modules",
        nearest="open kernel modules on the host" if facts.driver_flavour else "",
    )


def _device_arch(stack: Stack, facts: StackFacts) -> Broken | None:
    wrong = [device for device in facts.devices(stack.catalogue) if device.arch != stack.arch]
    if not wrong:
        return None
    return Broken(
        f"a stack for arch {stack.arch} on " + ", ".join(f"{d.name} ({d.pci_id}), arch {d.arch}" for d in wrong),
        f"GPUs of arch {stack.arch}",
    )


def _cuda_arch(stack: Stack, _facts: StackFacts) -> Broken | None:
    if stack.arch in stack.cuda.arches:
        return None
    return Broken(
        f"CUDA {stack.cuda.artefact.version} compiles for {sm_names(stack.cuda.arches)}",
        f"a toolkit that knows {sm_names([stack.arch])}",
    )


def _cuda_glibc(stack: Stack, facts: StackFacts) -> Broken | None:
    cuda = stack.cuda
    if facts.glibc is None:
        return None
    low, high = series(cuda.glibc_min), series(cuda.glibc_max or facts.glibc)
    if low <= series(facts.glibc) <= high:
        return None
    return Broken(
        f"CUDA {cuda.artefact.version} on glibc {facts.glibc}",
        f"glibc {cuda.glibc_min}" + (f" to {cuda.glibc_max}" if cuda.glibc_max else " or newer"),
    )


def _cuda_gcc(stack: Stack, facts: StackFacts) -> Broken | None:
    first, last = stack.cuda.gcc
    if facts.gcc is None or first <= facts.gcc <= last:
        return None
    return Broken(f"CUDA {stack.cuda.artefact.version} with gcc {facts.gcc}", f"gcc {first} to {last}")


RULES = (
    Rule(
        rule_id="driver-installable",
        sentence="A driver is installed from its own .run, which one sha256 on record vouches for.",
        reads=("driver.version",),
        cures=("driver.version",),
        test=_driver_installable,
    ),
    Rule(
        rule_id="driver-kernel",
        sentence="The driver's module must build for every kernel that is installed.",
        reads=("driver.version",),
        cures=("driver.version",),
        test=_driver_kernel,
    ),
    Rule(
        rule_id="device-known",
        sentence="Which driver and modules a GPU needs is known by its PCI id.",
        reads=(),
        cures=(),
        test=_device_known,
    ),
    Rule(
        rule_id="device-driver",
        sentence="A GPU needs a driver that knows its PCI id.",
        reads=("driver.version",),
        cures=("driver.version",),
        test=_device_driver,
    ),
    Rule(
        rule_id="device-flavour",
        sentence="Blackwell and later GPUs are only supported by the open kernel modules.",
        reads=(
            "driver.flavour",
            "arch",
        ),
        cures=("driver.flavour",),
        test=_device_flavour,
    ),
    Rule(
        rule_id="device-arch",
        sentence="The stack is built for the architecture of the GPUs that are there.",
        reads=("arch",),
        cures=("arch",),
        test=_device_arch,
    ),
    Rule(
        rule_id="cuda-driver",
        sentence="Code that nvcc makes runs natively only on the toolkit's own driver or a newer one.",
        reads=(
            "driver.version",
            "cuda.version",
        ),
        cures=(
            "driver.version",
            "cuda.version",
        ),
        test=_cuda_driver,
    ),
    Rule(
        rule_id="cuda-arch",
        sentence="nvcc must compile for the architecture of the GPU.",
        reads=(
            "cuda.version",
            "arch",
        ),
        cures=(
            "cuda.version",
            "arch",
        ),
        test=_cuda_arch,
    ),
    Rule(
        rule_id="cuda-glibc",
        sentence="The toolkit's headers must compile with the host's glibc.",
        reads=("cuda.version",),
        cures=("cuda.version",),
        test=_cuda_glibc,
    ),
    Rule(
        rule_id="cuda-gcc",
        sentence="nvcc accepts only the host compilers that its headers allow.",
        reads=("cuda.version",),
        cures=("cuda.version",),
        test=_cuda_gcc,
    ),
)

__all__ = ["RULES"]
