# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A verification as a job: found again after a lost connection, killed, hanging, cut off; and nothing stays of it."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest

from ansible_collections.gpulab.workstation.plugins.module_utils import _job, _verify_job
from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_document import render
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_run import KEPT, RESULT
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_usage import InUseError
from fakehost import FakeHost
from verifyrun import MADE, add_card, outcomes, params, verify, workstation

DIRECTORY = f"{_job.JOBS}/gpu_verify"
FULL = {"level": "full", "endurance_minutes": 5.0}


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    return workstation(tmp_path)


def ask(host: FakeHost, job: str | None = None, **more: t.Any) -> tuple[dict[str, t.Any] | None, dict[str, t.Any]]:
    return _verify_job.verify(host, params(**more), job=job, wait_s=0)


def start(host: FakeHost, **more: t.Any) -> tuple[str, t.Callable[[], None]]:
    """Start a job whose worker holds its lock and does nothing; return its name and what ends the worker."""
    held: list[t.Callable[[], None]] = []

    def worker(_argv: tuple[str, ...]) -> tuple[int, str, str]:
        release = host.hold_lock(f"{DIRECTORY}/lock")
        assert release is not None
        held.append(release)
        return 0, "", ""

    usual, host.commands["setsid --fork"] = host.commands["setsid --fork"], worker
    document, running = ask(host, **more)
    host.commands["setsid --fork"] = usual
    assert document is None
    return str(running["job"]), held[0]


def work(host: FakeHost) -> None:
    _job.work(DIRECTORY, host)


def test_a_running_job_is_waited_for(host: FakeHost) -> None:
    job, end = start(host, **FULL)
    host.write_text(f"{DIRECTORY}/progress.json", json.dumps({"step": 1, "steps": 7, "title": "torch", "detail": ""}))
    assert ask(host, job, **FULL) == (
        None,
        {"job": job, "progress": {"step": 1, "steps": 7, "title": "torch", "detail": ""}},
    )
    end()
    work(host)
    document, _ = ask(host, job, **FULL)
    assert document is not None
    assert outcomes(document)["native_code"] == "pass"
    assert (document["level"], document["endurance_minutes"]) == ("full", 5.0)
    assert not host.exists(DIRECTORY)


def test_another_run_joins_the_job_that_was_asked_for_the_same(host: FakeHost) -> None:
    job, end = start(host, **FULL)
    assert ask(host, **FULL)[1]["job"] == job
    end()


def test_a_run_that_wants_something_else_is_refused_while_one_is_at_work(host: FakeHost) -> None:
    _job_name, end = start(host, **FULL)
    with pytest.raises(OperatorError, match="another verification is running"):
        ask(host)
    end()


def test_a_job_that_ended_unseen_is_reported_once(host: FakeHost) -> None:
    host.clock = Path(host.root).stat().st_mtime
    _job_name, end = start(host, **FULL)
    end()
    work(host)
    ran = len(host.ran)
    assert verify(host, **FULL)["level"] == "full"
    assert host.ran[ran:] == []
    verify(host, **FULL)
    assert host.ran[ran:] != []


def test_an_old_result_is_not_taken_for_the_host_as_it_is(host: FakeHost) -> None:
    host.clock = Path(host.root).stat().st_mtime
    _job_name, end = start(host, **FULL)
    end()
    work(host)
    host.clock += 3700
    ran = len(host.ran)
    verify(host, **FULL)
    assert host.ran[ran:] != []


def test_a_killed_job_keeps_what_it_has_done(host: FakeHost) -> None:
    add_card(host)
    job, end = start(host)
    end()
    host.add("/var/lib/gpulab/verify.work/left", "")
    host.write_text(f"{DIRECTORY}/progress.json", json.dumps({"step": 2, "steps": 7, "title": "native code"}))
    done = {"name": "cards", "card": None, "outcome": "pass", "why": "1 on PCI", "figures": {}, "limits": []}
    host.write_text(f"{KEPT}/driver and cards.json", json.dumps([done]))
    document, _ = ask(host, job)
    assert document is not None
    found = outcomes(document)
    assert (found["cards"], found["native_code"], found["kernel_log"]) == ("pass", "not_proven", "not_proven")
    assert "native_code is required and not proven: the verification was killed at: native code" in document["failure"]
    assert not document["verified"]
    assert [card["index"] for card in document["cards"]] == [0]
    assert not host.exists(DIRECTORY)
    assert not host.exists("/var/lib/gpulab/verify.work")


def test_a_part_that_is_cut_off_is_no_pass(host: FakeHost) -> None:
    job, end = start(host)
    end()
    host.write_text(f"{KEPT}/driver and cards.json", '[{"name": "cards", "outcome": "pass", "why"')
    document, _ = ask(host, job)
    assert document is not None
    assert outcomes(document)["cards"] == "not_proven"


def test_a_killed_run_is_cleaned_by_the_next(host: FakeHost) -> None:
    _job_name, end = start(host)
    end()
    host.add("/var/lib/gpulab/verify.work/left", "")
    document = verify(host, **FULL)
    assert outcomes(document)["native_code"] == "pass"
    assert not host.exists(DIRECTORY)
    assert not host.exists("/var/lib/gpulab/verify.work")


def test_a_job_that_does_not_end_is_told_and_left_alone(host: FakeHost) -> None:
    job, end = start(host)
    host.clock += 1201
    document, _ = ask(host, job)
    assert document is not None
    assert set(outcomes(document)) == set(MADE)
    assert "did not come to an end within 20 minutes, at: its start" in document["failure"]
    assert host.exists(DIRECTORY)
    end()


def test_minutes_of_endurance_make_the_limit_longer(host: FakeHost) -> None:
    job, end = start(host, endurance_minutes=60.0)
    host.clock += 1201
    assert ask(host, job, endurance_minutes=60.0)[0] is None
    end()


@pytest.mark.parametrize("cut", [False, True], ids=["whole", "cut-off"])
def test_a_result_that_was_written_while_the_connection_was_lost(host: FakeHost, cut: bool) -> None:  # noqa: FBT001
    host.clock = Path(host.root).stat().st_mtime - 60
    job, end = start(host, **FULL)
    end()
    work(host)
    written = render(ask(host, job, **FULL)[0] or {})
    host.write_text(RESULT, written[:300] if cut else written)
    ran = len(host.ran)
    document, _ = ask(host, job, **FULL)
    assert document is not None
    assert (host.ran[ran:] == []) is not cut
    assert outcomes(document)["native_code"] == "pass"


def test_a_worker_that_cannot_begin_says_why(host: FakeHost) -> None:
    job, end = start(host)
    end()
    host.write_text(f"{DIRECTORY}/result.json", json.dumps({"ok": False, "found": "MemoryError: .", "expected": "",
                                                             "action": ""}))  # fmt: skip
    document, _ = ask(host, job)
    assert document is not None
    assert "native_code is required and not proven: MemoryError: " in document["failure"]


def test_a_card_in_use_is_refused_before_anything_is_run(host: FakeHost) -> None:
    add_card(host)
    host.add("/dev/nvidia0")
    host.add("/etc/passwd", "alice:x:1000:1000::/home/alice:/bin/bash\n")
    host.add("/proc/4711/comm", "python\n")
    host.add("/proc/4711/status", "Name:\tpython\nUid:\t1000\t1000\t1000\t1000\n")
    Path(host.path("/proc/4711/fd")).mkdir(parents=True)
    host.symlink("/dev/nvidia0", "/proc/4711/fd/7")
    with pytest.raises(InUseError, match=r"process 4711 \(python\) of alice has /dev/nvidia0 open"):
        verify(host)
    assert not [command for command in host.ran if command[0] in ("env", "setsid") or "-gencode" in command]
    assert not host.exists("/var/lib/gpulab/verify.work")
    assert verify(host, force=True)["verified"] is True


def test_most_of_the_memory_taken_by_nobody_who_can_be_seen(host: FakeHost) -> None:
    add_card(host, used=30000)
    with pytest.raises(InUseError, match="30000 of 32607 MiB of the memory of card 0 are taken, by a process that"):
        verify(host)
    assert verify(host, force=True)["verified"] is True
