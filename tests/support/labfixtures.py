# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests on lab hosts share: a lab for the whole run (of each worker), a fresh container for each test."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from labhost import LabHost

from gpulab.lab import Lab

_LABS = itertools.count(1)


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """Start an empty lab, one for each directory that has this fixture; its depot serves the stand-ins."""
    lab = Lab.up(name=f"tests-{os.environ.get('PYTEST_XDIST_WORKER', os.getpid())}-{next(_LABS)}", hosts=[])
    yield lab
    lab.down()


@pytest.fixture
def fresh_host(lab: Lab, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[LabHost]:
    """Start a container from the bare image and remove it afterwards."""
    name = f"host-{abs(hash(request.node.nodeid)) % 10**8}"
    lab.add_host(name)
    yield LabHost(lab, name, tmp_path)
    lab.remove_host(name)


__all__ = ["fresh_host", "lab"]
