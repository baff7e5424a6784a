# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: diffusion_stack
short_description: Install diffusers and its company from a lock and prove them by a picture
version_added: 0.1.0
author:
  - gpulab contributors (@gpulab)
description:
  - Brings the wheels of a hash lock into an environment that has torch already, as a layer on top of what
    M(gpulab.workstation.torch_stack) did and in the same way. A lock that disagrees with the one below is refused.
  - Then a small pipeline with random weights makes a picture on this host, without any download. It is looked at
    (size, finite, not of one shade) and stays where people can look at it too.
  - The picture is made again when the lock, a package that gpulab installed, the script or the device changes, or when
    it is missing.
  - The work goes on in a job of its own when the connection is lost; the next call finds it again.
extends_documentation_fragment:
  - gpulab.workstation._attributes
  - gpulab.workstation._attributes.job
  - gpulab.workstation._wheel_layer
options:
  script:
    description:
      - Text of the Python program that makes the picture. It is called with C(--image), C(--device) (V(cuda) or
        V(cpu)), C(--size), C(--steps) and C(--seed), and prints one line of JSON with C(device), C(seconds),
        C(finite) and C(versions).
    type: str
    required: true
  image:
    description: Where the picture goes; the note on how it was made lies beside it with the suffix C(.json).
    type: str
    default: /var/lib/gpulab/diffusion/proof.png
  size:
    description: Width and height in pixels.
    type: int
    default: 256
  steps:
    description: Denoising steps.
    type: int
    default: 8
  seed:
    description: Seed of the weights and of the noise.
    type: int
    default: 0
  expect_gpu:
    description: Whether to use the GPU as soon as one and its driver are there. Without one the CPU makes the picture.
    type: bool
    default: true
  attention:
    description:
      - With V(measured) the environment's programs take the attention that M(gpulab.workstation.gpu_verify) measured to
        be the quickest on this host, where another than torch's own choice is more than a tenth quicker and a variable
        chooses it. It is a default; a variable that is set goes before it.
      - With V(own) torch chooses.
    type: str
    choices: [measured, own]
    default: measured
"""

EXAMPLES = r"""
- name: Install the diffusion libraries of the stack
  gpulab.workstation.diffusion_stack:
    env: /opt/miniforge3/envs/rtx5090
    lock: "{{ lookup('gpulab.workstation.stack', 'diffusion').lock }}"
    uv_lock: "{{ lookup('gpulab.workstation.stack', 'uv').lock }}"
    script: "{{ lookup('ansible.builtin.file', 'tiny_pipeline.py') }}"
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
  sample: {diffusers: 0.40.0, transformers: 5.5.4}
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
proof:
  description:
    - Outcome (V(pass) or V(not_proven)) and why, the picture with its digest, the device that made it, how long that
      took once everything was loaded, the versions in use and the digest of the lock.
  returned: success
  type: dict
  sample:
    outcome: pass
    why: made on the CPU, because this host is said to have no GPU
    image: /var/lib/gpulab/diffusion/proof.png
    device: cpu
    seconds: 0.902
    finite: true
    versions: {torch: 2.9.1, diffusers: 0.40.0, transformers: 5.5.4}
steps:
  description: What was done, or in check mode would be.
  returned: success
  type: list
  elements: str
  sample: ["Install diffusers 0.40.0, transformers 5.5.4, accelerate 1.12.0, annotated-doc 0.0.7 and 34 more"]
resumed:
  description: Whether the change was begun by an earlier run.
  returned: success
  type: bool
  sample: false
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.gpulab.workstation.plugins.module_utils._converge import JOB_ARGUMENTS, converge
from ansible_collections.gpulab.workstation.plugins.module_utils._diffusion_component import DiffusionComponent
from ansible_collections.gpulab.workstation.plugins.module_utils._wheel_layer import LAYER_ARGUMENTS

ARGUMENTS = {
    **LAYER_ARGUMENTS,
    "script": {"type": "str", "required": True},
    "image": {"type": "str", "default": "/var/lib/gpulab/diffusion/proof.png"},
    "size": {"type": "int", "default": 256},
    "steps": {"type": "int", "default": 8},
    "seed": {"type": "int", "default": 0},
    "expect_gpu": {"type": "bool", "default": True},
    "attention": {"type": "str", "choices": ["measured", "own"], "default": "measured"},
    **JOB_ARGUMENTS,
}


def main() -> None:
    """Bring the environment to the lock and make the picture."""
    converge(AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True), DiffusionComponent)


if __name__ == "__main__":
    main()
