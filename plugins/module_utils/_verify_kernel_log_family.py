# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel's log before the tests and after them: the last family, because it looks back on all others."""

from __future__ import annotations

from ansible_collections.gpulab.workstation.plugins.module_utils._host import Host
from ansible_collections.gpulab.workstation.plugins.module_utils._verify import Check, not_proven
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_context import Context, Family
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_kernel_log import KernelLog, judge_kernel_log

_LIMIT_S = 60.0
# The journal keeps all of this boot; dmesg(1) reads the kernel's own buffer, which forgets the oldest.
_PROGRAMS = (
    ("journalctl", "--dmesg", "--boot", "--no-pager", "--quiet", "--output=short-monotonic"),
    ("dmesg",),
)


def read_kernel_log(host: Host) -> KernelLog:
    """Return the kernel's messages from the first program that may read them and has some."""
    reasons = []
    for command in _PROGRAMS:
        done = host.run(command, timeout_s=_LIMIT_S)
        if done.ok and done.stdout.strip():
            return KernelLog(command[0], done.stdout)
        words = (done.stderr.strip().splitlines() or ["it printed nothing"])[0]
        reasons.append(f"{command[0]} ended with {done.rc}: {words}")
    return KernelLog("", error="; ".join(reasons))


def checks(context: Context) -> list[Check]:
    """Compare the log with what it was before anything was run."""
    if context.why_no_gpu:
        return [not_proven("kernel_log", context.why_no_gpu)]
    return [judge_kernel_log(context.kernel_log, read_kernel_log(context.host))]


FAMILY = Family("kernel log", ("kernel_log",), checks)

__all__ = ["FAMILY", "read_kernel_log"]
