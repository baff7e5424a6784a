# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One verification of a host: read it, let every family make its checks and keep them, and see that none is missing."""

from __future__ import annotations

import dataclasses
import json
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
from ansible_collections.gpulab.workstation.plugins.module_utils._job import JOBS
from ansible_collections.gpulab.workstation.plugins.module_utils._plan import Plan, Step
from ansible_collections.gpulab.workstation.plugins.module_utils._reading import Reading
from ansible_collections.gpulab.workstation.plugins.module_utils._verify import CHECKS, Check, failed, not_proven
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_context import Context, Family
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_document import about_host
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_kernel_log import KernelLog
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_layers import NO_DRIVER, SmiAnswer
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_wish import Wish

RESULT = "/var/lib/gpulab/verify.json"
KEPT = f"{JOBS}/gpu_verify/kept"
HOST = "the host"  # beside the families' titles: what was read before anything was run
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


class Verification:
    """A verification as a job: each family is a step that leaves its checks, whatever becomes of the next one."""

    name = "gpu_verify"

    def __init__(self, wish: Wish) -> None:
        self.wish = wish
        self._context: Context | None = None

    @classmethod
    def from_params(cls, params: t.Mapping[str, t.Any]) -> Verification:
        """Take what is asked for from the module's parameters."""
        return cls(Wish.from_params(params))

    def plan(self) -> Plan:
        """Return a step for each family of which a check is asked for."""
        return Plan(tuple(Step("family", family.title) for family in FAMILIES if asked_of(family, self.wish)))

    def apply(self, host: Host, step: Step, progress: t.Callable[[str], None]) -> None:
        """Let a family make its checks, and keep them."""
        if self._context is None:
            self._context = read_context(host, self.wish, progress)
            keep(host, HOST, about_host(self._context))
        family = next(family for family in FAMILIES if family.title == step.title)
        checks = make_checks(family, dataclasses.replace(self._context, progress=progress))
        keep(host, family.title, [check.to_json(self.wish.required) for check in checks])


def keep(host: Host, part: str, data: t.Any) -> None:
    """Leave a part of the result in the job's directory."""
    host.write_text(f"{KEPT}/{part}.json", json.dumps(data), mode=0o600)


def kept(host: Host, part: str) -> t.Any:
    """Return a part of the result; None where there is none, or where it is cut off."""
    try:
        return json.loads(host.read_text(f"{KEPT}/{part}.json") or "null")
    except ValueError:
        return None


def kept_checks(host: Host, wish: Wish, why_missing: str) -> list[Check]:
    """Return the checks that the job has left, and for every family that left none its checks as not proven."""
    checks: list[Check] = []
    for family in FAMILIES:
        found = kept(host, family.title)
        if isinstance(found, list):
            checks += [Check.from_json(data) for data in found]
        else:
            checks += [not_proven(name, why_missing) for name in asked_of(family, wish)]
    return checks


def asked_of(family: Family, wish: Wish) -> list[str]:
    """Return the checks of a family that are asked for."""
    return [name for name in family.names if name in wish.asked]


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
    """Lay the sources of the tests in an empty working directory; what a killed run left there goes."""
    host.remove(wish.work_directory)
    host.make_dirs(wish.work_directory, mode=0o700)
    if host.filesystem(wish.work_directory).noexec:
        host.remove(wish.work_directory)
        raise OperatorError(
            found=f"{wish.work_directory} is on a file system that is mounted noexec.",
            expected="a directory from which the test program can be started.",
            action="choose another gpu_verify_work_directory.",
        )
    for name, text in wish.programs.items():
        host.write_text(f"{wish.work_directory}/{name}", text)


def make_checks(family: Family, context: Context) -> list[Check]:
    """Return a check for every name of the family that is asked for, on every card: a crash is told, never silence."""
    asked = asked_of(family, context.wish)
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


__all__ = [
    "FAMILIES",
    "HOST",
    "RESULT",
    "Verification",
    "asked_of",
    "keep",
    "kept",
    "kept_checks",
    "make_checks",
    "prepare",
    "read_context",
]
