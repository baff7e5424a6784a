# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole verifications of hosts without a GPU, with good ones and with bad ones; the document keeps to its schema."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import jsonschema
import pytest

from ansible_collections.gpulab.workstation.plugins.module_utils import _verify_document, _verify_run
from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._verify import CHECKS, Level, passed
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_context import Family
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_numbers import kernels_for
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_run import verify
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_wish import Wish
from fakehost import FakeHost

ROOT = Path(__file__).parents[4]
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


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    host = FakeHost(tmp_path)
    host.add("/etc/os-release", 'ID=debian\nVERSION_ID="12"\n')
    host.add("/proc/sys/kernel/osrelease", "6.1.0-56-amd64\n")
    host.add("/proc/self/status", "Name:\tpython3\nUid:\t0\t0\t0\t0\n")
    host.commands["systemd-detect-virt"] = (0, "none\n", "")
    host.commands["ldconfig"] = (0, "", "")
    add_nvcc(host)
    return host


def add_card(host: FakeHost, *, foreign: str = "refused", wrong: int = 0, cards: int = 1) -> None:
    """Put an RTX 5090 with a driver on the host, and what the test programs say on it."""
    address = "0000:01:00.0"
    for name, text in (("class", "0x030000"), ("vendor", "0x10de"), ("device", "0x2b85"), ("resource", "")):
        host.add(f"/sys/bus/pci/devices/{address}/{name}", text + "\n")
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
    host.commands["nvidia-smi"] = (0, "".join(f"{row.format(index=index)}, 32607\n" for index in range(cards)), "")

    def run(command: tuple[str, ...]) -> tuple[int, str, str]:
        assert "CUDA_DISABLE_PTX_JIT=1" in command
        assert command[command.index("CUDA_VISIBLE_DEVICES") - 1] == "-u"
        words = " ".join(command)
        if "-90 " in words and foreign == "refused":
            return 3, json.dumps({"format": 1, "device": 0, "ok": False, "code": 209, "error": "no kernel image"}), ""
        answers = {"_host-": "host", "bandwidth": "bandwidth", " test": "memory-test"}
        for word, name in answers.items():
            if word in words:
                answer = json.loads(recorded(f"gpu_verify/h100-{name}.txt"))
                return 0, json.dumps({**answer, "binary_arch": 120}), ""
        kernels = [
            {"name": name, "elements": 8, "unwritten": 0, "wrong": wrong, "repeatable": True, "ok": not wrong}
            for name in kernels_for("120")["gpu_verify_fp4" if "_fp4-" in words else "gpu_verify"]
        ]
        answer = {"format": 1, "device": int(command[-3]), "ok": not wrong, "binary_arch": 120, "kernels": kernels}
        return (1 if wrong else 0), json.dumps(answer), ""

    host.commands["env"] = run


def outcomes(document: dict[str, t.Any]) -> dict[str, str]:
    jsonschema.validate(document, SCHEMA)
    json.loads(_verify_document.render(document))
    return {check["name"]: check["outcome"] for check in document["checks"]}


def everything(host: FakeHost) -> list[str]:
    return sorted(str(path.relative_to(host.root)) for path in host.root.rglob("*") if "run/gpulab" not in str(path))


def test_a_host_without_gpu_that_the_inventory_calls_one(host: FakeHost) -> None:
    document = verify(host, Wish.from_params(params(expect_gpu=False)))
    unproven = dict.fromkeys((*NEEDS_GPU, "driver_drift"), "not_proven")
    assert outcomes(document) == {**unproven, **dict.fromkeys(WITHOUT, "pass")}
    assert (document["verified"], document["failure"]) == (False, None)
    words = _verify_document.message(document)
    assert words.startswith("NOT verified; proven: toolkit, native_code, negative_control; not proven: driver_loaded")
    assert words.count("(no NVIDIA driver is loaded)") == 1


def test_a_host_without_gpu_that_should_have_one(host: FakeHost) -> None:
    document = verify(host, Wish.from_params(params()))
    assert "driver_loaded is required and not proven" in document["failure"]


def test_a_good_workstation(host: FakeHost) -> None:
    add_card(host)
    document = verify(host, Wish.from_params(params(driver=DRIVER)))
    found = outcomes(document)
    assert found.pop("driver_drift") == "not_proven"  # gpu_driver has not installed this one
    assert set(found.values()) == {"pass"}
    assert (document["verified"], document["failure"]) == (True, None)
    assert _verify_document.message(document).startswith("Verified; proven: driver_loaded, driver_on_disk")


@pytest.mark.parametrize(
    ("card", "failed"),
    [
        pytest.param({"wrong": 1}, "kernel_results", id="wrong-numbers"),
        pytest.param({"foreign": "runs"}, "foreign_code_refused", id="foreign-code-runs"),
        pytest.param({"cards": 2}, "cards", id="more-cards-than-on-pci"),
    ],
)
def test_a_bad_card(host: FakeHost, card: dict[str, t.Any], failed: str) -> None:
    add_card(host, **card)
    document = verify(host, Wish.from_params(params(expect_gpu=False)))
    assert outcomes(document)[failed] == "fail"
    assert failed in document["failure"]
    assert not document["verified"]


@pytest.mark.parametrize(
    ("right", "other", "expected"),
    [
        pytest.param("sm_90-sm_120-ptx.o", "compressed.o", ("fail", "pass"), id="two-archs-and-ptx"),
        pytest.param("ptx.o", "compressed.o", ("fail", "pass"), id="ptx-alone"),
        pytest.param("no-device-code.o", "compressed.o", ("fail", "pass"), id="no-code"),
        pytest.param("nvcc/13.0.88-bad-source.txt", "compressed.o", ("fail", "pass"), id="compiler-error"),
        pytest.param("sm_120.o", "sm_120.o", ("not_proven", "fail"), id="control-is-let-through"),
        pytest.param("sm_120a.o", "compressed.o", ("fail", "pass"), id="another-target-of-the-same-card"),
        pytest.param("sm_120.o", "nvcc/13.0.88-bad-source.txt", ("not_proven", "not_proven"), id="no-control"),
    ],
)
def test_broken_on_purpose(host: FakeHost, right: str, other: str, expected: tuple[str, str]) -> None:
    add_nvcc(host, right, other)
    document = verify(host, Wish.from_params(params(expect_gpu=False)))
    found = outcomes(document)
    assert (found["native_code"], found["negative_control"]) == expected
    assert document["failure"]
    assert not document["verified"]


def test_nothing_is_left_behind(host: FakeHost) -> None:
    before = everything(host)
    verify(host, Wish.from_params(params()))
    assert everything(host) == sorted([*before, "run", "var", "var/lib", "var/lib/gpulab"])


def test_a_family_that_breaks_off_fails_its_checks_and_the_others_go_on(host: FakeHost) -> None:
    def broken(_command: tuple[str, ...]) -> tuple[int, str, str]:
        message = "the disk is gone"
        raise OSError(message)

    host.commands["/usr/local/cuda/bin/nvcc -std=c++17"] = broken
    document = verify(host, Wish.from_params(params()))
    found = outcomes(document)
    assert {found[name] for name in ("toolkit", "native_code", "kernel_results")} == {"fail"}
    assert found["cards"] == "not_proven"
    assert "native_code failed: the check itself broke off: OSError: the disk is gone" in document["failure"]
    assert not host.exists("/var/lib/gpulab/verify.work")
    assert host.hold_lock(_verify_run.LOCK) is not None


def test_a_check_that_a_family_forgets_is_not_proven(host: FakeHost) -> None:
    add_card(host, cards=2)
    context = _verify_run.read_context(host, Wish.from_params(params(python="/env/bin/python")), print)
    first = passed("kernel_results", "right", card=context.cards[0].key)
    family = Family("forgetful", ("toolkit", "kernel_results", "torch_launch"), lambda _context: [first])
    made = _verify_run.make_checks(family, context)
    assert [(check.name, check.outcome.value, check.card[-1:]) for check in made] == [
        ("toolkit", "not_proven", ""),
        ("kernel_results", "pass", "0"),
        ("kernel_results", "not_proven", "1"),
        ("torch_launch", "not_proven", "0"),
        ("torch_launch", "not_proven", "1"),
    ]


def test_two_at_a_time_are_refused(host: FakeHost) -> None:
    release = host.hold_lock(_verify_run.LOCK)
    assert release
    with pytest.raises(OperatorError, match="another verification is running"):
        verify(host, Wish.from_params(params()))
    release()


def test_a_missing_environment_is_not_proven(host: FakeHost) -> None:
    document = verify(host, Wish.from_params(params(python="/opt/env/bin/python", require=["torch_build"])))
    assert outcomes(document)["torch_build"] == "not_proven"
    assert "torch_build is required and not proven: there is no /opt/env/bin/python" in document["failure"]


def test_the_flags_are_in_the_document(host: FakeHost) -> None:
    document = verify(host, Wish.from_params(params(nvcc_flags=["-DGPU_VERIFY_PLANT=1"])))
    assert document["nvcc_flags"] == ["-DGPU_VERIFY_PLANT=1"]
    builds = [command for command in host.ran if "-gencode" in command]
    assert [("-DGPU_VERIFY_PLANT=1" in command) for command in builds] == [True] * 4 + [False]
    assert [command[command.index("-gencode") + 1] for command in builds] == [
        *["arch=compute_120,code=sm_120"] * 3,
        "arch=compute_120a,code=sm_120a",
        "arch=compute_90,code=sm_90",
    ]


def test_the_schema_names_every_check() -> None:
    assert SCHEMA["$defs"]["check"]["properties"]["name"]["enum"] == list(CHECKS)
