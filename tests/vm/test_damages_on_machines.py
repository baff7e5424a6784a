# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A machine whose driver is damaged in many ways at once: what is refused, named and cured.

The tests build upon each other, in the order of this file: a run of the roles takes minutes here.
"""

from __future__ import annotations

import datetime as dt
import typing as t

import pytest
from driverdamages import (
    HALF_UNPACKED,
    HOLDER,
    INTERRUPTED_DPKG,
    STALE,
    WHOLE_DKMS,
    Damage,
    damages,
    failing_for_one_kernel,
)
from labhost import LabHost
from vmfixtures import (
    ALICE,
    DESKTOP,
    LIMIT_S,
    NewMachine,
    drift,
    driver_file,
    driver_version,
    log_in,
    look,
    provision,
    starts,
    untouched_after,
)

from gpulab.lab import Lab

# Two work directories of which one may run nothing and one is too small, a system disk with little room left, an
# installer of somebody else, another driver's mark.
NO_PLACE = """mkdir -p /mnt/noexec /mnt/small /usr/lib/nvidia
mount -t tmpfs -o noexec,size=600M tmpfs /mnt/noexec
mount -t tmpfs -o size=20M tmpfs /mnt/small
touch /usr/lib/nvidia/alternate-install-present
cp /bin/sleep /root/nvidia-installer
systemd-run --quiet --unit other-installer /root/nvidia-installer 3600
fallocate -l $(($(df --output=avail -B1 / | tail -1) - 50000000)) /full"""
PLACE = """rm -r /full /usr/lib/nvidia
umount /mnt/noexec /mnt/small
systemctl stop other-installer job stand-in-dm
systemctl disable stand-in-dm
rm /dev/nvidiactl"""
# A file system that has room when it is looked at, and is full once the unpacking begins.
FILLING = """mkdir -p /mnt/work
mount -t tmpfs -o size=70M tmpfs /mnt/work
systemd-run --quiet --unit filling sh -c 'until [ -e /mnt/work/gpulab-driver/scratch ]; do :; done
fallocate -l $(df --output=avail -B1 /mnt/work | tail -1) /mnt/work/full; cat /dev/zero > /mnt/work/rest'"""
# An archive that has neither the compiler nor the headers, which are not installed.
NO_ARCHIVE = """dpkg --remove --force-depends gcc linux-headers-KERNEL > /dev/null 2>&1
mkdir /root/apt && mv /etc/apt/sources.list* /var/lib/apt/lists /root/apt && mkdir -p /var/lib/apt/lists/partial"""
ARCHIVE = "rm -r /var/lib/apt/lists && mv /root/apt/lists /var/lib/apt && mv /root/apt/sources.list* /etc/apt"
# The initramfs of KERNEL loads the modules of another version, of which the disk has none any more.
OLD_IN_INITRAMFS = f"""echo nvidia >> /etc/initramfs-tools/modules
update-initramfs -u -k KERNEL
dkms uninstall -m nvidia -v {STALE} -k KERNEL"""
# The disk was full or a kill cut the copying short; the record is lost, and DKMS has its modules still or an entry
# alone: these are played. An uninstaller that found no DKMS has left the modules: that one has run.
HALVES = {
    "copying-cut-short": ("killed-while-copying", "module-truncated"),
    "record-lost": ("record-lost", "dkms-added-but-not-built"),
    "uninstalled-by-half": ("uninstalled-without-dkms",),
}
# By hand over the driver that is there: without DKMS, and by a DKMS that cannot install what it is handed. Both end
# with status 0 and with modules of which no kernel update would know.
BY_HAND = "sh /root/driver.run --silent -M open --no-x-check"
OUTSIDE_DKMS = {
    f"{BY_HAND} --no-dkms && modprobe -a nvidia-uvm nvidia-drm": "DKMS does not know nvidia/VERSION",
    f"FAILING\n{BY_HAND} --dkms || exit\n{WHOLE_DKMS}\nmodprobe -a nvidia-uvm nvidia-drm": (
        "the module of KERNEL lies outside DKMS (/lib/modules/KERNEL/kernel/drivers/video/nvidia.ko)"
    ),
}
# The system's compiler is not the kernel's, and does not know all that the kernel's own build asks for.
OTHER_GCC = """apt-get -q --yes --no-install-recommends install gcc-11 > /dev/null
ln -s /usr/bin/gcc-11 /usr/local/bin/gcc
ln -s gcc /usr/local/bin/cc
! cc -ftrivial-auto-var-init=zero -xc -c -o /dev/null /dev/null 2> /dev/null"""
# A kernel with nouveau's successor, whose place a module takes that drives nothing. The initramfs, and it alone, loads
# it as it did nouveau, and nothing forbids that.
NOVA = """mkdir /root/nova && cd /root/nova
printf '%s\\n' '#include <linux/module.h>' 'MODULE_LICENSE("GPL");' > nova_core.c
echo 'obj-m := nova_core.o' > Makefile
make -C /lib/modules/KERNEL/build M=$PWD modules > /dev/null
install -D -t /lib/modules/KERNEL/kernel/drivers/gpu/nova-core nova_core.ko
depmod KERNEL
sed -i '/^#/!s/\\<nouveau\\>/nova_core/' $(grep -l nouveau -r /etc/initramfs-tools)
sed -i '/nouveau/d' /etc/systemd/system/gpulab-lab-card.service
rm /etc/modprobe.d/50-gpulab-nvidia.conf
update-initramfs -u -k KERNEL"""
# Somebody holds dpkg's lock until apt has waited for it.
LOCKED_DPKG = """cat > /root/locking << 'END'
import fcntl, subprocess, time
lock = open("/var/lib/dpkg/lock-frontend", "a")
fcntl.lockf(lock, fcntl.LOCK_EX)
while subprocess.run(["pgrep", "-f", "apt-get .*install gcc"], stdout=subprocess.DEVNULL).returncode:
    time.sleep(1)
time.sleep(10)
open("/root/waited-for", "w").close()
END
systemd-run --quiet --unit locking python3 /root/locking"""


@pytest.fixture(scope="module")
def machine(driven_machine: NewMachine) -> LabHost:
    return driven_machine("vm-damaged")


@pytest.fixture(scope="module")
def kernel(machine: LabHost) -> str:
    return look(machine).kernel


def inflicted(kernel: str) -> list[Damage]:
    """Return what is done to the machine, in this order; what has no words is not the driver's."""
    known = damages(driver_version(), run="", other="")
    words = "the initramfs of KERNEL: it holds an NVIDIA module and there is none on disk"
    named = [
        known["settings-changed"],
        known["two-versions-in-dkms"],
        Damage(OLD_IN_INITRAMFS, words),
        known["library-of-another-version"],
        known["library-overwritten-by-a-package"],
        Damage("mount -t tmpfs -o noexec tmpfs /tmp", ""),
    ]
    return [Damage(one.script.replace("KERNEL", kernel), one.words.replace("KERNEL", kernel)) for one in named]


def test_drift_names_every_damage(machine: LabHost, kernel: str) -> None:
    done = inflicted(kernel)
    for damage in done:
        machine.sh(damage.script)
    outcome, why = drift(machine)
    assert outcome == "fail"
    assert [damage.words for damage in done if damage.words not in why] == []
    assert f"the module of kernel {kernel}: it has no module" in why


def test_an_archive_without_compiler_and_headers_is_told(machine: LabHost, kernel: str) -> None:
    machine.sh(NO_ARCHIVE.replace("KERNEL", kernel))
    refused = untouched_after(machine)
    machine.sh(ARCHIVE)
    assert f"apt knows no package gcc, linux-headers-{kernel}" in refused.message
    assert "except that kernel in gpu_driver_ignored_kernels" in refused.message


def test_one_run_cures_all_of_them(lab: Lab, machine: LabHost, kernel: str) -> None:
    """The tools are brought back as well, although dpkg is locked at first and was interrupted before, twice."""
    half = HALF_UNPACKED.replace("PACKAGE", "gcc")
    machine.sh(f"{half} && {INTERRUPTED_DPKG}\n{LOCKED_DPKG}")
    cured = provision(machine).wait(LIMIT_S)
    assert cured.rc == 0, cured.stdout
    machine.sh("test -e /root/waited-for")
    assert machine.sh("dpkg --audit").stdout == ""
    assert f"nvidia/{driver_version()}, {kernel}, x86_64: installed" in machine.sh("dkms status").stdout
    assert STALE not in machine.sh("dkms status; ls /usr/src").stdout
    assert drift(machine)[0] == "pass"
    again = provision(machine).wait(LIMIT_S)
    assert (again.rc, again.changed) == (0, 0), again.stdout
    lab.reboot(machine.name)
    seen = look(machine)
    assert f" {driver_version()} " in seen.driver
    assert "/nvidia.ko" in seen.initramfs


@pytest.mark.parametrize("names", HALVES.values(), ids=HALVES)
def test_half_an_installation_is_named_and_replaced(machine: LabHost, kernel: str, names: tuple[str, ...]) -> None:
    """What nvidia-installer leaves with status 0, or when it is killed."""
    known = damages(driver_version(), run="", other="")
    for name in names:
        machine.sh(known[name].script.replace("KERNEL", kernel))
        outcome, why = drift(machine)
        assert outcome == "fail"
        assert known[name].words.replace("KERNEL", kernel) in why
    cured = provision(machine).wait(LIMIT_S)
    assert cured.rc == 0, cured.stdout
    assert f"nvidia/{driver_version()}, {kernel}, x86_64: installed" in machine.sh("dkms status").stdout
    assert drift(machine)[0] == "pass"


def test_modules_outside_dkms_are_named_and_replaced(lab: Lab, machine: LabHost, kernel: str) -> None:
    """Also where the system's compiler is another than the kernel's."""
    version = driver_version()
    machine.put(driver_file(lab), "/root/driver.run")
    machine.sh(OTHER_GCC)
    for script, words in OUTSIDE_DKMS.items():
        machine.sh(script.replace("FAILING", failing_for_one_kernel(version)).replace("KERNEL", kernel))
        outcome, why = drift(machine)
        assert outcome == "fail"
        assert words.replace("KERNEL", kernel).replace("VERSION", version) in why
    cured = provision(machine).wait(LIMIT_S)
    assert cured.rc == 0, cured.stdout
    assert f"nvidia/{version}, {kernel}, x86_64: installed" in machine.sh("dkms status").stdout
    assert "/updates/dkms/" in machine.sh("modinfo -n nvidia").stdout
    built_by = machine.sh("readelf --string-dump=.comment $(modinfo -n nvidia)").stdout
    assert "GCC: (Debian 12." in built_by
    assert "GCC: (Debian 11." not in built_by
    assert drift(machine)[0] == "pass"


def test_nova_goes_with_one_restart(lab: Lab, machine: LabHost, kernel: str) -> None:
    machine.sh(NOVA.replace("KERNEL", kernel))
    lab.reboot(machine.name)
    seen, before = look(machine), starts(lab, machine)
    assert "nova_core" in seen.loaded
    assert "nova_core.ko" in seen.initramfs
    outcome, why = drift(machine)
    assert outcome == "fail"
    assert f"the initramfs of {kernel}: it holds nova_core and not our modprobe settings" in why
    cured = provision(machine).wait(LIMIT_S)
    assert cured.rc == 0, cured.stdout
    assert starts(lab, machine) == before + 1
    seen = look(machine)
    assert "nova_core" not in seen.loaded
    assert "nvidia_drm" in seen.loaded
    assert drift(machine)[0] == "pass"


def test_all_reasons_to_refuse_are_told_at_once(machine: LabHost, new: dict[str, t.Any]) -> None:
    machine.sh(f"{ALICE}; {DESKTOP}; {HOLDER}\n{NO_PLACE}")
    terminal = log_in(machine)
    directories = ["/mnt/noexec", "/mnt/small"]
    refused = untouched_after(machine, gpu_driver_release=new, gpu_driver_work_directories=directories)
    terminal.kill()
    terminal.wait(60)
    machine.sh(PLACE)
    for words in (
        "/mnt/noexec on /mnt/noexec (noexec",
        "/mnt/small on /mnt/small (21 MB free)",
        " MB free on /.",
        "an nvidia-installer is at work (pid ",
        "alternate-install-present marks another driver",
        "the loaded NVIDIA module has to go, but here are: sleep (pid ",
        "the desktop (stand-in-dm)",
        "alice (",
        "Nothing has been changed.",
    ):
        assert words in refused.message


def test_a_file_of_another_sha256_and_half_a_pair_to_sign_with_are_refused(
    machine: LabHost, new: dict[str, t.Any]
) -> None:
    wrong = untouched_after(machine, gpu_driver_release={**new, "sha256": "0" * 64})
    assert f"expected: a file with sha256 {'0' * 64}" in wrong.message.lower()
    half = untouched_after(machine, gpu_driver_release=new, gpu_driver_signing_key="/root/own.key")
    assert "only the signing key is given" in half.message


def test_a_disk_that_fills_up_while_unpacking_is_told(machine: LabHost, new: dict[str, t.Any]) -> None:
    machine.sh(FILLING)
    refused = untouched_after(machine, gpu_driver_release=new, gpu_driver_work_directories=["/mnt/work"])
    machine.sh("umount /mnt/work")
    assert "NVIDIA-Linux-x86_64-595.45.04.run ended with " in refused.message
    assert "(0 MB free on /mnt/work)" in refused.message


def test_a_clock_far_in_the_past_is_told(machine: LabHost) -> None:
    """By the run that meets a reinstalled machine as well as by the first role of every other."""
    records = str(machine.directory / "records")
    recorded = machine.start("host_record", host_record_directory=records).wait(LIMIT_S)
    assert recorded.rc == 0, recorded.stdout
    machine.sh("date --set 2000-01-01")
    refused = provision(machine, parts="host_preflight").wait(LIMIT_S)
    met = machine.start("host_rebuild", host_rebuild_directory=records).wait(LIMIT_S)
    machine.sh(f"date --set {dt.datetime.now(dt.UTC):%Y-%m-%dT%H:%M:%SZ}")
    assert (refused.failed, met.failed) == (1, 1), f"{refused.stdout}\n{met.stdout}"
    assert "the clock says 2000-01-01" in refused.message
    assert "the host's clock says 2000-01-01" in met.message
