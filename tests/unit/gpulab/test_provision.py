# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What provision chooses, prints and returns; the play itself is the lab tests' business."""

from __future__ import annotations

import getpass
import typing as t
from pathlib import Path

import pytest

from gpulab import cli
from gpulab._errors import OperatorError
from gpulab._results import Result
from gpulab._runner import Ending, HostRecap, Outcome, TaskEnded
from gpulab.commands import provision

GOOD = HostRecap(ok=10, changed=8)
REFUSAL = TaskEnded("b", "host_preflight", "Look", "x", Ending.FAILED, 1.0, "Found: a. Expected: b. To do: c.")


def result(host: str, *, verified: bool) -> Result:
    return Result(host, verified=verified, checks=())


@pytest.mark.parametrize(
    ("outcome", "results", "code", "last"),
    [
        pytest.param(
            Outcome(hosts={"a": GOOD}), {"a": result("a", verified=True)}, 0, "To do next: nothing.", id="all-good"
        ),
        pytest.param(
            Outcome(2, hosts={"a": GOOD, "b": HostRecap(failed=1)}, failures={"b": REFUSAL}),
            {},
            1,
            "To do next: cure what is said above for b;",
            id="one-failed",
        ),
        pytest.param(Outcome(4, hosts={"b": HostRecap(unreachable=1)}), {}, 1, "To do next: cure", id="unreachable"),
        pytest.param(Outcome(2), {}, 2, "To do next: see the lines above; no host was touched.", id="no-host"),
        pytest.param(Outcome(254, interrupted=True), {}, 130, "Interrupted.", id="interrupted"),
    ],
)
def test_exit_code_and_last_line(
    outcome: Outcome, results: dict[str, t.Any], code: int, last: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert provision.report(outcome, results, None, seconds=3) == code
    assert capsys.readouterr().out.splitlines()[-1].startswith(last)


def test_every_host_has_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    hosts = {"a": GOOD, "b": HostRecap(failed=1), "c": GOOD, "d": HostRecap(unreachable=1)}
    outcome = Outcome(2, hosts=hosts, failures={"b": REFUSAL})
    provision.report(outcome, {"a": result("a", verified=True)}, None, seconds=61)
    lines = capsys.readouterr().out.splitlines()[1:]
    assert lines[:5] == [
        "a: VERIFIED.",
        "b: failed in host_preflight; NOT PROVEN: everything.",
        "c: 8 changed; nothing was measured (gpu_verify did not run).",
        "d: unreachable; NOT PROVEN: everything.",
        "4 hosts in 61 s; failed or unreachable: b, d.",
    ]


def test_a_failure_is_printed_as_found_expected_to_do() -> None:
    assert provision.task_lines(REFUSAL) == [
        "b | host_preflight | FAILED | Look",
        "  Found: a.",
        "  Expected: b.",
        "  To do: c.",
    ]


@pytest.mark.parametrize(
    ("ending", "action"),
    [(Ending.SKIPPED, "command"), (Ending.OK, "ansible.builtin.validate_argument_spec")],
    ids=["skipped", "argument-spec"],
)
def test_what_says_nothing_is_not_printed(ending: Ending, action: str) -> None:
    assert provision.task_lines(TaskEnded("a", "r", "t", action, ending, 0.1, "")) == []


def test_a_failed_argument_check_is_printed() -> None:
    event = TaskEnded("a", "r", "t", "ansible.builtin.validate_argument_spec", Ending.FAILED, 0.1, "unknown: x")
    assert provision.task_lines(event) == ["a | r | FAILED | t", "  unknown: x"]


@pytest.mark.parametrize(
    ("extra", "found"),
    [
        pytest.param(["--chek"], "unrecognized arguments: --chek", id="a-typing-error"),
        pytest.param(["-e"], "argument -e/--extra-vars: expected one argument", id="no-value"),
    ],
)
def test_ansible_s_options_are_checked_before_a_lab_is_started(extra: list[str], found: str) -> None:
    with pytest.raises(OperatorError, match=found):
        provision.check_arguments(extra)


def test_ansible_s_options_pass() -> None:
    provision.check_arguments(["--check", "--diff", "-e", "a=b", "--tags", "gpu_driver", "-vv"])


@pytest.mark.parametrize(
    ("extra", "asked"),
    [
        (["-K"], ["BECOME password: "]),
        (["-bK"], ["BECOME password: "]),
        (["-kK", "--ask-vault-pass"], ["SSH password: ", "BECOME password: ", "Vault password: "]),
        (["--ask-become"], ["BECOME password: "]),
        ([], []),
        (["-e", "x=-K"], []),
    ],
    ids=["alone", "joined", "all", "cut-short", "none", "a-value"],
)
def test_whatever_ansible_would_ask_is_asked_here(
    monkeypatch: pytest.MonkeyPatch, extra: list[str], asked: list[str]
) -> None:
    said: list[str] = []
    monkeypatch.setattr(getpass, "getpass", lambda prompt: said.append(prompt) or "word")
    answers = provision.ask_passwords(provision.check_arguments(extra))
    assert (said, set(answers.values())) == (asked, {"word"} if asked else set())


def test_a_question_that_nobody_would_see_is_refused() -> None:
    with pytest.raises(OperatorError, match="--vault-id lab@prompt"):
        provision.check_arguments(["--vault-id", "lab@prompt"])


def test_hosts_of_a_group_and_the_groups_below_it() -> None:
    groups = {"gpu-lab": {"children": ["row-1", "row-2"]}, "row-1": {"hosts": ["a", "b"]}, "row-2": {}}
    assert provision.hosts_of(groups, "gpu-lab") == ["a", "b"]
    assert provision.hosts_of({"gpu-lab": {}}, "gpu-lab") == []
    assert provision.hosts_of({}, "gpu-lab") == []


def test_too_little_disk_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="GB free at"):
        provision.check_disk([tmp_path / "not/yet/there"], 10**9)
    provision.check_disk([tmp_path], 0)


def test_options_are_parsed() -> None:
    arguments = cli.parser().parse_known_args(["provision", "-l", "ws-01", "--check", "-e", "a=b"])
    assert arguments[0].limit == "ws-01"
    assert arguments[1] == ["--check", "-e", "a=b"]


def test_a_lab_and_own_hosts_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["provision", "--hosts", "2", "-l", "ws-01"]) == 2
    assert "together with -i or -l" in capsys.readouterr().err
