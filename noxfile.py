# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The test suite's parts, each runnable alone: `.venv/bin/nox -s unit`. They use the .venv that scripts/setup makes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import ansible_test
import nox

ROOT = Path(__file__).resolve().parent
RESULTS = ROOT / ".test-results"
COLLECTION = ("galaxy.yml", "meta", "plugins", "roles", "playbooks", "tests/sanity")
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
BY_LINT = ("pep8", "pylint", "pslint", "shellcheck", "yamllint")  # what ruff and yamllint look at, in a style of ours

nox.options.default_venv_backend = "none"
nox.options.sessions = ["lint", "typing", "unit", "installer", "molecule", "faults", "site", "machines"]
os.environ["PATH"] = f"{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}"
os.environ["MOLECULE_GLOB"] = "molecule/*/molecule.yml"
os.environ["ANSIBLE_HOME"] = str(ROOT / ".ansible")


@nox.session
def lint(session: nox.Session) -> None:
    """Style and structure of Python, YAML, playbooks and shell scripts."""
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("yamllint", "--strict", ".")
    session.run("ansible-lint", "--offline", "--strict")


@nox.session
def typing(session: nox.Session) -> None:
    """Types, strictly."""
    session.run("mypy")


@nox.session
def unit(session: nox.Session) -> None:
    """Pure code against tables and recorded outputs; no host, no root."""
    _pytest(session, "unit", "tests/unit", "-n", "2")


@nox.session
def installer(session: nox.Session) -> None:
    """Hold the stand-in of the driver's installer against what the real one was seen to do."""
    _pytest(session, "installer", "tests/installer", "-m", "not whole", "-n", "2")


@nox.session
def molecule(session: nox.Session) -> None:
    """Every role on a container host: check, converge, converge again, look with the raw tools."""
    session.run("molecule", "-c", "molecule/config.yml", "test", "--all", *session.posargs)


@nox.session
def faults(session: nox.Session) -> None:
    """Bad input and broken hosts, on fresh container hosts."""
    _pytest(session, "faults", "tests/faults", "-m", "not whole", "-n", "2", "--dist", "loadfile")


@nox.session
def site(session: nox.Session) -> None:
    """Whole hosts: the README's command, several hosts, frozen and lost ones, killed runs."""
    _pytest(session, "site", "tests/site", "-m", "not whole")


@nox.session
def machines(session: nox.Session) -> None:
    """Virtual machines for every run: start them, reach them, load modules."""
    _pytest(session, "machines", "tests/vm", "-m", "quick_vm")


@nox.session
def vm(session: nox.Session) -> None:
    """Virtual machines with kernels of their own; files with few tests are the long ones and must not all come last."""
    _pytest(session, "vm", "tests/vm", "-n", "2", "--dist", "loadfile", "--no-loadscope-reorder")


@nox.session
def whole(session: nox.Session) -> None:
    """Long tests on container hosts, whose cases a shorter one of every run touches too."""
    directories = ("tests/installer", "tests/faults", "tests/site")
    _pytest(session, "whole", *directories, "-m", "whole", "-n", "2", "--dist", "loadfile")


@nox.session
def sanity(session: nox.Session) -> None:
    """Ansible's own checks of modules and plugins, on a copy: through symbolic links ansible-test checks nothing."""
    with tempfile.TemporaryDirectory(prefix="gpulab-sanity-") as name:
        tree = Path(name) / "ansible_collections/gpulab/workstation"
        _copy_tracked(tree)
        _seed_pip(Path(name) / ".ansible/test/cache")
        command = ["ansible-test", "sanity", "--requirements", "--color", "no", "--python", VERSION]
        with session.chdir(tree):
            planted = tree / "plugins/modules/gpu_info.py"
            good = planted.read_text(encoding="utf-8")
            planted.write_text(good.replace("short_description:", "short_descriptoin:"), encoding="utf-8")
            only = ["--test", "validate-modules", str(planted.relative_to(tree))]
            found = session.run(*command, *only, env={"HOME": name}, silent=True, success_codes=[1])
            if "short_descriptoin" not in str(found):
                session.error(f"a planted error was not found, so nothing was checked: {found}")
            planted.write_text(good, encoding="utf-8")
            left_out = [word for test in BY_LINT for word in ("--skip-test", test)]
            session.run(*command, *left_out, env={"HOME": name})


def _copy_tracked(tree: Path) -> None:
    """Copy what git knows or would add of the collection itself."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "--", *COLLECTION],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout.split("\0")  # fmt: skip
    for name in listed:
        if (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tree / name)


def _seed_pip(cache: Path) -> None:
    """Let ansible-test take pip from Python itself; it would download get-pip from a server of its own."""
    source = Path(ansible_test.__path__[0]) / "_internal/python_requirements.py"
    (version,) = re.findall(r"pip='([0-9.]+)'", source.read_text(encoding="utf-8"))
    cache.mkdir(parents=True)
    (cache / f"get_pip_{version.replace('.', '_')}.py").write_text(
        "import ensurepip\nensurepip.bootstrap()\n", encoding="utf-8"
    )


@nox.session
def bench(session: nox.Session) -> None:
    """Seconds, tasks and bytes for a first run and for one that changes nothing; prints JSON. Not a test."""
    session.run("python", "bench/site.py", *session.posargs)


def _pytest(session: nox.Session, name: str, *arguments: str) -> None:
    RESULTS.mkdir(exist_ok=True)
    own = [f"--junit-xml={RESULTS / f'{name}.xml'}", f"--override-ini=cache_dir=.pytest_cache/{name}"]
    session.run("pytest", *own, *arguments, *session.posargs)
