# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`gpulab stack`: exit codes, what a person reads at any width, and the same in JSON."""

from __future__ import annotations

import argparse
import json
import typing as t

import pytest

from gpulab import _stack
from gpulab._errors import OperatorError
from gpulab.commands import stack


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    stack.register(parser.add_subparsers())
    arguments = parser.parse_args(["stack", *words])
    code: int = arguments.run(arguments)
    return code


@pytest.fixture
def columns(monkeypatch: pytest.MonkeyPatch) -> t.Callable[[int], None]:
    return lambda width: monkeypatch.setenv("COLUMNS", str(width))


def test_a_good_stack_exits_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("check") == 0
    assert capsys.readouterr().out == "Stack cu128 keeps every rule.\n"


def test_a_broken_stack_exits_2_and_names_every_rule_with_its_source(
    capsys: pytest.CaptureFixture[str], columns: t.Callable[[int], None]
) -> None:
    columns(100)

    assert run("check", "--set", "driver.version=570.144", "--host-fact", "glibc=2.41") == 2
    printed = capsys.readouterr().out
    assert printed.startswith("Stack cu128 is refused: 2 rules are broken.\n\ncuda-driver\n")
    assert "\n  found     driver 570.144 with CUDA 12.9.1\n" in printed
    assert "\n  nearest   driver.version=575.57.08 (branch 575" in printed
    assert "\n  source    CUDA release notes" in printed
    assert "\ncuda-glibc\n" in printed


PYPI = "wheel metadata on PyPI, 2026-11-22; pytorch/FBGEMM#5976, pytorch/pytorch#178665, pytorch/pytorch#179072"
RELEASE_NOTES = "CUDA release notes, table of toolkits and minimum required driver versions"


@pytest.mark.parametrize(
    ("words", "rule", "found", "nearest", "source"),
    [
        (["--set", "driver.version=570.144", "--set", "cuda.version=12.9.1"], "cuda-driver",
         "driver 570.144 with CUDA 12.9.1", "driver.version=575.57.08", RELEASE_NOTES),
        (["--set", "torch.version=2.12"], "torch-build", "torch 2.12.0 from PyPI is built with CUDA 13.0",
         "torch.version=2.9.1", PYPI),
        (["--set", "torch.version=2.12+cu128"], "torch-build", "torch 2.12.0 from PyPI is built with CUDA 13.0",
         "torch.version=2.9.1", PYPI),
        (["--set", "torch.version=2.12", "--set", "torch.index=pytorch"], "torch-build",
         "torch 2.12.0 from the PyTorch index has no build that is on record", "torch.version=2.11.0", PYPI),
        (["--set", "torch.version=2.7.1"], "torch-build", "torch 2.7.1 from PyPI is built with CUDA 12.6",
         "torch.version=2.9.1", PYPI),
        (["--set", "torch.version=2.7.1", "--set", "torch.index=pypi"], "torch-arch",
         "built with CUDA 12.6 and has machine code for sm_50 sm_60 sm_70 sm_75 sm_80 sm_86 sm_90",
         "torch.version=2.9.1", "machine code in the wheels, see arch_lists of catalogue/torch.yml"),
        (["--set", "driver.flavour=proprietary", "--host-fact", "pci_ids=10de:2b85"], "device-flavour",
         "proprietary kernel modules with GeForce RTX 5090 (10de:2b85)", "driver.flavour=open",
         "driver README 560.35.03, kernel_open.html"),
        (["--set", "xformers.version=0.0.30", "--set", "torch.version=2.9.1"], "xformers-torch",
         "xformers 0.0.30 with torch 2.9.1", "xformers.version=0.0.33.post2",
         "wheel metadata on PyPI, 2026-11-22; facebookresearch/xformers ca6d2aa"),
        (["--set", "cuda.version=12.9", "--host-fact", "glibc=2.41"], "cuda-glibc", "CUDA 12.9.0 on glibc 2.41",
         "the stack cu130", "crt/math_functions.h of CUDA 12.8.93 and 12.9.86 against glibc 2.41"),
        (["--set", "driver.version=572.16"], "linux-numbering", "driver 572.16", "driver.version=575.57.08",
         "CUDA release notes, which pair Windows 572.61 with Linux 570.124.06"),
    ],
    ids=["570-with-12.9", "torch-2.12", "torch-2.12-cu128", "torch-2.12-elsewhere", "torch-2.7.1", "torch-2.7.1-sm",
         "proprietary-5090", "xformers", "glibc-2.41", "windows-572"],
)  # fmt: skip
def test_what_must_not_be_installed_is_refused_in_the_words_of_its_source(
    words: list[str], rule: str, found: str, nearest: str, source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("check", *words, "--json") == 2
    findings = json.loads(capsys.readouterr().out)["findings"]
    (finding,) = [finding for finding in findings if finding["rule"] == rule]
    assert found in finding["found"]
    assert finding["nearest"].startswith(nearest)
    assert finding["source"].startswith(source)


def test_a_windows_number_is_refused_with_the_sentence_that_it_is_one(
    capsys: pytest.CaptureFixture[str], columns: t.Callable[[int], None]
) -> None:
    columns(200)
    assert run("check", "--set", "driver.version=572.16") == 2
    assert "\n  572 is Windows numbering: Linux never had a driver branch 572, " in capsys.readouterr().out


@pytest.mark.parametrize("version", ["575.64", "580.142", "575.57.08"])
def test_driver_versions_of_two_and_three_numbers_are_known(version: str) -> None:
    assert run("check", "--set", f"driver.version={version}") == 0


def test_json_holds_what_the_text_says(capsys: pytest.CaptureFixture[str], columns: t.Callable[[int], None]) -> None:
    columns(1000)
    words = ["check", "--set", "torch.version=2.12", "--host-fact", "kernels=6.8.0-51-generic,7.2.0"]
    codes = {run(*words), run(*words, "--json")}
    text, _, rest = capsys.readouterr().out.partition("{")
    answer = json.loads("{" + rest)

    assert codes == {2}
    assert answer["valid"] is False
    assert len(answer["findings"]) == 4
    for finding in answer["findings"]:
        assert all(words in text for words in finding.values())
    assert "invocation" not in answer


def test_forty_columns_are_kept_and_lose_no_word(
    capsys: pytest.CaptureFixture[str], columns: t.Callable[[int], None]
) -> None:
    words = ["check", "--set", "driver.version=572.16", "--set", "xformers.version=0.0.30"]
    columns(40)
    run(*words)
    narrow = capsys.readouterr().out
    columns(200)
    run(*words)
    wide = capsys.readouterr().out

    assert max(map(len, narrow.splitlines())) <= 40
    assert narrow.split() == wide.split()


def test_show_prints_the_choices_and_the_files(
    capsys: pytest.CaptureFixture[str], columns: t.Callable[[int], None]
) -> None:
    columns(80)

    assert run("show", "--stack", "cu130") == 0
    printed = capsys.readouterr().out
    assert printed.startswith("Stack cu130\n")
    assert "\n  torch.version        2.14.1\n" in printed
    assert "\ndriver: NVIDIA-Linux-x86_64-580.178.04.run\n  sha256   5975a86ee45bffcb…\n" in printed


def test_show_says_the_same_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    run("show", "--json")

    answer = json.loads(capsys.readouterr().out)
    assert answer["values"]["cuda.version"] == "12.9.1"
    assert len(answer["files"][1]["sha256"]) == 64


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["check", "--stack", "cu182"], "the stack 'cu182' is not in the catalogue."),
        (["show", "--overlay", "/nowhere"], "the catalogue overlay /nowhere is not a directory."),
        (["check", "--set", "arch=12.0", "--set", "arch=9.0"], "--set arch is given 2 times."),
    ],
)
def test_a_request_that_cannot_be_answered_is_an_operators_error(words: list[str], found: str) -> None:
    with pytest.raises(OperatorError) as caught:
        run(*words)

    assert caught.value.found == found


@pytest.mark.parametrize("words", [["check", "--set", "driver.version"], ["check", "--host-fact", "=2.41"], ["sho"]])
def test_wrong_usage_exits_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run(*words)

    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_an_unknown_key_is_a_broken_rule_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("check", "--set", "torch.verison=2.9.1", "--host-fact", "glib=2.36", "--json") == 2

    findings = json.loads(capsys.readouterr().out)["findings"]
    assert [(finding["rule"], finding["nearest"]) for finding in findings] == [
        ("known-fact", "glibc"),
        ("known-key", "torch.version"),
    ]


def test_lists_of_host_facts_add_up() -> None:
    given = [("kernels", "6.8.0, 6.11.0"), ("glibc", "2.39"), ("kernels", "6.14.0")]

    assert _stack.host_facts(given) == {"kernels": ["6.8.0", "6.11.0", "6.14.0"], "glibc": "2.39"}


def test_standins_are_named() -> None:
    answer = {"stack": "lab", "values": {}, "files": [], "standins": ["conda_lock", "driver"]}

    assert _stack.show_lines(answer, 80) == ["Stack lab", "", "Stand-ins of the lab: conda_lock, driver"]


def test_a_module_that_dies_is_told_with_its_words() -> None:
    with pytest.raises(OperatorError, match="No module named 'yaml'"):
        _stack._answer("", "ModuleNotFoundError: No module named 'yaml'")
