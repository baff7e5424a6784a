# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts and ends the depot's server, which outlives the command that started it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import typing as t
import urllib.request
from dataclasses import asdict, dataclass
from pathlib import Path

from gpulab._errors import OperatorError

if t.TYPE_CHECKING:
    from collections.abc import Sequence

START_SECONDS = 15
STATE = "state.json"


@dataclass(frozen=True, slots=True)
class DepotProcess:
    """A server that was started: its process, which a reused pid cannot be mistaken for, and where it listens."""

    pid: int
    started: int
    port: int
    addresses: tuple[str, ...]

    @property
    def url(self) -> str:
        """Return the address that hosts use: the first one."""
        return f"http://{self.addresses[0]}:{self.port}"


def start_time(pid: int, proc: Path = Path("/proc")) -> int | None:
    """Return when a process started, in clock ticks since boot (proc_pid_stat(5), field 22); None if it is gone."""
    try:
        text = (proc / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name in brackets may hold spaces and brackets; the numbered fields follow its last bracket, from field 3 on.
    fields = text.rpartition(")")[2].split()
    return None if fields[0] == "Z" else int(fields[22 - 3])


def is_running(process: DepotProcess | None) -> bool:
    """Tell whether this very process still runs."""
    return process is not None and start_time(process.pid) == process.started


def load(lab: Path) -> DepotProcess | None:
    """Read what the server noted when it had started."""
    try:
        noted = json.loads((lab / STATE).read_text())
        return DepotProcess(noted["pid"], noted["started"], noted["port"], tuple(noted["addresses"]))
    except (FileNotFoundError, ValueError, KeyError):
        return None


def note(lab: Path, port: int, addresses: Sequence[str]) -> None:
    """Write, as the server, who it is and where it listens."""
    process = DepotProcess(os.getpid(), start_time(os.getpid()) or 0, port, tuple(addresses))
    new = lab / f"{STATE}.new"
    new.write_text(json.dumps(asdict(process)) + "\n")
    new.replace(lab / STATE)


def ensure(lab: Path, addresses: Sequence[str]) -> DepotProcess:
    """Return the lab's running depot; start it, on the port it had before if that is free."""
    before = load(lab)
    if before and is_running(before) and before.addresses == tuple(addresses):
        return before
    stop(lab)
    port = ["--port", str(before.port)] if before else []
    command = [sys.executable, "-m", "gpulab.lab.depot", str(lab / "depot"), *addresses, *port]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    with (lab / "depot.log").open("ab") as log:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
        )
    deadline = time.monotonic() + START_SECONDS
    while child.poll() is None and time.monotonic() < deadline:
        process = load(lab)
        if process and process.pid == child.pid and answers(f"http://{addresses[-1]}:{process.port}"):
            return process
        time.sleep(0.05)
    raise OperatorError(
        found=f"the depot did not start on {', '.join(addresses)}; the end of {lab / 'depot.log'}: "
        + (lab / "depot.log").read_text()[-400:],
        expected="it to listen there.",
        action="cure what the log says and run 'gpulab lab up' again.",
    )


def stop(lab: Path) -> bool:
    """End the depot that this lab started, and only that one; tell whether one ran."""
    process = load(lab)
    if process is None or not is_running(process):
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGTERM)
    deadline = time.monotonic() + START_SECONDS
    while is_running(process) and time.monotonic() < deadline:
        time.sleep(0.05)
    return True


def answers(url: str) -> bool:
    """Tell whether the depot answers from here."""
    try:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{url}/health", timeout=5) as response:
            return bool(response.read() == b"ok\n")
    except OSError:
        return False


__all__ = ["DepotProcess", "answers", "ensure", "is_running", "load", "note", "start_time", "stop"]
