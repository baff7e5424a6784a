# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts that cost no time to copy, to change the driver on: the role's own code runs in them, as in a job's worker.

A host is a layer of an overlay, so that every test starts from the same files. A kill ends every process of the host's
namespace at once; what was written stays, synced or not. No systemd runs, and nothing can be loaded.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import time
import typing as t
from dataclasses import dataclass, field
from pathlib import Path

from driverdamages import refusing
from installerhost import DriverHost, Outcome, Workshop

from gpulab.lab.standins.nvidia_driver import build_driver_run

ROOT = Path(__file__).resolve().parents[2]
STOCK = "opt/stock"
_CODE = f"{STOCK}/ansible_collections/gpulab/workstation/plugins/module_utils"
PARAMS: dict[str, t.Any] = {
    "state": "present", "cache_directory": "/var/cache/gpulab", "work_directories": ["/var/cache/gpulab"],
    "replace_distro_driver": True, "allow_running": False, "module_options": {"nvidia-drm": {"modeset": 1}},
    "persistenced": True, "hold_packages": True, "compat32": False,
}  # fmt: skip
NEW, OLD = "595.45.04", "580.95.05"  # of the recorded runs of nvidia-installer
NEXT = "6.1.0-99-cloud-amd64"
INSTALL = "apt-get -q install --yes --no-install-recommends --no-download dkms"
# A second kernel, which is the first one under another name; a graphics driver in the initramfs; a key to sign with,
# so that a module is the same each time; tools that the role has to install; a systemd for which nothing answers.
WORKSTATION = f"""
one=KERNEL two={NEXT}
cp -a /usr/src/linux-headers-$one /usr/src/linux-headers-$two
for file in generated/utsrelease.h config/kernel.release; do
  sed -i s/$one/$two/ /usr/src/linux-headers-$two/include/$file
done
mkdir -p /lib/modules/$two/kernel/drivers/video /run/systemd/system
touch /lib/modules/$two/kernel/drivers/video/vga16fb.ko
echo podman > /run/systemd/container
cp -a /lib/modules/$one/modules.* /lib/modules/$one/source /lib/modules/$two
ln -s /usr/src/linux-headers-$two /lib/modules/$two/build
touch /boot/vmlinuz-$two
drm=/lib/modules/$one/kernel/drivers/gpu/drm/nouveau
mkdir -p $drm
cp "$(find /lib/modules/$one/kernel -name '*.ko' | sort | head -1)" $drm/nouveau.ko
echo nouveau >> /etc/initramfs-tools/modules
depmod $one
depmod $two
update-initramfs -u -k $one
openssl req -new -x509 -nodes -days 36500 -subj "/CN=DKMS module signing key" -newkey rsa:2048 \
  -keyout /var/lib/dkms/mok.key -outform DER -out /var/lib/dkms/mok.pub 2> /dev/null
apt-get -q remove --yes dkms > /dev/null
"""
# A machine of its own in its first or second boot: it has a card, runs the image's kernel and has a driver loaded,
# which a program uses. What a card and a kernel would do after that takes a virtual machine.
_RUNNING = """rm -f /run/systemd/container
mkdir -p /root/proc
echo KERNEL > /root/proc/osrelease
echo 00000000-0000-0000-0000-00000000000BOOT > /root/proc/boot_id
echo "1 (init) S $(seq -s ' ' 50)" > /root/proc/stat
mount --bind /root/proc/stat /proc/1/stat
mount --bind /root/proc/osrelease /proc/sys/kernel/osrelease
mount --bind /root/proc/boot_id /proc/sys/kernel/random/boot_id
mount -t tmpfs tmpfs /proc/driver
mkdir /proc/driver/nvidia
echo 'NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  LOADED  Release Build' > /proc/driver/nvidia/version
touch /dev/nvidia0
sleep 600 3< /dev/nvidia0 > /dev/null 2>&1 &
"""
REFUSING = refusing(NEW)
# Their content differs from run to run and says nothing: notes of the linker and of dpkg, times inside an initramfs,
# the list of directories that every run of the installer writes anew, and subuid and subgid, which userdel writes as
# they were. The account of a change is compared by itself.
_NO_CONTENT = re.compile(
    r"/var/log/.*|/var/lib/(dpkg|apt)/.*|/var/cache/(ldconfig|apt|debconf)/.*|/etc/(passwd|group|shadow|gshadow)-"
    r"|/etc/sub[ug]id"
    r"|/boot/initrd\.img-.*|/var/lib/nvidia/dirs|/var/lib/dkms/.*/make\.log|/var/lib/gpulab/driver/transaction\.json"
)
# dpkg's notes of work that was cut off are part of its database until it next writes; the plan sees that nothing waits.
# Nothing reads what a writer of CDI specifications leaves when it is killed.
_NOT_COMPARED = re.compile(
    r"/var/log/(apt|dpkg|nvidia|alternatives)\S*|/var/lib/dkms/nvidia/[^/]+/build.*"
    r"|/var/lib/dpkg/(status-new|updates/\d+)|/etc/cdi/spec\.[^/]+\.tmp"
)


class Kill(t.NamedTuple):
    """The change to die in, how many of that name a run has made before it, and after how many seconds of it."""

    action: str
    before: int
    seconds: float


@dataclass(frozen=True)
class Change:
    """What a run of the role's code on a host did: every change with its seconds, what failed, what is left to do."""

    outcome: Outcome
    made: list[tuple[str, float]] = field(default_factory=list)
    rest: list[str] = field(default_factory=list)
    failure: str = ""

    @property
    def actions(self) -> list[str]:
        """The names of the changes in their order."""
        return [action for action, _seconds in self.made]


class DriverLayers:
    """A workshop with the role's code and stand-ins of drivers in it."""

    def __init__(self, directory: Path) -> None:
        self.workshop = Workshop(directory)
        self.kernel = self.workshop.kernel
        self.stock = self.workshop.tools / STOCK
        shutil.copytree(ROOT / "plugins/module_utils", self.workshop.tools / _CODE)
        shutil.copytree(ROOT / "tests/support/driverchange", self.stock, dirs_exist_ok=True)
        self.since = time.time()
        self._hosts = 0

    def release(self, version: str, **changes: t.Any) -> dict[str, t.Any]:
        """Return a stand-in's entry as the catalogue would give it; its source is a path."""
        run = self.stock / f"NVIDIA-Linux-x86_64-{version}.run"
        if not run.exists():
            build_driver_run(version, self.stock)
        digest = hashlib.sha256(run.read_bytes()).hexdigest()
        return {"version": version, "flavour": "open", "file": run.name, "size": run.stat().st_size, "sha256": digest,
                "sources": [f"/{STOCK}/{run.name}"], "standin": True, **changes}  # fmt: skip

    def host(self, below: t.Sequence[Path] = (), *, secure_boot: bool = False, driver: str = "") -> DriverHost:
        """Return a host that starts from these layers; that its firmware enforces signatures is only said.

        With the name of a driver it has a card of which that driver has taken hold.
        """
        self._hosts += 1
        host = self.workshop.host(f"host-{self._hosts}", below)
        host.plug_in(gpu=bool(driver), driver=driver, secure_boot=secure_boot)
        return host

    def prepare(self, script: str, below: t.Sequence[Path]) -> list[Path]:
        """Run a script on a new host and return the layers to go on from."""
        host = self.host(below)
        self.sh(host, script)
        return host.layers

    def workstation(self) -> DriverHost:
        """Return a host with two kernels and without a driver, as an operator would hand it to the role."""
        host = self.host()
        self.sh(host, WORKSTATION.replace("KERNEL", self.kernel))
        return host

    def boot(self, number: int, loaded: str) -> str:
        """Return what makes a host seem a machine in its first or second boot that has a driver loaded."""
        return _RUNNING.replace("KERNEL", self.kernel).replace("LOADED", loaded).replace("BOOT", str(number))

    def sh(self, host: DriverHost, script: str) -> str:
        """Run a script on a host and return what it prints."""
        done = host.run(f"set -e\n{script}", package=None, look=False, real_systemctl=True)
        if done.rc:
            raise AssertionError(f"{script!r} ended with {done.rc}: {done.stdout}{done.stderr}")
        return done.stdout

    def change(self, host: DriverHost, kill: Kill | None = None, *, prepare: str = "", **params: t.Any) -> Change:
        """Apply the role's code, and die in one of its changes."""
        asked, words = json.dumps({**PARAMS, **params}), " ".join(map(str, kill or ()))
        script = f"{prepare}\ncd /{STOCK} && python3 -B worker.py '{asked}' {words}"
        done = host.run(script, package=None, look=False, real_systemctl=True)
        if done.rc == 0:
            told = json.loads(done.stdout.splitlines()[-1])
            return Change(done, [(action, seconds) for action, seconds in told["made"]], told["rest"], told["failure"])
        if not kill:
            raise AssertionError(f"the worker ended with {done.rc}: {done.stdout}{done.stderr}")
        return Change(done)

    def tree(self, host: DriverHost) -> dict[str, str]:
        """Return every file of a host with all that has to be the same."""
        return comparable(json.loads(self.sh(host, f"python3 -B /{STOCK}/tree.py {self.since}")))

    def drift(self, host: DriverHost) -> tuple[str, str]:
        """Return outcome and words of gpu_verify's check on a host."""
        outcome, why = json.loads(self.sh(host, f"cd /{STOCK}; python3 -B drift.py"))
        return outcome, why

    def account(self, host: DriverHost) -> dict[str, t.Any]:
        """Return the host's account of the last change."""
        told = self.sh(host, "cat /var/lib/gpulab/driver/transaction.json 2> /dev/null || echo '{}'")
        found: dict[str, t.Any] = json.loads(told)
        return found


def comparable(found: t.Mapping[str, str]) -> dict[str, str]:
    """Return what tree.py has printed, without what differs from run to run and says nothing."""
    return {
        path: re.sub(r" [0-9a-f]{64}$", "", told) if _NO_CONTENT.fullmatch(path) else told
        for path, told in found.items()
        if not _NOT_COMPARED.fullmatch(path)
    }


def differences(one: dict[str, str], other: dict[str, str]) -> list[str]:
    """Return the files that differ, as ``diff`` would."""
    changed = sorted(path for path in one.keys() | other.keys() if one.get(path) != other.get(path))
    return [f"{path}: {one.get(path, 'not there')} | {other.get(path, 'not there')}" for path in changed]


__all__ = [
    "INSTALL", "NEW", "NEXT", "OLD", "REFUSING", "STOCK", "Change", "DriverLayers", "Kill", "comparable",
    "differences",
]  # fmt: skip
