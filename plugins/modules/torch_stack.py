# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: torch_stack
short_description: Install torch and its family from a lock and prove their machine code
version_added: 0.1.0
author:
  - gpulab contributors (@gpulab)
description:
  - Brings the wheels of a hash lock into a Python environment with uv, and back to it when a plugin has replaced or
    damaged one of them. Packages that are not in the lock are left alone.
  - What is installed is judged by the wheels' own records and by the size of every file, and is compared with what
    was noted when it was installed. Nothing is imported for that.
  - Later pip and uv commands in the environment are kept to the lock by constraints.
  - The machine code of the libraries is read from the files. With a GPU a kernel is launched as well, with PTX
    compilation disabled. What could not be proven is reported as V(not_proven), with the reason.
  - The work goes on in a job of its own when the connection is lost; the next call finds it again.
extends_documentation_fragment:
  - gpulab.workstation._attributes
  - gpulab.workstation._attributes.job
  - gpulab.workstation._wheel_layer
options:
  cuda:
    description:
      - CUDA release for which torch, torchvision and torchaudio must have been built. Empty means any.
      - The number of a torch release does not say it; V(2.9.1) and V(2.9.1+cu128) may be the same wheel, V(2.7.1) and
        V(2.7.1+cu128) are not.
    type: str
    default: ""
  arch:
    description: Compute capability of the GPU.
    type: str
    default: "12.0"
  native_packages:
    description:
      - Packages that must be in the lock and must have machine code for O(arch) in every library with kernels.
      - Of torch, torchvision and torchaudio those that the lock has are looked at in any case.
    type: list
    elements: str
    default: [torch]
  expect_gpu:
    description: Whether to launch a kernel as soon as a GPU and its driver are there.
    type: bool
    default: true
"""

EXAMPLES = r"""
- name: Install the torch of the stack
  gpulab.workstation.torch_stack:
    env: /opt/miniforge3/envs/rtx5090
    lock: "{{ lookup('gpulab.workstation.stack', 'torch').lock }}"
    uv_lock: "{{ lookup('gpulab.workstation.stack', 'uv').lock }}"
    cuda: "12.8"

- name: The same wheels in a second environment, which costs seconds and no disk space
  gpulab.workstation.torch_stack:
    env: /opt/miniforge3/envs/comfyui
    lock: "{{ lookup('gpulab.workstation.stack', 'torch').lock }}"
    uv_lock: "{{ lookup('gpulab.workstation.stack', 'uv').lock }}"
"""

RETURN = r"""
env:
  description: Directory of the environment.
  returned: success
  type: str
  sample: /opt/miniforge3/envs/rtx5090
packages:
  description: Version of every installed package of the lock.
  returned: success
  type: dict
  sample: {torch: 2.9.1, torchvision: 0.24.1}
lock_sha256:
  description: Digest of the lock's content, whatever its comments and order.
  returned: success
  type: str
  sample: 0d2c8d7d0c7a1c8c7f1c5a5f2f1d3f7f0e9c0d1b2a39485766554433221100ff
uv_version:
  description: Version of uv in C(/opt/gpulab/uv), empty where there is none.
  returned: success
  type: str
  sample: 0.13.9
cache:
  description: Directory of the cache, and whether environments share its files.
  returned: success
  type: dict
  sample: {path: /var/cache/gpulab/uv, shared: true}
arch:
  description: The wanted machine code.
  returned: success
  type: str
  sample: sm_120
native_code:
  description:
    - For each package with kernels the outcome (V(pass), V(fail), V(not_proven)), why, and the pieces of device code in
      each library.
  returned: success
  type: dict
  sample:
    torchaudio: {outcome: pass, why: "", libraries: {torchaudio/lib/libtorchaudio.so: {sm_90: 5, sm_120: 5}}}
torch:
  description: What torch said about itself when it was imported after the last change; empty where the lock has none.
  returned: success
  type: dict
  sample: {version: 2.9.1+cu128, cuda: "12.8", arch_flags: sm_70 sm_75 sm_80 sm_86 sm_90 sm_100 sm_120, devices: []}
kernel_launch:
  description: Outcome of launching a kernel on every GPU without PTX, why, and the GPUs.
  returned: success
  type: dict
  sample: {outcome: not_proven, why: no NVIDIA driver with a GPU is loaded, devices: []}
steps:
  description: What was done, or in check mode would be.
  returned: success
  type: list
  elements: str
  sample: ["Bring uv 0.13.9", "Install torch 2.9.1, torchaudio 2.9.1, torchvision 0.24.1, filelock 4.2.11 and 25 more"]
resumed:
  description: Whether the change was begun by an earlier run.
  returned: success
  type: bool
  sample: false
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.gpulab.workstation.plugins.module_utils._converge import JOB_ARGUMENTS, converge
from ansible_collections.gpulab.workstation.plugins.module_utils._torch_component import TorchComponent
from ansible_collections.gpulab.workstation.plugins.module_utils._wheel_layer import LAYER_ARGUMENTS

ARGUMENTS = {
    **LAYER_ARGUMENTS,
    "cuda": {"type": "str", "default": ""},
    "arch": {"type": "str", "default": "12.0"},
    "native_packages": {"type": "list", "elements": "str", "default": ["torch"]},
    "expect_gpu": {"type": "bool", "default": True},
    **JOB_ARGUMENTS,
}


def main() -> None:
    """Bring the environment to the lock."""
    converge(AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True), TorchComponent)


if __name__ == "__main__":
    main()
