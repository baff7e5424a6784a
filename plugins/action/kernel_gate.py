# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's half of kernel_gate: progress while the job runs."""

from __future__ import annotations

from ansible_collections.gpulab.workstation.plugins.plugin_utils._polling import PollingAction


class ActionModule(PollingAction):
    """Run kernel_gate until its job has ended."""

    module_name = "gpulab.workstation.kernel_gate"
