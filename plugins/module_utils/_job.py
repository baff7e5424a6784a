# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Long work that a dropped ssh session does not end.

A job applies a plan in a process of its own: a transient systemd unit (systemd-run(1)), or a new session where
there is no systemd. It runs from a copy of the module's own payload, so it needs nothing that ssh leaves behind.
The worker holds a lock for as long as it lives: whoever finds the lock held waits for the job instead of starting
a second one, and a request without lock and without result is a job that was killed.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import sys
import traceback
import typing as t
from dataclasses import dataclass

from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._host import Host, LocalHost
from ansible_collections.gpulab.workstation.plugins.module_utils._plan import Plan, Step

JOBS = "/var/lib/gpulab/jobs"
LOGS = "/var/log/gpulab"
# Of the environment that Ansible has set up, as from /etc/environment; systemd-run starts with an empty one.
_PASSED_ON = (
    "http_proxy", "https_proxy", "no_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST",
    "PIP_CERT", "PIP_CONFIG_FILE", "PIP_PROXY",
)  # fmt: skip
_START_LIMIT_S = 120.0  # a host that has just been restarted, or is busy, takes its time
_LOOK_LIMIT_S = 10.0  # as long as a look at a job's status may hold its lock, on a slow host
_LOOK_AFTER_S, _LOOK_AT_LEAST_EVERY_S = 0.2, 1.0  # for the end of a job: most are short, and a look is not free
_PROGRESS_EVERY_S = 1.0
_KILLED_UNIT_LIMIT_S = 3.0


class Worker(t.Protocol):
    """What a job needs: built from the module's parameters on both sides of it, it goes through the plan's steps."""

    name: str

    @classmethod
    def from_params(cls, params: t.Mapping[str, t.Any]) -> Worker:
        """Take what is wanted from module parameters; OperatorError where they make no sense."""

    def apply(self, host: Host, step: Step, progress: t.Callable[[str], None]) -> None:
        """Go one step; must be safe to repeat after it was killed half-way."""


class Component(Worker, t.Protocol):
    """A thing that a role brings about."""

    @classmethod
    def from_params(cls, params: t.Mapping[str, t.Any]) -> Component:
        """Take the wanted state from module parameters; OperatorError where they make no sense."""

    def read(self, host: Host) -> t.Any:
        """Read what the host is, changing nothing."""

    def plan(self, state: t.Any) -> Plan:
        """Decide, without I/O, what would have to be done."""

    def report(self, state: t.Any) -> dict[str, t.Any]:
        """Return the documented return values of the module."""


@dataclass(frozen=True)
class JobStatus:
    """What became of a job: absent, running, finished or died (no result and nobody at work)."""

    state: str
    job: str = ""
    progress: t.Mapping[str, t.Any] | None = None
    result: t.Mapping[str, t.Any] | None = None
    plan: Plan | None = None
    params: t.Mapping[str, t.Any] | None = None
    reported: bool = False


def log_path(name: str) -> str:
    """Return the log that the job writes and that messages point to."""
    return f"{LOGS}/{name}.log"


def unit_name(name: str) -> str:
    """Return the transient systemd unit that a component's job runs in."""
    return f"gpulab-{name.replace('_', '-')}"


def status(host: Host, name: str) -> JobStatus:
    """Look at the job of a component."""
    directory = f"{JOBS}/{name}"
    request = _read_json(host, f"{directory}/request.json")
    if request is None:
        return JobStatus("absent")
    plan, job, params = Plan.from_json(request["plan"]), str(request["job"]), request["params"]
    progress = _read_json(host, f"{directory}/progress.json")
    release = host.hold_lock(f"{directory}/lock")
    if release is None:
        return JobStatus("running", job, progress, None, plan, params)
    release()
    result = _read_json(host, f"{directory}/result.json")
    reported = host.exists(f"{directory}/reported")
    return JobStatus("died" if result is None else "finished", job, progress, result, plan, params, reported)


def start(host: Host, component: Worker, params: t.Mapping[str, t.Any], plan: Plan) -> str:
    """Start the job that applies the plan and return its identifier; the caller has seen that none is running."""
    directory = f"{JOBS}/{component.name}"
    clear(host, component.name)
    host.make_dirs(directory, mode=0o700)
    kind = type(component)
    job = f"{component.name}-{int(host.now() * 1000):x}"
    paths = _keep_payload(host, directory)
    request = {"job": job, "entry": [kind.__module__, kind.__name__], "params": dict(params), "plan": plan.to_json()}
    host.write_text(f"{directory}/request.json", json.dumps(request), mode=0o600)
    code = f"import sys; sys.path[:0] = {paths!r}; from {__name__} import work; work({directory!r})"
    _spawn(host, component.name, [sys.executable or "/usr/bin/python3", "-c", code])
    deadline = host.now() + _START_LIMIT_S
    while status(host, component.name).state == "died":
        if host.now() > deadline:
            raise OperatorError(
                found=f"the job {component.name} did not start within {_START_LIMIT_S:.0f} s.",
                expected="a worker process on the host.",
                action=f"read {log_path(component.name)} and 'journalctl -u {unit_name(component.name)}', then run"
                " again.",
            )
        host.sleep(0.1)
    return job


def wait(host: Host, name: str, limit_s: float) -> JobStatus:
    """Wait until the job ends or the time is over."""
    deadline, pause = host.now() + limit_s, _LOOK_AFTER_S
    while True:
        found = status(host, name)
        if found.state != "running" or host.now() >= deadline:
            return found
        host.sleep(pause)
        pause = min(_LOOK_AT_LEAST_EVERY_S, 1.2 * pause)


def mark_reported(host: Host, name: str) -> None:
    """Note that a run was told how the job ended; who waits for it by its name is still told.

    A module that outlives its connection may be the first to see the end, with nobody left to tell.
    """
    host.write_text(f"{JOBS}/{name}/reported", "", mode=0o600)
    host.remove(f"{JOBS}/{name}/payload.zip")


def clear(host: Host, name: str) -> None:
    """Forget a job."""
    host.remove(f"{JOBS}/{name}")


def work(directory: str, host: Host | None = None) -> None:
    """Be the worker: hold the lock, apply the steps in order, leave a result."""
    host = host or LocalHost()
    release = _hold_lock_of_worker(host, directory)
    if release is None:
        return
    request = json.loads(host.read_text(f"{directory}/request.json") or "{}")
    name = directory.rsplit("/", 1)[1]
    host.append_text(log_path(name), f"== job {request['job']} starts, pid {os.getpid()}\n")
    try:
        kind = getattr(importlib.import_module(request["entry"][0]), request["entry"][1])
        component: Worker = kind.from_params(request["params"])
        _apply(host, component, Plan.from_json(request["plan"]), directory)
        result: dict[str, t.Any] = {"ok": True}
    except OperatorError as error:
        result = {"ok": False, "found": error.found, "expected": error.expected, "action": error.action}
    except Exception as error:  # noqa: BLE001 - a worker has nobody to raise to; the module reports it
        host.append_text(log_path(name), traceback.format_exc())
        result = {
            "ok": False,
            "found": f"{type(error).__name__}: {error}.",
            "expected": "a step that ends well or says why not.",
            "action": f"read {log_path(name)} on the host; if it is not the host's fault, please report it.",
        }
    host.append_text(log_path(name), f"== job {request['job']} ends: {result}\n")
    host.write_text(f"{directory}/result.json", json.dumps(result), mode=0o600)
    release()


def _hold_lock_of_worker(host: Host, directory: str) -> t.Callable[[], None] | None:
    """Take the lock, or return None where another worker has it or has done the work.

    Who looks at the job's status holds it too, for a moment: whoever has started this worker does so all the time.
    """
    deadline = host.now() + _LOOK_LIMIT_S
    while (release := host.hold_lock(f"{directory}/lock")) is None and host.now() < deadline:
        host.sleep(0.02)
    if release and host.exists(f"{directory}/result.json"):
        release()
        return None
    return release


def _apply(host: Host, component: Worker, plan: Plan, directory: str) -> None:
    last_written = 0.0
    for number, step in enumerate(plan.steps, start=1):
        host.append_text(log_path(component.name), f"-- {number}/{len(plan.steps)} {step.title}\n")

        def progress(detail: str, number: int = number, step: Step = step) -> None:
            nonlocal last_written
            if detail and host.now() - last_written < _PROGRESS_EVERY_S:
                return
            last_written = host.now()
            now = {"step": number, "steps": len(plan.steps), "title": step.title, "detail": detail}
            host.write_text(f"{directory}/progress.json", json.dumps(now), mode=0o600)

        progress("")
        component.apply(host, step, progress)


def _keep_payload(host: Host, directory: str) -> list[str]:
    """Copy the zip that Ansible runs the module from (see ansible.module_utils.common.respawn); else use sys.path."""
    payload = getattr(sys.modules["__main__"], "_modlib_path", None)
    if payload is None:
        return [p for p in sys.path if p]
    data = host.read_bytes(payload)
    if data is None:
        raise OperatorError(
            found=f"the module's payload {payload} is gone.",
            expected="the archive that Ansible sent.",
            action="run again; if /tmp is cleaned while Ansible works, set remote_tmp to another directory.",
        )
    host.write_chunks(f"{directory}/payload.zip", [data])
    return [f"{directory}/payload.zip"]


def _environment_text(variables: t.Mapping[str, str]) -> str:
    """Return an EnvironmentFile of systemd.exec(5), in which a backslash and a double quote are escaped."""
    escaped = {key: re.sub(r'([\\"])', r"\\\1", value) for key, value in variables.items() if "\n" not in value}
    return "".join(f'{key}="{value}"\n' for key, value in escaped.items())


def _spawn(host: Host, name: str, argv: list[str]) -> None:
    passed_on = {key: value for key in _PASSED_ON if (value := host.environ(key))}
    log = log_path(name)
    host.append_text(log, "")
    if host.exists("/run/systemd/system") and host.which("systemd-run"):
        unit = unit_name(name)
        _await_end_of_killed(host, unit)
        host.run(["systemctl", "reset-failed", unit])
        command = ["systemd-run", "--quiet", "--collect", f"--unit={unit}", f"--description=gpulab: {name}"]
        if passed_on:  # in a file, for an address may hold a password and every user may read a unit's settings
            environment = f"{JOBS}/{name}/environment"
            host.write_text(environment, _environment_text(passed_on), mode=0o600)
            command.append(f"--property=EnvironmentFile={environment}")
        command += [f"--property=TimeoutStopSec={_KILLED_UNIT_LIMIT_S:.0f}"]
        command += [f"--property=StandardOutput=append:{log}", f"--property=StandardError=append:{log}", "--"]
        done = host.run([*command, *argv], timeout_s=30)
        host.remove(f"{JOBS}/{name}/environment")  # systemd has read it
    else:
        done = host.run(["setsid", "--fork", *argv], timeout_s=30, log=log)
    if not done.ok:
        raise OperatorError(
            found=f"'{done.argv[0]}' ended with {done.rc}: {done.stderr.strip() or done.stdout.strip()}.",
            expected=f"the job {name} to be started.",
            action="check that systemd answers ('systemctl status') and that /var has space, then run again.",
        )


def _await_end_of_killed(host: Host, unit: str) -> None:
    """Give systemd time to end the children of a worker that was killed: until then the unit's name is taken."""
    deadline = host.now() + 5 * _KILLED_UNIT_LIMIT_S
    while host.run(["systemctl", "is-active", unit]).stdout.strip() == "deactivating" and host.now() < deadline:
        host.sleep(0.5)


def _read_json(host: Host, path: str) -> dict[str, t.Any] | None:
    text = host.read_text(path)
    if text is None:
        return None
    try:
        data = json.loads(text)
    except ValueError:
        return None
    return data if isinstance(data, dict) else None


__all__ = ["Component", "JobStatus", "Worker", "clear", "log_path", "mark_reported", "start", "status", "wait", "work"]
