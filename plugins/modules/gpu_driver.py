# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gpu_driver
short_description: Install or remove the NVIDIA driver from NVIDIA's .run
version_added: 0.1.0
author:
  - gpulab contributors (@gpulab)
description:
  - Installs a driver with its kernel modules for every installed kernel (DKMS), replaces whatever driver was there, and
    keeps nouveau, nova, apt and unattended-upgrades away from it.
  - What is installed is judged by the loaded module, C(modinfo) and DKMS for each kernel, the libraries that the linker
    finds, the firmware, C(nvidia-installer --sanity) and a mark that this module leaves after it has proven an
    installation. Exit status 0 of nvidia-installer is never enough.
  - Everything that speaks against the change is told at once, before the first change.
  - The old driver goes only after the new modules could be built for each kernel. Where anything fails after that, the
    old driver is put back from a copy on the host, and the module fails with words that say so.
  - The work goes on in a job of its own when the connection is lost; the next call finds it again.
extends_documentation_fragment:
  - gpulab.workstation._attributes
  - gpulab.workstation._attributes.job
options:
  state:
    description:
      - Whether a driver should be there; V(absent) removes one from a .run with all that belongs to it.
      - V(settled) looks after a driver that waited for a restart, as the role P(gpulab.workstation.host_restart#role)
        does after it - it is loaded, or the former one is put back. It needs no O(release) and does nothing elsewhere.
    type: str
    choices: [present, absent, settled]
    default: present
  release:
    description:
      - Release of the catalogue, as the lookup P(gpulab.workstation.stack#lookup) returns it for V(driver).
      - Needed for O(state=present).
    type: dict
    suboptions:
      version:
        description: Version, as NVIDIA writes it.
        type: str
        required: true
      flavour:
        description: Flavour of the kernel modules.
        type: str
        choices: [open, proprietary]
      file:
        description: Name of the .run.
        type: str
        required: true
      size:
        description: Bytes of the .run, where they are known.
        type: int
      sha256:
        description: Digest of the .run; no other file is ever started.
        type: str
        required: true
      sources:
        description: Addresses and absolute paths, tried in order.
        type: list
        elements: str
        required: true
      standin:
        description: Whether the .run is the lab's stand-in, which drives no GPU.
        type: bool
        default: false
  flavour:
    description: Flavour of the kernel modules, if not that of the release. Blackwell cards need V(open).
    type: str
    choices: [open, proprietary]
  cache_directory:
    description: Where the .run is kept.
    type: path
    default: /var/cache/gpulab
  work_directories:
    description:
      - Where the .run may be unpacked; the first one is taken that is not mounted noexec and has the space (eight
        times the .run). Only root should be able to write there.
    type: list
    elements: path
    default: [/var/cache/gpulab, /opt, /usr/local/src, /root]
  replace_distro_driver:
    description: Whether packages of a driver are purged, by exact name. Without it their presence is refused.
    type: bool
    default: true
  allow_running:
    description:
      - Whether to install although the loaded module is in use, beside it. The host has to be restarted afterwards.
    type: bool
    default: false
  wait_minutes:
    description:
      - Minutes that the action plugin waits for GPU processes, the desktop and logged-in users to be gone, where they
        are all that is in the way, before it refuses or, with O(allow_running), installs beside the loaded module.
      - The host is looked at every 15 seconds and not changed meanwhile. Check mode does not wait.
    type: int
    default: 0
  signing_key:
    description: Private key on the host to sign the modules with; only together with O(signing_certificate).
    type: path
  signing_certificate:
    description: Certificate (DER) on the host that belongs to O(signing_key).
    type: path
  module_options:
    description: Options of kernel modules by module and name, modprobe.d(5).
    type: dict
    default:
      nvidia-drm:
        modeset: 1
  persistenced:
    description: Whether nvidia-persistenced is enabled; needs systemd.
    type: bool
    default: true
  hold_packages:
    description: Whether apt and unattended-upgrades are kept from installing another driver.
    type: bool
    default: true
  compat32:
    description: Whether the 32-bit libraries are installed too.
    type: bool
    default: false
  ignored_kernels:
    description: Releases of installed kernels that need no module.
    type: list
    elements: str
    default: []
  retry:
    description: Whether a driver is tried again that has failed on this host after a restart.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Install the driver of the stack
  gpulab.workstation.gpu_driver:
    release: "{{ lookup('gpulab.workstation.stack', 'driver') }}"

- name: Give those who work on the machine two hours to be done
  gpulab.workstation.gpu_driver:
    release: "{{ lookup('gpulab.workstation.stack', 'driver') }}"
    wait_minutes: 120
  timeout: 14400

- name: Let suspended programs keep their memory on the card
  gpulab.workstation.gpu_driver:
    release: "{{ lookup('gpulab.workstation.stack', 'driver') }}"
    module_options:
      nvidia-drm: {modeset: 1}
      nvidia:
        NVreg_PreserveVideoMemoryAllocations: 1
        NVreg_TemporaryFilePath: /var/tmp

- name: Remove it
  gpulab.workstation.gpu_driver:
    state: absent
"""

RETURN = r"""
driver:
  description: The driver as it is found after the change.
  returned: success
  type: dict
  contains:
    installed_version:
      description: Version that nvidia-installer has recorded, null where there is none.
      type: str
    loaded_version:
      description: Version of the loaded module, null where none is loaded.
      type: str
    loaded_flavour:
      description: Flavour of the loaded module.
      type: str
    kernels:
      description: Each installed kernel with the version, the flavour and the signer of the module it would load.
      type: list
      elements: dict
    libraries:
      description: Versions of the libraries that the linker finds.
      type: dict
    standin:
      description: Whether the wanted release is the lab's stand-in.
      type: bool
  sample:
    installed_version: 580.178.04
    loaded_version: 580.178.04
    loaded_flavour: open
    kernels: [{kernel: 6.8.0-51-generic, version: 580.178.04, flavour: open, signer: ""}]
    libraries: {libcuda.so.1: 580.178.04, libnvidia-ml.so.1: 580.178.04}
    standin: false
transaction:
  description: The account of the last change of the driver, null where there has been none.
  returned: success
  type: dict
  contains:
    phase:
      description: One of replacing, installed (waits for a restart), done, rolling_back, rolled_back and failed.
      type: str
    target:
      description: The driver that was to be installed.
      type: dict
    origin:
      description: The driver that would be put back, null where there is none.
      type: dict
    why:
      description: What has failed.
      type: str
    put_back:
      description: Version of the driver that was put back.
      type: str
    events:
      description: Every phase with the time in seconds since the epoch and, where it is not plain, the reason.
      type: list
      elements: dict
  sample: {phase: done, target: {version: 580.178.04, flavour: open}, origin: null, why: "", put_back: "", events: []}
notes:
  description: What could not be read or set up on this host, and why.
  returned: success
  type: list
  elements: str
  sample: ["nvidia-persistenced is not set up: systemd does not run this host"]
steps:
  description: What was done, or in check mode would be.
  returned: success
  type: list
  elements: str
  sample: ["Fetch NVIDIA-Linux-x86_64-580.178.04.run and check its sha256"]
reboot_reasons:
  description: Why the host has to be restarted; empty where it need not. C(host_restart) acts on it.
  returned: success
  type: list
  elements: str
  sample: ["nouveau is loaded and holds 0000:01:00.0"]
blockers:
  description:
    - What is in the way. C(kind) is gpu_process, desktop or user, which pass, or host for everything that stays.
  returned: when the change is refused before anything was done
  type: list
  elements: dict
  sample: [{kind: gpu_process, words: "python3 (pid 4711, ada)", yields_to_force: true}]
resumed:
  description: Whether the change was begun by an earlier run.
  returned: success
  type: bool
  sample: false
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.gpulab.workstation.plugins.module_utils._converge import JOB_ARGUMENTS, converge
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_component import DriverComponent, SettledDriver

RELEASE = {
    "version": {"type": "str", "required": True},
    "flavour": {"type": "str", "choices": ["open", "proprietary"]},
    "file": {"type": "str", "required": True},
    "size": {"type": "int"},
    "sha256": {"type": "str", "required": True},
    "sources": {"type": "list", "elements": "str", "required": True},
    "standin": {"type": "bool", "default": False},
}
ARGUMENTS = {
    "state": {"type": "str", "choices": ["present", "absent", "settled"], "default": "present"},
    "release": {"type": "dict", "options": RELEASE},
    "flavour": {"type": "str", "choices": ["open", "proprietary"]},
    "cache_directory": {"type": "path", "default": "/var/cache/gpulab"},
    "work_directories": {
        "type": "list",
        "elements": "path",
        "default": ["/var/cache/gpulab", "/opt", "/usr/local/src", "/root"],
    },
    "replace_distro_driver": {"type": "bool", "default": True},
    "allow_running": {"type": "bool", "default": False},
    "wait_minutes": {"type": "int", "default": 0},
    "signing_key": {"type": "path", "no_log": False},  # a path; the key itself stays on the host
    "signing_certificate": {"type": "path"},
    "module_options": {"type": "dict", "default": {"nvidia-drm": {"modeset": 1}}},
    "persistenced": {"type": "bool", "default": True},
    "hold_packages": {"type": "bool", "default": True},
    "compat32": {"type": "bool", "default": False},
    "ignored_kernels": {"type": "list", "elements": "str", "default": []},
    "retry": {"type": "bool", "default": False},
    **JOB_ARGUMENTS,
}


def main() -> None:
    """Bring the host to the wanted driver."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    converge(module, SettledDriver if module.params["state"] == "settled" else DriverComponent)


if __name__ == "__main__":
    main()
