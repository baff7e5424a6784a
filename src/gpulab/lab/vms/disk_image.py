# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The disk images of the virtual machines, one for each kernel flavour, kept under the hash of their recipe."""

from __future__ import annotations

import fcntl
import subprocess
import tempfile
import typing as t
from dataclasses import dataclass
from pathlib import Path

from gpulab import _os_packages
from gpulab._errors import OperatorError
from gpulab.lab import image, mirror
from gpulab.lab.vms import qemu

if t.TYPE_CHECKING:
    from collections.abc import Callable

    Say = Callable[[str], None]

Flavour = t.Literal["cloud", "generic"]
FLAVOURS: t.Final[tuple[Flavour, ...]] = ("cloud", "generic")
RECIPE = Path(__file__).parent / "image"
REQUIREMENTS = (
    *image.REQUIREMENTS,
    _os_packages.Requirement("fdisk", ("sfdisk",), "partitions the disks of virtual machines"),
    _os_packages.Requirement("dosfstools", ("mkfs.vfat",), "makes their EFI partition"),
    _os_packages.Requirement("e2fsprogs", ("mke2fs",), "makes their root file system"),
)
SEAL_SECONDS = 1200
_SEALED = "seal: done"


@dataclass(frozen=True, slots=True)
class DiskImage:
    """A disk that every machine's own disk is a layer above."""

    disk: Path
    flavour: Flavour

    @property
    def kernel(self) -> Path:
        """Return the kernel in it, by which KVM is tried."""
        return kernel_of(self.disk)


def kernel_of(disk: Path) -> Path:
    """Return the kernel that is kept beside an image."""
    return disk.with_suffix(".vmlinuz")


def headers_of(disk: Path) -> Path:
    """Return the archive of its kernel's headers that is kept beside an image, to build modules without emulation."""
    return disk.with_suffix(".headers.tar")


def recipe(flavour: Flavour, root: Path = Path("/")) -> image.Recipe:
    """Return the recipe of a flavour's image for this machine."""
    sources = mirror.sources_for_hosts(mirror.read_machine_sources(root), mirror.read_os_release(root))
    paths = [path for path in sorted(RECIPE.rglob("*")) if path.is_file()]
    files = [(str(path.relative_to(RECIPE)), path.read_bytes()) for path in paths]
    parts = (("flavour", flavour.encode()), *files)
    return image.Recipe(mirror.sources_list(sources), sources[0].uri if sources else "", parts)


def ensure(flavour: Flavour, cache: Path, say: Say, *, rebuild: bool = False) -> DiskImage:
    """Have a flavour's image in the cache."""
    wanted = recipe(flavour)
    kept = DiskImage(cache / "images" / f"vm-{flavour}-{wanted.key}.qcow2", flavour)
    kept.disk.parent.mkdir(parents=True, exist_ok=True)
    with (kept.disk.parent / f".vm-{flavour}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if rebuild or not kept.disk.exists():
            _os_packages.ensure("Building the image of the virtual machines", REQUIREMENTS, say)
            _build(wanted, kept, cache, say)
    return kept


def _build(wanted: image.Recipe, kept: DiskImage, cache: Path, say: Say) -> None:
    """Build under a temporary name and rename: a killed build is never used."""
    for leftover in kept.disk.parent.glob(f"vm-build-{kept.flavour}-*"):
        image.remove_tree(leftover)
    work = Path(tempfile.mkdtemp(prefix=f"vm-build-{kept.flavour}-", dir=kept.disk.parent))
    try:
        say(f"Building the virtual machines' image with the {kept.flavour} kernel, once (3 to 6 minutes):")
        (work / "sources.list").write_text(wanted.sources)
        arguments = [str(work / "root"), mirror.SUITE, str(work / "sources.list"), str(cache / "debs"), kept.flavour]
        script = [str(RECIPE / "build.sh"), *arguments, *([wanted.mirror] if wanted.mirror else [])]
        image.run_logged([*image.ISOLATED, *script], work / "build.log", say)
        say("  disk")
        image.run_logged([str(RECIPE / "disk.sh"), str(work / "root"), str(work / "disk.raw")], work / "disk.log", say)
        say("  GRUB")
        _seal(work, qemu.accelerated(work / "root.vmlinuz", cache, say))
        convert = ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(work / "disk.raw"), str(work / "disk.qcow2")]
        subprocess.run([*_os_packages.as_root(), *convert], check=True)
        (work / "root.vmlinuz").rename(kept.kernel)
        (work / "root.headers.tar").rename(headers_of(kept.disk))
        (work / "disk.qcow2").rename(kept.disk)
    finally:
        image.remove_tree(work)


def _seal(work: Path, program: tuple[str, ...]) -> None:
    """Start the new disk once, with what is in it: it installs GRUB and switches itself off."""
    kernel = ["-kernel", str(work / "root.vmlinuz"), "-initrd", str(work / "root.initrd")]
    line = "root=/dev/vda3 rw console=ttyS0 quiet mitigations=off init=/usr/local/sbin/gpulab-seal"
    disk = ["-drive", f"file={work / 'disk.raw'},format=raw,if=virtio,cache=unsafe"]
    log = work / "seal.log"
    machine = ["-machine", "q35", "-smp", "2", "-m", "1024", "-nodefaults", "-display", "none"]
    ends = ["-serial", f"file:{log}", "-no-reboot"]
    command = [*_os_packages.as_root(), "timeout", str(SEAL_SECONDS), *program, *machine, *kernel]
    outcome = subprocess.run([*command, "-append", line, *disk, *ends], check=False, text=True, capture_output=True)
    said = log.read_text(errors="replace") if log.exists() else outcome.stderr
    if _SEALED not in said:
        raise OperatorError(
            found=f"the first start of a new image ended without '{_SEALED}': {said[-800:]}",
            expected="update-initramfs and grub-install to work in it.",
            action="cure what it says and run the command again.",
        )


__all__ = ["FLAVOURS", "DiskImage", "Flavour", "ensure", "headers_of", "kernel_of", "recipe"]
