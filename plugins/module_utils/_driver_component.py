# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The NVIDIA driver as a component: read, plan, apply."""

from __future__ import annotations

import typing as t

from ansible_collections.gpulab.workstation.plugins.module_utils import _apt
from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_findings as findings
from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_run as run
from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_steps as steps
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_plan import WORK, plan_driver
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_reader import read_driver
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_state import DriverState
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_wanted import Wanted, wanted_from_params
from ansible_collections.gpulab.workstation.plugins.module_utils._fetch import Progress
from ansible_collections.gpulab.workstation.plugins.module_utils._host import Host
from ansible_collections.gpulab.workstation.plugins.module_utils._job import log_path
from ansible_collections.gpulab.workstation.plugins.module_utils._plan import Plan, Step

Change = t.Callable[[t.Mapping[str, t.Any]], None]


class DriverComponent:
    """Brings the driver of a host to what is wanted, or removes it."""

    name = "gpu_driver"

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted

    @classmethod
    def from_params(cls, params: t.Mapping[str, t.Any]) -> DriverComponent:
        """Take the wanted driver from the module's parameters."""
        return cls(wanted_from_params(params))

    def read(self, host: Host) -> DriverState:
        """Read every layer of the driver."""
        return read_driver(host, self.wanted)

    def plan(self, state: DriverState) -> Plan:
        """Decide what has to be done."""
        return plan_driver(state, self.wanted)

    def apply(self, host: Host, step: Step, progress: Progress) -> None:
        """Make one change; the unpacked driver is removed after the last step and after a failure."""
        done = False
        try:
            self._changes(host, progress)[step.action](step.params)
            done = step.action != "prove"
        finally:
            if not done:
                for directory in self.wanted.work_directories:
                    host.remove(f"{directory}/{WORK}")

    def report(self, state: DriverState) -> dict[str, t.Any]:
        """Return what the module returns about the driver."""
        described = findings.describe(state)
        loaded = state.gpu.driver_loaded
        return {
            "driver": {
                "installed_version": described["installed"],
                "loaded_version": loaded.version if loaded else None,
                "loaded_flavour": loaded.flavour if loaded else None,
                "kernels": [
                    {
                        "kernel": kernel.release,
                        "version": kernel.module.version if kernel.module else None,
                        "flavour": kernel.module.flavour if kernel.module else None,
                        "signer": kernel.module.signer if kernel.module else "",
                    }
                    for kernel in state.kernels
                ],
                "libraries": described["libraries"],
                "standin": self.wanted.standin,
            },
            "notes": [*(f"{item.what}: {item.why}" for item in state.unreadable), *self._notes(state)],
        }

    def _notes(self, state: DriverState) -> list[str]:
        notes = []
        if self.wanted.present and self.wanted.persistenced and not state.systemd:
            notes.append("nvidia-persistenced is not set up: systemd does not run this host")
        if self.wanted.present and not state.host.has_own_kernel:
            notes.append("a container has no kernel of its own: nothing can be loaded, nothing was proven to load")
        return notes

    def _changes(self, host: Host, progress: Progress) -> dict[str, Change]:
        wanted, log = self.wanted, log_path(self.name)
        return {
            "fetch": lambda _: run.fetch_run(host, wanted, progress, log),
            "packages": lambda p: _apt.install(host, p["names"], log),
            "extract": lambda p: run.unpack(host, wanted, p["directory"], log),
            "try_build": lambda p: run.try_build(host, wanted, p["directory"], p["kernels"], log, progress),
            "purge": lambda p: _apt.purge(host, p["names"], log),
            "file": lambda p: _write_or_remove(host, p["path"], p["text"]),
            "forget": lambda p: steps.forget(host, p["version"], log),
            "install": lambda p: run.install(host, wanted, p, log),
            "build": lambda p: steps.build_with_dkms(host, wanted.version, p["kernel"], log),
            "strays": lambda p: steps.remove_strays(host, p["paths"], log),
            "tidy": lambda _: steps.tidy(host, wanted.version, log),
            "service": lambda _: steps.enable_service(host, log),
            "initramfs": lambda _: steps.update_initramfs(host, wanted, log),
            "prove": lambda _: run.prove(host, wanted, log),
            "load": lambda _: steps.load_module(host, log),
            "disable": lambda _: steps.disable_service(host, log),
            "uninstall": lambda p: run.uninstall(host, busy=p["busy"], log=log),
            "sweep": lambda _: steps.sweep(host, log),
            "account": lambda _: steps.remove_account(host, log),
        }


def _write_or_remove(host: Host, path: str, text: str | None) -> None:
    if text is None:
        host.remove(path)
    else:
        host.write_text(path, text)


__all__ = ["DriverComponent"]
