# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests on virtual machines share: a lab for the whole run, machines by kind, kept for the tests of a file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from labhost import LabHost

from gpulab.lab import Lab, VmSpec

NewMachine = Callable[..., LabHost]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here needs virtual machines."""
    for item in items:
        item.add_marker(pytest.mark.vm)


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """Start a lab without hosts; its depot serves the stand-ins."""
    lab = Lab.up(name=f"vm-tests-{os.environ.get('PYTEST_XDIST_WORKER', os.getpid())}", hosts=[])
    yield lab
    lab.down()


@pytest.fixture(scope="module")
def new_machine(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NewMachine]:
    """Start machines of a kind by name; they go when the file's tests are done. A start takes a minute."""
    names: list[str] = []

    def start(name: str, **spec: object) -> LabHost:
        lab.add_vm(name, VmSpec(**spec))  # type: ignore[arg-type]
        names.append(name)
        directory: Path = tmp_path_factory.mktemp(name)
        return LabHost(lab, name, directory)

    yield start
    for name in names:
        lab.remove_host(name)


def build_modules(lab: Lab, host: LabHost) -> None:
    """Have the stand-in's open modules in /root/driver/kernel-open, built by the kernel's own compiler."""
    [driver] = [standin for standin in lab.standins if standin.kind == "driver"]
    host.put(lab.depot_dir / "files" / driver.file, "/root/driver.run")
    host.sh("cd /root && sh driver.run -x --target driver && make -C driver/kernel-open -j2 modules > build.log")


__all__ = ["NewMachine", "build_modules", "lab", "new_machine", "pytest_collection_modifyitems"]
