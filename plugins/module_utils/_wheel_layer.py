# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wheels from a lock in a Python environment, kept that way: what torch_stack and diffusion_stack share."""

from __future__ import annotations

import hashlib
import typing as t
from dataclasses import dataclass, field

from ansible_collections.gpulab.workstation.plugins.module_utils import _uv
from ansible_collections.gpulab.workstation.plugins.module_utils._constraints import (
    Constraints,
    read_constraints,
    refuse_contradictions,
    wanted_files,
)
from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._host import Filesystem, Host
from ansible_collections.gpulab.workstation.plugins.module_utils._job import log_path
from ansible_collections.gpulab.workstation.plugins.module_utils._pip_lock import (
    LockedWheel,
    parse_lock,
    render_lock,
    same_version,
)
from ansible_collections.gpulab.workstation.plugins.module_utils._plan import Step
from ansible_collections.gpulab.workstation.plugins.module_utils._wheel_env import (
    Cure,
    Distribution,
    Finding,
    Provenance,
    compare,
    find_site_packages,
    note_provenance,
    owned_by_conda,
    read_distributions,
    read_provenance,
)

# Options of both modules, documented in the fragment _wheel_layer.
LAYER_ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "env": {"type": "str", "required": True},
    "lock": {"type": "str", "required": True},
    "uv_lock": {"type": "str", "required": True},
    "index_url": {"type": "str", "default": ""},
    "cache": {"type": "str", "default": "/var/cache/gpulab/uv"},
    "space_gb": {"type": "float", "default": 0.0},
}
_GB = 10**9
_NAMED_IN_TITLES = 4


@dataclass(frozen=True)
class LayerState:
    """What the host has of a layer: ``site_packages`` is None where there is no environment yet."""

    site_packages: str | None
    uv_version: str | None
    distributions: tuple[Distribution, ...]
    provenance: t.Mapping[str, Provenance]
    constraints: Constraints
    env_filesystem: Filesystem
    cache_filesystem: Filesystem
    cache_exists: bool

    @property
    def shares_files(self) -> bool:
        """Whether the environment can be hard links into the cache (link(2): not across mounted file systems)."""
        return self.env_filesystem.mount_point == self.cache_filesystem.mount_point


@dataclass(frozen=True)
class Changes:
    """What a layer needs: steps, and what is before and after them."""

    steps: tuple[Step, ...] = ()
    before: t.Mapping[str, t.Any] = field(default_factory=dict)
    after: t.Mapping[str, t.Any] = field(default_factory=dict)
    installs: tuple[str, ...] = ()


@dataclass(frozen=True)
class WheelLayer:
    """The wheels of one lock in one environment; ``name`` orders the layers (10-torch_stack is below 20-...)."""

    component: str
    name: str
    env: str
    cache: str
    index_url: str
    uv: LockedWheel
    lock: tuple[LockedWheel, ...]
    builds: t.Mapping[str, str]
    space_bytes: int

    @classmethod
    def from_params(
        cls, params: t.Mapping[str, t.Any], component: str, name: str, builds: t.Mapping[str, str]
    ) -> WheelLayer:
        """Take the options that both modules have."""
        for option in ("env", "cache"):
            path = params[option]
            if not path.startswith("/") or any(c.isspace() for c in path):
                raise OperatorError(
                    found=f"{component}_{option} is '{path}'.",
                    expected="an absolute path without blanks (pip takes several constraints files apart at blanks).",
                    action=f"correct {component}_{option}.",
                )
        uv = parse_lock(params["uv_lock"], f"{component}_uv_lock")
        if [wheel.name for wheel in uv] != ["uv"]:
            raise OperatorError(
                found=f"{component}_uv_lock pins {', '.join(wheel.name for wheel in uv)}.",
                expected="uv and nothing else.",
                action=f"correct {component}_uv_lock.",
            )
        return cls(
            component=component,
            name=name,
            env=params["env"].rstrip("/"),
            cache=params["cache"].rstrip("/"),
            index_url=params["index_url"],
            uv=uv[0],
            lock=parse_lock(params["lock"], f"{component}_lock"),
            builds=builds,
            space_bytes=int(params["space_gb"] * _GB),
        )

    @property
    def lock_sha256(self) -> str:
        """Return a digest of what the lock says, whatever its comments and line breaks."""
        return hashlib.sha256(render_lock(sorted(self.lock, key=lambda wheel: wheel.name)).encode()).hexdigest()

    def read(self, host: Host) -> LayerState:
        """Read uv's version, the wheels that the lock names, and the constraints."""
        site_packages = find_site_packages(host, self.env)
        names = {wheel.name for wheel in self.lock}
        return LayerState(
            site_packages=site_packages,
            uv_version=_uv.installed_version(host),
            distributions=read_distributions(host, site_packages, names) if site_packages else (),
            provenance=read_provenance(host, self.env),
            constraints=read_constraints(host, self.env),
            env_filesystem=host.filesystem(self.env),
            cache_filesystem=host.filesystem(self.cache),
            cache_exists=bool(host.listdir(self.cache)),
        )

    def plan(self, state: LayerState) -> Changes:
        """Decide what is to be done; OperatorError where doing it would harm another role or fill the disk."""
        refuse_contradictions(self.name, self.lock, state.constraints)
        self._refuse_condas(state)
        findings = compare(self.lock, state.distributions, state.provenance, self.builds)
        self._refuse_full_disk(state, findings)
        steps: list[Step] = []
        before: dict[str, t.Any] = {}
        after: dict[str, t.Any] = {}
        if not (state.uv_version and same_version(state.uv_version, self.uv.version)):
            steps.append(Step("uv", f"Bring {self.uv.title}"))
            before["uv"], after["uv"] = state.uv_version or "absent", self.uv.version
        if findings:
            cures = {f.wheel.name: f.cure.value for f in findings}
            steps.append(Step("install", _title(findings), {"wheels": cures}))
            before["wheels"] = {f.wheel.name: f.reason for f in findings}
            after["wheels"] = {f.wheel.name: f.wheel.version for f in findings}
        files = wanted_files(self.env, self.name, self.lock, state.constraints)
        changed = {path: text for path, text in files.items() if state.constraints.files.get(path) != text}
        if changed:
            steps.append(Step("constraints", "Keep pip and uv in the environment to the lock", {"files": changed}))
            before["files"] = {path: _shown(path, state.constraints.files.get(path)) for path in changed}
            after["files"] = {path: _shown(path, text) for path, text in changed.items()}
        return Changes(tuple(steps), before, after, tuple(f.wheel.name for f in findings))

    def apply(self, host: Host, step: Step, progress: _uv.Progress) -> None:
        """Make one of this layer's changes."""
        if find_site_packages(host, self.env) is None:
            raise OperatorError(
                found=f"there is no Python environment in {self.env}.",
                expected="bin/python and lib/python3.*/site-packages, as the role conda_env makes them.",
                action=f"run the role conda_env first, or correct {self.component}_env.",
            )
        if step.action == "uv":
            progress(f"asking the index for {self.uv.title}")
            _uv.bring_uv(host, self.env, self.uv, self.index_url, log_path(self.component))
        elif step.action == "install":
            self._install(host, step.params["wheels"], progress)
        else:
            for path, text in step.params["files"].items():
                host.write_text(path, text)

    def report(self, state: LayerState) -> dict[str, t.Any]:
        """Return what both modules tell about the environment."""
        report: dict[str, t.Any] = {
            "env": self.env,
            "lock_sha256": self.lock_sha256,
            "packages": {d.name: d.version for d in state.distributions},
            "uv_version": state.uv_version or "",
            "cache": {"path": self.cache, "shared": state.shares_files},
        }
        if not state.shares_files:
            separate = (
                f"{self.cache} and {self.env} are on different file systems"
                f" ({state.cache_filesystem.mount_point} and {state.env_filesystem.mount_point}): every environment"
                f" holds a copy of its own. Set {self.component}_cache to a directory beside the environments."
            )
            report["warnings"] = [separate]
        return report

    def _install(self, host: Host, cures: t.Mapping[str, str], progress: _uv.Progress) -> None:
        """Install with uv, clear away what uv leaves of older versions, and note where the wheels came from."""
        findings = [Finding(wheel, Cure(cures[wheel.name]), "") for wheel in self.lock if wheel.name in cures]
        state = self.read(host)
        site_packages = str(state.site_packages)
        mode = "hardlink" if state.shares_files else "copy"
        run = _uv.UvRun(self.env, self.cache, mode, log_path(self.component))
        options = _uv.index_options(host, self.env, self.index_url)
        _uv.install(host, run, findings, options, progress)
        wanted = {f.wheel.name: f.wheel for f in findings}
        for found in read_distributions(host, site_packages, wanted.keys()):
            if not same_version(found.version, wanted[found.name].version):
                host.remove(f"{site_packages}/{found.directory}")
        distributions = read_distributions(host, site_packages, wanted.keys())
        self._refuse_other_builds(distributions)
        note_provenance(host, self.env, wanted.values(), distributions)

    def _refuse_other_builds(self, distributions: t.Iterable[Distribution]) -> None:
        """Refuse a lock whose wheels are for another CUDA: installing them again would change nothing."""
        for found in distributions:
            wanted = self.builds.get(found.name, "")
            if wanted and found.build != wanted:
                raise OperatorError(
                    found=f"the lock's {found.name} {found.version} is the build {found.build or 'without CUDA'}.",
                    expected=f"the build {wanted}; the number alone does not say it (torch 2.7.1 exists for several).",
                    action=f"correct {self.component}_lock (a version such as {found.version}+{wanted} and its index).",
                )

    def _refuse_condas(self, state: LayerState) -> None:
        for wheel in self.lock:
            found = owned_by_conda(wheel, state.distributions)
            if found:
                raise OperatorError(
                    found=f"conda brought {found.name} {found.version} to {self.env}, the lock has {wheel.version}.",
                    expected="a lock that agrees with the environment's conda lock on the packages in both.",
                    action=f"renew {self.component}_lock with the conda packages as constraints, or take both locks"
                    " from one stack.",
                )

    def _refuse_full_disk(self, state: LayerState, findings: t.Sequence[Finding]) -> None:
        """Refuse a first installation without room; later ones find most of what they need in the cache."""
        free = state.cache_filesystem.free_bytes
        if findings and not state.cache_exists and free < self.space_bytes:
            raise OperatorError(
                found=f"{free / _GB:,.1f} GB free on {state.cache_filesystem.mount_point}, where {self.cache} will be.",
                expected=f"{self.space_bytes / _GB:,.1f} GB ({self.component}_space_gb) for the unpacked wheels.",
                action=f"free space there, or choose another directory with {self.component}_cache.",
            )


def _shown(path: str, text: str | None) -> list[str] | str:
    """Return how a file appears in the diff: by its lines where people may have written some, else in a word."""
    if path.endswith(("/pip.conf", "/constraints.txt")):
        return (text or "").splitlines()
    return "absent" if text is None else f"sha256 {hashlib.sha256(text.encode()).hexdigest()[:12]}"


def _title(findings: t.Sequence[Finding]) -> str:
    """Name the wheels that people know; the diff has them all."""
    known = ("torch", "torchvision", "torchaudio", "diffusers", "transformers", "accelerate")
    ordered = sorted(findings, key=lambda f: (f.wheel.name not in known, f.cure is Cure.INSTALL))
    named = ", ".join(f.wheel.title for f in ordered[:_NAMED_IN_TITLES])
    rest = len(findings) - _NAMED_IN_TITLES
    verb = "Install" if all(f.cure is Cure.INSTALL for f in findings) else "Repair"
    return f"{verb} {named}" + (f" and {rest} more" if rest > 0 else "")


__all__ = ["LAYER_ARGUMENTS", "Changes", "LayerState", "WheelLayer"]
