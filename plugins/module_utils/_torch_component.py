# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""torch and its family in an environment, as the lock has them, proven to hold machine code for the wanted GPU."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._host import Host
from ansible_collections.gpulab.workstation.plugins.module_utils._job import log_path
from ansible_collections.gpulab.workstation.plugins.module_utils._native_code import (
    KERNELS,
    Library,
    Verdict,
    find_libraries,
    judge,
    read_libraries,
    sm_name,
)
from ansible_collections.gpulab.workstation.plugins.module_utils._pip_lock import canonical_name
from ansible_collections.gpulab.workstation.plugins.module_utils._plan import Plan, Step
from ansible_collections.gpulab.workstation.plugins.module_utils._torch_probe import loaded_driver, noted_probe, probe
from ansible_collections.gpulab.workstation.plugins.module_utils._wheel_layer import LayerState, WheelLayer


@dataclass(frozen=True)
class TorchState:
    """The layer of wheels, the libraries with kernels, the loaded driver, and what torch said when it was tried."""

    layer: LayerState
    libraries: tuple[Library, ...]
    driver: str
    probe_key: t.Mapping[str, str]
    probed: t.Mapping[str, t.Any] | None


@dataclass(frozen=True)
class TorchComponent:
    """Component of the module torch_stack."""

    layer: WheelLayer
    arch: str
    native_packages: tuple[str, ...]
    expect_gpu: bool

    name: t.ClassVar[str] = "torch_stack"

    @classmethod
    def from_params(cls, params: t.Mapping[str, t.Any]) -> TorchComponent:
        """Take the module's options; OperatorError where the lock lacks a package whose kernels must be proven."""
        if not re.fullmatch(r"\d+\.\d", params["arch"]):
            raise OperatorError(
                found=f"torch_stack_arch is '{params['arch']}'.",
                expected="a compute capability such as 12.0 (sm_120 is its name in nvcc).",
                action="correct torch_stack_arch.",
            )
        build = f"cu{params['cuda'].replace('.', '')}" if params["cuda"] else ""
        builds = dict.fromkeys(KERNELS, build) if build else {}
        layer = WheelLayer.from_params(params, cls.name, "10-torch_stack", builds)
        required = [canonical_name(name) for name in params["native_packages"]]
        locked = {wheel.name for wheel in layer.lock}
        absent = [name for name in required if name not in locked]
        if absent:
            raise OperatorError(
                found=f"torch_stack_lock has no {', '.join(absent)}.",
                expected="every package of torch_stack_native_packages in the lock.",
                action="choose a lock with torch, or empty torch_stack_native_packages for a lock without it.",
            )
        followed = [name for name in KERNELS if name in locked and name not in required]
        return cls(layer, params["arch"], (*required, *followed), params["expect_gpu"])

    def read(self, host: Host) -> TorchState:
        """Read the wheels, the notes on their machine code, and whether a GPU can be used."""
        state = self.layer.read(host)
        libraries: tuple[Library, ...] = ()
        if state.site_packages:
            libraries = find_libraries(
                host, self.layer.env, state.site_packages, state.distributions, self.native_packages
            )
        driver = loaded_driver(host) if self.expect_gpu else ""
        key = self._probe_key(state, driver)
        return TorchState(state, libraries, driver, key, noted_probe(host, self.layer.env, key))

    def plan(self, state: TorchState) -> Plan:
        """Decide what to install, and which proofs no longer hold."""
        changes = self.layer.plan(state.layer)
        steps = list(changes.steps)
        after = dict(changes.after)
        unproven = [
            package
            for package in self.native_packages
            if package in changes.installs or self._verdict(package, state).outcome != "pass"
        ]
        if unproven:
            title = f"Prove machine code {sm_name(self.arch)} in {', '.join(unproven)}"
            steps.append(Step("prove", title))
            after["proven"] = unproven
        if self._has_torch and ("torch" in changes.installs or state.probed is None):
            steps.append(
                Step("probe", "Import torch and launch a kernel on every GPU" if state.driver else "Import torch")
            )
            after["tried"] = self._probe_key(state.layer, state.driver)
        return Plan(tuple(steps), changes.before, after)

    def apply(self, host: Host, step: Step, progress: t.Callable[[str], None]) -> None:
        """Make one change or one proof."""
        if step.action == "prove":
            self._prove(host, progress)
        elif step.action == "probe":
            progress("the first import reads some gigabytes")
            state = self.read(host)
            probe(host, self.layer.env, state.probe_key, log_path(self.name))
        else:
            self.layer.apply(host, step, progress)

    def report(self, state: TorchState) -> dict[str, t.Any]:
        """Return what is installed and what is proven about it."""
        packages = dict.fromkeys([*self.native_packages, "torch"])
        return {
            **self.layer.report(state.layer),
            "arch": sm_name(self.arch),
            "native_code": {package: self._verdict(package, state).to_json() for package in packages},
            "torch": dict(state.probed or {}),
            "kernel_launch": self._launch_report(state),
        }

    @property
    def _has_torch(self) -> bool:
        return any(wheel.name == "torch" for wheel in self.layer.lock)

    def _probe_key(self, state: LayerState, driver: str) -> dict[str, str]:
        payloads = {d.name: d.payload for d in state.distributions if d.name == "torch"}
        return {"torch": payloads.get("torch", ""), "arch": self.arch, "driver": driver}

    def _verdict(self, package: str, state: TorchState) -> Verdict:
        in_lock = any(wheel.name == package for wheel in self.layer.lock)
        return judge(package, state.libraries, self.arch, in_lock=in_lock)

    def _prove(self, host: Host, progress: t.Callable[[str], None]) -> None:
        state = self.read(host)
        libraries = read_libraries(host, self.layer.env, str(state.layer.site_packages), state.libraries, progress)
        verdicts = {name: judge(name, libraries, self.arch, in_lock=True) for name in self.native_packages}
        failed = [f"{name}: {verdict.why}" for name, verdict in verdicts.items() if verdict.outcome != "pass"]
        if failed:
            raise OperatorError(
                found=f"{'; '.join(failed)}.",
                expected=f"machine code {sm_name(self.arch)} in every library with kernels: PTX would be compiled at"
                " the first start of every program, or not at all.",
                action="choose wheels that are built for this GPU (torch_stack_lock), or correct torch_stack_arch.",
            )

    def _launch_report(self, state: TorchState) -> dict[str, t.Any]:
        if not self._has_torch:
            return {"outcome": "not_proven", "why": "the lock has no torch", "devices": []}
        if not state.driver:
            why = "no NVIDIA driver with a GPU is loaded" if self.expect_gpu else "this host is said to have no GPU"
            return {"outcome": "not_proven", "why": why, "devices": []}
        if state.probed is None:
            return {"outcome": "not_proven", "why": "torch was not tried yet", "devices": []}
        return {"outcome": "pass", "why": "", "devices": state.probed["devices"]}


__all__ = ["TorchComponent", "TorchState"]
