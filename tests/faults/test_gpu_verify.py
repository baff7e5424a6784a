# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""gpu_verify on hosts where something is wrong: the check that must go red goes red, and nothing is left behind.

To compile all programs takes longer than all the rest: tests of something else share a run, or nvcc stops early.
"""

from __future__ import annotations

import contextlib
import json
import time
import typing as t
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest
from labhost import ROOT, LabHost, PlayResult

from gpulab.lab import Lab

SCHEMA = json.loads((ROOT / "docs/schema/gpu_verify-2.json").read_text(encoding="utf-8"))
WITHOUT_GPU = ("toolkit", "native_code", "negative_control")
UNREAD = {"gpu_verify_nvcc_flags": ["-include", "/nowhere.h"]}  # nvcc ends before it has compiled anything


@pytest.fixture(scope="module")
def toolkit_host(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabHost]:
    """Start a host with the toolkit, and no GPU."""
    lab.add_host("verify-host")
    host = LabHost(lab, "verify-host", tmp_path_factory.mktemp("verify-host"))
    result = host.apply("cuda_toolkit")
    assert result.failed == 0, result.stdout
    yield host
    lab.remove_host("verify-host")


def verify(host: LabHost, **variables: t.Any) -> tuple[PlayResult, dict[str, t.Any]]:
    """Verify a host without torch and return the run and its document, which must be the same in three places."""
    results = host.directory / "results"
    wanted = {"gpu_verify_results_directory": str(results), "gpu_verify_python": "", **variables}
    run = host.apply("gpu_verify", **wanted)
    assert run.changed == 0
    answer = run.tasks[-1]["result"]
    assert "document" in answer, run.stdout
    document: dict[str, t.Any] = answer["document"]
    jsonschema.validate(document, SCHEMA)
    assert json.loads((results / f"{host.name}.json").read_text(encoding="utf-8")) == document
    assert json.loads(host.sh("cat /var/lib/gpulab/verify.json").stdout) == document
    assert traces(host) == ""
    return run, document


def traces(host: LabHost) -> str:
    """Return what a verification must not leave: its job, its log, its working directory, its processes."""
    left = host.sh(
        "ls -d /var/lib/gpulab/verify.work /var/lib/gpulab/jobs/gpu_verify /var/log/gpulab/gpu_verify.log 2>/dev/null;"
        " systemctl list-units --all --plain --no-legend 'gpulab-gpu-verify*'",
        check=False,
    )
    return left.stdout.strip()


def outcome(document: dict[str, t.Any], name: str) -> str:
    return next(str(check["outcome"]) for check in document["checks"] if check["name"] == name)


def why(document: dict[str, t.Any], name: str) -> str:
    return next(str(check["why"]) for check in document["checks"] if check["name"] == name)


@pytest.fixture(scope="module")
def killed(toolkit_host: LabHost) -> PlayResult:
    """Kill a verification while it compiles."""
    with compiler_that(toolkit_host, "sleep 6; systemctl kill -s KILL gpulab-gpu-verify"):
        return toolkit_host.apply("gpu_verify", **minutes_long(toolkit_host))


@pytest.fixture(scope="module")
def verified(toolkit_host: LabHost, killed: PlayResult) -> tuple[PlayResult, dict[str, t.Any]]:
    """Verify the host after that."""
    assert killed.tasks, killed.stdout
    return verify(toolkit_host)


def test_a_host_without_gpu_passes_what_it_can_and_is_not_verified(
    verified: tuple[PlayResult, dict[str, t.Any]],
) -> None:
    run, document = verified
    assert run.failed == 0, run.stdout
    assert [outcome(document, name) for name in WITHOUT_GPU] == ["pass"] * 3
    assert document["verified"] is False
    assert "NOT verified" in run.stdout
    assert "not proven: driver_loaded" in run.stdout


def test_what_is_required_and_missing_fails_and_hides_nothing_else(toolkit_host: LabHost) -> None:
    """No GPU and no environment; and a planted fault, which breaks the program on a card, compiles."""
    python, flags = "/opt/nowhere/bin/python", ["-DGPU_VERIFY_PLANT=1"]
    run, document = verify(
        toolkit_host, gpu_verify_expect_gpu=True, gpu_verify_python=python, gpu_verify_nvcc_flags=flags
    )
    assert run.failed == 1
    assert "cards is required and not proven" in run.message
    assert f"torch_build is required and not proven: there is no {python}" in run.message
    assert [outcome(document, name) for name in WITHOUT_GPU] == ["pass"] * 3
    assert document["nvcc_flags"] == flags


def test_check_mode_writes_nothing(toolkit_host: LabHost, tmp_path: Path) -> None:
    toolkit_host.sh("rm -f /var/lib/gpulab/verify.json")
    variables = {"gpu_verify_results_directory": str(tmp_path / "results"), "gpu_verify_python": "", **UNREAD}
    run = toolkit_host.apply("gpu_verify", check=True, **variables)
    assert (run.failed, run.changed) == (0, 0), run.stdout
    assert "the proof would fail" in run.stdout
    assert outcome(run.tasks[-1]["result"]["document"], "native_code") == "fail", "it has looked"
    assert toolkit_host.sh("test -e /var/lib/gpulab/verify.json", check=False).returncode == 1
    assert not (tmp_path / "results").exists()


@contextlib.contextmanager
def compiler_that(host: LabHost, does: str) -> Iterator[None]:
    """Let the host's nvcc do something before it compiles."""
    nvcc = "/usr/local/cuda/bin/nvcc"
    script = f'#!/bin/sh\ncase "$*" in *-gencode*) {does};; esac\nexec {nvcc}.away "$@"\n'
    host.sh(f"mv {nvcc} {nvcc}.away && cat > {nvcc} <<'END'\n{script}END\nchmod 755 {nvcc}")
    try:
        yield
    finally:
        host.sh(f"mv {nvcc}.away {nvcc}")


def minutes_long(host: LabHost) -> dict[str, t.Any]:
    """Return the variables of a verification that is asked again and again, and has no environment."""
    results = str(host.directory / "results")
    return {"gpu_verify_python": "", "gpu_verify_toolkit": {}, "gpu_verify_level": "full",
            "gpu_verify_endurance_minutes": 1, "gpu_verify_results_directory": results}  # fmt: skip


def test_a_killed_verification_says_so_and_leaves_nothing(
    killed: PlayResult, verified: tuple[PlayResult, dict[str, t.Any]]
) -> None:
    assert killed.failed == 1
    document = killed.tasks[-1]["result"]["document"]
    jsonschema.validate(document, SCHEMA)
    assert why(document, "cards").startswith("no NVIDIA card on PCI"), "what was done before is not lost"
    assert "the verification was killed at: native code" in why(document, "native_code")
    assert outcome(verified[1], "native_code") == "pass"


@pytest.mark.whole
def test_a_lost_connection_ends_nothing_and_full_and_endurance_show_what_they_are_at(toolkit_host: LabHost) -> None:
    with compiler_that(toolkit_host, "sleep 5"):
        run = toolkit_host.start("gpu_verify", **minutes_long(toolkit_host))
        toolkit_host.sh(
            "timeout 120 sh -c 'until test -e /var/lib/gpulab/jobs/gpu_verify/progress.json; do sleep 0.2; done'"
        )
        time.sleep(4)  # until the run has heard of its job; before that the host would be given up
        toolkit_host.sh("pkill -KILL -f 'sshd: root'", check=False)
        result = run.wait()
    assert result.failed == 0, result.stdout
    assert "lost the connection, asking once more" in result.stdout
    document = result.tasks[-1]["result"]["document"]
    assert outcome(document, "native_code") == "pass"
    assert (document["level"], document["endurance_minutes"]) == ("full", 1.0)
    assert outcome(document, "endurance") == "not_proven"
    assert "verify-host | gpu_verify | " in result.stdout
    assert traces(toolkit_host) == ""


def test_nvcc_missing(toolkit_host: LabHost) -> None:
    run, document = verify(toolkit_host, gpu_verify_toolkit_path="/usr/local/cuda-11.0")
    assert run.failed == 1
    assert outcome(document, "toolkit") == "fail"
    assert "/usr/local/cuda-11.0/bin/nvcc cannot be run" in run.message
    assert "native_code is required and not proven: there is no nvcc" in run.message


def test_toolkit_of_another_version_and_a_compiler_that_ends_with_an_error(toolkit_host: LabHost) -> None:
    other = {"version": "12.8.1", "file": "x", "sha256": "0" * 64, "sources": ["/x"]}
    run, document = verify(toolkit_host, gpu_verify_toolkit=other, **UNREAD)
    assert run.failed == 1
    assert "expected CUDA 12.8.1" in why(document, "toolkit")
    assert "it is a stand-in of the lab" in why(document, "toolkit")
    assert outcome(document, "native_code") == "fail"
    assert "nvcc ended with" in why(document, "native_code")
    assert "nvcc ended with" in run.message


@pytest.mark.parametrize(
    ("variables", "check", "words"),
    [
        pytest.param(
            {"gpu_verify_nvcc_flags": ["-gencode", "arch=compute_90,code=sm_90"]}, "native_code", "sm_90",
            id="a-second-architecture", marks=pytest.mark.whole,
        ),
        pytest.param(
            {"gpu_verify_nvcc_flags": ["-gencode", "arch=compute_120,code=compute_120"]}, "native_code", "compute_120",
            id="ptx", marks=pytest.mark.whole,
        ),
        pytest.param({"gpu_verify_arch": "5.0"}, "native_code", "nvcc does not know sm_50", id="arch-not-supported"),
    ],
)  # fmt: skip
def test_broken_on_purpose(toolkit_host: LabHost, variables: dict[str, t.Any], check: str, words: str) -> None:
    run, document = verify(toolkit_host, **variables)
    assert run.failed == 1
    assert outcome(document, check) == "fail"
    assert words in why(document, check)
    assert words in run.message


@pytest.mark.whole
@pytest.mark.parametrize(
    ("program", "target", "instructions"),
    [
        pytest.param("gpu_verify", "120", {"HMMA", "IMMA", "DMMA", "QMMA"}, id="tensor-cores-with-fp8"),
        pytest.param("gpu_verify", "90", {"HMMA", "IMMA", "DMMA"}, id="hopper-widens-fp8"),
        pytest.param("gpu_verify_fp4", "120a", {"OMMA"}, id="fp4"),
    ],
)
def test_the_tensor_cores_are_in_the_machine_code(
    toolkit_host: LabHost, program: str, target: str, instructions: set[str]
) -> None:
    """No such card is at hand: what would run on one is read."""
    cuda = "/usr/local/cuda/bin"
    toolkit_host.sh("mkdir -p /srv/sass")
    for source in sorted((ROOT / "roles/gpu_verify/files").glob("*.cu*")):
        toolkit_host.put(source, f"/srv/sass/{source.name}")
    toolkit_host.sh(
        f"cd /srv/sass && {cuda}/nvcc -std=c++17 -O2 -cubin -arch=sm_{target} -o out.cubin {program}.cu"
        f" && PATH={cuda}:$PATH {cuda}/cuobjdump -sass out.cubin > out.sass"
    )
    found = toolkit_host.sh(r"grep -oE '\b[HIDQO]MMA\b' /srv/sass/out.sass | sort -u; rm -r /srv/sass").stdout
    assert set(found.split()) == instructions


def test_the_compiler_of_the_host_is_missing(toolkit_host: LabHost) -> None:
    toolkit_host.sh("mv /usr/bin/gcc /usr/bin/gcc.away")
    try:
        run, document = verify(toolkit_host)
    finally:
        toolkit_host.sh("mv /usr/bin/gcc.away /usr/bin/gcc")
    assert run.failed == 1
    assert outcome(document, "native_code") == "fail"
    assert "gcc" in why(document, "native_code")


@pytest.mark.whole
def test_cuobjdump_missing_is_a_warning(toolkit_host: LabHost) -> None:
    toolkit_host.sh("mv /usr/local/cuda/bin/cuobjdump /srv/cuobjdump")
    try:
        run, document = verify(toolkit_host, gpu_verify_toolkit={})
    finally:
        toolkit_host.sh("mv /srv/cuobjdump /usr/local/cuda/bin/cuobjdump")
    assert run.failed == 0, run.stdout
    assert outcome(document, "native_code") == "warn"
    assert "without cuobjdump" in why(document, "native_code")


def refused(host: LabHost, *words: str, **variables: t.Any) -> None:
    run = host.apply("gpu_verify", **{"gpu_verify_python": "", **variables})
    assert run.failed == 1
    for word in words:
        assert word in run.message


def test_a_work_directory_without_exec_is_refused(lab: Lab, toolkit_host: LabHost) -> None:
    toolkit_host.sh("mkdir -p /srv/work")
    lab.exec(toolkit_host.name, "mount -t tmpfs -o noexec none /srv/work", privileged=True)
    try:
        refused(toolkit_host, "noexec", "gpu_verify_work_directory", gpu_verify_work_directory="/srv/work/verify")
    finally:
        lab.exec(toolkit_host.name, "umount /srv/work", privileged=True)


def test_results_that_cannot_be_kept_fail_the_task(toolkit_host: LabHost, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no directory")
    words = ("gpu_verify_results_directory", str(blocked))
    refused(toolkit_host, *words, gpu_verify_results_directory=str(blocked), **UNREAD)


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"gpu_verify_require": ["native_kode"]}, ["native_kode"]),
        (
            {"gpu_verify_level": "ful", "gpu_verify_time_limit_seconds": "soon"},
            ["gpu_verify_level", "gpu_verify_time_limit_seconds"],
        ),
    ],
    ids=["unknown-check", "choice-and-number"],
)
def test_wrong_values_are_refused(toolkit_host: LabHost, variables: dict[str, t.Any], words: list[str]) -> None:
    run = toolkit_host.apply("gpu_verify", **variables)
    assert run.failed == 1
    assert [word for word in words if word not in run.stdout] == []
