# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults around the driver: refused before the first change, or found and cured.

Two hosts serve the whole file, because an installation takes half a minute: one that every test must leave untouched,
and one with a driver that the tests break and the role repairs.
"""

from __future__ import annotations

import re
import typing as t
from collections.abc import Iterator
from pathlib import Path

import pytest
from driverdamages import DISTRO_PACKAGES, NO_SECURITY, OFFERED, OFFERS, SECURITY
from labhost import LabHost, PlayResult

from gpulab.lab import Fault, Lab

OLD = "575.64.05"
UNIT = "gpulab-gpu-driver"
PLACES = """/usr/bin/nvidia-* /usr/lib/x86_64-linux-gnu/lib*nvidia* /usr/lib/x86_64-linux-gnu/libcuda* /usr/src/nvidia-*
/lib/firmware/nvidia /lib/modules/*/updates /lib/modules/*/kernel/drivers/video /etc/modprobe.d /usr/lib/modprobe.d
/etc/apt /etc/systemd/system /var/lib/dkms /var/lib/nvidia /var/lib/gpulab""".replace("\n", " ")
# Builds leave different logs, keys and directories; the uninstaller's list of directories is written anew by every run.
SAME = f"""find {PLACES} -not -path '*/log/*' -not -path '*/build*' -not -name 'mok.*' -not -name dirs \
  -not -path '/var/lib/gpulab/jobs*' -printf '%p %y %m %l\\n' 2> /dev/null | sort
find {PLACES} -type f -not -path '*/log/*' -not -path '*/build/*' -not -name 'mok.*' -not -name dirs -not -name '*.ko' \
  -not -path '/var/lib/gpulab/*' 2> /dev/null | sort | xargs sha256sum"""
# Apt's lists and the account of the job itself are no change to the host's driver.
CHANGED = """find /etc /usr /lib/modules /var/lib /opt -newer /root/mark -not -path '/var/lib/systemd*' \
  -not -path '/var/lib/apt*' -not -path '/var/lib/gpulab*' -not -path /var/lib -not -path '/etc/mtab'"""


class DrivenHost(t.NamedTuple):
    """A host with the driver, and what its file tree looks like when nothing is wrong."""

    host: LabHost
    version: str
    tree: str
    installed: PlayResult


def differences(driven: DrivenHost) -> list[str]:
    """Return what differs from the undisturbed installation: links, modes and contents."""
    now, then = set(driven.host.sh(SAME).stdout.splitlines()), set(driven.tree.splitlines())
    return sorted([f"+{line}" for line in now - then] + [f"-{line}" for line in then - now])


def release(lab: Lab, version: str = "", **changes: t.Any) -> dict[str, t.Any]:
    """Return a stand-in's entry as the catalogue would give it."""
    known = [standin for standin in lab.standins if standin.kind == "driver"]
    found = lab.add_standin("driver", version) if version else known[0]
    entry = {
        "version": found.version, "flavour": "open", "file": found.file, "size": found.size, "sha256": found.sha256,
        "sources": [found.url(lab.depot_url)], "standin": True,
    }  # fmt: skip
    return {**entry, **changes}


def new_host(lab: Lab, name: str, directory: Path) -> LabHost:
    lab.add_host(name)
    return LabHost(lab, name, directory)


@pytest.fixture(scope="module")
def untouched(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabHost]:
    yield new_host(lab, "driver-untouched", tmp_path_factory.mktemp("untouched"))
    lab.remove_host("driver-untouched")


@pytest.fixture(scope="module")
def driven(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DrivenHost]:
    """Give ours to a host with a distribution's driver: the first source is gone, the second breaks off once."""
    host = new_host(lab, "driver-driven", tmp_path_factory.mktemp("driven"))
    host.sh(DISTRO_PACKAGES)
    good = release(lab)
    missing = f"{lab.depot_url}/files/not-there.run"
    lab.set_faults(Fault("/files/NVIDIA-*.run", "truncate", bytes=300_000, times=1))
    result = host.apply("gpu_driver", gpu_driver_release={**good, "sources": [missing, *good["sources"]]})
    lab.set_faults()
    assert result.rc == 0, result.stdout
    yield DrivenHost(host, good["version"], host.sh(SAME).stdout, result)
    lab.remove_host("driver-driven")


def untouched_after(host: LabHost, **variables: t.Any) -> str:
    """Apply the role, which must refuse; return its message after making sure that nothing was changed."""
    host.sh("touch /root/mark; sleep 0.01")
    result = host.apply("gpu_driver", **variables)
    assert result.failed == 1, result.stdout
    assert host.sh(CHANGED).stdout == ""
    return result.message


def test_a_wrong_sha256_stops_before_any_change(lab: Lab, untouched: LabHost) -> None:
    message = untouched_after(untouched, gpu_driver_release=release(lab, sha256="0" * 64))
    assert release(lab)["file"] in message
    assert f"with sha256 {release(lab)['sha256']}" in message
    assert f"expected: a file with sha256 {'0' * 64}" in message.lower()


@pytest.mark.whole
def test_a_page_of_html_is_not_taken_for_a_driver(lab: Lab, untouched: LabHost) -> None:
    lab.set_faults(Fault("/files/NVIDIA-*.run", "html"))
    message = untouched_after(untouched, gpu_driver_release=release(lab))
    lab.set_faults()
    assert "sent an HTML page where the file should be" in message


@pytest.fixture(scope="module")
def reasons(lab: Lab, untouched: LabHost) -> str:
    """Return the words of one refusal for several reasons."""
    for path, options in (("/mnt/noexec", "noexec,size=600M"), ("/mnt/small", "size=20M")):
        command = f"mkdir -p {path} && mount -t tmpfs -o {options} tmpfs {path}"
        assert lab.exec(untouched.name, command, privileged=True).returncode == 0
    untouched.sh("mkdir -p /usr/lib/nvidia; touch /usr/lib/nvidia/alternate-install-present")
    directories = ["/mnt/noexec", "/mnt/small"]
    message = untouched_after(untouched, gpu_driver_release=release(lab), gpu_driver_work_directories=directories)
    untouched.sh("rm -r /usr/lib/nvidia")
    return message


def test_noexec_and_full_directories_are_refused_with_figures(reasons: str) -> None:
    assert "/mnt/noexec on /mnt/noexec (noexec" in reasons
    assert "/mnt/small on /mnt/small (21 MB free)" in reasons


def test_a_mark_of_another_driver_without_packages_is_refused(reasons: str) -> None:
    assert "alternate-install-present marks another driver" in reasons


@pytest.mark.usefixtures("reasons")
def test_a_full_cache_is_refused_before_the_download_ends(lab: Lab, untouched: LabHost) -> None:
    cache = "/mnt/small/cache"
    message = untouched_after(untouched, gpu_driver_release=release(lab), gpu_driver_cache_directory=cache)
    assert "free on /mnt/small" in message


@pytest.mark.whole
def test_a_distro_driver_is_refused_when_it_may_not_be_replaced(lab: Lab, untouched: LabHost) -> None:
    untouched.sh(DISTRO_PACKAGES)
    message = untouched_after(untouched, gpu_driver_release=release(lab), gpu_driver_replace_distro_driver=False)
    assert "libnvidia-compute-535, nvidia-driver-535" in message
    untouched.sh("dpkg --purge nvidia-driver-535 libnvidia-compute-535 > /dev/null")


def test_a_kernel_whose_headers_nobody_has(lab: Lab, untouched: LabHost) -> None:
    untouched.sh("touch /boot/vmlinuz-9.9.9-own; mkdir -p /lib/modules/9.9.9-own/kernel")
    message = untouched_after(untouched, gpu_driver_release=release(lab))
    assert "apt knows no package linux-headers-9.9.9-own" in message
    assert "gpu_driver_ignored_kernels" in message
    untouched.sh("rm -r /boot/vmlinuz-9.9.9-own /lib/modules/9.9.9-own")


def test_half_a_signing_pair_is_refused(lab: Lab, untouched: LabHost) -> None:
    message = untouched_after(untouched, gpu_driver_release=release(lab), gpu_driver_signing_key="/root/mok.key")
    assert "only the signing key is given" in message


# A container that passes for a machine of its own, with a driver loaded.
MACHINE = f"""set -e
umount /run/.containerenv
rm -f /run/.containerenv /run/systemd/container
printf '#!/bin/sh\\necho none; exit 1\\n' > /usr/local/bin/systemd-detect-virt
chmod 755 /usr/local/bin/systemd-detect-virt
for kernel in /lib/modules/*/kernel; do basename $(dirname $kernel) > /root/osrelease; done
mount --bind /root/osrelease /proc/sys/kernel/osrelease
mount --bind /dev/null /proc/1/environ
mount -t tmpfs tmpfs /proc/driver
mkdir /proc/driver/nvidia
echo 'NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  {OLD}  Release Build' > /proc/driver/nvidia/version
"""


@pytest.mark.whole
def test_a_program_is_waited_for_and_the_change_goes_on_when_it_has_ended(lab: Lab, fresh_host: LabHost) -> None:
    """Nothing is changed until then; what comes then, a wrong .run, ends the change as it would have at once."""
    made = lab.exec(fresh_host.name, MACHINE, privileged=True)
    assert made.returncode == 0, made.stderr
    asked = {"gpu_driver_release": release(lab, sha256="0" * 64), "gpu_driver_wait_minutes": 5}
    fresh_host.sh("touch /root/mark /dev/nvidia0; setsid --fork sleep 600 3</dev/nvidia0 > /dev/null 2>&1")
    refused = fresh_host.apply("gpu_driver", check=True, **asked)
    assert "here are: sleep (pid" in refused.message
    assert "waiting up to" not in refused.stdout
    fresh_host.sh(
        "setsid --fork sh -c 'sleep 20; find /etc /usr /opt /var/lib -newer /root/mark -type f > /root/changed;"
        " kill $(grep -lsx sleep /proc/[0-9]*/comm | cut -d / -f 3)' > /dev/null 2>&1"
    )
    result = fresh_host.apply("gpu_driver", **asked)
    assert "gpu_driver | waiting up to 5 min: sleep (pid" in result.stdout
    assert f"expected: a file with sha256 {'0' * 64}" in result.message.lower()
    assert result.seconds > 20
    assert fresh_host.sh("grep -v -e systemd -e gpulab/jobs /root/changed || true").stdout == ""


@pytest.mark.usefixtures("driven")
def test_a_broken_download_was_resumed_from_the_second_source(lab: Lab) -> None:
    asked = [line for line in lab.requests.read_text().splitlines() if "/files/N" in line or "not-there" in line]
    assert any('"status": 404' in line and "not-there" in line for line in asked)
    assert any('"range": "bytes=300000-"' in line and '"status": 206' in line for line in asked)


def test_the_distro_driver_is_purged_and_nothing_else(driven: DrivenHost) -> None:
    known = driven.host.sh("dpkg-query -W -f '${Package} ${db:Status-Abbrev}\\n'").stdout
    assert "535" not in known
    assert "nvidia-container-toolkit ii" in known
    assert "cuda-keyring ii" in known


def test_the_second_run_changes_nothing(driven: DrivenHost) -> None:
    result = driven.host.apply("gpu_driver")
    assert (result.rc, result.changed) == (0, 0)
    assert len(result.tasks) == 2  # the check of the arguments, which runs on the controller, and one module


def test_apt_offers_no_other_driver_and_everything_else(driven: DrivenHost) -> None:
    assert driven.host.sh(OFFERS).stdout.split() == OFFERED


def test_damage_is_named_told_in_check_mode_and_cured(driven: DrivenHost) -> None:
    """Each kind of damage has its own test in test_driver_changes.py."""
    host = driven.host
    host.sh("echo > /etc/modprobe.d/50-gpulab-nvidia.conf; rm /etc/apt/preferences.d/50-gpulab-nvidia")
    host.sh("rm /lib/modules/*/updates/dkms/nvidia*.ko; systemctl disable nvidia-persistenced.service")
    results = {"gpu_verify_results_directory": str(host.directory), "gpu_verify_require": [], "gpu_verify_python": ""}
    verified = host.apply("gpu_verify", gpu_verify_expect_gpu=False, gpu_verify_toolkit={}, **results)
    assert verified.failed == 1
    kernel = host.sh("ls /lib/modules").stdout.split()[0]
    assert f"driver_drift failed: driver {driven.version} (open) was installed" in verified.message
    assert f"the module of kernel {kernel}: could not get modinfo from 'nvidia'" in verified.message
    host.sh("rm /var/lib/gpulab/verify.json")
    told = host.apply("gpu_driver", check=True)
    assert told.changed == 1, told.stdout
    cured = host.apply("gpu_driver")
    assert cured.rc == 0, cured.message
    assert cured.tasks[-1]["result"]["steps"] == told.tasks[-1]["result"]["steps"]
    assert differences(driven) == []


def remove_by_hand(driven: DrivenHost) -> None:
    driven.host.sh(f"dkms remove nvidia/{driven.version} --all; nvidia-installer --uninstall --silent", check=False)


@pytest.mark.whole
def test_a_run_that_is_killed_and_started_again_ends_like_an_undisturbed_one(driven: DrivenHost) -> None:
    """Every other moment is in test_driver_kills.py; here systemd kills the job while a compiler is at work."""
    host = driven.host
    remove_by_hand(driven)
    run = host.start("gpu_driver")
    host.sh(f"until pgrep -x cc1; do sleep 0.02; done; systemctl kill --signal=KILL {UNIT}")
    killed = run.wait()
    assert killed.failed == 1, killed.stdout
    assert "ended without a result" in killed.message
    again = host.apply("gpu_driver")
    assert again.rc == 0, again.message
    assert differences(driven) == []
    assert host.apply("gpu_driver").changed == 0


@pytest.mark.whole
def test_a_host_that_is_switched_off_in_the_middle_ends_like_an_undisturbed_one(lab: Lab, driven: DrivenHost) -> None:
    """A container's files that were not synced survive; those of a machine of its own need not."""
    host = driven.host
    remove_by_hand(driven)
    run = host.start("gpu_driver")
    host.sh(f"until [ -e /usr/lib/x86_64-linux-gnu/libcuda.so.{driven.version} ]; do sleep 0.02; done")
    container = next(container for container in lab.hosts() if container.host == host.name)
    lab.podman.run("kill", container.name)
    run.wait()
    lab.add_host(host.name)
    again = host.apply("gpu_driver")
    assert again.rc == 0, again.message
    assert differences(driven) == []


@pytest.mark.whole
def test_a_new_driver_that_fails_is_taken_back_and_the_operator_reads_it(lab: Lab, driven: DrivenHost) -> None:
    host = driven.host
    host.sh("mv /usr/sbin/dkms /usr/sbin/dkms.real")
    host.sh("""printf '#!/bin/sh\ncase " $* " in *ldtarball*) [ -e /root/refused ] || { touch /root/refused; echo """
            """dkms: database is locked >&2; exit 1; };; esac\nexec /usr/sbin/dkms.real "$@"\n' > /usr/sbin/dkms; """
            """chmod 755 /usr/sbin/dkms""")  # fmt: skip
    result = host.apply("gpu_driver", gpu_driver_release=release(lab, OLD))
    host.sh("mv /usr/sbin/dkms.real /usr/sbin/dkms; rm /root/refused")
    assert result.failed == 1
    assert "ended with status 0, but there is no nvidia module" in result.message
    assert "dkms: database is locked" in result.message
    assert f"Driver {driven.version} (open) was put back; the host works as before" in result.message
    again = host.apply("gpu_driver")
    assert (again.rc, again.changed) == (0, 0), again.message
    account = again.tasks[-1]["result"]["transaction"]
    assert (account["phase"], account["put_back"]) == ("rolled_back", driven.version)
    assert differences(driven) == []


@pytest.mark.whole
def test_unattended_upgrades_bring_kernels_and_no_driver(driven: DrivenHost) -> None:
    """Also without the pin, which keeps a driver's packages from it as well; not without either of the two."""
    ours = {"linux-image-lab-amd64", "nvidia-container-toolkit", "nvidia-driver-libs"}
    driven.host.sh(SECURITY)
    driven.host.sh("mv /etc/apt/sources.list /root")  # what else Debian has for the host today is no matter here

    def brings() -> set[str]:
        told = driven.host.sh("unattended-upgrade --dry-run --debug 2>&1").stdout
        [upgraded] = re.findall(r"^Packages that will be upgraded: (.*)$", told, re.MULTILINE)
        return ours & set(upgraded.split())

    assert brings() == ours - {"nvidia-driver-libs"}
    driven.host.sh("rm /etc/apt/preferences.d/50-gpulab-nvidia")
    assert brings() == ours - {"nvidia-driver-libs"}
    driven.host.sh("rm /etc/apt/apt.conf.d/50-gpulab-nvidia")
    assert brings() == ours
    driven.host.sh(f"mv /root/sources.list /etc/apt; {NO_SECURITY}")


def test_removal_leaves_no_trace(driven: DrivenHost) -> None:
    host = driven.host
    host.sh(
        f"echo altered >> /usr/lib/x86_64-linux-gnu/libcuda.so.{driven.version}"
    )  # the uninstaller keeps such files
    assert host.apply("gpu_driver", gpu_driver_state="absent").rc == 0
    assert host.apply("gpu_driver", gpu_driver_state="absent").changed == 0
    found = host.sh("find / -xdev -iname '*nvidia*' -o -xdev -name 'libcuda*' -o -xdev -name '*gpulab*'").stdout.split()
    packaged = re.compile(
        r"/var/lib/dpkg/|/usr/share/(nvidia-container|cuda-keyring)|/lib/modules/\S+/kernel/|/root/|/usr/src/linux-"
        r"|/var/log/gpulab|/var/lib/gpulab$|/var/lib/gpulab/jobs|/boot/|/run/"
        "|gpulab-lab"
    )
    assert [path for path in found if not packaged.search(path)] == []
    assert host.sh("getent passwd nvidia-persistenced", check=False).returncode != 0
