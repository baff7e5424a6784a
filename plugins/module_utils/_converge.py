# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The five moves of every changing module: read, plan, (in check mode: tell), apply in a job, read again.

After the job the state is read again and planned again, and that plan must be empty: an installer that ends with
status 0 and leaves something broken behind cannot pass.
"""

from __future__ import annotations

import json
import typing as t

from ansible_collections.gpulab.workstation.plugins.module_utils import _job
from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._host import Host, LocalHost
from ansible_collections.gpulab.workstation.plugins.module_utils._in_the_way import RefusalError, to_json
from ansible_collections.gpulab.workstation.plugins.module_utils._plan import Plan

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

RESTART_REQUESTS = "/run/gpulab/restart-required.d"
JOB_ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "job": {"type": "str"},
    "wait_seconds": {"type": "float", "default": 10.0},
}
_WORDS_FOR_THE_SYSTEM = (
    "Found: {}. Expected: files and devices that root can read and write."
    " To do: look at the file system and 'dmesg' of this host, then run again."
)


def converge(module: AnsibleModule, kind: type[t.Any], host: Host | None = None) -> t.NoReturn:
    """Bring the host to what the module's parameters say and exit the module with the account of it."""
    host = host or LocalHost()
    params = {key: value for key, value in module.params.items() if key not in JOB_ARGUMENTS}
    try:
        result = _converge(host, kind.from_params(params), params, module.params, check_mode=module.check_mode)
    except RefusalError as error:
        module.fail_json(
            msg=str(error), found=error.found, expected=error.expected, action=error.action,
            blockers=to_json(error.blockers),
        )  # fmt: skip
    except OperatorError as error:
        module.fail_json(msg=str(error), found=error.found, expected=error.expected, action=error.action)
    except OSError as error:
        module.fail_json(msg=_WORDS_FOR_THE_SYSTEM.format(error))
    module.exit_json(**result)


def converge_at_once(module: AnsibleModule, kind: type[t.Any], host: Host | None = None) -> t.NoReturn:
    """Make the same moves without a job: for changes of a moment, and for secrets that must lie in no request."""
    host = host or LocalHost()
    try:
        component = kind.from_params(module.params)
        state = component.read(host)
        plan = component.plan(state)
        if not plan.steps or module.check_mode:
            result = _settled(host, component, state, plan, changed=bool(plan.steps), check_mode=module.check_mode)
        else:
            for step in plan.steps:
                component.apply(host, step, lambda _: None)
            result = {**_judge(host, component, check_mode=False), **_account(plan)}
    except OperatorError as error:
        module.fail_json(msg=str(error), found=error.found, expected=error.expected, action=error.action)
    except OSError as error:
        module.fail_json(msg=_WORDS_FOR_THE_SYSTEM.format(error))
    module.exit_json(**result)


def _converge(
    host: Host,
    component: _job.Component,
    params: dict[str, t.Any],
    asked: t.Mapping[str, t.Any],
    *,
    check_mode: bool,
) -> dict[str, t.Any]:
    found = _job.status(host, component.name)
    if found.state == "running":
        if check_mode:
            return {"changed": True, **_account(found.plan or Plan()), "job_running": False, "resumed": True}
        found = _job.wait(host, component.name, float(asked["wait_seconds"]))
    if found.state == "running":
        return {**_still_running(found), "asked_otherwise": _otherwise(found.params or {}, params)}
    waited_for = bool(asked["job"]) and asked["job"] == found.job
    same_wishes = found.params == json.loads(json.dumps(params))
    if found.state != "absent" and same_wishes and (waited_for or _unseen_success(found)):
        return _finish(host, component, found, check_mode=check_mode)
    # Nothing here to report: no job, one that failed unseen or was killed, or one that had other parameters.
    state = component.read(host)
    plan = component.plan(state)
    if not plan.steps or check_mode:
        return _settled(host, component, state, plan, changed=bool(plan.steps), check_mode=check_mode)
    _job.start(host, component, params, plan)
    found = _job.wait(host, component.name, float(asked["wait_seconds"]))
    return _still_running(found) if found.state == "running" else _finish(host, component, found, check_mode=False)


def _otherwise(job: t.Mapping[str, t.Any], params: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Return what a job that was found at work was asked for and this call was not."""
    now = json.loads(json.dumps(params))
    return {key: value for key, value in job.items() if now.get(key) != value}


def _unseen_success(found: _job.JobStatus) -> bool:
    return not found.reported and bool((found.result or {}).get("ok"))


def _still_running(found: _job.JobStatus) -> dict[str, t.Any]:
    return {"changed": True, "job_running": True, "job": found.job, "progress": dict(found.progress or {})}


def _finish(host: Host, component: _job.Component, found: _job.JobStatus, *, check_mode: bool) -> dict[str, t.Any]:
    """Report a job that has ended: its error, or the state it left, which must need nothing more."""
    if found.result is None:
        at = (found.progress or {}).get("title", "its start")
        raise OperatorError(
            found=f"the job {found.job} ended without a result at: {at}.",
            expected="a job that ends by itself (it was killed, ran out of memory, or the host was restarted).",
            action=f"run again, it continues from the state it finds; details are in {_job.log_path(component.name)}.",
        )
    if not check_mode:
        _job.mark_reported(host, component.name)
    if not found.result["ok"]:
        error = found.result
        raise OperatorError(found=error["found"], expected=error["expected"], action=error["action"])
    return {**_judge(host, component, check_mode=check_mode), **_account(found.plan or Plan())}


def _judge(host: Host, component: _job.Component, *, check_mode: bool) -> dict[str, t.Any]:
    """Read again after the change: nothing more may be needed."""
    state = component.read(host)
    try:
        rest = component.plan(state)
    except RefusalError as error:
        raise OperatorError(
            found=f"every step ended well, but what they have left cannot be judged: {error.found}",
            expected=error.expected,
            action=f"{error.cure} Then run again.",
        ) from error
    if rest.steps and not check_mode:
        raise OperatorError(
            found="every step ended well, but this is still to do: " + "; ".join(s.title for s in rest.steps) + ".",
            expected="a host that needs nothing more.",
            action=f"read {_job.log_path(component.name)} on the host; running again repeats these steps.",
        )
    return _settled(host, component, state, rest, changed=True, check_mode=check_mode)


def _settled(
    host: Host, component: _job.Component, state: t.Any, plan: Plan, *, changed: bool, check_mode: bool
) -> dict[str, t.Any]:
    if not check_mode:
        request_restart(host, component.name, plan.reboot_reasons)
    return {
        "changed": changed,
        **_account(plan),
        "job_running": False,
        "resumed": False,
        "reboot_reasons": list(plan.reboot_reasons),
        **component.report(state),
    }


def _account(plan: Plan) -> dict[str, t.Any]:
    return {
        "steps": [step.title for step in plan.steps],
        "diff": {"before": _lines(plan.before), "after": _lines(plan.after)},
    }


def _lines(state: t.Mapping[str, t.Any]) -> str:
    return json.dumps(state, indent=2, sort_keys=True) + "\n" if state else ""


def request_restart(host: Host, name: str, reasons: tuple[str, ...]) -> None:
    """Leave the wish for a restart where host_restart finds it; /run is empty after the restart, as it should be."""
    path = f"{RESTART_REQUESTS}/{name}"
    wanted = "".join(f"{reason}\n" for reason in reasons)
    if (host.read_text(path) or "") == wanted:
        return
    if wanted:
        host.write_text(path, wanted)
    else:
        host.remove(path)


__all__ = ["JOB_ARGUMENTS", "RESTART_REQUESTS", "converge", "converge_at_once", "request_restart"]
