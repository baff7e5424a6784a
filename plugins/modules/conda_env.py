# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: conda_env
short_description: Install Miniforge and one conda environment from an explicit lock
version_added: 0.1.0
author:
  - gpulab contributors (@gpulab)
description:
  - Installs Miniforge, with conda-forge as the only channel, and an environment that holds exactly the conda packages
    of an explicit lock; every user of the machine can activate it.
  - State is read from C(conda-meta/*.json) and from the files that the records name; conda is not started for that.
    Missing, extra, changed and damaged conda packages are repaired one by one. Packages that pip installed are left
    alone.
  - Every file is fetched and compared with its sha256 before the first change; conda itself runs without network.
  - A Miniconda or Anaconda at the prefix, and the channel C(defaults) in a settings file of the machine, are refused.
    A Miniforge that somebody else installed is used as it is; it is updated where it is older than the installer.
  - The work goes on in a job of its own when the connection is lost; the next call finds it again.
extends_documentation_fragment:
  - gpulab.workstation._attributes
  - gpulab.workstation._attributes.job
options:
  prefix:
    description: Directory of Miniforge; without spaces, and every user must be able to enter the directories above it.
    type: path
    default: /opt/miniforge3
  installer:
    description: Release of the catalogue, as the lookup P(gpulab.workstation.stack#lookup) returns it for V(miniforge).
    type: dict
    required: true
    suboptions:
      version:
        description: Version of the installer, which is conda's version and a build number.
        type: str
        required: true
      file:
        description: Name of the installer.
        type: str
        required: true
      sha256:
        description: Digest of the installer.
        type: str
        required: true
      sources:
        description: Addresses and absolute paths, tried in order.
        type: list
        elements: str
        required: true
      size:
        description: Bytes of the installer, where they are known.
        type: int
      standin:
        description: Whether the installer is the lab's stand-in.
        type: bool
        default: false
  lock:
    description: What the environment holds, as the same lookup returns it for V(conda_lock).
    type: dict
    required: true
    suboptions:
      name:
        description: Name of the lock.
        type: str
      text:
        description:
          - The explicit lock, as C(conda list --explicit --sha256) writes it.
          - Every line needs its C(#sha256:); channels under Anaconda's terms of service are refused.
        type: str
        required: true
      python:
        description: Series of Python that the lock must have, such as V(3.11).
        type: str
      standin:
        description: Whether the packages are the lab's stand-ins.
        type: bool
        default: false
  environment:
    description: Name of the environment, a directory in C(envs) of the prefix.
    type: str
    default: rtx5090
  mirror:
    description:
      - Address or absolute directory of a mirror that has each package as C(CHANNEL/PLATFORM/FILE).
      - It is tried before the lock's own addresses.
    type: str
    default: ""
  channel_alias:
    description: Address below which conda finds the channels when users install packages; empty means conda's own.
    type: str
    default: ""
  cache_directory:
    description: Where files are kept until they are installed.
    type: path
    default: /var/cache/gpulab
"""

EXAMPLES = r"""
- name: Have the environment of the stack
  gpulab.workstation.conda_env:
    installer: "{{ lookup('gpulab.workstation.stack', 'miniforge') }}"
    lock: "{{ lookup('gpulab.workstation.stack', 'conda_lock') }}"

- name: Have it from the lab's mirror, under another name
  gpulab.workstation.conda_env:
    installer: "{{ lookup('gpulab.workstation.stack', 'miniforge') }}"
    lock: "{{ lookup('gpulab.workstation.stack', 'conda_lock') }}"
    environment: images
    mirror: http://mirror.lab.example/conda
"""

RETURN = r"""
prefix:
  description: Directory of Miniforge.
  returned: success
  type: str
  sample: /opt/miniforge3
miniforge:
  description:
    - Version of Miniforge and who put it there.
    - C(owner) is V(ours) or V(adopted), and in check mode also V(absent), V(unfinished) or V(unfinished update).
  returned: success
  type: dict
  sample:
    version: 26.3.2-3
    owner: ours
    standin: false
environment:
  description: Name of the environment.
  returned: success
  type: str
  sample: rtx5090
environment_prefix:
  description: Directory of the environment.
  returned: success
  type: str
  sample: /opt/miniforge3/envs/rtx5090
packages:
  description: Versions of the environment's conda packages.
  returned: success
  type: dict
  sample:
    pip: "26.2"
    python: 3.11.15
steps:
  description: What was done, or in check mode would be.
  returned: success
  type: list
  elements: str
  sample: ["Remove from rtx5090: nodejs-24.1.0-heeeca48_0"]
resumed:
  description: Whether the change was begun by an earlier run.
  returned: success
  type: bool
  sample: false
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.gpulab.workstation.plugins.module_utils._conda_component import CondaEnv
from ansible_collections.gpulab.workstation.plugins.module_utils._converge import JOB_ARGUMENTS, converge

INSTALLER = {
    "version": {"type": "str", "required": True},
    "file": {"type": "str", "required": True},
    "sha256": {"type": "str", "required": True},
    "sources": {"type": "list", "elements": "str", "required": True},
    "size": {"type": "int"},
    "standin": {"type": "bool", "default": False},
}
LOCK = {
    "name": {"type": "str"},
    "text": {"type": "str", "required": True},
    "python": {"type": "str"},
    "standin": {"type": "bool", "default": False},
}
ARGUMENTS = {
    "prefix": {"type": "path", "default": "/opt/miniforge3"},
    "installer": {"type": "dict", "required": True, "options": INSTALLER},
    "lock": {"type": "dict", "required": True, "options": LOCK},
    "environment": {"type": "str", "default": "rtx5090"},
    "mirror": {"type": "str", "default": ""},
    "channel_alias": {"type": "str", "default": ""},
    "cache_directory": {"type": "path", "default": "/var/cache/gpulab"},
    **JOB_ARGUMENTS,
}


def main() -> None:
    """Bring the host to the wanted environment."""
    converge(AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True), CondaEnv)


if __name__ == "__main__":
    main()
