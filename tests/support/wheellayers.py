# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Environments to break: copies of one conda environment on one lab host, with the depot's small locks."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import typing as t
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from labhost import ROOT, LabHost, Playbook, PlayResult

from gpulab.lab import Lab

MADE = "/opt/miniforge3/envs/rtx5090"
UV = "/opt/gpulab/uv/bin/uv"
LOCKS = ROOT / "tests/support/locks"

_numbers = itertools.count(1)


def lock(name: str) -> str:
    """Return the text of a small lock."""
    return (LOCKS / f"{name}.txt").read_text(encoding="utf-8")


def pins(name: str) -> dict[str, str]:
    """Return name and version of everything in a small lock."""
    return dict(re.findall(r"^(\S+)==(\S+)", lock(name), re.MULTILINE))


def prepared_host(lab: Lab, name: str, directory: Path) -> Iterator[LabHost]:
    """Start a host, give it the conda environment, fill the depot; remove the host afterwards."""
    lab.add_wheels(*sorted(LOCKS.glob("*.txt")), ROOT / "catalogue/locks/uv.txt")
    lab.add_host(name)
    host = LabHost(lab, name, directory)
    made = host.apply("conda_env")
    assert made.rc == 0, made.message
    yield host
    lab.remove_host(name)


@dataclass(frozen=True)
class Place:
    """An environment of its own with a cache of its own."""

    host: LabHost
    env: str
    cache: str

    @classmethod
    def make(cls, host: LabHost) -> Place:
        """Copy the conda environment."""
        number = next(_numbers)
        place = cls(host, f"{MADE}-{number}", f"/var/cache/gpulab/uv-{number}")
        host.sh(f"cp -a {MADE} {place.env}")
        return place

    @property
    def site(self) -> str:
        """Where its packages lie."""
        return f"{self.env}/lib/python3.11/site-packages"

    @property
    def pip(self) -> str:
        """Its pip."""
        return f"{self.env}/bin/python -m pip --disable-pip-version-check"

    def torch_variables(self, **more: t.Any) -> dict[str, t.Any]:
        """Return what makes torch_stack install the small lock here."""
        return {
            "torch_stack_env": self.env,
            "torch_stack_cache": self.cache,
            "torch_stack_lock": lock("torch-small"),
            "torch_stack_native_packages": [],
            "torch_stack_space_gb": 0.1,
            **more,
        }

    def torch(self, *, check: bool = False, **more: t.Any) -> PlayResult:
        """Apply torch_stack."""
        return self.host.apply("torch_stack", check=check, **self.torch_variables(**more))

    def start_torch(self, **more: t.Any) -> Playbook:
        """Start applying torch_stack."""
        return self.host.start("torch_stack", **self.torch_variables(**more))

    def diffusion(self, *, check: bool = False, **more: t.Any) -> PlayResult:
        """Apply diffusion_stack with its small lock and a painter that needs no torch."""
        variables = {
            "diffusion_stack_env": self.env,
            "diffusion_stack_cache": self.cache,
            "diffusion_stack_lock": lock("diffusion-small"),
            "diffusion_stack_image": f"{self.env}/proof.png",
            "diffusion_stack_script": str(ROOT / "tests/support/small_picture.py"),
            "diffusion_stack_size": 64,
            "diffusion_stack_space_gb": 0.1,
        }
        return self.host.apply("diffusion_stack", check=check, **{**variables, **more})

    def sh(self, command: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a bash line on the host."""
        return self.host.sh(command, check=check)

    def installed(self) -> dict[str, str]:
        """Return name and version of every package, as pip sees them."""
        listed = json.loads(self.sh(f"{self.pip} list --format json").stdout)
        return {package["name"].lower(): package["version"] for package in listed}

    def fetched(self) -> int:
        """Return how often a wheel was asked of the depot."""
        return self.host.lab.requests.read_text(encoding="utf-8").count('"/wheels/')


__all__ = ["LOCKS", "MADE", "UV", "Place", "lock", "pins", "prepared_host"]
