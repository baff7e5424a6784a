# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""torch in an environment: what is proven, what is not, and that a proof that fails stays failed."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._torch_component import TorchComponent
from fakehost import FakeHost
from wheelhost import ENV, UV_LOCK, FakeUv, add_env, add_uv, fatbin, lock_line, torch_answer

LOCK = lock_line("torch", "2.9.1") + lock_line("torchaudio", "2.9.1") + lock_line("idna", "3.20")
VERSION = "__version__ = '2.9.1+cu128'\ncuda: Optional[str] = '12.8'\n"
DRIVER = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.178.04  Release Build\n"
GPU = {"name": "NVIDIA GeForce RTX 5090", "capability": "12.0", "right": True}


def wheels(*archs: int) -> dict[str, t.Any]:
    return {
        "torch==2.9.1": {
            "torch/version.py": VERSION,
            "torch/lib/libtorch_cuda.so": fatbin(*archs),
            "torch/lib/libtorch_cuda_linalg.so": fatbin(*archs),
            "torch/lib/libtorch_nvshmem.so": fatbin(90),
        },
        "torchaudio==2.9.1": {"torchaudio/version.py": VERSION, "torchaudio/lib/libtorchaudio.so": fatbin(*archs)},
        "idna==3.20": None,
    }


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    made = FakeHost(tmp_path)
    add_env(made)
    add_uv(made)
    made.commands[f"{ENV}/bin/python -I -c"] = lambda command: (
        0,
        torch_answer(devices=[GPU] if command[-1] else []),
        "",
    )
    FakeUv(made, wheels(90, 120)).install()
    return made


def component(**params: t.Any) -> TorchComponent:
    options = {
        "env": ENV, "cache": "/var/cache/gpulab/uv", "index_url": "", "uv_lock": UV_LOCK, "lock": LOCK, "space_gb": 0.0,
        "cuda": "12.8", "arch": "12.0", "native_packages": ["torch"], "expect_gpu": True,
    }  # fmt: skip
    return TorchComponent.from_params({**options, **params})


def bring_about(host: FakeHost, wanted: TorchComponent) -> list[str]:
    plan = wanted.plan(wanted.read(host))
    for step in plan.steps:
        wanted.apply(host, step, lambda _detail: None)
    assert wanted.plan(wanted.read(host)).steps == ()
    return [step.title for step in plan.steps]


def report(host: FakeHost, wanted: TorchComponent) -> dict[str, t.Any]:
    return wanted.report(wanted.read(host))


def test_a_fresh_environment_without_a_driver(host: FakeHost) -> None:
    assert bring_about(host, component()) == [
        "Install torch 2.9.1, torchaudio 2.9.1, idna 3.20",
        "Keep pip and uv in the environment to the lock",
        "Prove machine code sm_120 in torch, torchaudio",
        "Import torch",
    ]
    told = report(host, component())
    assert told["native_code"]["torch"]["outcome"] == "pass"
    assert set(told["native_code"]["torch"]["libraries"]) == {
        "torch/lib/libtorch_cuda.so",
        "torch/lib/libtorch_cuda_linalg.so",
    }
    assert told["native_code"]["torchaudio"]["outcome"] == "pass"
    assert told["kernel_launch"]["outcome"] == "not_proven"
    assert told["torch"]["version"] == "2.9.1+cu128"


def test_nothing_is_imported_or_read_when_nothing_changed(host: FakeHost) -> None:
    bring_about(host, component())
    before = len(host.ran)
    assert bring_about(host, component()) == []
    assert len(host.ran) == before


def test_a_gpu_that_comes_later_gets_its_kernel(host: FakeHost) -> None:
    bring_about(host, component())
    host.add("/proc/driver/nvidia/version", DRIVER)
    host.add("/dev/nvidiactl")
    host.add("/dev/nvidia0")
    assert bring_about(host, component()) == ["Import torch and launch a kernel on every GPU"]
    assert report(host, component())["kernel_launch"] == {"outcome": "pass", "why": "", "devices": [GPU]}


def test_a_host_that_is_said_to_have_no_gpu_is_not_asked_for_one(host: FakeHost) -> None:
    host.add("/proc/driver/nvidia/version", DRIVER)
    host.add("/dev/nvidiactl")
    host.add("/dev/nvidia0")
    assert bring_about(host, component(expect_gpu=False))[-1] == "Import torch"
    assert report(host, component(expect_gpu=False))["kernel_launch"]["why"] == "this host is said to have no GPU"


def test_libraries_without_the_machine_code_fail_and_fail_again(host: FakeHost) -> None:
    FakeUv(host, wheels(80, 90)).install()
    for attempt in range(2):
        wanted = component()
        steps = wanted.plan(wanted.read(host)).steps
        prove = next(step for step in steps if step.action == "prove")
        if not attempt:
            for step in steps[: steps.index(prove)]:
                wanted.apply(host, step, lambda _detail: None)
        with pytest.raises(OperatorError, match=r"torch: no machine code sm_120 in torch/lib/libtorch_cuda\.so"):
            wanted.apply(host, prove, lambda _detail: None)
    assert report(host, component())["native_code"]["torch"]["outcome"] == "fail"


def test_another_gpu_is_proven_from_what_was_read(host: FakeHost) -> None:
    bring_about(host, component())
    assert bring_about(host, component(arch="9.0")) == ["Import torch"]
    assert report(host, component(arch="9.0"))["arch"] == "sm_90"


def test_a_replaced_library_is_read_again(host: FakeHost) -> None:
    bring_about(host, component())
    host.append_text(f"{ENV}/lib/python3.11/site-packages/torchaudio/lib/libtorchaudio.so", "tampered")
    assert bring_about(host, component()) == ["Repair torchaudio 2.9.1", "Prove machine code sm_120 in torchaudio"]


def test_a_lock_without_torch_proves_nothing_about_it_and_says_so(host: FakeHost) -> None:
    wanted = component(lock=lock_line("idna", "3.20") + lock_line("torchaudio", "2.9.1"), native_packages=[])
    assert bring_about(host, wanted)[-1] == "Prove machine code sm_120 in torchaudio"
    told = report(host, wanted)
    assert told["native_code"]["torchaudio"]["outcome"] == "pass"
    assert told["native_code"]["torch"]["outcome"] == "not_proven"
    assert "nothing was proven about it" in told["native_code"]["torch"]["why"]
    assert told["kernel_launch"] == {"outcome": "not_proven", "why": "the lock has no torch", "devices": []}
    assert told["torch"] == {}


def test_a_lock_must_have_the_packages_that_are_to_be_proven() -> None:
    with pytest.raises(OperatorError, match="torch_stack_lock has no torch"):
        component(lock=lock_line("idna", "3.20"))


def test_a_package_that_is_no_torch_can_be_proven_too(host: FakeHost) -> None:
    lock = lock_line("my-kernels", "1.0")
    FakeUv(host, {"my-kernels==1.0": {"my_kernels/ops.so": fatbin(120)}}).install()
    wanted = component(lock=lock, native_packages=["My_Kernels"], cuda="")
    assert bring_about(host, wanted)[-1] == "Prove machine code sm_120 in my-kernels"
    assert report(host, wanted)["native_code"]["my-kernels"]["outcome"] == "pass"


def test_before_there_is_an_environment_the_plan_is_whole(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    wanted = component()
    plan = wanted.plan(wanted.read(host))
    assert [step.action for step in plan.steps] == ["uv", "install", "constraints", "prove", "probe"]
    assert host.ran == []


@pytest.mark.parametrize("arch", ["sm_120", "120", "12", ""])
def test_an_architecture_is_a_compute_capability(arch: str) -> None:
    with pytest.raises(OperatorError, match=f"torch_stack_arch is '{arch}'"):
        component(arch=arch)
