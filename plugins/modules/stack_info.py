# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: stack_info
short_description: Resolve a stack of the catalogue and judge it
version_added: 0.1.0
author: gpulab contributors (@gpulab)
description:
  - Looks up a stack and checks it as a whole against the rules of driver, CUDA, kernel, glibc, gcc, torch, xformers,
    Python, GPU and system, on its own or for the facts of one host.
  - Changes nothing. A broken rule is a finding in the result, not a failure of the module.
extends_documentation_fragment:
  - gpulab.workstation._attributes
  - gpulab.workstation._attributes.info
options:
  stack:
    description: Name of a stack of the catalogue.
    type: str
    default: cu128
  overrides:
    description:
      - Values that replace the stack's.
      - Keys are V(driver.version), V(driver.flavour), V(cuda.version), V(torch.version), V(torch.index),
        V(torchvision.version), V(torchaudio.version), V(xformers.version), V(python.version) and V(arch).
    type: dict
    default: {}
  host_facts:
    description:
      - Facts of a host, all optional; what is left out is not judged.
      - Keys are V(distribution) and V(distribution_version) (V(Ubuntu) and V(24.04)), V(architecture) (V(x86_64)),
        V(glibc) (V(2.39)), V(gcc) (V(13.3.0)), V(kernels) (a list of releases such as V(6.8.0-51-generic)),
        V(pci_ids) (a list such as V(10de:2b85)) and V(driver_flavour) (V(open) or V(proprietary)).
      - Give V(driver_flavour) only where the kernel modules in use are not going to be replaced.
    type: dict
    default: {}
  overlay:
    description: Directory with further catalogue files; only where the module runs in a checkout of the project.
    type: path
  catalogue:
    description:
      - Parsed files of the catalogue, as C(catalogue) of the lookup's V(stack) component holds them.
      - Left out, the files of the checkout that the module runs in are read, which needs PyYAML.
    type: dict
"""

EXAMPLES = r"""
- name: Judge a newer driver for the hosts of a site
  gpulab.workstation.stack_info:
    stack: cu128
    overrides:
      driver.version: "595.104.02"
    host_facts:
      kernels: [6.8.0-51-generic]
    catalogue: "{{ lookup('gpulab.workstation.stack', 'stack')['catalogue'] }}"
  register: judged
"""

RETURN = r"""
stack:
  description: Name of the stack.
  returned: always
  type: str
  sample: cu128
valid:
  description: Whether it breaks no rule.
  returned: always
  type: bool
  sample: true
values:
  description: Everything that the stack chooses, by key; empty when something chosen is unknown.
  returned: always
  type: dict
  sample: {driver.version: "580.178.04", driver.flavour: open, cuda.version: "12.9.1"}
files:
  description: The files that the stack fetches, with the records in which the sha256 was seen.
  returned: always
  type: list
  elements: dict
  sample:
    - component: miniforge
      file: Miniforge3-26.3.2-3-Linux-x86_64.sh
      sha256: 848194851a98903134187fbb4ab50efe87b003e0c0f808f97644b7524a62bf2c
      size: null
      seen: ["four independent public installers that pin this file, read 2026-11-22"]
      sources: [https://github.com/conda-forge/miniforge/releases/download/26.3.2-3/Miniforge3-26.3.2-3-Linux-x86_64.sh]
      standin: false
standins:
  description: Components for which the lab stands in.
  returned: always
  type: list
  elements: str
  sample: []
findings:
  description: Every broken rule.
  returned: always
  type: list
  elements: dict
  sample:
    - rule: cuda-driver
      sentence: Code that nvcc makes runs natively only on the toolkit's own driver or a newer one.
      found: driver 570.144 with CUDA 12.9.1
      expected: driver 575.57.08 or newer for CUDA 12.9.1
      nearest: driver.version=575.57.08
      source: CUDA release notes, CUDA Toolkit and Minimum Required Driver Version
stacks:
  description: Names of all stacks.
  returned: always
  type: list
  elements: str
  sample: [cu128, cu130]
"""

import typing as t
from dataclasses import asdict

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ansible_collections.gpulab.workstation.plugins.module_utils._catalogue_reader import read_catalogue
from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._releases import Catalogue, Release
from ansible_collections.gpulab.workstation.plugins.module_utils._rules import judge
from ansible_collections.gpulab.workstation.plugins.module_utils._stack import Stack

ARGUMENTS: dict[str, t.Any] = {
    "stack": {"type": "str", "default": "cu128"},
    "overrides": {"type": "dict", "default": {}},
    "host_facts": {"type": "dict", "default": {}},
    "overlay": {"type": "path"},
    "catalogue": {"type": "dict"},
}


def main() -> None:
    """Judge the stack and return what was found."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    params = module.params
    try:
        catalogue = read_catalogue(params["catalogue"]) if params["catalogue"] else _own_catalogue(module)
        verdict = judge(catalogue, params["stack"], params["overrides"], params["host_facts"])
    except OperatorError as error:
        module.fail_json(msg=str(error), found=error.found, expected=error.expected, action=error.action)
    module.exit_json(
        changed=False,
        stack=params["stack"],
        valid=not verdict.findings,
        values=verdict.stack.values() if verdict.stack else {},
        files=_files(verdict.stack) if verdict.stack else [],
        standins=_standins(verdict.stack) if verdict.stack else [],
        findings=[asdict(finding) for finding in verdict.findings],
        stacks=sorted(catalogue.stacks),
    )


def _own_catalogue(module: AnsibleModule) -> Catalogue:
    """Read the files of the checkout; a module that was sent to a host has none and must be given the catalogue."""
    try:
        # Not a module_util: it is there in a checkout and absent in what Ansible sends to a host.
        from ansible_collections.gpulab.workstation.plugins.plugin_utils._catalogue import load_catalogue  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if error.name == "yaml":
            module.fail_json(msg=missing_required_lib("PyYAML"))
        raise OperatorError(
            found="no option catalogue was given, and the module does not run in a checkout of the project.",
            expected="the parsed catalogue.",
            action="add \"catalogue: {{ lookup('gpulab.workstation.stack', 'stack')['catalogue'] }}\" to the task.",
        ) from error
    return load_catalogue(module.params["overlay"])


def _artefacts(stack: Stack) -> dict[str, Release]:
    return {"driver": stack.driver.artefact, "cuda": stack.cuda.artefact, "miniforge": stack.miniforge}


def _files(stack: Stack) -> list[dict[str, t.Any]]:
    return [
        {
            "component": name,
            "file": file.file,
            "sha256": file.sha256,
            "size": file.size,
            "seen": list(file.seen),
            "sources": list(file.sources),
            "standin": file.standin,
        }
        for name, file in _artefacts(stack).items()
    ]


def _standins(stack: Stack) -> list[str]:
    return sorted([*(name for name, file in _artefacts(stack).items() if file.standin), *stack.standins])


if __name__ == "__main__":
    main()
