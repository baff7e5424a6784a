# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: host_preflight
short_description: Refuses a host that cannot be set up, with all reasons at once
description:
  - Reads what M(gpulab.workstation.gpu_info) reads, in one call, and judges it before anything is changed. Every reason
    says what was found, what was expected and what to do.
  - The action plugin of the same name adds what only the controller can see. It applies the rules of the chosen stack
    to this host (system, kernels, compilers, GPUs), names variables that nothing reads or that have the wrong type,
    and puts a missing or outdated Python on the host into words.
version_added: "0.1.0"
author:
  - gpulab contributors (@gpulab)
options:
  expect_gpu:
    description: Whether a host without an NVIDIA GPU is refused.
    type: bool
    default: true
  space:
    description:
      - Room that the work ahead takes. What goes to one file system is added up.
    type: list
    elements: dict
    default: []
    suboptions:
      purpose:
        description: What the room is for, as messages say it.
        type: str
        required: true
      path:
        description: Directory that the files go to; it need not exist yet.
        type: path
        required: true
      gigabytes:
        description: Room in units of 10^9 bytes.
        type: float
        required: true
      executable:
        description: Whether programs are started from there, which a file system mounted noexec prevents.
        type: bool
        default: false
      alternatives:
        description: Directories that will do as well, if the first is read-only, mounted noexec or too small.
        type: list
        elements: path
        default: []
      unless:
        description:
          - A path that exists once this work has been done, after which the room is not asked for again. Names in it
            may be shell patterns.
        type: str
        default: ""
      component:
        description:
          - Component of O(stack) that the room is for. Where the lab has a stand-in for it, the action plugin does not
            ask for the room.
        type: str
  signing_certificates:
    description:
      - Certificates on the host that belong to keys for signing kernel modules, beside those that DKMS uses. With
        Secure Boot on, one of them has to be enrolled.
    type: list
    elements: path
    default: []
  signing_managed:
    description: Whether a later role brings a signing key and has it enrolled; then a missing one is only told.
    type: bool
    default: false
  stack:
    description: >-
      The chosen stack, as the lookup P(gpulab.workstation.stack#lookup) returns it for the term V(stack); used by the
      action plugin. Without it the rules of stacks are not applied.
    type: dict
extends_documentation_fragment:
  - gpulab.workstation._attributes
  - gpulab.workstation._attributes.info
seealso:
  - module: gpulab.workstation.gpu_info
"""

EXAMPLES = r"""
- name: Refuse a host that cannot be set up
  gpulab.workstation.host_preflight:
    stack: "{{ lookup('gpulab.workstation.stack', 'stack') }}"
    space:
      - purpose: the CUDA toolkit
        path: /usr/local
        gigabytes: 10
        unless: /usr/local/cuda/bin/nvcc
"""

RETURN = r"""
refusals:
  description: Every reason against this host; empty on success.
  returned: always
  type: list
  elements: dict
  contains:
    found: {description: What was found., type: str}
    expected: {description: What was expected., type: str}
    action: {description: What to do about it., type: str}
  sample:
    - found: /var/lib/gpulab is on /var, which is mounted noexec.
      expected: a directory that programs can be started from, for unpacking the driver.
      action: "'mount -o remount,exec /var', or choose another directory."
host:
  description: The host apart from its GPUs, as M(gpulab.workstation.gpu_info) returns it.
  returned: success
  type: dict
gpu:
  description: GPUs and drivers, as M(gpulab.workstation.gpu_info) returns them.
  returned: success
  type: dict
unreadable:
  description: What could not be read, and why.
  returned: always
  type: list
  elements: dict
"""

import dataclasses
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.gpulab.workstation.plugins.module_utils._host import Host, LocalHost
from ansible_collections.gpulab.workstation.plugins.module_utils._preflight import Need, Wanted, judge
from ansible_collections.gpulab.workstation.plugins.module_utils._refusal import render
from ansible_collections.gpulab.workstation.plugins.module_utils._survey import PLACES, survey, to_json

ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "expect_gpu": {"type": "bool", "default": True},
    "space": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "purpose": {"type": "str", "required": True},
            "path": {"type": "path", "required": True},
            "gigabytes": {"type": "float", "required": True},
            "executable": {"type": "bool", "default": False},
            "alternatives": {"type": "list", "elements": "path", "default": []},
            "unless": {"type": "str", "default": ""},
            "component": {"type": "str"},
        },
    },
    "signing_certificates": {"type": "list", "elements": "path", "default": []},
    "signing_managed": {"type": "bool", "default": False},
    "stack": {"type": "dict"},
}


def run(host: Host, params: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Look at the host and judge it; the same in check mode."""
    needs = tuple(_need(row) for row in params["space"])
    landmarks = [need.unless for need in needs if need.unless]
    places = [*PLACES, *(path for need in needs for path in need.paths)]
    facts = survey(host, places, landmarks, params["signing_certificates"])
    verdict = judge(facts, Wanted(params["expect_gpu"], needs, params["signing_managed"]))
    account = {"refusals": [dataclasses.asdict(refusal) for refusal in verdict.refusals], **to_json(facts)}
    if verdict.refusals:
        account.update(failed=True, msg=render(verdict.refusals))
    return {"changed": False, **account, "remarks": list(verdict.warnings)}


def _need(row: t.Mapping[str, t.Any]) -> Need:
    return Need(
        purpose=row["purpose"],
        path=row["path"],
        gigabytes=row["gigabytes"],
        executable=row["executable"],
        unless=row["unless"],
        alternatives=tuple(row["alternatives"]),
    )


def main() -> None:
    """Look, judge, tell."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    account = run(LocalHost(), module.params)
    for words in account.pop("remarks"):
        module.warn(words)
    if account.pop("failed", False):
        module.fail_json(**account)
    module.exit_json(**account)


if __name__ == "__main__":
    main()
