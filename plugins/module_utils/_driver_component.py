# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The NVIDIA driver as a component: read, plan, apply."""

from __future__ import annotations

import contextlib
import typing as t

from ansible_collections.gpulab.workstation.plugins.module_utils import _apt
from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_findings as findings
from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_journal as journals
from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_rollback as rollback
from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_run as run
from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_steps as steps
from ansible_collections.gpulab.workstation.plugins.module_utils._daemon_account import remove_account
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_change import WORK
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_load import load_module
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_plan import plan_driver, plan_settled
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_reader import read_driver
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_state import DriverState
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_wanted import Wanted, wanted_from_params
from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
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
        """Make one change; where it fails and the old driver was touched, put that back.

        The unpacked driver is removed after the last step that takes it and after a failure.
        """
        done = False

        def apply(wanted: Wanted, step: Step) -> None:
            progress(step.title)
            self._changes(host, wanted, progress)[step.action](step.params)

        try:
            if step.action == "roll_back":
                rollback.roll_back(host, self.wanted, step.params["why"], apply)
            self._changes(host, self.wanted, progress)[step.action](step.params)
            done = step.action not in ("prove", "commit")
        except (OperatorError, OSError) as error:
            # First: where the disk is full, it makes room for the way back. What still writes there, after a command
            # that ran out of time, must not keep it from being gone.
            with contextlib.suppress(OSError):
                self._remove_unpacked(host)
            rollback.after_failure(host, self.wanted, step, error, apply)
        finally:
            if not done:
                with contextlib.suppress(OSError):
                    self._remove_unpacked(host)

    def _remove_unpacked(self, host: Host) -> None:
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
            "transaction": state.journal.to_json() if state.journal else None,
            "notes": [*(f"{item.what}: {item.why}" for item in state.unreadable), *self._notes(state)],
        }

    def _notes(self, state: DriverState) -> list[str]:
        notes = []
        if self.wanted.present and self.wanted.persistenced and not state.systemd:
            notes.append("nvidia-persistenced is not set up: systemd does not run this host")
        if self.wanted.present and not state.host.has_own_kernel:
            notes.append("a container has no kernel of its own: nothing can be loaded, nothing was proven to load")
        if not state.containers.writer:
            why = "it is one of several" if state.containers.tool else "there is no nvidia-ctk to do it"
            notes += [
                f"{path}: {reason}; containers get no card until it is written again by hand, for {why}"
                for path, reason in findings.outdated_for_containers(state, self.wanted).items()
            ]
        return notes

    def _changes(self, host: Host, wanted: Wanted, progress: Progress) -> dict[str, Change]:
        log = log_path(self.name)
        return {
            "begin": lambda p: rollback.begin(host, wanted, p["origin"], p["kernels"]),
            "commit": lambda p: rollback.commit(host, wanted, progress, awaits_restart=p["awaits_restart"]),
            "fetch": lambda _: run.fetch_run(host, wanted, progress, log),
            "configure": lambda _: _apt.configure(host, log),
            "packages": lambda p: _apt.install(host, p["names"], log),
            "extract": lambda p: run.unpack(host, wanted, p["directory"], log),
            "try_build": lambda p: run.try_build(host, wanted, p["directory"], p["kernels"], log, progress),
            "purge": lambda p: _apt.purge(host, p["names"], log),
            "file": lambda p: _write_or_remove(host, p["path"], p["text"]),
            "forget": lambda p: steps.forget(host, p["version"], log),
            "install": lambda p: run.install(host, wanted, p, log),
            "build": lambda p: steps.build_with_dkms(
                host, wanted.version, p["kernel"], log, again=p.get("again", False)
            ),
            "strays": lambda p: steps.remove_strays(host, p["paths"], log),
            "tidy": lambda _: steps.tidy(host, wanted.version, log),
            "service": lambda p: steps.enable_service(host, log, start=p["start"]),
            "initramfs": lambda _: steps.update_initramfs(host, wanted, log),
            "prove": lambda p: run.prove(host, wanted, p["kernels"], log),
            "load": lambda _: load_module(host, wanted.version, log),
            "disable": lambda _: steps.disable_service(host, log),
            "uninstall": lambda p: run.uninstall(host, busy=p["busy"], services=p["services"], log=log),
            "sweep": lambda _: steps.sweep(host, log),
            "account": lambda _: remove_account(host, log),
            "containers": lambda p: steps.write_for_containers(
                host, wanted.version, p["path"], log, service=p["service"]
            ),
            "caches": lambda p: steps.remove_caches(host, p["paths"], wanted.cache_directory),
        }


class SettledDriver(DriverComponent):
    """Looks after a driver that only a restart could load: it is loaded now, or the former one is put back."""

    def __init__(self, wanted: Wanted) -> None:
        super().__init__(wanted)
        self.asked = wanted

    def read(self, host: Host) -> DriverState | None:  # type: ignore[override]
        """Read every layer where a driver waits for its restart; nothing at all on every other host."""
        journal = rollback.read_journal(host)
        if journal is None or journal.phase is not journals.Phase.INSTALLED:
            return None
        self.wanted = journals.wanted_after_restart(journal, self.asked)
        return read_driver(host, self.wanted)

    def plan(self, state: DriverState | None) -> Plan:
        """Decide what has to be done after the restart."""
        return plan_settled(state, self.wanted)

    def apply(self, host: Host, step: Step, progress: Progress) -> None:
        """Make one change to the driver that the account names."""
        journal = rollback.read_journal(host)
        if journal:
            self.wanted = journals.wanted_after_restart(journal, self.asked)
        super().apply(host, step, progress)

    def report(self, state: DriverState | None) -> dict[str, t.Any]:
        """Return what the module returns about the driver; nothing where none has waited for a restart."""
        return super().report(state) if state else {"driver": None, "transaction": None, "notes": []}


def _write_or_remove(host: Host, path: str, text: str | None) -> None:
    if text is None:
        host.remove(path)
    else:
        host.write_text(path, text)


__all__ = ["DriverComponent", "SettledDriver"]
