# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: cuda_toolkit
short_description: Install CUDA toolkits side by side from NVIDIA's runfiles
version_added: 0.1.0
author:
  - gpulab contributors (@gpulab)
description:
  - Installs the toolkit, and only the toolkit, of each wanted release in C(/usr/local/cuda-X.Y), and points
    C(/usr/local/cuda), the linker and every user's C(PATH) to the default one.
  - What is installed is judged by C(version.json), by running C(nvcc) and C(ptxas) and by the files that compiling
    needs. The installer's exit status is never enough.
  - The NVIDIA driver is looked at before and after; the module fails when it changed.
  - A toolkit that this module did not make is used where it is the wanted release, and otherwise left alone with an
    error.
  - The work goes on in a job of its own when the connection is lost; the next call finds it again.
extends_documentation_fragment:
  - gpulab.workstation._attributes
  - gpulab.workstation._attributes.job
options:
  releases:
    description:
      - Releases of the catalogue, as the lookup P(gpulab.workstation.stack#lookup) returns them for V(cuda).
    type: list
    elements: dict
    required: true
    suboptions:
      version:
        description: Version of three numbers.
        type: str
        required: true
      state:
        description: Overrides O(state) for this release.
        type: str
        choices: [present, absent]
      file:
        description: Name of the runfile; needed unless the release is to be absent.
        type: str
      sha256:
        description: Digest of the runfile; needed unless the release is to be absent.
        type: str
      sources:
        description: Addresses and absolute paths, tried in order; needed unless the release is to be absent.
        type: list
        elements: str
      size:
        description: Bytes of the runfile, where they are known.
        type: int
      bundled_driver:
        description: Version of the driver in the runfile, which is never installed.
        type: str
      build:
        description:
          - What C(version.json) of the runfile calls the release, its series and a date as V(12.9.20250531).
          - Without it any date of the series will do.
        type: str
      standin:
        description: Whether the runfile is the lab's stand-in, which carries other tools than its name says.
        type: bool
        default: false
      carries:
        description: Version of the tools in a stand-in. Without it the stand-in's own statement is taken.
        type: str
      tmp_bytes:
        description: Bytes that the unpacked runfile takes. Without it 8 GB, for a stand-in eight times its size.
        type: int
      target_bytes:
        description: Bytes that the toolkit takes. Without it 10 GB, for a stand-in eight times its size.
        type: int
  state:
    description: Whether the releases should be there.
    type: str
    choices: [present, absent]
    default: present
  default:
    description: Version that C(/usr/local/cuda) leads to. Empty means the first of the present ones.
    type: str
    default: ""
  packages:
    description: Packages of the distribution that the installer and nvcc need.
    type: list
    elements: str
    default: [libxml2, g++]
  cache_directory:
    description: Where runfiles are kept while they are needed.
    type: path
    default: /var/cache/gpulab
  work_directory:
    description: Where the installer unpacks itself; must not be mounted noexec. It is removed afterwards.
    type: path
    default: /var/lib/gpulab/cuda_toolkit/work
  keep_runfile:
    description: Whether the runfile stays in the cache after the installation.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Install the toolkit of the stack
  gpulab.workstation.cuda_toolkit:
    releases:
      - "{{ lookup('gpulab.workstation.stack', 'cuda') }}"

- name: Remove an older one
  gpulab.workstation.cuda_toolkit:
    releases:
      - version: 12.8.1
        state: absent
"""

RETURN = r"""
toolkits:
  description: Every toolkit under C(/usr/local), also those that are none of this module's business.
  returned: success
  type: list
  elements: dict
  sample:
    - version: 12.9.1
      path: /usr/local/cuda-12.9
      nvcc: 12.9.86
      ptxas: 12.9.86
      missing: []
      standin: false
      owner: gpulab
default:
  description: Directory that C(/usr/local/cuda) leads to, null where there is no link.
  returned: success
  type: str
  sample: /usr/local/cuda-12.9
steps:
  description: What was done, or in check mode would be.
  returned: success
  type: list
  elements: str
  sample: ["Fetch cuda_12.9.1_575.57.08_linux.run", "Install CUDA 12.9.1 in /usr/local/cuda-12.9"]
resumed:
  description: Whether the change was begun by an earlier run.
  returned: success
  type: bool
  sample: false
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.gpulab.workstation.plugins.module_utils._converge import JOB_ARGUMENTS, converge
from ansible_collections.gpulab.workstation.plugins.module_utils._cuda_toolkit_component import CudaToolkit

RELEASE = {
    "version": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "absent"]},
    "file": {"type": "str"},
    "sha256": {"type": "str"},
    "sources": {"type": "list", "elements": "str"},
    "size": {"type": "int"},
    "bundled_driver": {"type": "str"},
    "build": {"type": "str"},
    "standin": {"type": "bool", "default": False},
    "carries": {"type": "str"},
    "tmp_bytes": {"type": "int"},
    "target_bytes": {"type": "int"},
}
ARGUMENTS = {
    "releases": {"type": "list", "elements": "dict", "required": True, "options": RELEASE},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "default": {"type": "str", "default": ""},
    "packages": {"type": "list", "elements": "str", "default": ["libxml2", "g++"]},
    "cache_directory": {"type": "path", "default": "/var/cache/gpulab"},
    "work_directory": {"type": "path", "default": "/var/lib/gpulab/cuda_toolkit/work"},
    "keep_runfile": {"type": "bool", "default": False},
    **JOB_ARGUMENTS,
}


def main() -> None:
    """Bring the host to the wanted toolkits."""
    converge(AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True), CudaToolkit)


if __name__ == "__main__":
    main()
