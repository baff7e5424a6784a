# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A verification from the module's side: start its job or find it again, and make the document of what it left.

The checks are made in a job (see :mod:`_job`), so that minutes of load survive a dropped connection. Nothing of it
stays on the host but the result: the job's files and the working directory go when the document is made, and those of
a job that was killed too.
"""

from __future__ import annotations

import json
import typing as t

from ansible_collections.gpulab.workstation.plugins.module_utils import _job
from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._host import Host
from ansible_collections.gpulab.workstation.plugins.module_utils._verify import SCHEMA, Level
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_document import about_host, make_document
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_run import (
    HOST,
    RESULT,
    Verification,
    kept,
    kept_checks,
    prepare,
    read_context,
)
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_usage import refuse_in_use
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_wish import Wish

NAME = Verification.name
_FRESH_S = 3600.0  # a result that nobody has seen is taken for this long; after that the host is looked at anew
_QUICK_LIMIT_S = 1200.0
_QUICK_CARD_S = 600.0
_FULL_CARD_S = 2400.0


def verify(
    host: Host, params: t.Mapping[str, t.Any], *, job: str | None, wait_s: float
) -> tuple[dict[str, t.Any] | None, dict[str, t.Any]]:
    """Return the document, or None and what a running job is at; ``job`` is one that the caller has started before."""
    verification = Verification.from_params(params)
    found = _job.status(host, NAME)
    ours = found.params == json.loads(json.dumps(params))
    if found.state == "running" and not ours:
        raise OperatorError(
            found="another verification is running on this host, which was asked for something else.",
            expected="one at a time: two would disturb each other's figures.",
            action=f"wait for it, or end it with 'systemctl stop {_job.unit_name(NAME)}', then run again.",
        )
    if found.state == "absent" and job and (seen := _result_of(host, job, verification.wish)):
        return seen, {}
    waited_for = bool(job) and found.job == job
    if found.state != "running" and not (ours and (waited_for or _is_fresh(host, found))):
        _start(host, verification, params)
    found = _job.wait(host, NAME, wait_s)
    if found.state == "running" and host.now() < _started(found.job) + limit_s(host, verification.wish):
        return None, {"job": found.job, "progress": dict(found.progress or {})}
    return _finish(host, verification.wish, found), {}


def limit_s(host: Host, wish: Wish) -> float:
    """Return how long the job may take: more than its programs, each of which has a limit of its own, take together."""
    about = kept(host, HOST) or {"cards": []}
    per_card = _QUICK_CARD_S + (_FULL_CARD_S if wish.level is Level.FULL else 0.0)
    return _QUICK_LIMIT_S + len(about["cards"]) * per_card + wish.endurance_minutes * 60


def _start(host: Host, verification: Verification, params: t.Mapping[str, t.Any]) -> None:
    """Start the job, unless a card is in use: that is looked for before anything is run."""
    wish = verification.wish
    if not wish.force:
        context = read_context(host, wish, lambda _words: None)
        refuse_in_use(context.gpu.processes, context.smi.cards)
    prepare(host, wish)
    _job.start(host, verification, params, verification.plan())


def _started(job: str) -> float:
    """Return when a job was started: its name says it, in milliseconds."""
    return int(job.rpartition("-")[2], 16) / 1000


def _is_fresh(host: Host, found: _job.JobStatus) -> bool:
    """Whether a job has ended lately, and nobody was told: the connection was lost meanwhile."""
    ended = host.status(f"{_job.JOBS}/{NAME}/result.json")
    return found.state == "finished" and ended is not None and host.now() - ended.mtime < _FRESH_S


def _finish(host: Host, wish: Wish, found: _job.JobStatus) -> dict[str, t.Any]:
    """Make the document of what the job left, and clean up after it."""
    result = found.result or {}
    at = (found.progress or {}).get("title", "its start")
    why = f"the verification was killed at: {at}"
    if found.state == "running":
        why = f"the verification did not come to an end within {limit_s(host, wish) / 60:.0f} minutes, at: {at}"
    elif result and not result["ok"]:
        why = str(result["found"]).rstrip(".")
    about = kept(host, HOST) or about_host(read_context(host, wish, lambda _words: None))
    now = host.now()
    document = make_document(wish, about, kept_checks(host, wish, why), now, now - _started(found.job))
    if found.state != "running":
        host.remove(wish.work_directory)
        _job.clear(host, NAME)
        if result.get("ok"):
            host.remove(_job.log_path(NAME))
    return document


def _result_of(host: Host, job: str, wish: Wish) -> dict[str, t.Any] | None:
    """Return the result of a job that is gone: a call whose connection was lost has made and written it already."""
    text, written = host.read_text(RESULT), host.status(RESULT)
    if text is None or written is None or written.mtime < _started(job):
        return None
    try:
        document: dict[str, t.Any] = json.loads(text)
        same = (document["schema"], document["level"]) == (SCHEMA, wish.level.value)
    except (ValueError, KeyError, TypeError):  # cut off: it is no result, so the host is verified anew
        return None
    return document if same else None


__all__ = ["NAME", "limit_s", "verify"]
