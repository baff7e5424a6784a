# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""diffusers and its company on top of torch, proven by a picture that they made on this host."""

from __future__ import annotations

import hashlib
import json
import typing as t
from dataclasses import dataclass

from ansible_collections.gpulab.workstation.plugins.module_utils._attention import (
    DOCUMENT,
    FILE,
    measured_environment,
    render_defaults,
)
from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._host import Host
from ansible_collections.gpulab.workstation.plugins.module_utils._job import log_path
from ansible_collections.gpulab.workstation.plugins.module_utils._plan import Plan, Step
from ansible_collections.gpulab.workstation.plugins.module_utils._png import read_png
from ansible_collections.gpulab.workstation.plugins.module_utils._torch_probe import loaded_driver
from ansible_collections.gpulab.workstation.plugins.module_utils._wheel_layer import LayerState, WheelLayer

_LIMIT_S = 1800.0


@dataclass(frozen=True)
class DiffusionState:
    """The layer of wheels, what a picture made now would depend on, and what was noted about the last one."""

    layer: LayerState
    key: t.Mapping[str, str]
    noted: t.Mapping[str, t.Any] | None
    image_sha256: str | None
    attention: str  # the defaults in the environment, empty where there are none
    wanted_attention: str

    @property
    def proven(self) -> bool:
        """Whether the picture that lies there was made by what is installed now."""
        noted = self.noted or {}
        return noted.get("key") == dict(self.key) and noted.get("image_sha256") == self.image_sha256 is not None


@dataclass(frozen=True)
class DiffusionComponent:
    """Component of the module diffusion_stack."""

    layer: WheelLayer
    script: str
    image: str
    size: int
    steps: int
    seed: int
    expect_gpu: bool
    attention: str

    name: t.ClassVar[str] = "diffusion_stack"

    @classmethod
    def from_params(cls, params: t.Mapping[str, t.Any]) -> DiffusionComponent:
        """Take the module's options."""
        image = params["image"]
        if not (image.startswith("/") and image.endswith(".png")):
            raise OperatorError(
                found=f"diffusion_stack_image is '{image}'.",
                expected="the absolute path of a .png file.",
                action="correct diffusion_stack_image.",
            )
        return cls(
            layer=WheelLayer.from_params(params, cls.name, "20-diffusion_stack", {}),
            script=params["script"],
            image=image,
            size=params["size"],
            steps=params["steps"],
            seed=params["seed"],
            expect_gpu=params["expect_gpu"],
            attention=params["attention"],
        )

    def read(self, host: Host) -> DiffusionState:
        """Read the wheels, the picture's digest and the note on how it was made."""
        state = self.layer.read(host)
        try:
            noted = json.loads(host.read_text(self._note) or "null")
        except ValueError:
            noted = None
        key = self._key(host, state)
        defaults = (host.read_text(f"{state.site_packages}/{FILE}") or "") if state.site_packages else ""
        measured = measured_environment(host.read_text(DOCUMENT)) if self.attention == "measured" else {}
        note = noted if isinstance(noted, dict) else None
        return DiffusionState(state, key, note, host.sha256(self.image), defaults, render_defaults(measured))

    def plan(self, state: DiffusionState) -> Plan:
        """Decide what to install, and whether the picture has to be made again."""
        changes = self.layer.plan(state.layer)
        steps, before, after = list(changes.steps), dict(changes.before), dict(changes.after)
        if changes.installs or not state.proven:
            device = "the GPU" if state.key["device"] == "cuda" else "the CPU"
            steps.append(Step("picture", f"Make a picture on {device}: {self.image}"))
            before["picture"] = _without_packages((state.noted or {}).get("key") or {}) if state.image_sha256 else {}
            after["picture"] = _without_packages(state.key)
        if state.attention != state.wanted_attention:
            title = "Make the attention that was measured to be the quickest the default"
            steps.append(
                Step("attention", title if state.wanted_attention else "Leave the choice of attention to torch")
            )
            before["attention"], after["attention"] = (
                [line for line in text.splitlines() if not line.startswith("#")]
                for text in (state.attention, state.wanted_attention)
            )
        return Plan(tuple(steps), before, after)

    def apply(self, host: Host, step: Step, progress: t.Callable[[str], None]) -> None:
        """Make one change, or the picture."""
        if step.action == "picture":
            progress("loading torch and diffusers")
            self._make_picture(host)
        elif step.action == "attention":
            self._set_attention(host)
        else:
            self.layer.apply(host, step, progress)

    def report(self, state: DiffusionState) -> dict[str, t.Any]:
        """Return what is installed and what the picture proves."""
        return {**self.layer.report(state.layer), "proof": self._proof(state)}

    def _set_attention(self, host: Host) -> None:
        state = self.read(host)
        path = f"{state.layer.site_packages}/{FILE}"
        if state.wanted_attention:
            host.write_text(path, state.wanted_attention)
        else:
            host.remove(path)

    @property
    def _note(self) -> str:
        return self.image.removesuffix(".png") + ".json"

    def _key(self, host: Host, state: LayerState) -> dict[str, str]:
        """Return everything that a new picture could come out differently by."""
        driver = loaded_driver(host) if self.expect_gpu else ""
        packages = sorted((name, noted.version, noted.payload) for name, noted in state.provenance.items())
        return {
            "lock_sha256": self.layer.lock_sha256,
            "packages_sha256": _digest(json.dumps(packages)),
            "script_sha256": _digest(self.script),
            "arguments": f"{self.size} pixels, {self.steps} steps, seed {self.seed}",
            "env": self.layer.env,
            "device": "cuda" if driver else "cpu",
            "driver": driver,
        }

    def _make_picture(self, host: Host) -> None:
        """Run the script, look at the picture with other eyes than the script's, and note how it was made."""
        directory = self.image.rpartition("/")[0]
        script, fresh = f"{directory}/tiny_pipeline.py", f"{self.image}.new"
        host.make_dirs(directory)
        host.write_text(script, self.script)
        state = self.layer.read(host)
        key = self._key(host, state)
        command = [f"{self.layer.env}/bin/python", "-I", script, "--image", fresh, "--device", key["device"]]
        command += ["--size", str(self.size), "--steps", str(self.steps), "--seed", str(self.seed)]
        offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HOME": f"{directory}/hf"}
        done = host.run(command, cwd=directory, env=offline, timeout_s=_LIMIT_S)
        host.append_text(log_path(self.name), done.stdout + done.stderr)
        try:
            result = json.loads(done.stdout.splitlines()[-1]) if done.ok else None
        except (ValueError, IndexError):
            result = None
        if result is None:
            raise self._failed(done.stderr, done.rc, key["device"])
        self._refuse_bad_picture(host, fresh, result)
        host.rename(fresh, self.image)
        note = {"key": key, "result": result, "image_sha256": host.sha256(self.image), "made_at": int(host.now())}
        host.write_text(self._note, json.dumps(note, indent=1, sort_keys=True) + "\n")

    def _failed(self, stderr: str, rc: int, device: str) -> OperatorError:
        words = [line.strip() for line in stderr.splitlines() if line.strip()][-1:]
        return OperatorError(
            found=f"the diffusion pipeline ended on {device} with {rc}: {' '.join(words) or 'it said nothing'}.",
            expected="one picture, made with what the lock installed.",
            action=f"read {log_path(self.name)}; is torch in {self.layer.env} (role torch_stack)?"
            " For a CUDA error look at 'dmesg' and 'nvidia-smi' on this host too.",
        )

    def _refuse_bad_picture(self, host: Host, path: str, result: t.Mapping[str, t.Any]) -> None:
        """Refuse a picture that a broken stack makes without an error: not finite, of another size, of one shade."""
        try:
            picture = read_png(host.read_bytes(path) or b"")
            size = f"{picture.width}x{picture.height}"
            complaint = "" if size == f"{self.size}x{self.size}" else f"it is {size}"
            if picture.darkest == picture.brightest:
                complaint = "it shows one shade only"
        except ValueError as error:
            complaint = str(error)
        if not result.get("finite"):
            complaint = "it has values that are not finite"
        if complaint:
            raise OperatorError(
                found=f"the picture in {path} is no good: {complaint}.",
                expected=f"{self.size}x{self.size} pixels of coloured noise.",
                action="look at it; a GPU that computes wrongly shows like this, test it with the role gpu_verify.",
            )

    def _proof(self, state: DiffusionState) -> dict[str, t.Any]:
        if not state.proven:
            return {"outcome": "not_proven", "why": "no picture was made with what is installed", "image": self.image}
        noted = dict(state.noted or {})
        why = ""
        if state.key["device"] == "cpu":
            gpu = "no NVIDIA driver with a GPU is loaded" if self.expect_gpu else "this host is said to have no GPU"
            why = f"made on the CPU, because {gpu}"
        return {
            "outcome": "pass",
            "why": why,
            "image": self.image,
            "image_sha256": noted["image_sha256"],
            "lock_sha256": state.key["lock_sha256"],
            **noted["result"],
        }


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _without_packages(key: t.Mapping[str, str]) -> dict[str, str]:
    """Leave out the digest that is not known before the packages are installed."""
    return {name: value for name, value in key.items() if name != "packages_sha256"}


__all__ = ["DiffusionComponent", "DiffusionState"]
