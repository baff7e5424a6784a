# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a verification is asked for, as the module's parameters say it."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from ansible_collections.gpulab.workstation.plugins.module_utils._cuda_toolkit import Wanted
from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._verify import Level, parse_arch
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_limits import CardLimits
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_rule import asked_checks, check_names


@dataclass(frozen=True)
class Wish:
    """What is to be proven; an empty wanted version asks for none."""

    arch: str
    require: tuple[str, ...]
    expect_gpu: bool
    programs: t.Mapping[str, str] = field(default_factory=dict)  # the sources of the tests, by file name
    level: Level = Level.QUICK
    endurance_minutes: float = 0.0
    force: bool = False  # although a card is in use
    limits: tuple[CardLimits, ...] = ()
    host_name: str = ""
    stack: str = ""
    driver: str = ""
    toolkit: Wanted | None = None
    toolkit_path: str = "/usr/local/cuda"
    python: str = ""
    torch_version: str = ""
    torch_cuda: str = ""
    nvcc_flags: tuple[str, ...] = ()
    time_limit_s: int = 60
    work_directory: str = "/var/lib/gpulab/verify.work"

    @classmethod
    def from_params(cls, params: t.Mapping[str, t.Any]) -> Wish:
        """Take it from the module's parameters."""
        parse_arch(params["arch"])
        minutes = float(params["endurance_minutes"])
        if minutes < 0:
            raise OperatorError(
                found=f"gpu_verify_endurance_minutes is {minutes:g}.",
                expected="minutes of full load, 0 for none.",
                action="correct gpu_verify_endurance_minutes.",
            )
        return cls(
            arch=params["arch"],
            require=check_names(params["require"]),
            expect_gpu=params["expect_gpu"],
            programs=params["programs"],
            level=Level(params["level"]),
            endurance_minutes=minutes,
            force=params["force"],
            limits=tuple(CardLimits.from_json(row) for row in params["limits"]),
            host_name=params["host_name"],
            stack=params["stack"],
            driver=params["driver"],
            toolkit=Wanted.from_release(params["toolkit"], "present") if params["toolkit"] else None,
            toolkit_path=params["toolkit_path"].rstrip("/"),
            python=params["python"],
            torch_version=params["torch_version"],
            torch_cuda=params["torch_cuda"],
            nvcc_flags=tuple(params["nvcc_flags"]),
            time_limit_s=params["time_limit_seconds"],
            work_directory=params["work_directory"].rstrip("/"),
        )

    @property
    def asked(self) -> tuple[str, ...]:
        """The checks that the run makes."""
        return asked_checks(self.level, self.endurance_minutes, python=bool(self.python))

    @property
    def required(self) -> tuple[str, ...]:
        """The checks that must be proven: those required, of which the run makes them."""
        return tuple(name for name in self.require if name in self.asked)


__all__ = ["Wish"]
