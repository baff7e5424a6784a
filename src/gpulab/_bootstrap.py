# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes .venv: finds a Python that is new enough, or lets uv bring one. Runs on any Python from 3.10, without packages.

What goes into .venv afterwards is _setup.py's business, run by .venv's own Python.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import typing as t
from dataclasses import dataclass
from pathlib import Path

from gpulab import _os_packages, _paths
from gpulab._errors import OperatorError

if t.TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MINIMUM = (3, 12)
NEWEST_TRIED = 15
STAMP = "gpulab-setup.json"
REFUSED = 2
_PROBE = """
import importlib.util, json, sys
print(json.dumps([sys.version_info[:2], importlib.util.find_spec('ensurepip') is not None, sys.executable]))
"""


@dataclass(frozen=True)
class Python:
    """An interpreter: whether it can make a virtual environment depends on ensurepip, which Debian packages apart."""

    path: str
    version: tuple[int, int]
    ensurepip: bool


def say(line: str) -> None:
    """Tell the user at once what is going on."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def candidates(environ: Mapping[str, str]) -> Iterator[str]:
    """Yield where a Python may be: on the PATH, newest name first, then among pyenv's versions."""
    names = [f"python3.{minor}" for minor in range(NEWEST_TRIED, MINIMUM[1] - 1, -1)]
    for name in ("python3", *names, "python"):
        found = shutil.which(name, path=environ.get("PATH", ""))
        if found:
            yield found
    pyenv = Path(environ.get("PYENV_ROOT") or f"{environ.get('HOME', '/nonexistent')}/.pyenv")
    with contextlib.suppress(OSError):  # another user's pyenv, which may not be read
        yield from sorted(map(str, pyenv.glob("versions/*/bin/python3")), reverse=True)


def probe(path: str) -> Python | None:
    """Ask an interpreter what it is; None where it does not run (pyenv's shims of a version that is not selected)."""
    try:
        outcome = subprocess.run([path, "-c", _PROBE], check=False, capture_output=True, text=True, timeout=30)
        version, ensurepip, executable = json.loads(outcome.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    return Python(executable or path, (version[0], version[1]), ensurepip)


def find_python(environ: Mapping[str, str]) -> Python | None:
    """Return a Python that is new enough, rather one that can make an environment at once."""
    suitable = []
    for candidate in candidates(environ):
        python = probe(candidate)
        if python and python.version >= MINIMUM:
            if python.ensurepip:
                return python
            suitable.append(python)
    return suitable[0] if suitable else None


def require_venv(python: str, version: tuple[int, int]) -> None:
    """Have the package that carries ensurepip for the system's Python."""
    module = f"/usr/lib/python{version[0]}.{version[1]}/ensurepip/__init__.py"
    package = "python3-venv" if Path(python).resolve() == Path("/usr/bin/python3").resolve() else ""
    name = package or f"python{version[0]}.{version[1]}-venv"
    requirement = _os_packages.Requirement(name, (module,), "makes Python's virtual environments")
    _os_packages.ensure("scripts/setup", (requirement,), say)


def python_by_uv(environ: Mapping[str, str], root: Path, cache: Path) -> str:
    """Let uv bring a Python; where it cannot, say how else to get one."""
    wanted = ".".join(map(str, MINIMUM))
    say(f"There is no Python {wanted} or newer on the PATH or among pyenv's versions; uv is asked to bring one.")
    uv = find_uv(environ, cache) or install_uv(root, cache)
    managed = ["--managed-python", "--system", "--no-project"]  # not the .venv that is to be replaced
    install = [uv, "python", "install", "--no-bin", wanted]  # the PATH stays as it is
    installed = subprocess.run(install, check=False, capture_output=True, text=True)
    found = subprocess.run([uv, "python", "find", *managed, wanted], check=False, capture_output=True, text=True)
    if installed.returncode != 0 or found.returncode != 0:
        raise OperatorError(
            found=f"no Python {wanted} or newer, and uv could not download one: "
            + brief(installed.stderr or found.stderr),
            expected=f"Python {wanted} or newer.",
            action=f"get one in one of these ways and run this again: 'pyenv install {wanted}'; a newer distribution's"
            " own (Ubuntu 24.04: apt-get install python3 python3-venv); or give uv a mirror that it can reach"
            " (UV_PYTHON_INSTALL_MIRROR). It is found on the PATH and in ~/.pyenv/versions.",
        )
    return found.stdout.strip()


def brief(words: str) -> str:
    """Return the first and the last part of uv's complaint: what it wanted, and why it could not."""
    lines = [line.strip() for line in words.splitlines() if line.strip()] or ["(it said nothing)"]
    parts = [number for number, line in enumerate(lines) if line.startswith(("error:", "cause:"))] or [0]
    return " ... ".join(dict.fromkeys([lines[parts[0]][:300], " ".join(lines[parts[-1] :])[:300]]))


def find_uv(environ: Mapping[str, str], cache: Path) -> str | None:
    """Return a uv that is there already, from an earlier run too."""
    home = environ.get("HOME", "/nonexistent")
    places = [environ.get("PATH", ""), f"{home}/.local/bin", f"{home}/.cargo/bin", str(cache / "uv/bin")]
    path = os.pathsep.join(places)
    return shutil.which("uv", path=path)


def install_uv(root: Path, cache: Path) -> str:
    """Install uv into an environment of its own, from the catalogue's hash lock."""
    this = probe(sys.executable)
    if this is None or not this.ensurepip:
        require_venv(sys.executable, sys.version_info[:2])
    directory = cache / "uv"
    make_environment(sys.executable, directory)
    lock = root / "catalogue/locks/uv.txt"
    command = [str(directory / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    outcome = subprocess.run(
        [*command, "--require-hashes", "-r", str(lock)], check=False, capture_output=True, text=True
    )
    if outcome.returncode != 0:
        raise OperatorError(
            found=f"pip could not install uv: {outcome.stderr.strip()[-500:]}",
            expected=f"the uv of {lock.relative_to(root)} from this machine's package index.",
            action="cure what pip says, or put a Python of version "
            f"{'.'.join(map(str, MINIMUM))} or newer on the PATH, and run this again.",
        )
    return str(directory / "bin/uv")


def make_environment(python: str, directory: Path) -> None:
    """Make a virtual environment, in place of whatever is there."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    outcome = subprocess.run(
        [python, "-m", "venv", "--clear", str(directory)], check=False, capture_output=True, text=True
    )
    if outcome.returncode != 0:
        raise OperatorError(
            found=f"'{python} -m venv {directory}' ended with {outcome.returncode}: "
            + (outcome.stdout + outcome.stderr).strip()[-500:],
            expected="a virtual environment.",
            action="cure what it says (most often a full disk or a directory of another user) and run this again.",
        )


def is_usable(environment: Path, root: Path) -> bool:
    """Tell whether .venv can be kept: new enough, and made for this very directory (scripts in it name their place)."""
    python = probe(str(environment / "bin/python"))
    if python is None or python.version < MINIMUM:
        return False
    try:
        made_for = json.loads((environment / STAMP).read_text())["root"]
    except (OSError, ValueError, KeyError):
        return True
    return bool(made_for == str(root))


def bootstrap(environ: Mapping[str, str], root: Path) -> Path:
    """Return .venv's Python; make .venv first if it is missing or cannot be kept."""
    environment = root / ".venv"
    if not is_usable(environment, root):
        python = find_python(environ)
        if python and not python.ensurepip:
            require_venv(python.path, python.version)
        path = python.path if python else python_by_uv(environ, root, _paths.cache_directory(environ))
        say(f"Making .venv with {path} ...")
        make_environment(path, environment)
    return environment / "bin/python"


def main() -> int:
    """Make .venv and hand over to its Python."""
    root = _paths.repository()
    try:
        python = bootstrap(os.environ, root)
    except OperatorError as error:
        sys.stderr.write(f"Found: {error.found}\nExpected: {error.expected}\nTo do: {error.action}\n")
        return REFUSED
    command = [str(python), "-m", "gpulab._setup", *sys.argv[1:]]
    return subprocess.run(command, check=False, env={**os.environ, "PYTHONPATH": str(root / "src")}).returncode


if __name__ == "__main__":
    sys.exit(main())


__all__ = ["Python", "bootstrap", "candidates", "find_python", "is_usable", "probe"]
