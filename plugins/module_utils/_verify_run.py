# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One verification of a host: read, build, run, judge, and the document about it."""

from __future__ import annotations

import datetime as dt
import json
import typing as t
from dataclasses import dataclass

from ansible_collections.gpulab.workstation.plugins.module_utils import _verify as rules
from ansible_collections.gpulab.workstation.plugins.module_utils import _verify_layers as layers
from ansible_collections.gpulab.workstation.plugins.module_utils import _verify_native as native
from ansible_collections.gpulab.workstation.plugins.module_utils import _verify_reader as reader
from ansible_collections.gpulab.workstation.plugins.module_utils._cuda_toolkit import Wanted
from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._gpu_facts import GpuFacts
from ansible_collections.gpulab.workstation.plugins.module_utils._gpu_reader import read_gpu
from ansible_collections.gpulab.workstation.plugins.module_utils._host import Host
from ansible_collections.gpulab.workstation.plugins.module_utils._host_facts import HostFacts
from ansible_collections.gpulab.workstation.plugins.module_utils._host_reader import read_host
from ansible_collections.gpulab.workstation.plugins.module_utils._reading import Reading
from ansible_collections.gpulab.workstation.plugins.module_utils._verify import Check
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_layers import SmiAnswer
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_torch import judge_build, judge_launch

RESULT = "/var/lib/gpulab/verify.json"
LOCK = "/run/gpulab/verify.lock"
_BLACKWELL = 10  # compute capability 10.0 and 12.0: driven by the open kernel modules only


@dataclass(frozen=True)
class Wish:
    """What is to be proven; an empty wanted version asks for none."""

    arch: str
    required: tuple[str, ...]
    source: str
    expect_gpu: bool
    host_name: str = ""
    driver: str = ""
    toolkit: Wanted | None = None
    toolkit_path: str = "/usr/local/cuda"
    python: str = ""
    torch_version: str = ""
    torch_cuda: str = ""
    nvcc_flags: tuple[str, ...] = ()
    time_limit_s: int = 60
    work_directory: str = "/var/lib/gpulab/verify.work"

    @classmethod
    def from_params(cls, params: t.Mapping[str, t.Any]) -> Wish:
        """Take it from the module's parameters."""
        rules.parse_arch(params["arch"])
        return cls(
            arch=params["arch"],
            required=rules.check_names(params["require"]),
            source=params["source"],
            expect_gpu=params["expect_gpu"],
            host_name=params["host_name"],
            driver=params["driver"],
            toolkit=Wanted.from_release(params["toolkit"], "present") if params["toolkit"] else None,
            toolkit_path=params["toolkit_path"].rstrip("/"),
            python=params["python"],
            torch_version=params["torch_version"],
            torch_cuda=params["torch_cuda"],
            nvcc_flags=tuple(params["nvcc_flags"]),
            time_limit_s=params["time_limit_seconds"],
            work_directory=params["work_directory"].rstrip("/"),
        )


def verify(host: Host, wish: Wish) -> dict[str, t.Any]:
    """Return the document about a host; the host is as it was before."""
    release = host.hold_lock(LOCK)
    if release is None:
        raise OperatorError(
            found="another verification is running on this host.",
            expected="one at a time: two would disturb each other's figures.",
            action="wait for it, then run again.",
        )
    try:
        reading = Reading(host)
        about = read_host(reading)
        gpu = read_gpu(reading, [kernel.release for kernel in about.kernels])
        smi = reader.ask_smi(host) if gpu.driver_loaded else SmiAnswer(-1, error="no NVIDIA driver is loaded")
        checks = [*_layers(wish, reading, about, gpu, smi), *_code(host, wish, gpu, smi), *_torch(host, wish, smi)]
        return _document(host, wish, reading, about, checks)
    finally:
        host.remove(wish.work_directory)
        release()


def _layers(wish: Wish, reading: Reading, about: HostFacts, gpu: GpuFacts, smi: SmiAnswer) -> list[Check]:
    kernels = [kernel.release for kernel in about.kernels]
    unreadable = [f"{note.what}: {note.why}" for note in reading.unreadable if note.what.startswith("driver on disk")]
    return [
        layers.judge_loaded(gpu, wish.driver, open_only=int(wish.arch.split(".")[0]) >= _BLACKWELL),
        layers.judge_on_disk(gpu, kernels, unreadable),
        layers.judge_libraries(gpu, smi),
        layers.judge_cards(gpu, smi, container=about.machine.kind == "container"),
    ]


def _code(host: Host, wish: Wish, gpu: GpuFacts, smi: SmiAnswer) -> list[Check]:
    arch = rules.parse_arch(wish.arch)
    compiler = reader.read_compiler(host, wish.toolkit_path)
    toolkit = native.judge_toolkit(compiler.toolkit, compiler.version, wish.toolkit_path, wish.toolkit)
    known = compiler.architectures
    build = control = None
    other = native.other_architecture(arch, known)
    if compiler.version is not None and native.knows(known, arch):
        _prepare(host, wish)
        build = reader.build(host, compiler, wish.work_directory, arch, wish.nvcc_flags)
        control = reader.build(host, compiler, wish.work_directory, other, ()) if other else None
    code, negative = native.judge_code(arch, known, build, control)
    devices = range(len(smi.cards) or len(gpu.nvidia_gpus))
    why_none = _why_no_run(gpu, build, len(devices))
    seed = int(host.now() * 1000)
    runs, foreign = [], []
    if not why_none:
        args = (seed, wish.time_limit_s)
        runs = [reader.run_program(host, wish.work_directory, arch, device, *args) for device in devices]
        if control is not None and control.rc == 0:
            foreign = [reader.run_program(host, wish.work_directory, control.arch, d, *args) for d in devices]
    results = native.judge_results(arch, runs, len(devices), why_none)
    why_none = why_none or "the program for another architecture could not be built"
    return [toolkit, code, negative, results, native.judge_foreign(foreign, other, why_none)]


def _prepare(host: Host, wish: Wish) -> None:
    host.remove(wish.work_directory)
    host.make_dirs(wish.work_directory, mode=0o700)
    if host.filesystem(wish.work_directory).noexec:
        raise OperatorError(
            found=f"{wish.work_directory} is on a file system that is mounted noexec.",
            expected="a directory from which the test program can be started.",
            action="choose another gpu_verify_work_directory.",
        )
    host.write_text(f"{wish.work_directory}/gpu_verify.cu", wish.source)


def _why_no_run(gpu: GpuFacts, build: native.Build | None, cards: int) -> str:
    if gpu.driver_loaded is None:
        return "no NVIDIA driver is loaded"
    if cards == 0:
        return "no card was found"
    return "" if build is not None and build.rc == 0 else "the test program could not be built"


def _torch(host: Host, wish: Wish, smi: SmiAnswer) -> list[Check]:
    if not wish.python:
        return []
    if not host.exists(wish.python):
        why = f"there is no {wish.python}"
        return [rules.not_proven("torch_build", why), rules.not_proven("torch_launch", why)]
    found = reader.ask_torch(host, wish.python)
    build = judge_build(found, rules.parse_arch(wish.arch), wish.torch_version, wish.torch_cuda)
    return [build, judge_launch(found, len(smi.cards) or None)]


def _document(
    host: Host, wish: Wish, reading: Reading, about: HostFacts, checks: t.Sequence[Check]
) -> dict[str, t.Any]:
    now = dt.datetime.fromtimestamp(host.now(), dt.timezone.utc)
    return {
        "schema": rules.SCHEMA,
        "host": wish.host_name,
        "time": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "arch": wish.arch,
        "expect_gpu": wish.expect_gpu,
        "verified": rules.is_verified(checks, wish.required),
        "failure": rules.verdict(checks, wish.required, expect_gpu=wish.expect_gpu),
        "checks": [check.to_json(wish.required) for check in checks],
        "machine": {
            "os": about.os.release,
            "kernel": about.running_kernel,
            "kind": about.machine.kind,
        },
        "nvcc_flags": list(wish.nvcc_flags),
        "unreadable": [{"what": note.what, "why": note.why} for note in reading.unreadable],
    }


def render(document: t.Mapping[str, t.Any]) -> str:
    """Return the document as the files hold it."""
    return json.dumps(document, indent=2, sort_keys=True) + "\n"


def expected_checks(document: t.Mapping[str, t.Any]) -> list[str]:
    """Return the checks that this host has to pass, less those that it is excused from."""
    excused = not document["expect_gpu"]
    return [c["name"] for c in document["checks"] if c["required"] and not (excused and c["needs_gpu"])]


def message(document: t.Mapping[str, t.Any]) -> str:
    """Say in a line what was proven and what was not, each reason once."""
    reasons: dict[str, list[str]] = {}
    for check in document["checks"]:
        if check["outcome"] == "not_proven":
            reasons.setdefault(check["why"], []).append(check["name"])
    proven = [check["name"] for check in document["checks"] if check["outcome"] in ("pass", "warn")]
    words = ["Verified" if document["verified"] else "NOT verified", f"proven: {', '.join(proven) or 'nothing'}"]
    words += [f"not proven: {', '.join(names)} ({why})" for why, names in reasons.items()]
    return "; ".join(words) + "."


__all__ = ["LOCK", "RESULT", "Wish", "expected_checks", "message", "render", "verify"]
