# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: host_restart
short_description: Restarts a host when roles of this collection have asked for it and nobody is using it
description:
  - Roles ask for a restart by a file in C(/run/gpulab/restart-required.d), one reason on each line; the restart itself
    empties that directory. Without such a file this module reads one directory and changes nothing.
  - A restart is refused while a process has a GPU open, while somebody is logged in, while a job of this collection or
    C(dpkg) is at work, in a container, and on the machine that Ansible runs on.
  - The action plugin of the same name waits until the host is up again. Called without it, the module returns as soon
    as the restart is under way.
version_added: "0.1.0"
author:
  - gpulab contributors (@gpulab)
options:
  enabled:
    description: Whether to restart at all. If not, what is asked for is only reported.
    type: bool
    default: true
  force:
    description:
      - Whether to restart although users are logged in or GPU processes are running, which ends them. A running
        package installation or job of this collection is waited for by nobody and still refuses.
    type: bool
    default: false
  wait_minutes:
    description:
      - Minutes that the action plugin waits for users, GPU processes, package installations and jobs of this collection
        to be done, before it refuses or, with O(force), restarts all the same. 0 does not wait.
    type: int
    default: 0
  in_container:
    description: Whether to restart a container, which does for tests of this module.
    type: bool
    default: false
  local_connection:
    description: Whether the host is the machine that Ansible runs on; set by the action plugin of the same name.
    type: bool
    default: false
  notice:
    description: What logged-in users get to read. Empty for nothing.
    type: str
    default: This workstation is restarting to finish the installation of its GPU software.
  timeout_seconds:
    description: Seconds that the action plugin waits for the host to be up again.
    type: int
    default: 900
extends_documentation_fragment:
  - gpulab.workstation._attributes
attributes:
  check_mode:
    support: full
    details: Refuses in check mode what it would refuse in earnest.
  diff_mode:
    support: N/A
    details: A restart has no content.
  idempotent:
    support: full
    details: After a restart nothing asks for another.
"""

EXAMPLES = r"""
- name: Restart if something asked for it
  gpulab.workstation.host_restart:

- name: Restart at night, whoever is logged in
  gpulab.workstation.host_restart:
    force: true
"""

RETURN = r"""
required:
  description: Whether something asks for a restart; after a restart, whether something still does.
  returned: success
  type: bool
reasons:
  description: Why, with the component that asks.
  returned: success
  type: list
  elements: str
  sample: ["gpu_driver: the loaded driver is 575.57.08, the installed one is 580.178.04"]
blockers:
  description:
    - What speaks against a restart now. C(kind) is gpu_process, user, job, system_change, container or controller.
  returned: when something asks for a restart, also where it is refused
  type: list
  elements: dict
  sample: [{kind: user, words: "alice is logged in (desktop on seat0)", yields_to_force: true}]
restarted:
  description: Whether the host has restarted and is up again.
  returned: success
  type: bool
elapsed_seconds:
  description: Seconds from the request until the host was up again.
  returned: after a restart
  type: float
boot_identity:
  description: What tells this boot from others, the kernel's boot id and the time at which PID 1 started.
  returned: success
  type: str
  sample: 3c4ce1b6-9d2c-4a6e-8b8f-2ec1a3d3a7f0/41
unreadable:
  description: What could not be looked at although it might speak against a restart.
  returned: when something asks for a restart
  type: list
  elements: dict
"""

import dataclasses
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._host import Host, LocalHost
from ansible_collections.gpulab.workstation.plugins.module_utils._host_reader import read_machine
from ansible_collections.gpulab.workstation.plugins.module_utils._in_the_way import to_json
from ansible_collections.gpulab.workstation.plugins.module_utils._reading import Reading
from ansible_collections.gpulab.workstation.plugins.module_utils._restart import (
    Rules,
    blockers,
    decide,
    reason_lines,
)
from ansible_collections.gpulab.workstation.plugins.module_utils._restart_reader import (
    read_boot_identity,
    read_requests,
    read_usage,
    restart,
)

ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "enabled": {"type": "bool", "default": True},
    "force": {"type": "bool", "default": False},
    "wait_minutes": {"type": "int", "default": 0},
    "in_container": {"type": "bool", "default": False},
    "local_connection": {"type": "bool", "default": False},
    "notice": {
        "type": "str",
        "default": "This workstation is restarting to finish the installation of its GPU software.",
    },
    "timeout_seconds": {"type": "int", "default": 900},
}


def run(host: Host, params: t.Mapping[str, t.Any], *, check_mode: bool) -> dict[str, t.Any]:
    """Look, decide, and restart if that is the decision."""
    requests = read_requests(host)
    account: dict[str, t.Any] = {
        "changed": False,
        "required": bool(requests),
        "reasons": reason_lines(requests),
        "restarted": False,
        "restarting": False,
        "boot_identity": str(read_boot_identity(host)),
    }
    if not requests:
        return account
    rules = Rules(params["enabled"], params["force"], params["in_container"], params["local_connection"])
    reading = Reading(host)
    usage, machine = read_usage(reading), read_machine(reading)
    account["blockers"] = to_json(blockers(usage, machine, rules))
    account["unreadable"] = [dataclasses.asdict(item) for item in reading.unreadable]
    try:
        decision = decide(requests, usage, machine, rules)
    except OperatorError as error:
        words = {"found": error.found, "expected": error.expected, "action": error.action}
        return {**account, "failed": True, "msg": str(error), **words}
    if decision == "restart":
        account["changed"] = True
        if not check_mode:
            restart(host, params["notice"])
            account["restarting"] = True
    return account


def main() -> None:
    """Tell what is asked for, and restart if nothing speaks against it."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    try:
        account = run(LocalHost(), module.params, check_mode=module.check_mode)
    except OperatorError as error:
        module.fail_json(msg=str(error), found=error.found, expected=error.expected, action=error.action)
    except OSError as error:
        module.fail_json(
            msg=f"Found: {error}. Expected: files that root can read. To do: look at /run and /proc of this host."
        )
    if account["required"] and not module.params["enabled"]:
        module.warn("A restart is due and host_restart_enabled is false: " + "; ".join(account["reasons"]))
    if account.pop("failed", False):
        module.fail_json(**account)
    module.exit_json(**account)


if __name__ == "__main__":
    main()
