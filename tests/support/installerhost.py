# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A disposable Debian 12 with a kernel, its headers, a compiler and DKMS, to run a driver installer in.

The lab's host image, with the packages that it keeps for later installed, is the lowest layer of an overlay; every
host writes into a layer of its own. Each command runs in a chroot in namespaces of its own: nothing stays mounted and
no process stays behind. The kernel that `uname` names is the image's, whatever kernel the machine runs. Modules are
built by the real compiler, but each of them only once (``installerhost/make.sh``); ``REAL_MAKE`` takes that away.
"""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import shutil
import subprocess
import typing as t
from dataclasses import dataclass
from pathlib import Path

from gpulab import _os_packages, _paths
from gpulab.lab import image

ROOT_VARIABLE = "GPULAB_TEST_ROOT"
TOOLS = "opt/gpulab-test"
REAL_MAKE = "mv /usr/bin/make.real /usr/bin/make"
OPTIONS = "--silent -M open --dkms --no-x-check --skip-module-load"  # of most recorded runs
_HERE = Path(__file__).parent / "installerhost"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_GPU = {"vendor": "0x10de", "device": "0x2b85", "class": "0x030000"}  # an RTX 5090, as in the recorded runs
_SECURE_BOOT = "SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"


def run_as_root(command: t.Sequence[str], **keywords: t.Any) -> subprocess.CompletedProcess[str]:
    """Run a command as root, by sudo where that is needed."""
    return subprocess.run([*_os_packages.as_root(), *command], text=True, check=True, **keywords)


def _isolated(script: str) -> list[str]:
    """Return a shell script in mount and process namespaces of its own, which end with it."""
    namespaces = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child"]
    return [*namespaces, "bash", "-c", script]


def base_root() -> Path:
    """Return the root file system that all hosts share, made from the lab's image once for each recipe.

    GPULAB_TEST_ROOT names another one, which has to hold a kernel with headers, gcc, make, dkms and initramfs-tools.
    """
    if given := os.environ.get(ROOT_VARIABLE):
        return Path(given)
    cache = _paths.cache_directory()
    wanted = image.recipe()
    root = cache / "driver-host" / wanted.key
    root.parent.mkdir(parents=True, exist_ok=True)
    with (root.parent / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of two workers one makes it
        if not (root / "usr/sbin/dkms").exists():
            _make_root(root, wanted, cache)
    return root


def built_modules(base: Path) -> Path:
    """Return where the kernel modules are kept that hosts on this base have built (``installerhost/make.sh``)."""
    kept = _paths.cache_directory() / "driver-host" / f"{base.name}.modules"
    kept.mkdir(parents=True, exist_ok=True)
    return kept


def _make_root(root: Path, wanted: image.Recipe, cache: Path) -> None:
    """Make the root under another name and rename it when it is whole."""
    archive = image.ensure_archive(wanted, cache, print)
    building = root.with_suffix(".building")
    run_as_root(["rm", "-rf", "--one-file-system", str(building)])
    building.mkdir(parents=True)
    run_as_root(["tar", "--directory", str(building), "--numeric-owner", "--extract", "--file", str(archive)])
    packages = (image.RECIPE / "downloaded.txt").read_text().splitlines()
    names = " ".join(line for line in packages if line and not line.startswith("#"))
    install = f"apt-get -q install --yes --no-install-recommends --no-download {names}"
    script = f"mount -t proc proc {building}/proc && chroot {building} env DEBIAN_FRONTEND=noninteractive {install}"
    run_as_root(_isolated(script), stdout=subprocess.DEVNULL)
    run_as_root(["mv", str(building), str(root)])


@dataclass(frozen=True)
class Outcome:
    """How a command on a host ended, and what the host looks like after it."""

    rc: int
    stdout: str
    stderr: str
    state: dict[str, t.Any]
    log: str


class Workshop:
    """What all hosts of a test session share: the base, the test's own tools, the packages."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.base = base_root()
        self.kernel = max(path.name for path in (self.base / "lib/modules").iterdir())
        self.tools = directory / "tools"
        for place in ("out", "sys", "built"):
            (self.tools / TOOLS / place).mkdir(parents=True)
        (self.tools / "opt/pkg").mkdir()
        self.built = built_modules(self.base)
        (self.tools / "usr/bin").mkdir(parents=True)
        shutil.copy2(self.base / "usr/bin/make", self.tools / "usr/bin/make.real")
        (self.tools / "usr/bin/make").write_text((_HERE / "make.sh").read_text())
        (self.tools / "usr/bin/make").chmod(0o755)
        for name in ("state.py", "uname_shim.c"):
            (self.tools / TOOLS / name).write_text((_HERE / name).read_text())
        host = DriverHost(self, "shim", [])
        built = host.run(
            f"gcc -shared -fPIC -o /{TOOLS}/out/shim.so /{TOOLS}/uname_shim.c -ldl", package=None, shim=False
        )
        if built.rc != 0:
            raise RuntimeError(built.stderr)
        (host.out / "shim.so").rename(self.tools / TOOLS / "shim.so")

    def package(self, run: Path) -> Path:
        """Extract a .run; hosts see it as /opt/pkg."""
        target = self.directory / f"{run.stem}-extracted"
        subprocess.run(["sh", str(run), "--extract-only", "--target", str(target)], check=True, capture_output=True)
        return target

    def host(self, name: str, below: t.Sequence[Path] = ()) -> DriverHost:
        """Return a fresh host; ``below`` are layers of other hosts that it starts from."""
        return DriverHost(self, name, below)


class DriverHost:
    """One host: an overlay on the base."""

    def __init__(self, workshop: Workshop, name: str, below: t.Sequence[Path]) -> None:
        self._workshop = workshop
        self._below = below
        self.directory = workshop.directory / "hosts" / name
        self.layer = self.directory / "layer"
        self.out = self.directory / "out"
        self._sys = self.directory / "sys"
        self.disk = ""  # size of a disk of its own that its files go to from now on, as truncate(1) takes it
        for path in (self.layer, self.directory / "work", self.directory / "root", self.out, self._sys):
            path.mkdir(parents=True)

    @property
    def layers(self) -> list[Path]:
        """What a host that continues from here starts with."""
        return [self.layer, *self._below]

    def plug_in(self, *, gpu: bool = True, driver: str = "", secure_boot: bool = False) -> None:
        """Describe the hardware in this host's /sys: a GPU, the driver that owns it, the firmware's setting."""
        devices = self._sys / "bus/pci/devices"
        devices.mkdir(parents=True, exist_ok=True)
        if gpu:
            card = devices / "0000:01:00.0"
            card.mkdir()
            for name, value in _GPU.items():
                (card / name).write_text(f"{value}\n")
            if driver:
                (card / "driver").symlink_to(f"../../drivers/{driver}")
        if secure_boot:
            variables = self._sys / "firmware/efi/efivars"
            variables.mkdir(parents=True)
            (variables / _SECURE_BOOT).write_bytes(b"\6\0\0\0\1")

    def run(
        self,
        script: str,
        *,
        package: Path | None,
        shim: bool = True,
        look: bool = True,
        real_systemctl: bool = False,
        kernel: str = "",
        log: str = "/var/log/nvidia-installer.log",
        **sizes: str,
    ) -> Outcome:
        """Run a shell script as root in /opt/pkg of this host, with an empty stdin; then look at the host, or not.

        Sizes make a file system small: ``root_size``, ``temporary_size`` and ``package_size``, as mount(8) takes them.
        """
        root, here = self.directory / "root", self._workshop
        mounts = [*self._root_mounts(root, sizes.get("root_size", "")), *self._place_mounts(root)]
        mounts.append(f"mount -t tmpfs -o size={sizes.get('temporary_size', '64m')} tmpfs {root}/tmp")
        if package:
            mounts += self._package_mounts(root, package, sizes.get("package_size", "64m"))
        if not real_systemctl:
            mounts.append(f"mount --bind {root}/usr/bin/true {root}/usr/bin/systemctl")
        environment = {"PATH": _PATH, "HOME": "/root", "LC_ALL": "C"}
        if shim:
            environment |= {"LD_PRELOAD": f"/{TOOLS}/shim.so", "GPULAB_TEST_UNAME": kernel or here.kernel}
        (self.out / "script.sh").write_text(f"cd /opt/pkg\n{script}\n")
        words = [f"{name}={value}" for name, value in environment.items()]
        inside = shlex.join(["chroot", str(root), "env", "-i", *words])
        looking = f"{inside} python3 -I /{TOOLS}/state.py {here.kernel} {log} > {self.out}/state.json"
        program = f"{inside} sh /{TOOLS}/out/script.sh </dev/null && status=0 || status=$?"
        full = "\n".join(["set -e", *mounts, program, *([looking] if look else []), "exit $status"])
        command = [*_os_packages.as_root(), *_isolated(full)]
        done = subprocess.run(command, capture_output=True, check=False, stdin=subprocess.DEVNULL)
        seen = json.loads((self.out / "state.json").read_text()) if look else {"state": {}, "log": ""}
        # Decoded here, because text mode would make line ends of the carriage returns of progress bars.
        return Outcome(done.returncode, done.stdout.decode(), done.stderr.decode(), seen["state"], seen["log"])

    def _root_mounts(self, root: Path, size: str) -> list[str]:
        """Mount the host's root: its own layer on top, or a new small one on top of that, or one on a disk."""
        here, upper = self._workshop, self.directory
        lower, commands = [*self._below, here.tools, here.base], []
        if size or self.disk:
            upper, image = self.directory / "small", self.directory / "disk"
            lower.insert(0, self.layer)
            commands = [f"mkdir -p {upper}"]
        if size:
            commands.append(f"mount -t tmpfs -o size={size} tmpfs {upper}")
        elif self.disk:
            new = f"truncate --size={self.disk} {image} && mkfs.ext4 -q -m 0 {image}"
            commands += [f"test -e {image} || {{ {new}; }}", f"mount -o loop {image} {upper}"]
        if commands:
            commands.append(f"mkdir -p {upper}/layer {upper}/work")
        options = f"lowerdir={':'.join(map(str, lower))},upperdir={upper}/layer,workdir={upper}/work"
        return [*commands, f"mount -t overlay overlay -o {options} {root}"]

    def _place_mounts(self, root: Path) -> list[str]:
        return [
            f"mount -t proc proc {root}/proc",
            f"mount --bind {self._sys} {root}/sys",
            f"mount --bind {self.out} {root}/{TOOLS}/out",
            f"mount --bind {self._workshop.built} {root}/{TOOLS}/built",
        ]

    def _package_mounts(self, root: Path, package: Path, size: str) -> list[str]:
        parts = self.directory / "package"
        return [
            f"mkdir -p {parts}",
            f"mount -t tmpfs -o size={size} tmpfs {parts}",
            f"mkdir {parts}/up {parts}/work",
            f"options=lowerdir={package},upperdir={parts}/up,workdir={parts}/work",
            f"mount -t overlay overlay -o $options {root}/opt/pkg",
        ]


__all__ = [
    "OPTIONS", "REAL_MAKE", "ROOT_VARIABLE", "TOOLS", "DriverHost", "Outcome", "Workshop", "base_root", "run_as_root",
]  # fmt: skip
