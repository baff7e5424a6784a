# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: host_rebuild
short_description: Meet a reinstalled host safely, and compare it with its record afterwards
version_added: 0.1.0
author:
  - gpulab contributors (@gpulab)
description:
  - V(meet) waits for the host's ssh server, accepts its host key only if something speaks for it (a fingerprint that is
    given, a certificate of a CA in known_hosts, or the host's record), has python3 installed, makes sure that this is
    the machine of the record, and returns the record's stack.
  - V(compare) compares the record that the site play has just written with the one of before, on the controller alone.
  - The work is done by the action plugin of the same name; on the host, this module only tells which machine it is.
extends_documentation_fragment:
  - gpulab.workstation._attributes
attributes:
  check_mode:
    support: partial
    details: A host whose key ssh does not know yet cannot be looked at without accepting the key, and is refused.
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  stage:
    description: What to do.
    type: str
    choices: [meet, compare]
    default: meet
  fingerprint:
    description: Fingerprint of the host's new key, C(SHA256:...), as its own console shows it. It decides alone.
    type: str
    default: ""
  wait_seconds:
    description: How long to wait for the host's ssh server.
    type: int
    default: 600
  tolerance_percent:
    description: How far a measured rate may be from that of the record.
    type: float
    default: 10.0
  records_directory:
    description: Directory on the controller for the records of all hosts. Empty means C(records) of the repository.
    type: str
    default: ""
  catalogue_overlay:
    description: Directory on the controller with further catalogue files, laid over the project's own.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Meet a host that was reinstalled
  gpulab.workstation.host_rebuild:
    fingerprint: SHA256:37D2Vu6dx/sOml7VSwmiMC6y8IjmmNPJU6lltBf5Sy0
  register: met
"""

RETURN = r"""
way:
  description: By what the host was recognised (known, fingerprint, record, certificate, local).
  returned: success of V(meet)
  type: str
  sample: fingerprint
stack:
  description: Name of the record's stack.
  returned: success of V(meet)
  type: str
  sample: cu128
overrides:
  description: Overrides that give exactly the record's versions with today's catalogue.
  returned: success of V(meet)
  type: dict
  sample: {driver.version: "580.178.04"}
differences:
  description: Everything that is not as in the record; empty on success.
  returned: V(compare)
  type: list
  elements: str
  sample: []
told:
  description: What differs and may after a reinstall (kernel, firmware, host keys).
  returned: V(compare)
  type: list
  elements: str
machine:
  description: By which marks this machine is known.
  returned: success of V(meet)
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.gpulab.workstation.plugins.module_utils._host import LocalHost
from ansible_collections.gpulab.workstation.plugins.module_utils._reading import Reading
from ansible_collections.gpulab.workstation.plugins.module_utils._record_reader import read_identity

ARGUMENTS = {
    "stage": {"type": "str", "choices": ["meet", "compare"], "default": "meet"},
    "fingerprint": {"type": "str", "default": ""},
    "wait_seconds": {"type": "int", "default": 600},
    "tolerance_percent": {"type": "float", "default": 10.0},
    "records_directory": {"type": "str", "default": ""},
    "catalogue_overlay": {"type": "str", "default": ""},
}


def main() -> None:
    """Tell which machine this is."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    module.exit_json(changed=False, machine=read_identity(Reading(LocalHost())))


if __name__ == "__main__":
    main()
