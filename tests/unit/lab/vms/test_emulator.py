# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which QEMU emulates: apt, dpkg-deb and QEMU are a few lines of shell here; the real ones are asked in tests/vm."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gpulab.lab import mirror
from gpulab.lab.vms import emulator

PROGRAM = "qemu-system-x86_64"
BACKPORTS = mirror.Source("http://archive.example.invalid/debian", "bookworm-backports", ("main",))
# Keeps what it is asked for; downloads files of the packages' names.
APT = """echo "$@" >> LOG
cat "$(echo "$@" | sed 's/.*sourcelist=\\([^ ]*\\).*/\\1/')" >> LOG
FAILS
case "$*" in *" download "*) for package; do case $package in */*) touch "${package%/*}.deb";; esac; done;; esac"""


@dataclass
class Machine:
    """A machine whose QEMU tells a version, and whose apt brings a QEMU that tells another."""

    directory: Path
    monkeypatch: pytest.MonkeyPatch
    works: bool = True
    said: list[str] = field(default_factory=list)
    tried: list[str] = field(default_factory=list)

    def script(self, name: str, body: str) -> None:
        program = self.directory / "bin" / name
        program.write_text(f"#!/bin/sh\n{body}\n")
        program.chmod(0o755)

    def has(self, version: str, *, backports: str = "", apt_fails: str = "") -> None:
        (self.directory / "bin").mkdir(exist_ok=True)
        tells = "echo 'QEMU emulator version {} (Debian 1)'"
        self.script(PROGRAM, tells.format(version))
        self.script("apt-get", APT.replace("LOG", str(self.log)).replace("FAILS", apt_fails))
        unpacked = (
            f"mkdir -p $3/usr/bin && printf '#!/bin/sh\\n%s\\n' \"{tells.format(backports)}\" > $3/usr/bin/{PROGRAM}"
        )
        self.script("dpkg-deb", f"{unpacked}\nchmod +x $3/usr/bin/{PROGRAM}")
        self.monkeypatch.setenv("PATH", str(self.directory / "bin"), prepend=":")

    @property
    def log(self) -> Path:
        return self.directory / "apt.log"

    @property
    def cache(self) -> Path:
        return self.directory / "cache"

    def quick(self) -> str:
        def works(program: str) -> bool:
            self.tried.append(program)
            return self.works

        return emulator.quick(PROGRAM, self.cache, works, self.said.append)

    def left(self) -> set[str]:
        return {path.name for path in self.cache.iterdir()} - {"qemu.lock"}


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr(mirror, "backports", lambda _sources, _os_release: BACKPORTS)
    return Machine(tmp_path, monkeypatch)


def test_a_quick_one_is_used_as_it_is(machine: Machine) -> None:
    machine.has("10.0.2")
    assert machine.quick() == PROGRAM
    assert not machine.cache.exists()
    assert machine.said == []


def test_the_one_of_the_backports_is_fetched_once_and_nothing_else_of_apt_is_touched(machine: Machine) -> None:
    machine.has("7.2.22", backports="10.0.2")
    own = str(machine.cache / "qemu/usr/bin" / PROGRAM)
    assert machine.quick() == own
    assert machine.quick() == own
    assert emulator.version_of(own) == "10.0.2"
    assert len(machine.tried) == 1
    assert machine.left() == {"qemu"}
    assert machine.said == ["Fetching a QEMU that emulates quicker from bookworm-backports, for labs only (13 MB):",
                            "  QEMU 10.0.2"]  # fmt: skip
    update, source, download, _ = machine.log.read_text().splitlines()
    assert update.endswith(" update")
    assert source == f"deb [signed-by={mirror.KEYRING}] {BACKPORTS.uri} bookworm-backports main"
    assert download.endswith(" ".join(f"{package}/bookworm-backports" for package in emulator.PACKAGES))
    for command in (update, download):
        assert "Dir::Etc::sourceparts=/dev/null" in command
        assert f"Dir::State::lists={machine.cache}/" in command
        assert f"Dir::Cache={machine.cache}/" in command


@pytest.mark.parametrize(
    ("has", "works", "why"),
    [
        pytest.param({"backports": "8.0.0"}, True, "bookworm-backports has 8.0.0.", id="not-newer"),
        pytest.param({"backports": "10.0.2"}, False, "10.0.2 of bookworm-backports starts no kernel", id="starts-none"),
        pytest.param(
            {"backports": "10.0.2", "apt_fails": "echo E: no network >&2; exit 100"},
            True,
            "bookworm-backports brought none (E: no network).",
            id="no-network",
        ),
        pytest.param({"backports": "10.0.2'; exit 127; '"}, True, "brought none (", id="a-library-is-missing"),
    ],
)
def test_where_none_is_to_be_had_the_slow_one_goes_on_and_says_why(
    machine: Machine, has: dict[str, str], why: str, *, works: bool
) -> None:
    machine.has("7.2.22", **has)
    machine.works = works
    assert machine.quick() == PROGRAM
    asked = machine.log.read_text()
    assert machine.quick() == PROGRAM
    assert machine.log.read_text() == asked, "it was asked again at once"
    [told] = [line for line in machine.said if line.startswith("Emulating with QEMU 7.2.22")]
    assert why in told
    assert machine.left() == {"qemu.failed"}


def test_after_a_day_it_is_asked_for_again(machine: Machine) -> None:
    machine.has("7.2.22", backports="10.0.2", apt_fails="exit 100")
    assert machine.quick() == PROGRAM
    machine.has("7.2.22", backports="10.0.2")
    yesterday = time.time() - emulator.RETRY_S - 1
    os.utime(machine.cache / "qemu.failed", (yesterday, yesterday))
    assert machine.quick() != PROGRAM


def test_a_system_without_backports_is_told(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.has("8.2.2")
    monkeypatch.setattr(mirror, "backports", lambda _sources, _os_release: None)
    assert machine.quick() == PROGRAM
    why = "it is looked for in the backports of a Debian release only."
    assert machine.said == [f"Emulating with QEMU 8.2.2, which starts programs more slowly than 10.0: {why}"]
    assert not machine.log.exists()


def test_what_a_killed_one_left_is_not_used_and_goes(machine: Machine) -> None:
    machine.has("7.2.22", backports="10.0.2")
    (machine.cache / "qemu/usr/share").mkdir(parents=True)
    (machine.cache / "qemu-killed/debs").mkdir(parents=True)
    assert machine.quick() == str(machine.cache / "qemu/usr/bin" / PROGRAM)
    assert machine.left() == {"qemu"}
