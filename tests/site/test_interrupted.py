# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run that loses its connection or is killed: the job goes on, the next run finds it, nothing starts twice."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest
from labhost import LabHost, Playbook

from gpulab.lab.faults import Fault

LOG = "/var/log/gpulab/cuda_toolkit.log"
WORKER = "systemctl show -p MainPID --value gpulab-cuda-toolkit.service"


def worker(host: LabHost, limit_s: float = 60) -> int:
    """Wait until the job works and return its process."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        pid = int(host.sh(WORKER, check=False).stdout.strip() or 0)
        if pid:
            return pid
        time.sleep(0.2)
    message = "no job was started"
    raise AssertionError(message)


def starts(host: LabHost) -> int:
    """Count the jobs that were started."""
    return int(host.sh(f"grep -c '^== job .* starts' {LOG}").stdout)


@pytest.fixture
def slow_depot(fresh_host: LabHost) -> Iterator[LabHost]:
    """Make the toolkit's download take long enough to be interrupted."""
    fresh_host.lab.set_faults(Fault("/files/cuda_*.run", "slow", bytes=6_000_000))
    yield fresh_host
    fresh_host.lab.set_faults()


def kill_run(run: Playbook) -> None:
    """End a run as a closed laptop would: without a word."""
    children = os.popen(f"pgrep -P {run.process.pid}").read().split()  # noqa: S605
    for pid in [run.process.pid, *map(int, children)]:
        os.kill(pid, signal.SIGKILL)
    run.process.wait()


def test_a_killed_run_is_picked_up_and_not_started_twice(slow_depot: LabHost) -> None:
    host = slow_depot
    first = host.start("cuda_toolkit")
    pid = worker(host)
    kill_run(first)
    assert worker(host) == pid, "the job must outlive the run that started it"
    host.lab.set_faults()
    second = host.apply("cuda_toolkit")
    assert (second.rc, second.changed) == (0, 1), second.stdout
    assert starts(host) == 1
    assert host.apply("cuda_toolkit").changed == 0


def test_a_dropped_session_does_not_end_the_run(slow_depot: LabHost) -> None:
    host = slow_depot
    run = host.start("cuda_toolkit")
    worker(host)
    time.sleep(4)  # until the run has heard of its job; before that the host would be given up and the next run goes on
    host.sh("pkill -KILL -f 'sshd: root'", check=False)
    host.lab.set_faults()
    result = run.wait()
    assert (result.rc, result.changed) == (0, 1), result.stdout
    assert starts(host) == 1


@pytest.mark.whole
def test_a_killed_job_is_named_and_done_again_by_the_next_run(slow_depot: LabHost) -> None:
    host = slow_depot
    run = host.start("cuda_toolkit")
    pid = worker(host)
    time.sleep(4)  # until it works: a process that has not begun yet is a job that did not start
    host.sh(f"kill -KILL {pid}")
    result = run.wait()
    assert result.rc == 2, result.stdout
    assert "ended without a result" in result.message
    host.lab.set_faults()
    again = host.apply("cuda_toolkit")
    assert again.rc == 0, again.message
    assert host.apply("cuda_toolkit").changed == 0
