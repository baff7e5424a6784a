# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A workstation to verify: recorded objects and answers of tools, with and without a card."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import jsonschema

from ansible_collections.gpulab.workstation.plugins.module_utils import (
    _job,
    _verify_document,
    _verify_job,
    _verify_run,
)
from ansible_collections.gpulab.workstation.plugins.module_utils._verify import CHECKS, Level
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_numbers import kernels_for
from fakehost import FakeHost

ROOT = Path(__file__).parents[2]
FIXTURES = ROOT / "tests/unit/fixtures"
SCHEMA = json.loads((ROOT / "docs/schema/gpu_verify-2.json").read_text())
DRIVER = "580.159.04"
EVERY = [name for family in _verify_run.FAMILIES for name in family.names]
MADE = [name for name in EVERY if not CHECKS[name].needs_python and CHECKS[name].level is Level.QUICK]
REQUIRED = [name for name in MADE if name != "driver_drift"]  # no driver of gpu_driver is on these hosts
NEEDS_GPU = [name for name in MADE if CHECKS[name].needs_gpu]
WITHOUT = ["toolkit", "native_code", "negative_control"]
# The limits of a card whose figures are those of the recorded H100.
ROW = {
    "name": "NVIDIA GeForce RTX 5090",
    "pci_ids": ["10de:2b85"],
    "facts": {"memory_bandwidth_gb_s": 3352, "pcie_generation": 5, "pcie_width": 16},
    "limits": [{"check": "memory_bandwidth", "figure": "copy_gb_s", "unit": "GB/s", "fail_below": 1300, "source": "x"}],
}


def params(**more: t.Any) -> dict[str, t.Any]:
    """Return the module's parameters."""
    return {
        "arch": "12.0",
        "require": REQUIRED,
        "programs": {"gpu_verify.cu": "// the program"},
        "level": "quick",
        "endurance_minutes": 0,
        "force": False,
        "limits": [ROW],
        "stack": "cu128",
        "expect_gpu": True,
        "host_name": "ws-01",
        "driver": "",
        "toolkit": {},
        "toolkit_path": "/usr/local/cuda",
        "python": "",
        "torch_version": "",
        "torch_cuda": "",
        "nvcc_flags": [],
        "time_limit_seconds": 30,
        "work_directory": "/var/lib/gpulab/verify.work",
        **more,
    }


def recorded(name: str) -> str:
    """Return a fixture without its header line."""
    return (FIXTURES / name).read_text().split("\n", 1)[1]


def add_nvcc(host: FakeHost, right: str = "sm_120.o", other: str = "compressed.o", fp4: str = "sm_120a.o") -> None:
    """Put an nvcc on the host that leaves recorded objects (compressed.o is code for sm_90)."""
    nvcc = "/usr/local/cuda/bin/nvcc"
    names: dict[str, str] = {}

    def compile_source(command: tuple[str, ...]) -> tuple[int, str, str]:
        program = command[command.index("-o") + 1]
        ending = program.rpartition("-")[2]
        names[program] = {"120": right, "120a": fp4}.get(ending, other)
        if not names[program].endswith(".o"):
            return 1, "", recorded(names[program])
        host.add(program, (FIXTURES / "fatbin" / names[program]).read_bytes())
        return 0, "", ""

    def list_code(command: tuple[str, ...]) -> tuple[int, str, str]:
        return 0, recorded(f"cuobjdump/{names[command[2]]}.{command[1].strip('-')}.txt"), ""

    host.commands[f"{nvcc} --version"] = (0, recorded("nvcc/13.0.88-version.txt"), "")
    host.commands[f"{nvcc} --list-gpu-code"] = (0, "sm_75\nsm_90\nsm_120\n", "")
    host.commands[nvcc] = compile_source
    host.commands["/usr/local/cuda/bin/cuobjdump"] = list_code


def workstation(root: Path) -> FakeHost:
    """Return a host with nvcc and without a GPU, on which jobs run in this process: what setsid does in another one."""
    host = FakeHost(root)

    def worker(_argv: tuple[str, ...]) -> tuple[int, str, str]:
        _job.work(f"{_job.JOBS}/gpu_verify", host)
        return 0, "", ""

    host.commands["setsid --fork"] = worker
    host.add("/etc/os-release", 'ID=debian\nVERSION_ID="12"\n')
    host.add("/proc/sys/kernel/osrelease", "6.1.0-56-amd64\n")
    host.add("/proc/self/status", "Name:\tpython3\nUid:\t0\t0\t0\t0\n")
    host.commands["systemd-detect-virt"] = (0, "none\n", "")
    host.commands["ldconfig"] = (0, "", "")
    add_nvcc(host)
    return host


def add_card(host: FakeHost, *, foreign: str = "refused", wrong: int = 0, cards: int = 1, used: int = 4) -> None:
    """Put an RTX 5090 with a driver on the host, and what the test programs say on it."""
    address = "0000:01:00.0"
    for name, text in (("class", "0x030000"), ("vendor", "0x10de"), ("device", "0x2b85"), ("resource", "")):
        host.add(f"/sys/bus/pci/devices/{address}/{name}", text + "\n")
    host.add(f"/proc/driver/nvidia/gpus/{address}/information", f"GPU Firmware: \t {DRIVER}\n")
    host.add(
        "/proc/driver/nvidia/version", f"NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  {DRIVER}  Release\n"
    )
    host.add("/lib/modules/6.1.0-56-amd64/kernel/x.ko")
    host.commands["modinfo"] = (0, f"version:        {DRIVER}\nlicense:        Dual MIT/GPL\n", "")
    names = ("libcuda.so.1", "libnvidia-ml.so.1")
    for name in names:
        host.add(f"/usr/lib/{name[:-2]}.{DRIVER}")
        host.symlink(f"{name[:-2]}.{DRIVER}", f"/usr/lib/{name}")
    host.commands["ldconfig"] = (0, "".join(f"\t{name} (libc6,x86-64) => /usr/lib/{name}\n" for name in names), "")
    uuid = "GPU-00000000-1111-2222-3333-44444444444"
    row = f"{{index}}, NVIDIA GeForce RTX 5090, {uuid}{{index}}, 00000000:01:00.0, 0x2B8510DE, {DRIVER}, 98, 0, 12.0"
    host.commands["dmesg"] = (0, "[    0.000000] Linux version 6.1.0\n", "")
    rows = (f"{row.format(index=index)}, 32607, {used}\n" for index in range(cards))
    host.commands["nvidia-smi"] = (0, "".join(rows), "")

    def run(command: tuple[str, ...]) -> tuple[int, str, str]:
        assert "CUDA_DISABLE_PTX_JIT=1" in command
        assert command[command.index("CUDA_VISIBLE_DEVICES") - 1] == "-u"
        words = " ".join(command)
        if "-90 " in words and foreign == "refused":
            return 3, json.dumps({"format": 1, "device": 0, "ok": False, "code": 209, "error": "no kernel image"}), ""
        answers = {"host": "host", "bandwidth": "bandwidth", "memory": "memory-test"}
        if name := answers.get(command[-1]):
            answer = json.loads(recorded(f"gpu_verify/h100-{name}.txt"))
            return 0, json.dumps({**answer, "binary_arch": 120}), ""
        assert command[-1] == "numbers"
        kernels = [
            {"name": name, "elements": 8, "unwritten": 0, "wrong": wrong, "repeatable": True, "ok": not wrong}
            for name in kernels_for("120")["gpu_verify_fp4" if "_fp4-" in words else "gpu_verify"]
        ]
        answer = {"format": 1, "device": int(command[-4]), "ok": not wrong, "binary_arch": 120, "kernels": kernels}
        return (1 if wrong else 0), json.dumps(answer), ""

    host.commands["env"] = run


def verify(host: FakeHost, **more: t.Any) -> dict[str, t.Any]:
    """Return the document of a verification in one call."""
    document, _running = _verify_job.verify(host, params(**more), job=None, wait_s=0)
    assert document is not None
    return document


def outcomes(document: dict[str, t.Any]) -> dict[str, str]:
    """Return the outcome of every check of a document, which keeps to its schema."""
    jsonschema.validate(document, SCHEMA)
    json.loads(_verify_document.render(document))
    return {check["name"]: check["outcome"] for check in document["checks"]}


__all__ = ["DRIVER", "MADE", "NEEDS_GPU", "SCHEMA", "WITHOUT", "add_card", "add_nvcc", "outcomes", "params", "recorded",
           "verify", "workstation"]  # fmt: skip
