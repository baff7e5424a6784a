# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kernel_gate
short_description: Let a machine start no kernel that has no NVIDIA module
version_added: 0.1.0
author:
  - gpulab contributors (@gpulab)
description:
  - Installs a program that kernel packages call after DKMS, and that runs at boot. It asks every installed kernel for
    the modules of the driver that M(gpulab.workstation.gpu_driver) has proven, for this kernel, of this version and,
    where Secure Boot is on, signed.
  - As long as the newest kernel has none, GRUB starts the newest one that has; the message of the day and the local
    fact C(gpulab_kernel) say so. Once it has them, GRUB chooses by itself again.
  - Kernels are never held back, so their security updates stay on.
extends_documentation_fragment:
  - gpulab.workstation._attributes
  - gpulab.workstation._attributes.job
options:
  state:
    description: Whether the gate is to be there.
    type: str
    choices: [present, absent]
    default: present
  program:
    description: Text of the program (C(kernel_gate.py) of the role), without its first line.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Guard the next start
  gpulab.workstation.kernel_gate:
    program: "{{ lookup('ansible.builtin.file', 'kernel_gate.py') }}"
"""

RETURN = r"""
state:
  description:
    - V(ok) where the newest kernel has the modules, V(held) where GRUB starts an older one instead, V(stranded) where
      no kernel has them, V(no_driver) where no driver of this collection is proven, V(no_kernel) where none could be
      started, V(absent) where the gate is not there.
  returned: success
  type: str
  sample: ok
newest:
  description: The kernel that GRUB would choose by itself.
  returned: success
  type: str
  sample: 6.1.0-56-amd64
choice:
  description: The kernel that the next start uses.
  returned: success
  type: str
  sample: 6.1.0-56-amd64
problems:
  description: Why a kernel would not load the driver's modules, by kernel.
  returned: success
  type: dict
  sample: {}
steps:
  description: What was done, or in check mode would be.
  returned: success
  type: list
  elements: str
resumed:
  description: Whether the change was begun by an earlier run.
  returned: success
  type: bool
  sample: false
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.gpulab.workstation.plugins.module_utils._converge import JOB_ARGUMENTS, converge
from ansible_collections.gpulab.workstation.plugins.module_utils._kernel_gate import KernelGate

ARGUMENTS = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "program": {"type": "str", "required": True},
    **JOB_ARGUMENTS,
}


def main() -> None:
    """Bring the gate to what is wanted."""
    converge(AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True), KernelGate)


if __name__ == "__main__":
    main()
