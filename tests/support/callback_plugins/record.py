# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: record
type: notification
short_description: Writes every task result as a line of JSON
description: Writes every task result as a line of JSON to the file named by GPULAB_TEST_RECORD, for the test suite.
author: gpulab contributors
"""

import json
import os
import time
import typing as t
from pathlib import Path

from ansible.plugins.callback import CallbackBase


class CallbackModule(CallbackBase):
    """The test suite's eyes on a run: what each task of each host returned, and when."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "record"
    CALLBACK_NEEDS_ENABLED = True

    def v2_runner_on_ok(self, result: t.Any) -> None:
        """Keep a good result."""
        self._write("ok", result)

    def v2_runner_on_failed(self, result: t.Any, ignore_errors: bool = False) -> None:  # noqa: FBT001, FBT002, ARG002
        """Keep a failure."""
        self._write("failed", result)

    def v2_runner_on_unreachable(self, result: t.Any) -> None:
        """Keep a host that was given up."""
        self._write("unreachable", result)

    def v2_runner_on_skipped(self, result: t.Any) -> None:
        """Keep a skipped task."""
        self._write("skipped", result)

    @staticmethod
    def _write(status: str, result: t.Any) -> None:
        line = {
            "time": time.time(),
            "status": status,
            "host": result.host.get_name(),
            "task": result.task.get_name(),
            "action": result.task.action,
            "result": result.result,
        }
        with Path(os.environ["GPULAB_TEST_RECORD"]).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line, default=str) + "\n")
