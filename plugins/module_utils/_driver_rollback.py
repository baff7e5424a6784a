# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep what a way back takes, note how far a change has come, and put the last good driver back when it fails."""

from __future__ import annotations

import contextlib
import dataclasses
import typing as t

from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_findings as findings
from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_journal as journals
from ansible_collections.gpulab.workstation.plugins.module_utils._converge import request_restart
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_change import plan_change
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_journal import Driver, Journal, Phase
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_leftovers import remove_unfinished
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_reader import (
    read_boot,
    read_driver,
    running_services,
)
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_state import DriverState
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_wanted import Wanted
from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._fetch import Progress, cached_path, fetch
from ansible_collections.gpulab.workstation.plugins.module_utils._host import Host
from ansible_collections.gpulab.workstation.plugins.module_utils._job import log_path
from ansible_collections.gpulab.workstation.plugins.module_utils._plan import Step

Apply = t.Callable[[Wanted, Step], None]
_TRIED_ALREADY = "try_build"  # it was built on this host before


def read_journal(host: Host) -> Journal | None:
    """Read the account of the last change."""
    return journals.parse_journal(host.read_text(journals.JOURNAL))


def begin(host: Host, wanted: Wanted, origin: Driver | None, kernels: t.Sequence[str] = ()) -> None:
    """Note that the old driver is touched from here on; a killed change of the same driver goes on in its account.

    ``kernels`` are those that are installed: one that comes later the old driver need not serve.

    What a killed one has left and no later step would replace goes.
    """
    remove_unfinished(host)
    last, places = read_journal(host), journals.places(wanted)
    if last is None or last.phase is not Phase.REPLACING or not last.concerns(wanted):
        services = _services(host, last)
        last = Journal(
            Phase.REPLACING, journals.describe(wanted), origin, places=places, kernels=tuple(kernels), services=services
        )
        _write(host, last.moved(Phase.REPLACING, host.now()))
    else:
        _write(host, last.moved(Phase.REPLACING, host.now(), "continued", origin=origin, places=places))


def commit(host: Host, wanted: Wanted, progress: Progress, *, awaits_restart: bool) -> None:
    """Keep the .run of what is installed now, drop those that no way back leads to, and close the account."""
    last = read_journal(host)
    target, origin = journals.describe(wanted), None
    if last and (last.concerns(wanted) or last.phase is Phase.INSTALLED):
        origin = last.origin
    _keep(host, wanted, progress)
    _drop_others(host, [target, *([origin] if origin else [])])
    host.write_text(journals.INSTALLED, journals.installed_text(wanted))
    _start_services(host, last)
    if last is None or not last.concerns(wanted):
        last = Journal(Phase.DONE, target, origin)
    phase = Phase.INSTALLED if awaits_restart else Phase.DONE
    if last.phase is not phase or not last.events:
        _write(host, last.moved(phase, host.now(), boot=read_boot(host), services=()))


def _keep(host: Host, wanted: Wanted, progress: Progress) -> None:
    """Have the .run where a later change finds it: a second name of the cached file where one file system has both."""
    if wanted.artefact is None:
        return
    source, path = (cached_path(wanted.artefact, place) for place in (wanted.cache_directory, journals.KEPT))
    if source != path and not host.exists(path) and host.exists(source):
        host.make_dirs(path.rsplit("/", 1)[0])
        linked = host.run(["cp", "--force", "--link", source, f"{path}.new"], timeout_s=120)
        if linked.ok or host.run(["cp", "--force", "--reflink=auto", source, f"{path}.new"], timeout_s=600).ok:
            host.rename(f"{path}.new", path)
    fetch(host, wanted.artefact, journals.KEPT, progress)


def _services(host: Host, journal: Journal | None) -> tuple[str, ...]:
    """Return the driver's own services that run, or ran before an open change: its module cannot go while they do."""
    return tuple(dict.fromkeys((*(journal.services if journal else ()), *running_services(host))))


def _start_services(host: Host, journal: Journal | None) -> None:
    """Start those that a change has stopped, also where the run that did so was killed."""
    for service in journal.services if journal else ():
        host.run(["systemctl", "start", service], timeout_s=120, log=log_path("gpu_driver"))


def _drop_others(host: Host, needed: t.Sequence[Driver]) -> None:
    names = {str(driver["sha256"])[:12] for driver in needed if driver.get("sha256")}
    for name in host.listdir(journals.KEPT):
        if name not in names:
            host.remove(f"{journals.KEPT}/{name}")


def after_failure(host: Host, wanted: Wanted, step: Step, error: Exception, apply: Apply) -> t.NoReturn:
    """Put the old driver back where it is not sure to be whole; then, or otherwise, raise what has failed.

    A driver that has been loaded once and cannot be now is no failed change: a card that does not answer is like that.
    """
    journal = read_journal(host)
    ours = journal is not None and journal.concerns(wanted) and step.action != "roll_back"
    phases = (Phase.REPLACING, *((Phase.INSTALLED,) if step.action == "load" else ()))
    touched = ours and journal is not None and journal.phase in phases
    if journal is None or not touched:
        raise error
    if journal.way_back is None:
        with contextlib.suppress(OSError):  # a full disk; what failed is to be told in any case
            _start_services(host, journal)  # whichever driver is there now
            _write(host, journal.moved(Phase.FAILED, host.now(), _words(error), why=_words(error), services=()))
        raise error
    roll_back(host, wanted, _words(error), apply)


def roll_back(host: Host, wanted: Wanted, why: str, apply: Apply) -> t.NoReturn:
    """Put the old driver back, and say what failed; a run that is killed here is gone on with by the next one."""
    journal = read_journal(host)
    if journal is None or journal.way_back is None:
        raise _lost(why)
    after_restart = journal.after_restart or journal.phase is Phase.INSTALLED
    journal = journal.moved(
        Phase.ROLLING_BACK, host.now(), why, why=why, after_restart=after_restart, services=_services(host, journal)
    )
    old = journals.wanted_again(journal.way_back or {}, wanted, journals.KEPT)
    try:
        _write(host, journal)
        restart = _put_back(host, old, journal.kernels, apply)
        host.write_text(journals.INSTALLED, journals.installed_text(old))
        _drop_others(host, [journal.way_back or {}])
        _start_services(host, journal)
        _write(host, journal.moved(Phase.ROLLED_BACK, host.now(), put_back=old.version, services=()))
    except (OperatorError, OSError) as error:
        with contextlib.suppress(OSError):  # a full disk
            _write(host, journal.moved(Phase.ROLLING_BACK, host.now(), _words(error)))
        raise OperatorError(
            found=f"{why} And {old.title} could not be put back: {_words(error)}",
            expected=f"{wanted.title}, or the former driver.",
            action="cure what it says, then run again: the next run first goes on with putting it back.",
        ) from error
    now = "the host works as before" if not restart else f"a restart is requested ({'; '.join(restart)})"
    raise OperatorError(
        found=f"{why} Driver {journals.title(journal.way_back or {})} was put back; {now}.",
        expected=f"{wanted.title}.",
        action=f"cure what it says, then run again; {journals.JOURNAL} on the host has the account.",
    )


def _put_back(host: Host, old: Wanted, known: t.Collection[str], apply: Apply) -> tuple[str, ...]:
    """Bring the old driver about from what is there; return why a restart is needed for it."""
    state = read_driver(host, old)
    old = _but_for_new_kernels(old, state, known)
    # Somebody who is logged in notices nothing; the session of this very run, which this job cannot tell, is one too.
    holders = [blocker for blocker in findings.users_in_the_way(state) if blocker.kind != "user"]
    old = dataclasses.replace(old, allow_running=bool(holders) and findings.must_unload(state))
    for step in plan_change(state, old, back=True):
        if step.action != _TRIED_ALREADY:
            apply(old, step)
    state = read_driver(host, old)
    old = _but_for_new_kernels(old, state, known)
    tried = state.gpu.driver_loaded is not None  # or a module that the kernel refuses would have been told
    rest = [step.title for step in plan_change(state, old, back=True) if not (tried and step.action == "load")]
    if rest:
        raise OperatorError(
            found=f"after putting {old.title} back this is still to do: {'; '.join(rest)}.",
            expected="a driver that needs nothing more.",
            action="run again.",
        )
    reasons = findings.reboot_reasons(state, old)
    request_restart(host, "gpu_driver", reasons)
    return reasons


def _but_for_new_kernels(old: Wanted, state: DriverState, known: t.Collection[str]) -> Wanted:
    """Except the kernels that have come since the change was begun: the old driver may be too old for them.

    The running one is tried all the same, or the host would be without a driver.
    """
    kept = (*known, state.host.running_kernel)
    new = [kernel.release for kernel in state.kernels if known and kernel.release not in kept]
    return dataclasses.replace(old, ignored_kernels=(*old.ignored_kernels, *new))


def _write(host: Host, journal: Journal) -> None:
    host.write_text(journals.JOURNAL, journal.to_text())


def _words(error: Exception) -> str:
    return error.found if isinstance(error, OperatorError) else f"{error}."


def _lost(why: str) -> OperatorError:
    return OperatorError(
        found=f"{why} And {journals.JOURNAL} does not say which driver was there before.",
        expected="the account of the change that has failed.",
        action="run again to install the wanted driver.",
    )


__all__ = ["after_failure", "begin", "commit", "read_journal", "roll_back"]
