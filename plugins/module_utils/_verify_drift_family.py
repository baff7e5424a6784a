# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The driver against what gpu_driver noted when it installed it: read by the same code, judged by the same findings."""

from __future__ import annotations

from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_journal as journals
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_leftovers import package_of
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_reader import read_driver, with_sanity
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_wanted import Wanted
from ansible_collections.gpulab.workstation.plugins.module_utils._verify import Check, not_proven
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_context import Context, Family
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_drift import NAME, judge_drift, named_files


def checks(context: Context) -> list[Check]:
    """Read every layer of the driver and compare it with the account of its installation."""
    host = context.host
    installed = journals.parse_installed(host.read_text(journals.INSTALLED))
    if installed is None:
        return [not_proven(NAME, "gpu_driver has installed no driver here, so there is nothing to compare with")]
    wanted = journals.wanted_again(installed, Wanted(present=True), journals.KEPT)
    state = read_driver(host, wanted)
    if state.sanity is None and state.record and state.record.version == wanted.version:
        state = with_sanity(host, state)
    owners = {path: package for path in named_files(state.sanity) if (package := package_of(host, path))}
    return [judge_drift(state, wanted, owners)]


FAMILY = Family("drift of the driver", (NAME,), checks)

__all__ = ["FAMILY"]
