# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Operating-system packages that the controller needs: found by what they carry, named before they are installed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import typing as t
from dataclasses import dataclass
from pathlib import Path

from gpulab import _paths
from gpulab._errors import OperatorError

if t.TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence


_SBIN = "/usr/local/sbin:/usr/sbin:/sbin"  # not on the PATH of a user who is not root
_LOCK_S = 300  # a new machine upgrades itself first
_OPTIONS = ("--yes", "--no-install-recommends")


@dataclass(frozen=True, slots=True)
class Requirement:
    """A package and the files of which one must be there; a bare name is looked up on the PATH and in sbin."""

    package: str
    any_of: tuple[str, ...]
    why: str


def is_there(name: str) -> bool:
    """Tell whether a program (or, by absolute path, a file) exists on this machine."""
    if name.startswith("/"):
        return Path(name).exists()
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:{_SBIN}") is not None


def missing(requirements: Iterable[Requirement], there: Callable[[str], bool] = is_there) -> list[Requirement]:
    """Return the requirements of which no file is there."""
    return [requirement for requirement in requirements if not any(map(there, requirement.any_of))]


def as_root() -> list[str]:
    """Return what to put before a command that needs root: nothing, or sudo."""
    if os.geteuid() == 0:
        return []
    if not is_there("sudo"):
        raise OperatorError(
            found=f"user id {os.geteuid()} and no sudo.",
            expected="root, or a user with sudo.",
            action="run this as root, or install sudo and add yourself to its group.",
        )
    return ["sudo"]


def ensure(purpose: str, requirements: Sequence[Requirement], say: Callable[[str], None]) -> None:
    """Install by apt what is missing, after saying what and why; refuse where there is no apt."""
    if not missing(requirements):
        return
    with _one_at_a_time(_paths.cache_directory()):
        lacking = missing(requirements)  # another of our processes may have installed them meanwhile
        if lacking:
            _install(purpose, lacking, say)


@contextlib.contextmanager
def _one_at_a_time(cache: Path) -> Iterator[None]:
    """Let the user's processes install one after the other: apt refuses a second update at the same time."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "apt.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _install(purpose: str, lacking: Sequence[Requirement], say: Callable[[str], None]) -> None:
    names = [requirement.package for requirement in lacking]
    if not is_there("apt-get"):
        raise OperatorError(
            found=f"no {', '.join(names)} on this machine, and no apt-get to install them with.",
            expected=f"what {purpose} needs: " + "; ".join(f"{r.package} ({r.why})" for r in lacking) + ".",
            action="install them with this system's package manager and run the command again.",
        )
    prefix = as_root()
    say(f"{purpose} needs operating-system packages that are not here yet, and installs them with apt now:")
    for requirement in lacking:
        say(f"  {requirement.package}: {requirement.why}")
    environment = [*prefix, "env", "DEBIAN_FRONTEND=noninteractive"]
    install = [*environment, "apt-get", f"--option=DPkg::Lock::Timeout={_LOCK_S}", "install", *_OPTIONS, *names]
    if _quiet(install).returncode != 0:
        _quiet([*environment, "apt-get", "update"])
        outcome = _quiet(install)
        if outcome.returncode != 0:
            raise OperatorError(
                found=f"'{' '.join(install)}' ended with {outcome.returncode}: {outcome.stdout.strip()[-600:]}",
                expected=f"the packages {', '.join(names)} from this machine's own apt sources.",
                action="make that command work (network, apt sources, another apt that never ends) and run this again.",
            )
    still = missing(lacking)
    if still:
        raise OperatorError(
            found=f"apt installed {', '.join(r.package for r in still)}, but none of its files was found: "
            + "; ".join(" or ".join(r.any_of) for r in still)
            + ".",
            expected="those files.",
            action="see whether another package manager or a dpkg diversion moved them.",
        )


def _quiet(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


__all__ = ["Requirement", "as_root", "ensure", "is_there", "missing"]
