# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The image of the container hosts, built from Debian packages and kept under the hash of its recipe."""

from __future__ import annotations

import fcntl
import hashlib
import subprocess
import tempfile
import time
import typing as t
from dataclasses import dataclass
from pathlib import Path

from gpulab import _os_packages
from gpulab._errors import OperatorError
from gpulab.lab import mirror
from gpulab.lab.podman import Podman

if t.TYPE_CHECKING:
    from collections.abc import Callable

RECIPE = Path(__file__).parent / "image"
REQUIREMENTS = (
    _os_packages.Requirement("debootstrap", ("debootstrap",), "makes the hosts' Debian from packages"),
    _os_packages.Requirement(
        "debian-archive-keyring",
        (mirror.KEYRING,),
        "checks those packages' signatures",
    ),
)
STALE_DAYS = 30
# Mounts and processes of a build end with it, however it ends.
ISOLATED = ("setpriv", "--pdeathsig", "KILL", "unshare", "--mount-proc", "--pid", "--fork", "--kill-child")


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides what is in the image."""

    sources: str
    mirror: str
    files: tuple[tuple[str, bytes], ...]

    @property
    def key(self) -> str:
        """Return the hash that names the image."""
        digest = hashlib.sha256()
        for part in (mirror.SUITE, self.sources, *(item for name, data in self.files for item in (name, data))):
            data = part if isinstance(part, bytes) else part.encode()
            digest.update(len(data).to_bytes(8, "big") + data)
        return digest.hexdigest()[:16]

    @property
    def image(self) -> str:
        """Return the name that podman knows the image by."""
        return f"localhost/gpulab-host:{self.key}"


def recipe(root: Path = Path("/")) -> Recipe:
    """Return the recipe for this machine."""
    sources = mirror.sources_for_hosts(mirror.read_machine_sources(root), mirror.read_os_release(root))
    files = tuple((path.name, path.read_bytes()) for path in sorted(RECIPE.iterdir()) if path.is_file())
    return Recipe(mirror.sources_list(sources), sources[0].uri if sources else "", files)


def ensure_image(wanted: Recipe, cache: Path, say: Callable[[str], None], *, rebuild: bool = False) -> str:
    """Have the image in podman's store: already there, imported from the cache, or built."""
    archive = cache / "images" / f"{wanted.key}.tar.gz"
    if rebuild:
        archive.unlink(missing_ok=True)
    elif Podman().has_image(wanted.image):
        _tell_age(archive, say)
        return wanted.image
    ensure_archive(wanted, cache, say)
    say(f"Importing the host image {wanted.image} ...")
    change = 'CMD ["/lib/systemd/systemd"]'
    Podman().run(
        "import", "--quiet", "--change", change, "--change", "STOPSIGNAL SIGRTMIN+3", str(archive), wanted.image
    )
    return wanted.image


def ensure_archive(wanted: Recipe, cache: Path, say: Callable[[str], None]) -> Path:
    """Have the packed root file system of the image in the cache."""
    archive = cache / "images" / f"{wanted.key}.tar.gz"
    if not archive.exists():
        _os_packages.ensure("Building the host image", REQUIREMENTS, say)
        archive.parent.mkdir(parents=True, exist_ok=True)
        with (archive.parent / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not archive.exists():  # another lab may have built it while this one waited
                build(wanted, archive, cache, say)
    return archive


def _tell_age(archive: Path, say: Callable[[str], None]) -> None:
    days = (time.time() - archive.stat().st_mtime) / 86400 if archive.exists() else 0
    if days > STALE_DAYS:
        say(f"The host image is {days:.0f} days old; for fresh Debian packages: gpulab lab up --rebuild-image")


def build(wanted: Recipe, archive: Path, cache: Path, say: Callable[[str], None]) -> None:
    """Build the root file system under a temporary name and rename its archive: a killed build is never used."""
    images = archive.parent
    for leftover in images.glob("build-*"):
        remove_tree(leftover)
    work = Path(tempfile.mkdtemp(prefix="build-", dir=images))
    try:
        say("Building the host image, once (2 to 3 minutes):")
        (work / "sources.list").write_text(wanted.sources)
        debs = cache / "debs"
        script = [str(RECIPE / "build.sh"), str(work / "root"), mirror.SUITE, str(work / "sources.list"), str(debs)]
        run_logged([*ISOLATED, *script, *([wanted.mirror] if wanted.mirror else [])], work / "build.log", say)
        say("  packing")
        packed = work / "root.tar.gz"
        run_logged([str(RECIPE / "pack.sh"), str(work / "root"), str(packed)], work / "pack.log", say)
        packed.rename(archive)
    finally:
        remove_tree(work)


def run_logged(command: list[str], log: Path, say: Callable[[str], None]) -> None:
    """Run a build step as root; show its '== ' lines, keep the rest for the failure's message."""
    full = [*_os_packages.as_root(), *command]
    tail: list[str] = []
    with (
        log.open("w") as file,
        subprocess.Popen(
            full, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        ) as process,
    ):
        for line in process.stdout or ():
            file.write(line)
            tail = [*tail[-14:], line]
            if line.startswith("== "):
                say("  " + line[3:].rstrip())
    if process.returncode != 0:
        raise OperatorError(
            found=f"building a host image ended with {process.returncode}:\n{''.join(tail)}",
            expected="debootstrap and apt to finish.",
            action="cure what they say (often the network or this machine's apt mirror) and run the command again.",
        )


def remove_tree(path: Path) -> None:
    """Remove a build directory, whose files belong to root."""
    command = [*_os_packages.as_root(), "rm", "-rf", "--one-file-system", str(path)]
    subprocess.run(command, check=False, stdin=subprocess.DEVNULL)


__all__ = [
    "ISOLATED",
    "RECIPE",
    "REQUIREMENTS",
    "Recipe",
    "ensure_archive",
    "ensure_image",
    "recipe",
    "remove_tree",
    "run_logged",
]
