# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gpu_info
short_description: Reads everything about the GPUs, the NVIDIA driver and the host in one call
description:
  - Reads PCI devices, drivers (loaded, on disk for each kernel, in user space), kernels, Secure Boot, disks, users and
    processes that use a GPU. Needs no tool beyond the base system; C(lspci), C(sudo) and C(systemd) may be missing.
  - What cannot be read is listed in RV(unreadable) and is then neither known to be there nor known to be absent.
version_added: "0.1.0"
author:
  - gpulab contributors (@gpulab)
options:
  paths:
    description:
      - Directories whose file system (free space, mount options) is looked at; they need not exist yet.
    type: list
    elements: path
    default: [/, /boot, /opt, /tmp, /usr, /usr/local, /var, /var/cache/gpulab, /var/lib/gpulab]
extends_documentation_fragment:
  - gpulab.workstation._attributes
  - gpulab.workstation._attributes.info
seealso:
  - module: gpulab.workstation.host_preflight
"""

EXAMPLES = r"""
- name: Look at the GPUs of a host
  gpulab.workstation.gpu_info:
  register: found

- name: Show the version of the loaded driver
  ansible.builtin.debug:
    msg: "{{ found.gpu.driver_loaded.version | default('none') }}"
"""

RETURN = r"""
host:
  description: The host apart from its GPUs.
  returned: always
  type: dict
  contains:
    os:
      description: C(id), C(version) and C(name) from /etc/os-release.
      type: dict
      sample: {id: debian, version: "12", name: Debian GNU/Linux 12 (bookworm)}
    architecture: {description: What C(uname -m) says., type: str, sample: x86_64}
    python: {description: Version of the Python that runs the module., type: str, sample: 3.11.2}
    user: {description: User the module runs as., type: str, sample: root}
    root: {description: Whether that user is root., type: bool}
    clock: {description: The host's time in UTC., type: str, sample: "2026-11-23T00:30:08Z"}
    machine:
      description: C(kind) is container, vm, bare_metal or unknown; C(name) is the engine, hypervisor or product.
      type: dict
      sample: {kind: container, name: podman}
    glibc: {description: Version of the C library., type: str, sample: "2.36"}
    running_kernel: {description: Release of the running kernel., type: str, sample: 6.1.0-41-amd64}
    kernels:
      description:
        - Kernels that can boot, with C(image) (is there a /boot/vmlinuz), C(headers) (their directory or null) and
          C(compiler) (CONFIG_CC_VERSION_TEXT, the compiler that the kernel was built with).
      type: list
      elements: dict
    gcc: {description: Version of gcc or null., type: str, sample: 12.2.0}
    gcc_majors: {description: Major version of every gcc there is., type: list, elements: int, sample: [12]}
    secure_boot:
      description: C(state) is on, off, not_uefi or unreadable; C(keys) are certificates and whether they are enrolled.
      type: dict
      sample: {state: "off", detail: EFI variable, keys: []}
    places:
      description: The file system of each of O(paths), sizes in bytes.
      type: list
      elements: dict
    sessions:
      description: Logged-in users; C(own) marks the session that the module runs in.
      type: list
      elements: dict
    display_manager: {description: Configured display manager or null., type: str, sample: gdm3}
    desktop_running: {description: Whether an X server or the display manager runs., type: bool}
    tools: {description: Those of systemd and a few tools that are there., type: list, elements: str}
    landmarks: {description: Always empty; used by M(gpulab.workstation.host_preflight)., type: list, elements: str}
gpu:
  description: GPUs and drivers.
  returned: always
  type: dict
  contains:
    devices:
      description:
        - PCI display controllers of every vendor. Ids are hex digits without prefix, C(class_code) is 0300 or 0302 for
          a GPU that the NVIDIA driver would drive, C(driver) is the bound kernel driver, C(bar1_bytes) the aperture
          onto video memory, C(link) the PCIe link (idle links are slow by design). C(model) and C(uuid) are known
          while a driver is loaded.
      type: list
      elements: dict
    driver_loaded:
      description: C(version) and C(flavour) (open, proprietary, unknown) of the loaded driver, or null.
      type: dict
    driver_on_disk:
      description: The module that modprobe would load, for each kernel that has one.
      type: list
      elements: dict
    libraries:
      description: The driver's libraries as the dynamic linker finds them, with the version in their file names.
      type: list
      elements: dict
    conflicting:
      description: Loaded kernel drivers that take NVIDIA cards away (nouveau, nova), with the cards they drive.
      type: list
      elements: dict
    packages:
      description: Installed packages of the distribution that are part of an NVIDIA driver.
      type: list
      elements: dict
    processes:
      description: Processes that have an NVIDIA device open; C(kind) is job, display or service.
      type: list
      elements: dict
unreadable:
  description: What could not be read, and why.
  returned: always
  type: list
  elements: dict
  sample: [{what: logged-in users, why: neither systemd-logind nor /run/utmp is there}]
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.gpulab.workstation.plugins.module_utils._host import LocalHost
from ansible_collections.gpulab.workstation.plugins.module_utils._survey import PLACES, survey, to_json


def main() -> None:
    """Read and tell."""
    module = AnsibleModule(
        argument_spec={"paths": {"type": "list", "elements": "path", "default": list(PLACES)}},
        supports_check_mode=True,
    )
    module.exit_json(changed=False, **to_json(survey(LocalHost(), module.params["paths"])))


if __name__ == "__main__":
    main()
