# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes of the driver on hosts that are layers: from everything that can be there, and back where one fails.

What a host looks like afterwards is compared file by file with a host on which nothing has ever gone wrong.
"""

from __future__ import annotations

import tempfile
import typing as t
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from driverdamages import HALF_UNPACKED, LIB, WHOLE_DKMS, damages, failing_for_one_kernel
from driverlayers import INSTALL, NEW, NEXT, OLD, REFUSING, STOCK, Change, DriverLayers, differences
from installerhost import REAL_MAKE, DriverHost, run_as_root

KEPT = "/var/lib/gpulab/driver/kept"
# What a change legitimately leaves behind: fetched files and the way back, of which the account says which is which.
ALSO_THERE = ("/var/cache/gpulab/", f"{KEPT}/", "/root/")


@dataclass(frozen=True)
class Driven:
    """A host with the old driver, the layers to start a test from, and its file tree."""

    layers: DriverLayers
    bare: list[Path]
    bare_tree: dict[str, str]
    below: list[Path]
    tree: dict[str, str]

    def host(self, damage: str = "") -> DriverHost:
        """Return a host with the driver, and something done to it."""
        host = self.layers.host(self.below)
        if damage:
            self.layers.sh(host, damage.replace("KERNEL", self.layers.kernel))
        return host

    def ask(self, host: DriverHost, version: str = OLD, **params: t.Any) -> Change:
        """Apply the role's code."""
        return self.layers.change(host, **{"release": self.layers.release(version), **params})

    def differs(self, host: DriverHost) -> list[str]:
        """Return what is not as on the undisturbed host."""
        return [line for line in differences(self.tree, self.layers.tree(host)) if not line.startswith(ALSO_THERE)]


@pytest.fixture(scope="module")
def driven() -> Iterator[Driven]:
    """Install the old driver on a bare workstation."""
    directory = Path(tempfile.mkdtemp(prefix="gpulab-changes-", dir="/var/tmp"))
    try:
        layers = DriverLayers(directory)
        workstation = layers.workstation()
        host = layers.host(workstation.layers)
        done = layers.change(host, release=layers.release(OLD))
        assert (done.failure, done.rest) == ("", [])
        layers.release(NEW)
        yield Driven(layers, workstation.layers, layers.tree(workstation), host.layers, layers.tree(host))
    finally:
        run_as_root(["rm", "-rf", "--one-file-system", str(directory)])


DAMAGES = damages(OLD, f"/{STOCK}/NVIDIA-Linux-x86_64-{NEW}.run", NEW)
# One of each kind runs every time: all is installed anew, one kernel is built for, files of others are in the way. The
# others need the same code of the role.
ALWAYS = ("record-lost", "modules-removed-from-one-kernel", "library-overwritten-by-a-package")
RARELY = (
    "dkms-added-but-not-built", "record-of-a-run-killed-at-dkms-import", "module-truncated", "dkms-entry-removed",
    "two-versions-in-dkms", "stale-dkms-of-another-version", "library-of-another-version", "killed-while-copying",
    "half-built-in-dkms", "second-driver-by-hand", "settings-changed", "source-removed", "uninstalled-without-dkms",
)  # fmt: skip


@pytest.mark.parametrize("damage", [*ALWAYS, *(pytest.param(name, marks=pytest.mark.whole) for name in RARELY)])
def test_damage_is_named_by_gpu_verify_and_cured_by_gpu_driver(driven: Driven, damage: str) -> None:
    host = driven.host(DAMAGES[damage].script)
    outcome, why = driven.layers.drift(host)
    assert DAMAGES[damage].words.replace("KERNEL", driven.layers.kernel) in why
    assert outcome == "fail"
    done = driven.ask(host)
    assert done.made, "nothing was found"
    assert (done.failure, done.rest) == ("", [])
    assert driven.differs(host) == []
    assert driven.layers.drift(host)[0] == "pass"


def test_every_damage_is_tried() -> None:
    assert {*ALWAYS, *RARELY} == DAMAGES.keys()


# A gcc like that of Ubuntu 22.04, where another one has built the newer kernels: it does not know all of their flags.
OTHER_GCC = r"""for name in gcc cc; do
printf '%s\n' '#!/bin/sh' 'touch /root/asked' 'case " $* " in *" -ftrivial-auto-var-init=zero "*) exit 1 ;; esac' \
  'exec /usr/bin/gcc "$@"' > /usr/local/bin/$name
chmod 0755 /usr/local/bin/$name
done"""


@pytest.mark.whole
def test_modules_are_built_by_the_compiler_of_the_kernel(driven: Driven) -> None:
    host = driven.layers.host(driven.bare)
    driven.layers.sh(host, f"{REAL_MAKE}\n{OTHER_GCC}")
    done = driven.ask(host)
    assert (done.failure, done.rest) == ("", [])
    driven.layers.sh(host, "test -e /root/asked && ! gcc -ftrivial-auto-var-init=zero -xc -c -o /dev/null /dev/null")
    assert [line for line in driven.differs(host) if not line.startswith(("/usr/local/bin/", "/usr/bin/make"))] == []


@pytest.mark.whole
def test_a_tool_that_a_kill_has_left_half_unpacked_is_installed_anew(driven: Driven) -> None:
    host = driven.layers.host(driven.bare)
    driven.layers.sh(host, HALF_UNPACKED.replace("PACKAGE", "dkms"))
    done = driven.ask(host)
    assert (done.failure, done.rest) == ("", [])
    assert driven.differs(host) == []


@pytest.mark.whole
def test_an_account_that_was_lost_is_written_again(driven: Driven) -> None:
    host = driven.host("rm -r /var/lib/gpulab")
    assert driven.layers.drift(host)[0] == "not_proven"
    done = driven.ask(host)
    assert (done.failure, done.rest) == ("", [])
    assert driven.differs(host) == []


def test_another_version_replaces_it_and_back(driven: Driven) -> None:
    host = driven.host()
    done = driven.ask(host, NEW)
    assert (done.failure, done.rest) == ("", [])
    there = driven.layers.sh(host, f"dkms status; ls {LIB} /usr/src /lib/firmware/nvidia")
    assert OLD not in there
    assert NEW in there
    assert driven.layers.account(host)["origin"]["version"] == OLD
    assert len(driven.layers.sh(host, f"ls {KEPT}").split()) == 2
    assert driven.ask(host, NEW).actions == []
    assert driven.ask(host).failure == ""
    assert driven.differs(host) == []


@pytest.mark.whole
def test_the_flavour_changes_for_a_card_that_allows_it_and_back(driven: Driven) -> None:
    host = driven.host()
    done = driven.ask(host, flavour="proprietary")
    assert (done.failure, done.rest) == ("", [])
    for kernel in (driven.layers.kernel, NEXT):
        assert driven.layers.sh(host, f"modinfo -k {kernel} -F license nvidia") == "NVIDIA\n"
    assert driven.layers.account(host)["origin"]["flavour"] == "open"
    assert driven.ask(host).failure == ""
    assert driven.differs(host) == []


@pytest.mark.whole
def test_a_driver_of_another_version_installed_by_hand_is_taken_over(driven: Driven) -> None:
    host = driven.layers.host(driven.bare)
    run = f"/{STOCK}/NVIDIA-Linux-x86_64-{NEW}.run --silent -M proprietary --dkms --skip-module-load --no-x-check"
    driven.layers.sh(host, f"{INSTALL} > /dev/null; sh {run} --kernel-name={NEXT}")
    done = driven.ask(host)
    assert (done.failure, done.rest) == ("", [])
    assert {"uninstall", "sweep", "build"} <= set(done.actions)
    assert driven.differs(host) == []


# Written anew with what was in them, and the log of the removal.
REWRITTEN = ["/etc/.pwd.lock", "/etc/group", "/etc/gshadow", "/etc/ld.so.cache", "/etc/passwd", "/etc/shadow"]
ACCOUNTS = "cat /etc/passwd /etc/group /etc/gshadow; cut -d: -f1,2 /etc/shadow; ldconfig -p | tail -n +2"


@pytest.mark.whole
def test_removal_leaves_no_trace(driven: Driven) -> None:
    host = driven.host(f"echo altered >> {LIB}/libcuda.so.{OLD}; dkms build -m nvidia -v {OLD} -k KERNEL --force")
    done = driven.ask(host, state="absent")
    assert (done.failure, done.rest) == ("", [])
    packages = driven.layers.host(driven.bare)
    driven.layers.sh(packages, f"{INSTALL} make > /dev/null")
    left = differences(driven.layers.tree(packages), driven.layers.tree(host))
    assert [line.partition(":")[0] for line in left] == [
        *REWRITTEN,
        "/var/log/gpulab",
        "/var/log/gpulab/gpu_driver.log",
    ]
    assert driven.layers.sh(host, ACCOUNTS) == driven.layers.sh(packages, ACCOUNTS)
    assert "nvidia" not in driven.layers.sh(host, "cat /etc/passwd /etc/group; ls /var/lib/dkms; ldconfig -p")


UNPROVEN = f"""cat > /usr/local/bin/ldconfig << 'END'
#!/bin/sh
/sbin/ldconfig "$@" | {{ if [ -e {LIB}/libcuda.so.{NEW} ]; then grep -v libnvidia-ml; else cat; fi; }}
END
chmod 755 /usr/local/bin/ldconfig"""
FAULTS = {
    "dkms-refuses-and-the-installer-says-0": (REFUSING, "DKMS refused the modules: dkms: database is locked"),
    "one-of-two-kernels": (failing_for_one_kernel(NEW), f"DKMS could not build nvidia/{NEW} for KERNEL"),
    "proof": (UNPROVEN, "the linker finds no libnvidia-ml.so.1"),
}


@pytest.mark.whole
@pytest.mark.parametrize(("fault", "words"), FAULTS.values(), ids=FAULTS)
def test_a_change_that_fails_half_way_is_taken_back(driven: Driven, fault: str, words: str) -> None:
    host = driven.host(fault)
    broken = driven.layers.tree(host)
    words = words.replace("KERNEL", driven.layers.kernel)
    done = driven.ask(host, NEW)
    assert words in done.failure
    assert f"Driver {OLD} (open) was put back; the host works as before" in done.failure
    changed = differences(broken, driven.layers.tree(host))
    assert [line for line in changed if not line.startswith(ALSO_THERE)] == []
    account = driven.layers.account(host)
    assert (account["phase"], account["put_back"]) == ("rolled_back", OLD)
    assert [event["phase"] for event in account["events"]] == ["replacing", "rolling_back", "rolled_back"]
    assert words in account["why"]
    assert driven.ask(host).actions == []


def test_the_way_back_takes_no_network_and_no_cache(driven: Driven) -> None:
    host = driven.host(f"{REFUSING}\nrm -r /var/cache/gpulab")
    broken = driven.layers.tree(host)
    unreachable = {**driven.layers.release(OLD), "sources": ["http://127.0.0.1:9/gone.run"]}
    assert driven.ask(host, release=unreachable).actions == []
    assert "was put back" in driven.ask(host, NEW).failure
    changed = differences(broken, driven.layers.tree(host))
    assert [line for line in changed if not line.startswith((*ALSO_THERE, "/var/cache/gpulab:"))] == []


@pytest.mark.whole
def test_a_damaged_copy_is_not_put_back_but_the_cached_one_is(driven: Driven) -> None:
    spoil = "for file in $(find {} -name '*.run'); do cp $file $file.new; echo x >> $file.new; mv $file.new $file; done"
    host = driven.host(f"{REFUSING}\n{spoil.format(KEPT)}")
    assert "was put back" in driven.ask(host, NEW).failure
    host = driven.host(f"{REFUSING}\n{spoil.format(KEPT)}\n{spoil.format('/var/cache/gpulab')}")
    done = driven.ask(host, NEW)
    assert "could not be put back: no source gave" in done.failure
    assert driven.layers.account(host)["phase"] == "rolling_back"
    driven.layers.sh(host, f"cp /{STOCK}/NVIDIA-Linux-x86_64-{OLD}.run {KEPT}/*/")
    again = driven.ask(host, NEW)
    assert "was put back; the host works as before" in again.failure
    assert "database is locked" in again.failure
    assert driven.ask(host).actions == []


def test_modules_that_cannot_be_built_leave_the_old_driver(driven: Driven) -> None:
    host = driven.host("echo '#error no such kernel' >> $(ls /usr/src/linux-headers-*-common/include/linux/module.h)")
    done = driven.ask(host, NEW)
    assert "cannot be built for" in done.failure
    assert "#error no such kernel" in done.failure
    assert "The present driver is as it was" in done.failure
    assert [action for action, _ in done.made] == ["fetch", "extract", "try_build"]
    assert driven.layers.account(host)["phase"] == "done"


# Something takes all that is free, once the old driver is gone, and once the way back has begun.
FULL = "until {}; do sleep 0.02; done; fallocate --length $(df --output=avail -B1 / | tail -1) /full-$(date +%N)"
GONE = FULL.format(f"[ ! -e {LIB}/libcuda.so.{OLD} ]")
BEGUN = FULL.format("grep -q rolling_back /var/lib/gpulab/driver/transaction.json")


@pytest.mark.whole
def test_a_disk_that_is_full_on_the_way_back_too_costs_a_run_and_no_driver(driven: Driven) -> None:
    host = driven.host()
    host.disk = "2G"
    before = driven.layers.tree(host)
    done = driven.ask(host, NEW, prepare=f"( {GONE}; {BEGUN} ) > /dev/null 2>&1 &")
    assert "the disk is full" in done.failure
    assert f"And driver {OLD} (open modules, stand-in) could not be put back: " in done.failure
    assert driven.layers.account(host)["phase"] == "rolling_back"
    driven.layers.sh(host, f"test ! -e {LIB}/libcuda.so.{OLD}; rm /full-*")
    again = driven.ask(host, NEW)
    assert f"Driver {OLD} (open) was put back; the host works as before" in again.failure
    changed = differences(before, driven.layers.tree(host))
    assert [line for line in changed if not line.startswith(ALSO_THERE)] == []
    upgraded = driven.ask(host, NEW)
    assert (upgraded.failure, upgraded.rest) == ("", [])


@pytest.mark.whole
def test_a_first_driver_that_fails_leaves_none_and_says_so(driven: Driven) -> None:
    host = driven.layers.host(driven.bare)
    driven.layers.sh(host, f"{INSTALL} > /dev/null\n{REFUSING}")
    done = driven.ask(host, NEW)
    assert "database is locked" in done.failure
    assert "put back" not in done.failure
    assert driven.layers.account(host)["phase"] == "failed"
    driven.layers.sh(host, WHOLE_DKMS)
    again = driven.ask(host, NEW)
    assert (again.failure, again.rest) == ("", [])


@pytest.mark.whole
def test_a_restart_that_does_not_bring_the_new_driver_is_answered_once(driven: Driven) -> None:
    host = driven.layers.host(driven.below, driver="nvidia")
    boots = [driven.layers.boot(number, OLD) for number in (1, 2)]
    assert "sleep (pid" in driven.ask(host, NEW, prepare=boots[0]).failure
    done = driven.ask(host, NEW, prepare=boots[0], allow_running=True)
    assert (done.failure, done.rest, done.actions[-1]) == ("", [], "commit")
    assert "load" not in done.actions
    assert driven.layers.account(host)["phase"] == "installed"
    assert driven.layers.change(host, prepare=boots[0], state="settled").actions == []
    after = driven.layers.change(host, prepare=boots[1], state="settled")
    assert f"after the restart driver {OLD} (open) is loaded, not {NEW} (open)" in after.failure
    assert f"Driver {OLD} (open) was put back; the host works as before" in after.failure
    account = driven.layers.account(host)
    assert (account["phase"], account["after_restart"]) == ("rolled_back", True)
    assert driven.layers.change(host, prepare=boots[1], state="settled").actions == []
    again = driven.ask(host, NEW, prepare=boots[1], allow_running=True)
    assert again.made == []
    assert "gpu_driver_retry" in again.failure
    assert driven.ask(host, prepare=boots[1]).actions == []
    retried = driven.ask(host, NEW, prepare=boots[1], allow_running=True, retry=True)
    assert (retried.failure, retried.actions[-1]) == ("", "commit")
