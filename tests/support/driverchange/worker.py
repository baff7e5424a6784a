# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Change the driver of this host as a job's worker does: read, plan, apply each step; read and plan again at the end.

worker.py PARAMETERS [ACTION BEFORE SECONDS]: with an action it kills every process around it, as SIGKILL of the unit
does, SECONDS after a change of that name has begun that has had BEFORE others, those of a way back among them, or right
after the change where it does not last that long. Prints JSON: the changes, and what has failed or is left.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
import typing as t

from ansible_collections.gpulab.workstation.plugins.module_utils._driver_component import DriverComponent, SettledDriver
from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._host import LocalHost

MADE: list[tuple[str, float]] = []


def die() -> None:
    """End every process of this namespace, this one last."""
    os.kill(-1, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


class Watched(DriverComponent):
    """Notes which change was made and how long it took, and is killed at one of them."""

    at, seconds = ("", 0), 0.0

    def _changes(self, *arguments: t.Any) -> dict[str, t.Callable[[t.Any], None]]:
        return {action: self._watched(action, change) for action, change in super()._changes(*arguments).items()}

    def _watched(self, action: str, change: t.Callable[[t.Any], None]) -> t.Callable[[t.Any], None]:
        def watched(params: t.Any) -> None:
            started, mine = time.monotonic(), (action, [made for made, _ in MADE].count(action)) == self.at
            MADE.append((action, 0.0))
            at = len(MADE) - 1
            if mine and self.seconds <= 0:
                die()
            if mine:
                timer = threading.Timer(self.seconds, die)
                timer.start()
            try:
                change(params)
            finally:
                MADE[at] = (action, time.monotonic() - started)
                if mine:
                    die()

        return watched


class Settled(Watched, SettledDriver):
    """The same for a driver that has waited for a restart."""


def main(params: dict[str, t.Any], action: str = "", before: str = "0", seconds: str = "0") -> dict[str, t.Any]:
    """Make the change and say how it went."""
    host, component = LocalHost(), (Settled if params["state"] == "settled" else Watched).from_params(params)
    component.at, component.seconds = (action, int(before)), float(seconds)
    try:
        for step in component.plan(component.read(host)).steps:
            component.apply(host, step, lambda _: None)
    except OperatorError as error:
        return {"made": MADE, "rest": [], "failure": str(error)}
    rest = [step.title for step in component.plan(component.read(host)).steps]
    return {"made": MADE, "rest": rest, "failure": ""}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(json.loads(sys.argv[1]), *sys.argv[2:])))
