# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From what a host's driver is to what has to be done about it; pure."""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_files as files
from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_findings as findings
from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_refusals as refusals
from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_transaction as transaction
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_change import (
    PREPARING,
    configure_step,
    container_steps,
    fetch_step,
    file_steps,
    initramfs_steps,
    plan_change,
    uninstall_step,
)
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_state import LIBRARIES, DriverState
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_wanted import Wanted
from ansible_collections.gpulab.workstation.plugins.module_utils._plan import Plan, Step


def plan_driver(state: DriverState, wanted: Wanted) -> Plan:
    """Return the steps that bring the driver to what is wanted; OperatorError where it must not be touched now."""
    wanted = transaction.eased(state, wanted)
    if not (findings.must_unload(state) and findings.users_in_the_way(state)):
        wanted = dataclasses.replace(wanted, allow_running=False)  # beside what, or whom?
    steps = _present(state, wanted) if wanted.present else _absent(state, wanted)
    changed = findings.outdated_files(state, wanted)
    before = findings.describe(state, changed)
    if steps and state.journal and steps[0].action == "roll_back":
        return Plan(tuple(steps), before, {**before, "installed": (state.journal.way_back or {}).get("version")})
    after = {**before, **_after(state, wanted, changed)} if steps else before
    reasons = findings.reboot_reasons(state, wanted) if wanted.present else _removal_reasons(state)
    if steps and wanted.present and findings.can_load_now(state, wanted) and not wanted.allow_running:
        reasons = ()  # the installer unloads the old module and loads the new one
    return Plan(tuple(steps), before, after, reasons)


def _present(state: DriverState, wanted: Wanted) -> list[Step]:
    back = transaction.must_go_back(state, wanted)
    if back:
        return back
    change = plan_change(state, wanted)
    install = any(step.action == "install" for step in change)
    load = any(step.action == "load" for step in change)
    prepared = [step for step in change if install and step.action in PREPARING]
    begun = [transaction.begin(state, wanted)] if install else []
    noted = transaction.commit(state, wanted, install=install, load=load)
    fetched = fetch_step(wanted) if noted and not install and not transaction.is_kept(state, wanted) else []
    # Last: whatever goes wrong with dpkg, it may be a module of somebody else, or with the specification for containers
    # does not speak against this driver.
    last = [*configure_step(state, wanted), *container_steps(state, wanted, load=load)]
    return [*fetched, *prepared, *begun, *change[len(prepared) :], *noted, *last]


def plan_settled(state: DriverState | None, wanted: Wanted) -> Plan:
    """Return what is to be done about a driver that waited for a restart, after the restart; nothing about others."""
    if state is None:
        return Plan()
    before = findings.describe(state)
    steps = transaction.settle(state, wanted)
    if steps and steps[0].action != "roll_back":
        steps += container_steps(state, wanted, load=True)
    return Plan(tuple(steps), before, before, () if steps else findings.reboot_reasons(state, wanted))


def _absent(state: DriverState, wanted: Wanted) -> list[Step]:
    steps = []
    installed = state.record is not None or state.marker is not None
    # Beside packages of the distribution, modules and sources that no record claims are theirs.
    there = installed or (not state.gpu.packages and bool(state.dkms or state.leftovers))
    refused = refusals.unread_refusals(state, wanted)
    if there:
        refused += refusals.running_refusals(state, wanted)
        refused += refusals.build_refusals(state, wanted) if not state.host.root else []
    refusals.refuse(refused)
    if state.unit_enabled or files.UNIT in findings.outdated_files(state, wanted):
        steps.append(Step("disable", f"Stop and disable {files.UNIT_NAME}"))
    if state.record is not None:
        elsewhere = state.gpu.driver_loaded is not None and not state.runs_target
        steps.append(uninstall_step(state, busy=wanted.allow_running or elsewhere, services=state.services))
    own = {state.record.version} if state.record and state.gpu.packages else {entry.version for entry in state.dkms}
    versions = sorted({entry.version for entry in state.dkms if entry.version in own}) if there else []
    steps += [Step("forget", f"Remove nvidia/{version} from DKMS", {"version": version}) for version in versions]
    if there:
        steps.append(Step("sweep", "Remove what the uninstaller leaves: modules, sources, libraries, firmware"))
    if state.installer_files:
        steps += [Step("file", f"Remove {path}", {"path": path, "text": None}) for path in state.installer_files]
    ours = file_steps(state, wanted)
    if state.account and (steps or ours):  # before our files: by them a run that is killed here knows the account
        steps.append(Step("account", f"Remove the account {files.ACCOUNT}"))
    steps += ours
    steps += initramfs_steps(state, wanted, touched=bool(steps))
    if state.cached:
        title = "Remove the drivers' .run from the cache, and the account of them"
        steps.append(Step("caches", title, {"paths": list(state.cached)}))
    return steps


def _removal_reasons(state: DriverState) -> tuple[str, ...]:
    loaded = state.gpu.driver_loaded
    if not (loaded and state.host.has_own_kernel):
        return ()
    return (f"driver {loaded.version} is removed but still loaded",)


def _after(state: DriverState, wanted: Wanted, changed: t.Mapping[str, str | None]) -> dict[str, t.Any]:
    contents = {path: text.splitlines() if text is not None else None for path, text in changed.items()}
    if not wanted.present:
        return {"installed": None, "kernels": dict.fromkeys(k.release for k in state.kernels), "libraries": {},
                "files": contents}  # fmt: skip
    served = {kernel.release for kernel in findings.served_kernels(state, wanted)}
    now = findings.describe(state)["kernels"]
    return {
        "installed": wanted.version,
        "kernels": {k: f"{wanted.version} {wanted.flavour}" if k in served else v for k, v in now.items()},
        "libraries": dict.fromkeys(LIBRARIES, wanted.version),
        "distro_packages": [],
        "files": contents,
    }


__all__ = ["plan_driver", "plan_settled"]
