# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the page of kept results again; all of it happens on the controller."""

from __future__ import annotations

import datetime as dt
import typing as t
from dataclasses import asdict

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.gpulab.workstation.plugins.plugin_utils._results_report import make_report
from ansible_collections.gpulab.workstation.plugins.plugin_utils._results_store import results_directory

display = Display()


class ActionModule(ActionBase):
    """Read a directory of results and write its page and JUnit file."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Return where the page is and which files could not be read."""
        result = super().run(tmp, task_vars)
        spec = {"directory": {"type": "str", "default": ""}}
        _, arguments = self.validate_argument_spec(spec)  # type: ignore[no-untyped-call]
        directory = results_directory(arguments["directory"], self._loader.get_basedir())
        if self._task.check_mode:
            return {**result, "skipped": True, "msg": f"In check mode nothing is written to {directory}."}
        if not directory.is_dir():
            return {**result, "failed": True, "msg": _NO_DIRECTORY.format(directory)}
        try:
            made = make_report(directory, dt.datetime.now(dt.timezone.utc))
        except OSError as error:
            return {**result, "failed": True, "msg": _NOT_WRITTEN.format(error, directory)}
        for warning in made.warnings:
            display.warning(warning)
        return {
            **result,
            "changed": True,
            "msg": made.sentence,
            "page": str(made.page),
            "junit": str(made.junit),
            "unreadable": [asdict(file) for file in made.unreadable],
        }


_NO_DIRECTORY = (
    "Found: no directory {}. Expected: results of gpu_verify. To do: name their directory, or verify a host first."
)
_NOT_WRITTEN = "Found: {}. Expected: a directory that this user can write to: {}. To do: run as its owner."


__all__ = ["ActionModule"]
