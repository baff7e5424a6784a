# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one try of torch: what makes it good, what it depends on, and what is said when it fails."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest

import recorded
from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._torch_probe import (
    judge_probe,
    loaded_driver,
    noted_probe,
    probe,
)
from fakehost import FakeHost
from wheelhost import ENV, torch_answer

PYTHON = f"{ENV}/bin/python -I -c"
WITHOUT_GPU = {"torch": "abc", "arch": "12.0", "driver": ""}
WITH_GPU = {**WITHOUT_GPU, "driver": "580.178.04"}
GOOD = {"name": "NVIDIA GeForce RTX 5090", "capability": "12.0", "right": True}
OLD = {"name": "NVIDIA GeForce RTX 4090", "capability": "8.9", "right": True}
VERSION = """\
NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.178.04  Release Build  (builder@host)
GCC version:  gcc version 12.2.0 (Debian 12.2.0-14+deb12u1)
"""


@pytest.mark.parametrize(
    ("key", "flags", "devices", "complaint"),
    [
        pytest.param(WITHOUT_GPU, "sm_90 sm_120", [], "", id="no GPU needed"),
        pytest.param(WITHOUT_GPU, "sm_90", [], "torch 2.9.1+cu128 knows sm_90.", id="built without it"),
        pytest.param(WITHOUT_GPU, "", [], "torch 2.9.1+cu128 knows no GPU architecture.", id="built for the CPU"),
        pytest.param(WITHOUT_GPU, "sm_1200", [], "torch 2.9.1+cu128 knows sm_1200.", id="a longer name"),
        pytest.param(WITH_GPU, "sm_120", [GOOD], "", id="a GPU"),
        pytest.param(WITH_GPU, "sm_89 sm_120", [OLD, GOOD], "", id="the GPU beside another"),
        pytest.param(
            WITH_GPU, "sm_120", [], "torch sees no GPU although the driver 580.178.04 is loaded.", id="GPU not seen"
        ),
        pytest.param(
            WITH_GPU, "sm_120", [OLD], "no GPU here has compute capability 12.0: torch sees 8.9.", id="another GPU"
        ),
        pytest.param(
            WITH_GPU, "sm_120", [GOOD, {**GOOD, "name": "second", "right": False}],
            "a kernel gave a wrong result on second.", id="wrong result",
        ),
    ],
)  # fmt: skip
def test_a_result_is_judged(key: dict[str, str], flags: str, devices: list[dict[str, t.Any]], complaint: str) -> None:
    assert judge_probe(json.loads(torch_answer(flags, devices)), key) == complaint


def test_a_recorded_result_of_a_real_gpu() -> None:
    result = json.loads(recorded.text("torch/2.11.0-h100-probe.txt"))
    assert judge_probe(result, {"torch": "abc", "arch": "9.0", "driver": "580.159.04"}) == ""
    complaint = judge_probe(result, {"torch": "abc", "arch": "12.0", "driver": "580.159.04"})
    assert complaint == "no GPU here has compute capability 12.0: torch sees 9.0."


def test_a_good_result_is_noted_for_what_it_depends_on(tmp_path: Path) -> None:
    host = FakeHost(tmp_path, commands={PYTHON: (0, "some warning\n" + torch_answer(), "")})
    probe(host, ENV, WITHOUT_GPU, "/log")
    noted = noted_probe(host, ENV, WITHOUT_GPU)
    assert noted is not None
    assert noted["version"] == "2.9.1+cu128"
    assert noted_probe(host, ENV, WITH_GPU) is None, "a driver that came later must be tried"
    assert noted_probe(host, ENV, {**WITHOUT_GPU, "torch": "other"}) is None


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            (1, "", "Traceback\nImportError: libcudart.so.12: cannot open\n"),
            "ImportError: libcudart.so.12: cannot open",
        ),
        ((-11, "", ""), "exit status -11"),
        ((0, "not json\n", ""), "exit status 0"),
        ((0, torch_answer("sm_90"), ""), "knows sm_90"),
    ],
    ids=["does not import", "crashes", "says nonsense", "lacks the architecture"],
)
def test_a_failure_is_told_and_not_noted(tmp_path: Path, answer: tuple[int, str, str], words: str) -> None:
    host = FakeHost(tmp_path, commands={PYTHON: answer})
    with pytest.raises(OperatorError) as caught:
        probe(host, ENV, WITHOUT_GPU, "/log")
    assert words in caught.value.found
    assert noted_probe(host, ENV, WITHOUT_GPU) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"key": {}}'])
def test_an_unreadable_note_is_no_note(tmp_path: Path, text: str) -> None:
    host = FakeHost(tmp_path)
    host.add(f"{ENV}/etc/gpulab/torch-probe.json", text)
    assert noted_probe(host, ENV, WITHOUT_GPU) is None


NODES = {"/dev/nvidiactl": "", "/dev/nvidia0": ""}
LOADED = {"/proc/driver/nvidia/version": VERSION}


@pytest.mark.parametrize(
    ("files", "version"),
    [
        pytest.param({**LOADED, **NODES}, "580.178.04", id="a GPU"),
        pytest.param({**LOADED, "/dev/nvidiactl": ""}, "", id="driver without a GPU"),
        pytest.param(NODES, "", id="nodes without a driver"),
        pytest.param({}, "", id="nothing"),
    ],
)
def test_a_gpu_counts_with_its_driver_loaded(tmp_path: Path, files: dict[str, str], version: str) -> None:
    host = FakeHost(tmp_path)
    for path, text in files.items():
        host.add(path, text)
    assert loaded_driver(host) == version
