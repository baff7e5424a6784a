# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Load the driver's modules, the only proof that the running kernel takes them."""

from __future__ import annotations

from ansible_collections.gpulab.workstation.plugins.module_utils._driver_steps import last_words
from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._gpu_facts import parse_nvrm_version
from ansible_collections.gpulab.workstation.plugins.module_utils._host import Host


def load_module(host: Host, version: str, log: str) -> None:
    """Load the modules, and see that they are those of the version that is on disk."""
    for module in ("nvidia", "nvidia-uvm", "nvidia-drm"):
        done = host.run(["modprobe", module], timeout_s=120, log=log)
        if not done.ok:
            raise OperatorError(
                found=f"'modprobe {module}' ended with {done.rc}: {last_words(done)}.",
                expected="the module to be taken by the running kernel and to find the card.",
                action="read the end of 'dmesg'; 'Key was rejected' means Secure Boot, 'No such device' a card that"
                " this driver or this flavour of its modules does not drive.",
            )
    loaded = parse_nvrm_version(host.read_text("/proc/driver/nvidia/version") or "")
    if loaded and loaded.version != version:
        raise OperatorError(
            found=f"after 'modprobe nvidia' driver {loaded.version} is loaded.",
            expected=f"driver {version}, which is on disk.",
            action="look for a second module with 'modinfo nvidia' and 'find /lib/modules -name \"nvidia.ko*\"'.",
        )


__all__ = ["load_module"]
