# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What surrounds a change of the driver: a way back before it, an account of it, and when to go back; pure."""

from __future__ import annotations

import dataclasses
import datetime as dt

from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_findings as findings
from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_journal as journals
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_journal import Driver, Journal, Phase
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_refusals import Refusal
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_state import DriverState
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_wanted import Wanted
from ansible_collections.gpulab.workstation.plugins.module_utils._plan import Step

OPEN = (Phase.REPLACING, Phase.ROLLING_BACK)


def begin(state: DriverState, wanted: Wanted) -> Step:
    """Return the step after which the old driver may be touched."""
    origin, reason = way_back(state, wanted)
    title = f"Keep driver {journals.title(origin)} to be put back if anything fails" if origin else f"Begin: {reason}"
    installed = [kernel.release for kernel in state.kernels]
    return Step("begin", title, {"origin": dict(origin) if origin else None, "kernels": installed})


def way_back(state: DriverState, wanted: Wanted) -> tuple[Driver | None, str]:
    """Return the last driver that was seen to be good and can be installed again, or why there is none."""
    journal, origin = state.journal, None
    if journal and (journal.phase in OPEN or _awaits_its_restart(state, journal)):
        origin = journal.origin
    elif findings.is_proven(state) and state.marker and state.installed:
        marker = {"sha256": state.marker.run_sha256, "flavour": state.marker.flavour}
        origin = _where_it_is(state, state.installed) if journals.is_same(state.installed, marker) else None
    if origin is None:
        return None, "there is no driver of this role to put back"
    if journals.is_same(origin, journals.describe(wanted)):
        return None, "the driver to put back is the one to be installed"
    if origin["sha256"] not in state.kept:
        return None, f"driver {journals.title(origin)} cannot be put back, its .run is not kept"
    return origin, ""


def _where_it_is(state: DriverState, origin: Driver) -> Driver:
    """Except the kernels that have no module of it: it may be too old for them, and is put back to what it was."""
    without = [k.release for k in state.kernels if k.module is None or k.module.version != origin["version"]]
    return {**origin, "ignored_kernels": sorted({*origin["ignored_kernels"], *without})}


def commit(state: DriverState, wanted: Wanted, *, install: bool, load: bool) -> list[Step]:
    """Return the step that closes a change: where one is open, or the account of what is installed is not right."""
    journal = state.journal
    told = state.installed == {**journals.describe(wanted), "sources": []} and is_kept(state, wanted)
    if (
        told
        and not install
        and not (journal and (journal.phase in OPEN or _is_over(state, journal, wanted, load=load)))
    ):
        return []
    awaits = awaits_restart(state, wanted, load=load)
    title = f"Note that {wanted.title} is installed" + (" and to be loaded by a restart" if awaits else "")
    return [Step("commit", title, {"awaits_restart": awaits})]


def awaits_proof(state: DriverState, wanted: Wanted) -> bool:
    """Whether a driver is loaded of which nobody has seen yet that all of its modules can be.

    It waited for a restart, or a run was killed while it loaded them.
    """
    journal = state.journal
    waits = journal is not None and journal.phase is Phase.INSTALLED and journal.concerns(wanted)
    return (waits or is_open(state)) and findings.is_loaded(state, wanted.version, wanted.flavour)


def _is_over(state: DriverState, journal: Journal, wanted: Wanted, *, load: bool) -> bool:
    """Whether the driver that waited for a restart has been loaded by one that nobody looked at."""
    return journal.phase is Phase.INSTALLED and journal.concerns(wanted) and (load or _is_loaded(state, journal.target))


def is_kept(state: DriverState, wanted: Wanted) -> bool:
    """Whether the .run lies where a later change finds it without a network."""
    return wanted.artefact is None or wanted.artefact.sha256 in state.kept


def awaits_restart(state: DriverState, wanted: Wanted, *, load: bool) -> bool:
    """Whether only a restart can show that the kernel takes the modules; where there is no card nothing can."""
    loaded = findings.is_loaded(state, wanted.version, wanted.flavour)
    return not load and not loaded and _can_ever_load(state, wanted)


def must_go_back(state: DriverState, wanted: Wanted) -> list[Step]:
    """Return the step that puts the old driver back: where that was begun, or the restart did not bring the new one."""
    journal = state.journal
    if journal is None or journal.way_back is None or not journal.concerns(wanted):
        return []
    if journal.phase is Phase.ROLLING_BACK:
        return [_roll_back(journal, journal.why)]
    loaded = state.gpu.driver_loaded
    if _awaits_its_restart(state, journal) and has_restarted(state, journal) and loaded:
        other = f"after the restart driver {loaded.version} ({loaded.flavour}) is loaded"
        return [_roll_back(journal, f"{other}, not {journals.title(journal.target)}")]
    return []


def _roll_back(journal: Journal, why: str) -> Step:
    origin = journal.way_back or {}
    return Step("roll_back", f"Put driver {journals.title(origin)} back: {why}", {"why": why})


def settle(state: DriverState, wanted: Wanted) -> list[Step]:
    """Return what is to be done after a restart that a new driver waited for: load what the start has not loaded."""
    journal = state.journal
    if journal is None or journal.phase is not Phase.INSTALLED:
        return []
    done = Step("commit", f"Note that {wanted.title} is loaded after the restart", {"awaits_restart": False})
    load = [Step("load", "Load the kernel module")] if findings.can_load_now(state, wanted) else []
    if _is_loaded(state, journal.target):
        return [*load, done]
    if not has_restarted(state, journal):
        return []
    return must_go_back(state, wanted) or ([*load, done] if load and state.gpu.driver_loaded is None else [])


def held_back(state: DriverState, wanted: Wanted) -> list[Refusal]:
    """Refuse a driver that has failed after a restart: trying it again by itself would restart the host each time."""
    journal = state.journal
    if journal is None or journal.phase is not Phase.ROLLED_BACK or not journal.after_restart:
        return []
    if wanted.retry or not journal.concerns(wanted):
        return []
    when = dt.datetime.fromtimestamp(journal.events[-1].time, dt.timezone.utc).strftime("%Y-%m-%d %H:%M")
    return [
        Refusal(
            f"driver {journals.title(journal.target)} failed on this host after a restart ({journal.why}), and"
            f" {journal.put_back} was put back at {when} UTC",
            "a driver that works on this host after a restart",
            "choose another one, or set gpu_driver_retry to try this one again",
        )
    ]


def eased(state: DriverState, wanted: Wanted) -> Wanted:
    """Go on beside the loaded module where people have come since: the files of the old driver are touched already."""
    in_the_way = is_open(state) and findings.users_in_the_way(state)
    return dataclasses.replace(wanted, allow_running=True) if in_the_way else wanted


def is_open(state: DriverState) -> bool:
    """Whether the old driver has been touched by a change that is not over."""
    return state.journal is not None and state.journal.phase in OPEN


def has_restarted(state: DriverState, journal: Journal) -> bool:
    """Whether this is another boot than the one in which the driver was installed."""
    return bool(journal.boot and state.boot) and journal.boot != state.boot


def _awaits_its_restart(state: DriverState, journal: Journal) -> bool:
    return journal.phase is Phase.INSTALLED and not _is_loaded(state, journal.target)


def _is_loaded(state: DriverState, driver: Driver) -> bool:
    return findings.is_loaded(state, driver["version"], driver["flavour"])


def _can_ever_load(state: DriverState, wanted: Wanted) -> bool:
    return state.host.has_own_kernel and findings.finds_its_card(state, wanted)


__all__ = [
    "OPEN",
    "awaits_restart",
    "begin",
    "commit",
    "eased",
    "has_restarted",
    "held_back",
    "is_kept",
    "is_open",
    "must_go_back",
    "settle",
    "way_back",
]
