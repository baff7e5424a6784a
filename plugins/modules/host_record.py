# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: host_record
short_description: Record what a workstation is, what it was given and what it measured
version_added: 0.1.0
author:
  - gpulab contributors (@gpulab)
description:
  - Reads the stack's traces (driver, toolkits, digests of the Python environment), the system, the cards, the public
    halves of the ssh host keys and the figures of the last verification, in one look. Private keys are not opened, and
    no result of this module has one.
  - Leaves the record on the host as a local fact, C(/etc/ansible/facts.d/gpulab.fact), where the role setup of any
    playbook finds it. The action plugin of the same name also keeps it on the controller, for a rebuild, and beside it,
    with O(private_keys), the private ssh host keys, encrypted.
  - docs/schema/host_record-1.json describes the record.
extends_documentation_fragment:
  - gpulab.workstation._attributes
attributes:
  check_mode:
    support: full
    details: Everything is read, and nothing is written.
  diff_mode:
    support: none
  idempotent:
    support: full
    details: A record that says the same as the last one, apart from its time and the figures, is no change.
options:
  host_name:
    description: Name of the host in the record.
    type: str
    default: ""
  stack:
    description: Every version and sha256 of the stack in force, as P(gpulab.workstation.stack#lookup) returns for
      V(wishes).
    type: dict
    required: true
  environment:
    description: Directory of the Python environment that is part of the record.
    type: path
    default: /opt/miniforge3/envs/rtx5090
  time:
    description: Time of the record in UTC. Empty means the host's own clock.
    type: str
    default: ""
  origin:
    description: Whether the record closes a run that has done everything, or was asked for alone.
    type: str
    choices: [run, capture]
    default: capture
  signing_certificate:
    description: Certificate of the lab's key for kernel modules (PEM), of which the record says whether the firmware
      trusts it. Empty where the lab has none.
    type: str
    default: ""
  private_keys:
    description: Whether the action plugin keeps the private ssh host keys on the controller too, encrypted by
      ansible-vault, for a reinstallation that brings them back. Refused where the run has no vault password.
    type: bool
    default: false
  records_directory:
    description: Directory on the controller for the records of all hosts; used by the action plugin only. Empty means
      C(records) of the repository.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Record this workstation
  gpulab.workstation.host_record:
    stack: "{{ lookup('gpulab.workstation.stack', 'wishes') }}"
"""

RETURN = r"""
record:
  description: The record, as docs/schema/host_record-1.json describes it.
  returned: success
  type: dict
  sample:
    schema: host_record-1
    host: ws-01
    departures: []
fact_path:
  description: Where the record lies on the host.
  returned: success
  type: str
  sample: /etc/ansible/facts.d/gpulab.fact
record_path:
  description: Where the record lies on the controller, null in check mode.
  returned: success
  type: str
  sample: records/ws-01.json
host_keys_path:
  description: Where the private ssh host keys lie on the controller, encrypted; null in check mode, and where they are
    not kept.
  returned: success
  type: str
  sample: records/ws-01.host-keys.yml
host_keys:
  description: Kinds of the private ssh host keys that are kept.
  returned: with O(private_keys)
  type: list
  elements: str
  sample: [ecdsa, ed25519, rsa]
"""

import json
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._host import LocalHost
from ansible_collections.gpulab.workstation.plugins.module_utils._record import FACT, render, same
from ansible_collections.gpulab.workstation.plugins.module_utils._record_reader import Wish, make_record

ARGUMENTS = {
    "host_name": {"type": "str", "default": ""},
    "stack": {"type": "dict", "required": True},
    "environment": {"type": "path", "default": "/opt/miniforge3/envs/rtx5090"},
    "time": {"type": "str", "default": ""},
    "origin": {"type": "str", "choices": ["run", "capture"], "default": "capture"},
    "signing_certificate": {"type": "str", "default": ""},
    "private_keys": {"type": "bool", "default": False},
    "records_directory": {"type": "str", "default": ""},
}


def main() -> None:
    """Read the host and leave the record there."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    host = LocalHost()
    given = module.params
    wishes = ("host_name", "stack", "environment", "time", "origin", "signing_certificate")
    wish = Wish(*(given[wish] for wish in wishes))
    try:
        record = make_record(host, wish)
        changed = not same(_last(host.read_text(FACT)), record)
        if not module.check_mode:
            host.write_text(FACT, render(record))
    except OperatorError as error:
        module.fail_json(msg=str(error), found=error.found, expected=error.expected, action=error.action)
    except OSError as error:
        module.fail_json(
            msg=f"Found: {error}. Expected: files that this user can read and write. To do: run as root, and look at"
            " the file system of this host."
        )
    module.exit_json(changed=changed, record=record, fact_path=FACT)


def _last(text: str | None) -> dict[str, t.Any] | None:
    """Return the record that lies there; one that cannot be read is none."""
    try:
        last = json.loads(text or "null")
    except ValueError:
        return None
    return last if isinstance(last, dict) else None


if __name__ == "__main__":
    main()
