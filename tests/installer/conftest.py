# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts to run the stand-in's installer on, and what the real one was seen to do on such hosts."""

from __future__ import annotations

import itertools
import tempfile
import typing as t
from dataclasses import dataclass
from pathlib import Path

import pytest
from installerhost import OPTIONS, DriverHost, Workshop, run_as_root

from gpulab.lab.standins.nvidia_driver import build_driver_run

NEW, OLD = "595.45.04", "580.95.05"  # the versions of the recorded runs


@dataclass(frozen=True)
class Stock:
    """The two packages, and hosts on which a driver is installed already, to continue from."""

    workshop: Workshop
    new: Path
    old: Path
    installed: dict[str, list[Path]]

    def below(self, start: str) -> list[Path]:
        """Return the layers of a starting point by its recorded name."""
        return self.installed[start]


@pytest.fixture(scope="session")
def stock() -> t.Iterator[Stock]:
    """Build both packages and install each once; every test continues from these layers or from none."""
    # Not pytest's directory: the layers of an overlay may not lie on tmpfs or another overlay everywhere.
    directory = Path(tempfile.mkdtemp(prefix="gpulab-installer-", dir="/var/tmp"))
    try:
        yield _stock(Workshop(directory), directory)
    finally:
        run_as_root(["rm", "-rf", "--one-file-system", str(directory)])


def _stock(workshop: Workshop, directory: Path) -> Stock:
    packages = {version: workshop.package(build_driver_run(version, directory)) for version in (NEW, OLD)}
    installed: dict[str, list[Path]] = {"bare": []}
    for start, version, options in (
        ("a-fresh", NEW, OPTIONS),
        ("a-old", OLD, OPTIONS),
        ("g8-no-dkms", NEW, OPTIONS.replace("--dkms", "--no-dkms")),
    ):
        host = workshop.host(start)
        host.plug_in()
        outcome = host.run(f"./nvidia-installer {options}", package=packages[version])
        assert outcome.rc == 0, outcome.stderr
        assert f"(version: {version}) is now complete." in outcome.log
        installed[start] = host.layers
    return Stock(workshop, packages[NEW], packages[OLD], installed)


_numbers = itertools.count()


@pytest.fixture
def driver_host(stock: Stock) -> t.Callable[..., DriverHost]:
    """Make a host: ``driver_host("a-old", gpu=False)``."""

    def make(start: str = "bare", **hardware: t.Any) -> DriverHost:
        host = stock.workshop.host(f"host-{next(_numbers)}", stock.below(start))
        host.plug_in(**hardware)
        return host

    return make
