# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: module_signing
short_description: Have one key pair of the lab sign kernel modules, and the firmware trust it
version_added: 0.1.0
author:
  - gpulab contributors (@gpulab)
description:
  - Puts the lab's key pair where DKMS looks for its own, so that the driver's modules and every later rebuild are
    signed by it. A pair that the host had is kept beside it.
  - Where Secure Boot is on and the firmware does not trust the certificate yet, it is put on the firmware's list of
    requests (C(mokutil --import)); somebody has to confirm it once at the console. The list of trusted keys lies in the
    firmware's memory, not on the disk, so it outlives a reinstallation.
  - The action plugin of the same name fails the task as long as that visit is due.
extends_documentation_fragment:
  - gpulab.workstation._attributes
attributes:
  check_mode:
    support: full
    details: The plan of check mode is the plan of the real run.
  diff_mode:
    support: full
    details: Shows the certificate's digest; the key is never shown.
  idempotent:
    support: full
options:
  state:
    description: V(absent) removes the pair that is named in O(key) and O(certificate) and puts the host's own back.
    type: str
    choices: [present, absent]
    default: present
  key:
    description: Private key, PEM and not encrypted. Empty leaves the host's own pair alone.
    type: str
    default: ""
  certificate:
    description: Certificate that belongs to O(key), PEM.
    type: str
    default: ""
  password:
    description: What is typed at the console to confirm, 8 to 16 characters. Needed only where the key is not enrolled.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Sign with the lab's key
  gpulab.workstation.module_signing:
    key: "{{ gpulab_signing.key }}"
    certificate: "{{ gpulab_signing.certificate }}"
    password: "{{ gpulab_signing.password }}"
"""

RETURN = r"""
outcome:
  description:
    - V(off) where Secure Boot is off or cannot be, V(enrolled) where the firmware trusts the lab's key,
      V(console_visit) where somebody has to confirm it at the console, V(unmanaged) where Secure Boot is on and no pair
      is named, V(unreadable) where nobody could tell.
  returned: success
  type: str
  sample: enrolled
secure_boot:
  description: State of Secure Boot, V(on), V(off), V(not_uefi) or V(unreadable).
  returned: success
  type: str
  sample: "on"
certificate:
  description: Where the certificate lies on the host, null where no pair is named.
  returned: success
  type: str
  sample: /var/lib/dkms/mok.pub
steps:
  description: What was done, or in check mode would be.
  returned: success
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.gpulab.workstation.plugins.module_utils._converge import converge_at_once
from ansible_collections.gpulab.workstation.plugins.module_utils._module_signing import ModuleSigning

ARGUMENTS = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "key": {"type": "str", "default": "", "no_log": True},
    "certificate": {"type": "str", "default": ""},
    "password": {"type": "str", "default": "", "no_log": True},
}


def main() -> None:
    """Bring the pair to the host."""
    converge_at_once(AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True), ModuleSigning)


if __name__ == "__main__":
    main()
