# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds and runs in, outcomes out: every case in which the proof must go red, and the control it is void without."""

from __future__ import annotations

import dataclasses
import json
import typing as t
from pathlib import Path

import pytest

from ansible_collections.gpulab.workstation.plugins.module_utils import _verify_native as native
from ansible_collections.gpulab.workstation.plugins.module_utils._cuda_toolkit import Toolkit, Wanted
from ansible_collections.gpulab.workstation.plugins.module_utils._fatbin import (
    CodeKind,
    DeviceCode,
    read_device_code,
)
from ansible_collections.gpulab.workstation.plugins.module_utils._verify import Outcome
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_native import Build
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_programs import ProgramRun
from fakehost import FakeHost

FIXTURES = Path(__file__).parents[2] / "fixtures"
KNOWN = native.parse_code_list((FIXTURES / "nvcc/13.0.88-list-gpu-code.txt").read_text())
PASS, WARN, FAIL, OPEN = Outcome.PASS, Outcome.WARN, Outcome.FAIL, Outcome.NOT_PROVEN


def test_code_list() -> None:
    assert (KNOWN[0], KNOWN[-1], len(KNOWN)) == ("75", "121", 12)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sm_120.o", {"sm_120"}),
        ("sm_120a.o", {"sm_120a"}),
        ("sm_120f.o", {"sm_120"}),
        ("sm_90-sm_120-ptx.o", {"sm_90", "sm_120", "compute_120"}),
        ("ptx.o", {"compute_120"}),
        ("sm_120.cubin", {"sm_120"}),
        ("lto.o", set()),
        ("no-device-code.o", set()),
    ],
)
def test_recorded_cuobjdump(name: str, expected: set[str]) -> None:
    elf, ptx = ((FIXTURES / f"cuobjdump/{name}.{option}.txt").read_text() for option in ("lelf", "lptx"))
    assert native.parse_cuobjdump(elf, ptx) == expected


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("bad-source", 'bad.cu(1): error: "main" cannot be used'),
        ("unknown-arch", "nvcc fatal   : Unsupported gpu architecture 'compute_139'"),
        ("no-gcc", "gcc: No such file or directory / nvcc fatal"),
    ],
)
def test_recorded_compiler_words(name: str, words: str) -> None:
    text = (FIXTURES / f"nvcc/13.0.88-{name}.txt").read_text()
    assert native.compiler_words(text.split("\n", 1)[1]).startswith(words)


@pytest.mark.parametrize(
    ("arch", "known", "expected"),
    [
        ("120", KNOWN, "110"),
        ("90", KNOWN, "89"),
        ("90a", KNOWN, "89"),
        ("75", KNOWN, "80"),
        ("120", ("120", "121"), None),
        ("120", (), None),
    ],
)
def test_the_control_is_of_another_major_version(arch: str, known: tuple[str, ...], expected: str | None) -> None:
    assert native.other_architecture(arch, known) == expected


def build(*names: str, arch: str = "120", listed: set[str] | None = None, **changes: t.Any) -> Build:
    prefixes = {"sm": CodeKind.MACHINE, "compute": CodeKind.PTX}
    code = tuple(DeviceCode(prefixes[name.split("_")[0]], name.split("_")[1], 100) for name in names)
    seen = frozenset(names if listed is None else listed)
    return dataclasses.replace(Build("gpu_verify", arch, 0, "", code, listed=seen), **changes)


GOOD = build("sm_120", "sm_120")
CONTROL = build("sm_110", arch="110")


@pytest.mark.parametrize(
    ("made", "control", "outcomes", "words"),
    [
        pytest.param(GOOD, CONTROL, (PASS, PASS), "by both readers", id="native"),
        pytest.param(build("sm_120", "sm_90"), CONTROL, (FAIL, PASS), "1 x sm_90", id="two-architectures"),
        pytest.param(build("sm_120", "compute_120"), CONTROL, (FAIL, PASS), "1 x compute_120", id="ptx"),
        pytest.param(build("sm_110"), CONTROL, (FAIL, PASS), "1 x sm_110", id="another-architecture"),
        pytest.param(build(), CONTROL, (FAIL, PASS), "no device code", id="no-code"),
        pytest.param(
            build("sm_120", listed={"sm_120", "compute_120"}),
            CONTROL,
            (FAIL, PASS),
            "cuobjdump lists compute_120",
            id="only-cuobjdump-sees-ptx",
        ),
        pytest.param(
            build("sm_120", listed=set()), CONTROL, (FAIL, PASS), "readers disagree", id="cuobjdump-sees-none"
        ),
        pytest.param(
            build("sm_120", listed=None, code=None, read_error="it is cut off"),
            CONTROL,
            (FAIL, PASS),
            "could not be read: it is cut off",
            id="unreadable",
        ),
        pytest.param(
            Build("gpu_verify", "120", 1, "error: no"),
            CONTROL,
            (FAIL, PASS),
            "nvcc ended with 1: error: no",
            id="compiler",
        ),
        pytest.param(
            dataclasses.replace(GOOD, listed=None, list_error="not found"),
            CONTROL,
            (WARN, PASS),
            "without cuobjdump",
            id="one-reader",
        ),
        pytest.param(GOOD, GOOD, (OPEN, FAIL), "lets a program for sm_120 through", id="control-let-through"),
        pytest.param(GOOD, None, (OPEN, OPEN), "void", id="no-control"),
        pytest.param(GOOD, Build("gpu_verify", "110", 1, "error"), (OPEN, OPEN), "void", id="control-does-not-build"),
        pytest.param(None, None, (OPEN, OPEN), "there is no nvcc", id="no-compiler"),
    ],
)
def test_judge_code(made: Build | None, control: Build | None, outcomes: tuple[Outcome, Outcome], words: str) -> None:
    checks = native.judge_code("120", KNOWN if made else (), [made] if made else [], control)
    assert tuple(check.outcome for check in checks) == outcomes
    assert words in checks[0].why


def test_an_architecture_that_nvcc_does_not_know_fails() -> None:
    check = native.judge_code("120", ("80", "90"), [], None)[0]
    assert (check.outcome, "sm_80, sm_90" in check.why) == (FAIL, True)


def test_judge_code_against_real_objects(tmp_path: Path) -> None:
    """Both readers on recorded files: the pair that must pass, and one with PTX and a second architecture."""
    host = FakeHost(tmp_path)

    def recorded(name: str, arch: str) -> Build:
        host.add(f"/{name}", (FIXTURES / "fatbin" / name).read_bytes())
        elf, ptx = ((FIXTURES / f"cuobjdump/{name}.{option}.txt").read_text() for option in ("lelf", "lptx"))
        return Build(
            "gpu_verify", arch, 0, "", read_device_code(host, f"/{name}"), listed=native.parse_cuobjdump(elf, ptx)
        )

    control = recorded("compressed.o", "90")
    good = [recorded("sm_120.o", "120"), recorded("sm_120a.o", "120a")]
    assert [c.outcome for c in native.judge_code("120", KNOWN, good, control)] == [PASS, PASS]
    for bad in ("sm_90-sm_120-ptx.o", "lto.o", "sm_120a.o"):
        assert native.judge_code("120", KNOWN, [*good, recorded(bad, "120")], control)[0].outcome is FAIL


def report(device: int = 0, rc: int = 0, **changes: t.Any) -> ProgramRun:
    good = {"format": 1, "device": device, "ok": True, "name": "NVIDIA H100", "arch": "9.0", "binary_arch": 120}
    return ProgramRun(device, rc, json.dumps({**good, **changes}) + "\n", "")


NO_IMAGE: dict[str, t.Any] = {
    "ok": False,
    "code": 209,
    "error": "no kernel image is available for execution on the device",
    "at": "launch",
}


@pytest.mark.parametrize(
    ("run", "outcome", "words"),
    [
        pytest.param(report(rc=3, **NO_IMAGE), PASS, "no kernel image in code for sm_110", id="refused"),
        pytest.param(report(), FAIL, "it ran code for sm_110", id="ran"),
        pytest.param(
            report(rc=3, ok=False, code=2, error="out of memory"), FAIL, "other words than", id="another-error"
        ),
        pytest.param(ProgramRun(0, 127, "", "not found"), FAIL, "not found", id="not-started"),
    ],
)
def test_judge_foreign(run: ProgramRun, outcome: Outcome, words: str) -> None:
    check = native.judge_foreign(run, "110", "GPU-1")
    assert (check.outcome, check.card, words in check.why) == (outcome, "GPU-1", True), check.why


RELEASE = {"version": "12.9.1", "file": "x", "sha256": "0" * 64, "sources": ["/x"]}
REAL, STANDIN = (Wanted.from_release({**RELEASE, "standin": standin}, "present") for standin in (False, True))
INSTALLED = Toolkit("12.9", "12.9.1", "12.9.86", "12.9.86")
LAB = Toolkit("12.9", "12.9.1", "13.0.88", "13.0.88", standin_claims="12.9.1", standin_carries="13.0.88")


@pytest.mark.parametrize(
    ("toolkit", "nvcc", "wanted", "outcome", "words"),
    [
        pytest.param(INSTALLED, "12.9.86", REAL, PASS, "CUDA 12.9.1 with nvcc 12.9.86", id="wanted"),
        pytest.param(LAB, "13.0.88", STANDIN, PASS, "the lab's stand-in", id="standin"),
        pytest.param(LAB, "13.0.88", REAL, FAIL, "it is a stand-in", id="standin-in-production"),
        pytest.param(None, None, REAL, FAIL, "cannot be run", id="none"),
        pytest.param(None, "13.0.88", REAL, FAIL, "leads to no directory cuda-X.Y", id="elsewhere"),
        pytest.param(None, "13.0.88", None, PASS, "no release was asked for", id="any-will-do"),
        pytest.param(
            dataclasses.replace(INSTALLED, version="12.8.1"), "12.9.86", REAL, FAIL, "says 12.8.1", id="other-release"
        ),
    ],
)
def test_judge_toolkit(
    toolkit: Toolkit | None, nvcc: str | None, wanted: Wanted | None, outcome: Outcome, words: str
) -> None:
    check = native.judge_toolkit(toolkit, nvcc, "/usr/local/cuda", wanted)
    assert (check.outcome, words in check.why) == (outcome, True), check.why
