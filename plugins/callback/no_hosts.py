# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: no_hosts
type: aggregate
short_description: Says which file to edit where a play's group has no host
description:
  - Ansible ends with success when a group is empty. A lab whose inventory was never filled in would look provisioned.
  - This callback ends the run with status 2 and names the file that lists the machines.
author: gpulab contributors (@gpulab)
requirements:
  - enabled in ansible.cfg by O(ignore:callbacks_enabled)
"""

import sys
import typing as t

from ansible.plugins.callback import CallbackBase

if t.TYPE_CHECKING:
    from ansible.playbook.play import Play

_USAGE = 2


class CallbackModule(CallbackBase):
    """Refuse a play on a group of the inventory that has no hosts at all (a limit that excludes them is fine)."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "gpulab.workstation.no_hosts"

    def v2_playbook_on_play_start(self, play: Play) -> None:
        """Look at the group before its first task."""
        inventory = play.get_variable_manager()._inventory  # noqa: SLF001 - callbacks have no public way to it
        for name in play.hosts if isinstance(play.hosts, list) else [play.hosts]:
            group = inventory.groups.get(name)
            if group is None or group.get_hosts():
                continue
            self._display.error(
                f"Found: the group {name} has no host. Expected: at least one machine. "
                "To do: copy inventory/hosts.yml.example to inventory/hosts.yml, name your machines there and run"
                " again; or try it without machines: ./scripts/provision starts a lab of container hosts."
            )
            sys.exit(_USAGE)
