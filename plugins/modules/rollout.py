# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: rollout
short_description: Decide whether a host is touched now, in a rollout that goes in waves
version_added: 0.1.0
author:
  - gpulab contributors (@gpulab)
description:
  - Reads the ledger of the rollout, which the callback C(gpulab.workstation.rollout) keeps on the controller, and the
    host's record. A host that was completed with the same stack since the rollout began is done; a host is stopped when
    the first wave has failed or more hosts have failed than the budget allows.
  - Runs on the controller alone, by the action plugin of the same name; the host is not even connected to.
extends_documentation_fragment:
  - gpulab.workstation._attributes
  - gpulab.workstation._attributes.info
options:
  batches:
    description: Sizes of the waves, each a number of hosts or a percentage; the play has them as C(serial).
    type: list
    elements: str
    required: true
  canary:
    description: The host that goes first. Empty means the first of the inventory.
    type: str
    default: ""
  failure_budget:
    description: How many hosts may fail, after the first wave, before no further wave is started.
    type: int
    default: 0
  stack:
    description: The stack that the host is to have, as P(gpulab.workstation.stack#lookup) returns for V(wishes).
    type: dict
    required: true
  records_directory:
    description: Directory on the controller for ledger and records. Empty means C(records) of the repository.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Decide whether this host's turn has come
  gpulab.workstation.rollout:
    batches: [1, 20%, 100%]
    failure_budget: 2
    stack: "{{ lookup('gpulab.workstation.stack', 'wishes') }}"
"""

RETURN = r"""
decision:
  description: V(go), V(done) or V(stopped).
  returned: success
  type: str
  sample: go
why:
  description: The reason, in words.
  returned: success
  type: str
  sample: its wave has come
"""

from ansible.module_utils.basic import AnsibleModule

ARGUMENTS = {
    "batches": {"type": "list", "elements": "str", "required": True},
    "canary": {"type": "str", "default": ""},
    "failure_budget": {"type": "int", "default": 0},
    "stack": {"type": "dict", "required": True},
    "records_directory": {"type": "str", "default": ""},
}


def main() -> None:
    """Refuse to decide on a host what only the controller knows."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    module.fail_json(
        msg="Found: rollout was started on a host. Expected: its action plugin on the controller, which has the ledger."
        " To do: call it as gpulab.workstation.rollout."
    )


if __name__ == "__main__":
    main()
