# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host keeps about the change of its driver, so that a killed one is continued or taken back; pure text."""

from __future__ import annotations

import enum
import json
import typing as t
from dataclasses import dataclass, field, replace

from ansible_collections.gpulab.workstation.plugins.module_utils._driver_wanted import Wanted
from ansible_collections.gpulab.workstation.plugins.module_utils._fetch import Artefact

DIRECTORY = "/var/lib/gpulab/driver"
JOURNAL = f"{DIRECTORY}/transaction.json"
INSTALLED = f"{DIRECTORY}/installed.json"  # the driver that was last committed, with all that installing it again takes
KEPT = f"{DIRECTORY}/kept"  # laid out as the cache: SHA/NAME.run
_EVENTS_KEPT = 40
_SETTINGS = (
    "version", "flavour", "standin", "module_options", "persistenced", "hold_packages", "compat32", "signing_key",
    "signing_certificate", "ignored_kernels",
)  # fmt: skip

Driver = t.Mapping[str, t.Any]  # a driver as it was asked for: what describe() returns


class Phase(str, enum.Enum):
    """Where a change of the driver stands."""

    REPLACING = "replacing"  # the old driver is no longer sure to be whole
    INSTALLED = "installed"  # the new one is whole on disk and waits for a restart to be loaded
    DONE = "done"  # the new one is loaded, or nothing can be loaded here
    ROLLING_BACK = "rolling_back"
    ROLLED_BACK = "rolled_back"
    FAILED = "failed"  # and there was no driver to put back


@dataclass(frozen=True)
class Event:
    """A step from phase to phase: seconds since the epoch, and why where that is not plain."""

    time: float
    phase: str
    why: str = ""


@dataclass(frozen=True)
class Journal:
    """The last change of the driver: from which, to which, how far, and everything that happened."""

    phase: Phase
    target: Driver
    origin: Driver | None
    boot: str = ""  # the boot in which the target was installed, as the restart role tells boots apart
    why: str = ""
    after_restart: bool = False  # whether the target failed only after the host had been restarted into it
    put_back: str = ""  # the version that is there again
    events: tuple[Event, ...] = ()
    places: t.Mapping[str, t.Any] = field(default_factory=dict)  # directories of the wish, for who settles it later
    kernels: tuple[str, ...] = ()  # those that were installed when the old driver was touched
    services: tuple[str, ...] = ()  # the driver's own that ran then, and have to run again when the change is over

    def concerns(self, wanted: Wanted) -> bool:
        """Whether it is about the driver that is wanted now."""
        return is_same(self.target, describe(wanted))

    @property
    def way_back(self) -> Driver | None:
        """The driver to put back; None where there was none, or where it is the very one that is installed."""
        return self.origin if self.origin and not is_same(self.origin, self.target) else None

    def moved(self, phase: Phase, now: float, note: str = "", **changes: t.Any) -> Journal:
        """Return it with another phase, and the event noted."""
        events = (*self.events, Event(round(now, 1), phase.value, note))[-_EVENTS_KEPT:]
        return replace(self, phase=phase, events=events, **changes)

    def to_json(self) -> dict[str, t.Any]:
        """Return it as the host and the module's result have it."""
        return {**self.__dict__, "phase": self.phase.value, "events": [event.__dict__ for event in self.events]}

    def to_text(self) -> str:
        """Return it as its file holds it."""
        return json.dumps(self.to_json(), indent=2, sort_keys=True) + "\n"


def parse_journal(text: str | None) -> Journal | None:
    """Read what :meth:`Journal.to_text` wrote; None for anything else."""
    try:
        data = json.loads(text or "")
        events = tuple(Event(event["time"], event["phase"], event["why"]) for event in data.pop("events"))
        lists = {name: tuple(data.pop(name, ())) for name in ("kernels", "services")}
        return Journal(**{**data, **lists, "phase": Phase(data["phase"]), "events": events})
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def describe(wanted: Wanted) -> dict[str, t.Any]:
    """Return everything about a wanted driver that installing it again takes, JSON-able."""
    artefact = wanted.artefact
    told = {name: getattr(wanted, name) for name in _SETTINGS}
    told["ignored_kernels"] = list(wanted.ignored_kernels)
    told["module_options"] = {module: dict(values) for module, values in wanted.module_options.items()}
    file = {"file": artefact.file, "sha256": artefact.sha256, "size": artefact.size} if artefact else {}
    return {**told, **file, "sources": list(artefact.sources) if artefact else []}


def installed_text(wanted: Wanted) -> str:
    """Return the file that says which driver is installed; where it came from may change without harm."""
    return json.dumps({**describe(wanted), "sources": []}, indent=2, sort_keys=True) + "\n"


def parse_installed(text: str | None) -> Driver | None:
    """Read what :func:`installed_text` wrote; None for anything else."""
    try:
        data = json.loads(text or "")
        return data if data["sha256"] and data["version"] and data["flavour"] else None
    except (ValueError, KeyError, TypeError):
        return None


def is_same(one: Driver | None, other: Driver | None) -> bool:
    """Whether two descriptions are of one driver: the same file in the same flavour."""
    return _identity(one) == _identity(other)


def _identity(driver: Driver | None) -> tuple[t.Any, t.Any] | None:
    return (driver.get("sha256"), driver.get("flavour")) if driver else None


def title(driver: Driver) -> str:
    """Return how messages call it."""
    return f"{driver['version']} ({driver['flavour']})"


def places(wanted: Wanted) -> dict[str, t.Any]:
    """Return the directories that a change works in, JSON-able."""
    return {"cache_directory": wanted.cache_directory, "work_directories": list(wanted.work_directories)}


def wanted_after_restart(journal: Journal, asked: Wanted) -> Wanted:
    """Return the wish for the driver that waited for a restart, in its directories: who asks then knows none."""
    cache = str(journal.places.get("cache_directory", asked.cache_directory))
    work = tuple(journal.places.get("work_directories", asked.work_directories))
    return wanted_again(journal.target, replace(asked, cache_directory=cache, work_directories=work), cache)


def wanted_again(driver: Driver, now: Wanted, cache_directory: str) -> Wanted:
    """Return the wish for a driver as it was installed, with the present inventory's say on everything else.

    ``cache_directory`` is where its .run is looked for first; that of the present wish and the addresses follow.
    """
    name, digest = str(driver["file"]), str(driver["sha256"])
    sources = (f"{now.cache_directory}/{digest[:12]}/{name}", *driver.get("sources", ()))
    settings = {key: driver[key] for key in _SETTINGS}
    settings["ignored_kernels"] = tuple({*driver["ignored_kernels"], *now.ignored_kernels})
    artefact = Artefact(name, digest, sources, driver.get("size"))
    return replace(now, present=True, artefact=artefact, cache_directory=cache_directory, **settings)


__all__ = [
    "DIRECTORY",
    "INSTALLED",
    "JOURNAL",
    "KEPT",
    "Driver",
    "Event",
    "Journal",
    "Phase",
    "describe",
    "installed_text",
    "is_same",
    "parse_installed",
    "parse_journal",
    "places",
    "title",
    "wanted_after_restart",
    "wanted_again",
]
