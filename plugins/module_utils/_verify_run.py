# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One verification of a host: read it, let every family make its checks, and see that none is missing."""

from __future__ import annotations

import typing as t

from ansible_collections.gpulab.workstation.plugins.module_utils import (
    _verify_code_family,
    _verify_diffusion_family,
    _verify_drift_family,
    _verify_endurance_family,
    _verify_kernel_log_family,
    _verify_layers_family,
    _verify_memory_family,
    _verify_torch_family,
)
from ansible_collections.gpulab.workstation.plugins.module_utils import _verify_reader as reader
from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._gpu_facts import GpuFacts
from ansible_collections.gpulab.workstation.plugins.module_utils._gpu_reader import read_gpu
from ansible_collections.gpulab.workstation.plugins.module_utils._host import Host
from ansible_collections.gpulab.workstation.plugins.module_utils._host_reader import read_host
from ansible_collections.gpulab.workstation.plugins.module_utils._reading import Reading
from ansible_collections.gpulab.workstation.plugins.module_utils._verify import CHECKS, Check, failed
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_context import Context, Family
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_document import make_document
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_kernel_log import KernelLog
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_layers import NO_DRIVER, SmiAnswer
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_wish import Wish

RESULT = "/var/lib/gpulab/verify.json"
LOCK = "/run/gpulab/verify.lock"
# In the order in which they are made: what the later ones need is looked at first.
FAMILIES: tuple[Family, ...] = (
    _verify_layers_family.FAMILY,
    _verify_drift_family.FAMILY,
    _verify_code_family.FAMILY,
    _verify_memory_family.FAMILY,
    _verify_torch_family.FAMILY,
    _verify_diffusion_family.FAMILY,
    _verify_endurance_family.FAMILY,
    _verify_kernel_log_family.FAMILY,  # the last: it looks back on all others
)


def verify(host: Host, wish: Wish, progress: t.Callable[[str], None] = lambda _words: None) -> dict[str, t.Any]:
    """Return the document about a host; the host is as it was before."""
    release = host.hold_lock(LOCK)
    if release is None:
        raise OperatorError(
            found="another verification is running on this host.",
            expected="one at a time: two would disturb each other's figures.",
            action="wait for it, then run again.",
        )
    try:
        start = host.now()
        context = read_context(host, wish, progress)
        prepare(host, wish)
        checks: list[Check] = []
        for family in FAMILIES:
            checks += make_checks(family, context)
        return make_document(context, checks, host.now() - start)
    finally:
        host.remove(wish.work_directory)
        release()


def read_context(host: Host, wish: Wish, progress: t.Callable[[str], None]) -> Context:
    """Read the host and its cards, before anything is run."""
    reading = Reading(host)
    about = read_host(reading)
    gpu = read_gpu(reading, [kernel.release for kernel in about.kernels])
    smi = reader.ask_smi(host) if gpu.driver_loaded else SmiAnswer(-1, error=NO_DRIVER)
    why_no_gpu = _why_no_gpu(gpu, smi)
    log = KernelLog("", error=why_no_gpu) if why_no_gpu else _verify_kernel_log_family.read_kernel_log(host)
    seed = int(host.now() * 1000)
    return Context(host, wish, reading, about, gpu, smi, why_no_gpu, progress, seed, log)


def prepare(host: Host, wish: Wish) -> None:
    """Lay the sources of the tests in an empty working directory."""
    host.remove(wish.work_directory)
    host.make_dirs(wish.work_directory, mode=0o700)
    if host.filesystem(wish.work_directory).noexec:
        raise OperatorError(
            found=f"{wish.work_directory} is on a file system that is mounted noexec.",
            expected="a directory from which the test program can be started.",
            action="choose another gpu_verify_work_directory.",
        )
    for name, text in wish.programs.items():
        host.write_text(f"{wish.work_directory}/{name}", text)


def make_checks(family: Family, context: Context) -> list[Check]:
    """Return a check for every name of the family that is asked for, on every card: a crash is told, never silence."""
    asked = [name for name in family.names if name in context.wish.asked]
    if not asked:
        return []
    context.progress(family.title)
    try:
        made = family.checks(context)
    except Exception as error:  # noqa: BLE001 - whatever it is, the other families go on, and these checks fail
        why = f"the check itself broke off: {type(error).__name__}: {error}"
        return [failed(name, why) for name in asked]
    return [check for name in asked for check in _complete(name, made, context)]


def _complete(name: str, made: t.Sequence[Check], context: Context) -> list[Check]:
    """Return the checks of a name, and one that is not proven for whatever was left out."""
    found = [check for check in made if check.name == name]
    if not found:
        return context.on_every_card(name, "it was not made")
    if not CHECKS[name].per_card or context.why_no_gpu:
        return found
    tried = {check.card for check in found}
    missing = [
        check for check in context.on_every_card(name, "it was not made on this card") if check.card not in tried
    ]
    return [*found, *missing]


def _why_no_gpu(gpu: GpuFacts, smi: SmiAnswer) -> str:
    if gpu.driver_loaded is None:
        return NO_DRIVER
    return "" if smi.cards else f"no card answers: {smi.error}"


__all__ = ["FAMILIES", "LOCK", "RESULT", "make_checks", "prepare", "read_context", "verify"]
