# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The wheel cache: what hash locks name, downloaded once to the controller, checked, and linked into a depot.

Beside each wheel lies NAME.whl.sha256; a wheel without one is not in the cache yet. pip downloads with the machine's
own configuration (index, proxy, certificates); whatever that is, only a file with the lock's hash gets in.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import importlib.util
import re
import subprocess
import sys
import tempfile
import typing as t
from dataclasses import dataclass
from pathlib import Path

from gpulab._errors import OperatorError
from gpulab.lab.standins_cache import link

if t.TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

PYTHON = "3.11"
NEWEST_GLIBC = 36  # Debian 12 has glibc 2.36; a manylinux tag beyond it would not run on the oldest host
AT_ONCE = 2
BATCH = 4
_PIN = re.compile(r"^(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?==(?P<version>[^\s;\\]+)")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Pin:
    """One requirement of a lock."""

    name: str
    version: str
    hashes: tuple[str, ...]

    def __str__(self) -> str:
        """Return what pip calls it."""
        return f"{self.name}=={self.version}"


def parse_lock(text: str) -> list[Pin]:
    """Return the pins of a requirements file in pip's hash-checking mode; refuse a pin without a hash."""
    pins = []
    for line in text.replace("\\\n", " ").splitlines():
        match = _PIN.match(line.strip())
        if not match:
            continue
        hashes = tuple(_HASH.findall(line))
        if not hashes:
            raise OperatorError(
                found=f"{match['name']}=={match['version']} without a sha256 in a lock.",
                expected="--hash=sha256:... for every requirement.",
                action="make the lock again with hashes.",
            )
        pins.append(Pin(match["name"], match["version"], hashes))
    return pins


def platform_tags() -> list[str]:
    """Return the manylinux tags that an x86_64 host takes (PEP 600 and its three aliases of old)."""
    numbered = [f"manylinux_2_{minor}_x86_64" for minor in range(NEWEST_GLIBC, 4, -1)]
    return [*numbered, "manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64", "linux_x86_64"]


def cached(cache: Path) -> dict[str, Path]:
    """Return the wheels of the cache by sha256."""
    notes = ((note, note.with_suffix("")) for note in cache.glob("*.whl.sha256"))
    return {note.read_text().strip(): wheel for note, wheel in notes if wheel.exists()}


def ensure(lock: Path, cache: Path, depot: Path, say: Callable[[str], None]) -> list[Path]:
    """Have every wheel of a lock in the cache and in the depot; return them."""
    pins = parse_lock(lock.read_text())
    cache.mkdir(parents=True, exist_ok=True)
    have = cached(cache)
    lacking = [pin for pin in pins if not any(digest in have for digest in pin.hashes)]
    if lacking:
        say(f"Downloading {len(lacking)} of the {len(pins)} wheels of {lock.name}, once for all labs:")
        _download_all(lacking, cache, say)
        have = cached(cache)
    wheels = [have[digest] for pin in pins for digest in pin.hashes if digest in have]
    for wheel in wheels:
        # The note first: the index takes a wheel's hash from it and need not read gigabytes.
        link(wheel.with_name(wheel.name + ".sha256"), depot / (wheel.name + ".sha256"))
        link(wheel, depot / wheel.name)
    return wheels


def _download_all(pins: Sequence[Pin], cache: Path, say: Callable[[str], None]) -> None:
    """Download in small batches, two at a time: a killed run loses a batch, not everything."""
    batches = [pins[start : start + BATCH] for start in range(0, len(pins), BATCH)]
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        futures = [pool.submit(_download, batch, cache) for batch in batches]
        try:
            for future in concurrent.futures.as_completed(futures):
                for wheel in future.result():
                    say(f"  {wheel.name} ({wheel.stat().st_size / 1e6:.0f} MB)")
        except OperatorError:
            pool.shutdown(cancel_futures=True)
            raise


def _download(pins: Sequence[Pin], cache: Path) -> list[Path]:
    with tempfile.TemporaryDirectory(prefix="download-", dir=cache) as name:
        work = Path(name)
        lock = work / "lock.txt"
        lock.write_text("".join(f"{pin} {' '.join(f'--hash=sha256:{h}' for h in pin.hashes)}\n" for pin in pins))
        tags = [argument for tag in platform_tags() for argument in ("--platform", tag)]
        strict = ["--require-hashes", "--no-deps", "--only-binary=:all:", "--no-cache-dir", "--progress-bar=off"]
        target = ["--python-version", PYTHON, *tags, "--dest", str(work), "--requirement", str(lock)]
        command = [*pip(), "download", "--quiet", "--disable-pip-version-check", *strict, *target]
        outcome = subprocess.run(command, check=False, text=True, capture_output=True)
        if outcome.returncode != 0:
            raise OperatorError(
                found=f"pip could not download {', '.join(map(str, pins))}: {outcome.stderr.strip()[-600:]}",
                expected="wheels with the lock's hashes from this machine's package index.",
                action="check the network and pip's configuration ('pip config list'); finished wheels are kept.",
            )
        expected = {digest for pin in pins for digest in pin.hashes}
        return [_keep(wheel, expected, cache) for wheel in sorted(work.glob("*.whl"))]


def _keep(wheel: Path, expected: Iterable[str], cache: Path) -> Path:
    """Move a wheel into the cache after checking it ourselves, and leave its note."""
    with wheel.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest not in expected:
        raise OperatorError(
            found=f"{wheel.name} has sha256 {digest}.", expected="a hash of the lock.", action="look at pip's index."
        )
    note = wheel.with_name(f"{wheel.name}.sha256")  # beside it, in a directory that no other process writes to
    note.write_text(digest + "\n")
    kept = wheel.rename(cache / wheel.name)
    note.rename(cache / note.name)
    return kept


def pip() -> list[str]:
    """Return a command that is pip: an environment made by uv has none, but ensurepip carries one."""
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    found = importlib.util.find_spec("ensurepip")
    bundled = sorted(Path(found.origin).parent.glob("_bundled/pip-*.whl")) if found and found.origin else []
    if not bundled:
        raise OperatorError(
            found=f"{sys.executable} has neither pip nor ensurepip.",
            expected="one of them.",
            action="remove .venv and run ./scripts/setup, which makes one with pip.",
        )
    return [sys.executable, str(bundled[-1] / "pip")]


__all__ = ["Pin", "cached", "ensure", "parse_lock", "pip", "platform_tags"]
