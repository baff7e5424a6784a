# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A change of the driver that is killed anywhere and run again ends like one that was not disturbed.

Every change that an undisturbed run makes, those of a way back among them, is killed at its start, in its middle and at
its end (a new step is covered by itself). That takes too long for every run of the suite, which has three kills in one
way back. What is compared is every file of the host: path, kind, mode, owner, target and content; and what the host's
account says. A kill is SIGKILL of everything that runs on the host. The run after it is the playbook's, which begins
with the driver, also where what was killed looked after a driver that had waited for a restart.
"""

from __future__ import annotations

import tempfile
import typing as t
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from driverdamages import LIB, STALE, stale_entry
from driverlayers import INSTALL, NEW, NEXT, OLD, REFUSING, STOCK, Change, DriverLayers, Kill, differences
from installerhost import DriverHost, run_as_root

from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_files as files

MOMENTS = ("start", "middle", "end")
# A driver of another version installed by hand, a distribution's driver, and an entry in DKMS that nothing claims.
MIXED = f"""{INSTALL} > /dev/null
sh /{STOCK}/NVIDIA-Linux-x86_64-{NEW}.run --silent -M proprietary --dkms --skip-module-load --no-x-check \
  --kernel-name={NEXT}
cp -a /usr/src/nvidia-{NEW} /usr/src/nvidia-{OLD}
sed -i s/{NEW}/{OLD}/ /usr/src/nvidia-{OLD}/dkms.conf
dkms add -m nvidia -v {OLD}
cd /root
mkdir -p nvidia-driver-535/DEBIAN
printf 'Package: nvidia-driver-535\\nVersion: 535.183.01-1\\nArchitecture: all\\nMaintainer: lab <lab@example.org>\\n\
Description: x\\n' > nvidia-driver-535/DEBIAN/control
dpkg-deb -b nvidia-driver-535 > /dev/null
dpkg -i nvidia-driver-535.deb > /dev/null"""
# DKMS has signed every module, and has another pair now, as after somebody has lost it; the firmware trusts that, by a
# stand-in of mokutil.
PAIR = ("/var/lib/dkms/mok.key", "/var/lib/dkms/mok.pub")
OTHER_PAIR = f"""for kernel in $(ls /lib/modules); do
  dkms remove -m nvidia -v {OLD} -k $kernel && dkms install --force -m nvidia -v {OLD} -k $kernel
done > /dev/null 2>&1
printf '#!/bin/sh\necho "$2 is already enrolled"\n' > /usr/local/bin/mokutil && chmod 0755 /usr/local/bin/mokutil
openssl req -new -x509 -nodes -days 36500 -subj /CN=other/ -newkey rsa:2048 -keyout {PAIR[0]} \
  -outform DER -out {PAIR[1]} 2> /dev/null"""
# Nothing to install: modules and settings are gone, a library and an entry in DKMS are another version's, and dpkg has
# not finished a package that it takes for a kernel's.
DAMAGED = f"""rm /lib/modules/{NEXT}/updates/dkms/nvidia*.ko {files.PIN}
cp {LIB}/libnvidia-ml.so.{OLD} {LIB}/libnvidia-ml.so.{STALE}
{stale_entry(OLD)}
cd /root
mkdir -p linux-headers-lab/DEBIAN
printf 'Package: linux-headers-lab\\nVersion: 1\\nArchitecture: all\\nMaintainer: lab <lab@example.org>\\n\
Description: x\\n' > linux-headers-lab/DEBIAN/control
dpkg-deb -b linux-headers-lab > /dev/null
dpkg --unpack linux-headers-lab.deb > /dev/null"""
# A stand-in of nvidia-ctk: it names a library of the loaded driver, in a file that takes the place of the former one as
# that of CDI's own writer does (container-device-interface, pkg/cdi/producer/save.go); and a kernel that takes every
# module.
SPECIFICATION = "/etc/cdi/nvidia.yaml"
WITH_CONTAINERS = f"""mkdir /etc/cdi
printf 'kind: nvidia.com/gpu\\nhostPath: {LIB}/libcuda.so.{OLD}\\n' > {SPECIFICATION}
cat > /usr/bin/nvidia-ctk << 'END'
#!/bin/sh
[ "$1 $2 $3" = 'cdi generate --output={SPECIFICATION}' ] || exit 2
loaded=$(grep -oE '[0-9]+[.][0-9]+[.][0-9]+' /proc/driver/nvidia/version)
new=$(mktemp /etc/cdi/spec.XXXX.tmp)
echo 'kind: nvidia.com/gpu' > $new
sleep 0.4
echo "hostPath: {LIB}/libcuda.so.$loaded" >> $new
chmod 0644 $new && mv $new {SPECIFICATION}
END
chmod 0755 /usr/bin/nvidia-ctk
ln -sf /usr/bin/true /usr/sbin/modprobe"""


@dataclass(frozen=True)
class Scenario:
    """What is asked of which host.

    With ``loaded`` the change was made before a restart that has brought that driver, and the run after it is killed:
    the playbook's, or with ``settled`` what ``host_restart`` asks for. ``about`` is a change that it must make to be
    worth its name.
    """

    asked: dict[str, t.Any]
    driven: bool = True
    prepare: str = ""
    loaded: str = ""
    settled: bool = False
    about: str = "install"


SCENARIOS = {
    "upgrade": Scenario({"version": NEW}),
    "way-back": Scenario({"version": NEW}, prepare=REFUSING),
    "first": Scenario({"version": OLD}, driven=False),
    "takeover": Scenario({"version": OLD}, driven=False, prepare=MIXED),
    "repair": Scenario({"version": OLD}, prepare=DAMAGED, about="strays"),
    "removal": Scenario({"version": OLD, "state": "absent"}, about="sweep"),
    "signing": Scenario(
        {"version": OLD, "signing_key": PAIR[0], "signing_certificate": PAIR[1]}, prepare=OTHER_PAIR, about="build"
    ),
    "way-back-after-a-restart": Scenario({"version": NEW}, loaded=OLD, settled=True),
    "containers": Scenario({"version": NEW}, prepare=WITH_CONTAINERS, loaded=NEW, about="containers"),
}
WAYS_BACK = ("way-back", "way-back-after-a-restart")


@dataclass(frozen=True)
class Undisturbed:
    """What a change comes to when nobody kills it."""

    layers: DriverLayers
    below: list[Path]
    hardware: dict[str, t.Any]
    boot: str
    asked: dict[str, t.Any]
    playbook: dict[str, t.Any]
    done: Change
    tree: dict[str, str]
    account: tuple[t.Any, ...]

    def killed_and_run_again(self, *kills: Kill) -> list[str]:
        """Return what differs after runs that were killed, each in a change, and one that was not."""
        host = self.layers.host(self.below, **self.hardware)
        for kill in kills:
            killed = self.layers.change(host, kill, prepare=self.boot, **self.asked)
            if killed.outcome.rc == 0:
                return [f"it was not killed: {kill}"]
        again = self.layers.change(host, prepare=self.boot, **self.playbook)
        # A driver that was put back after its restart, to the end, is not tried again.
        held_back = self.asked != self.playbook and "set gpu_driver_retry" in again.failure
        found = [] if held_back or again.failure == self.done.failure else [f"failure: {again.failure!r}"]
        account = summary(self.layers, host)
        found += [f"account: {account}"] if account != self.account else []
        return [*found, *again.rest, *differences(self.tree, self.layers.tree(host))]


def summary(layers: DriverLayers, host: DriverHost) -> tuple[t.Any, ...]:
    """Return what an account says, without times and the way to it."""
    told = layers.account(host)
    origin = (told.get("origin") or {}).get("version")
    return told.get("phase"), (told.get("target") or {}).get("version"), origin, told.get("put_back"), told.get("why")


@pytest.fixture(scope="module")
def stock() -> Iterator[tuple[DriverLayers, list[Path], list[Path]]]:
    """Make a bare workstation and one with a driver."""
    directory = Path(tempfile.mkdtemp(prefix="gpulab-kills-", dir="/var/tmp"))
    try:
        layers = DriverLayers(directory)
        bare = layers.workstation()
        driven = layers.host(bare.layers)
        assert layers.change(driven, release=layers.release(OLD)).failure == ""
        layers.release(NEW)
        yield layers, bare.layers, driven.layers
    finally:
        run_as_root(["rm", "-rf", "--one-file-system", str(directory)])


def undisturbed(stock: tuple[DriverLayers, list[Path], list[Path]], name: str) -> Undisturbed:
    """Make the change of a scenario without a kill."""
    layers, bare, driven = stock
    scenario = SCENARIOS[name]
    playbook = {**scenario.asked, "release": layers.release(scenario.asked["version"])}
    del playbook["version"]
    below = driven if scenario.driven else bare
    below = layers.prepare(scenario.prepare, below) if scenario.prepare else below
    hardware: dict[str, t.Any] = {"secure_boot": "signing_key" in playbook}
    boot = ""
    if scenario.loaded:
        hardware, playbook = {"driver": "nvidia"}, {**playbook, "allow_running": True}
        host = layers.host(below, **hardware)
        installed = layers.change(host, prepare=layers.boot(1, OLD), **playbook)
        assert (installed.failure, installed.rest, layers.account(host)["phase"]) == ("", [], "installed")
        below, boot = host.layers, layers.boot(2, scenario.loaded)
    asked = {**playbook, "state": "settled"} if scenario.settled else playbook
    host = layers.host(below, **hardware)
    done = layers.change(host, prepare=boot, **asked)
    assert done.rest == []
    assert ("was put back" in done.failure) == (name in WAYS_BACK), done.failure
    account = summary(layers, host)
    return Undisturbed(layers, below, hardware, boot, asked, playbook, done, layers.tree(host), account)


ROUNDS = [
    pytest.param(name, number, id=f"{name}-{number + 1}of{len(MOMENTS)}", marks=pytest.mark.whole)
    for name in SCENARIOS
    for number in range(len(MOMENTS))
]


@pytest.mark.parametrize(("name", "number"), ROUNDS)
def test_a_change_that_is_killed_anywhere_ends_like_an_undisturbed_one(
    stock: tuple[DriverLayers, list[Path], list[Path]], name: str, number: int, subtests: pytest.Subtests
) -> None:
    whole = undisturbed(stock, name)
    assert SCENARIOS[name].about in whole.done.actions
    assert len(whole.done.made) > len(MOMENTS) or name == "containers"
    for at, (action, seconds) in enumerate(whole.done.made):
        moment = MOMENTS[(at + number) % len(MOMENTS)]  # three rounds have every moment of every change
        after = {"start": 0.0, "middle": max(seconds / 2, 0.001), "end": 3600.0}[moment]
        with subtests.test(f"{at} {action} at its {moment}"):
            assert whole.killed_and_run_again(Kill(action, whole.done.actions[:at].count(action), after)) == []


def test_a_change_that_is_killed_three_times_over_ends_like_an_undisturbed_one(
    stock: tuple[DriverLayers, list[Path], list[Path]],
) -> None:
    """In the middle of the installation that fails; at the start and the end of changes that only the way back has."""
    whole = undisturbed(stock, "way-back")
    action, seconds = whole.done.made[whole.done.actions.index("install")]
    assert (whole.done.actions.count("build"), whole.done.actions.count("prove")) == (1, 1)
    kills = Kill(action, 0, seconds / 2), Kill("build", 0, 0.0), Kill("prove", 0, 3600.0)
    assert whole.killed_and_run_again(*kills) == []
