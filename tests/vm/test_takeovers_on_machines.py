# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A machine on which others have installed a driver, and one whose driver becomes an older one and of another flavour.

The tests build upon each other, in the order of this file.
"""

from __future__ import annotations

import typing as t

import pytest
from driverdamages import (
    DISTRO_PACKAGES,
    OFFERED,
    OFFERS,
    PREBUILT,
    WHOLE_DKMS,
    damages,
    failing_for_one_kernel,
    refusing,
)
from labhost import LabHost
from vmfixtures import LIMIT_S, NEW, NewMachine, drift, driver_version, look, provision, release, starts

from gpulab.lab import Fault, Lab

OLDER = "575.64.05"
# By a DKMS that cannot install what the installer hands it: status 0, and the next kernel would have no driver.
BY_HAND = f"""{failing_for_one_kernel(NEW)}
sh /root/NVIDIA-Linux-x86_64-{NEW}.run --silent -M proprietary --dkms --no-x-check || exit
{WHOLE_DKMS}
modprobe -a nvidia-uvm nvidia-drm"""
# Every session ends while a compiler is at work, this one too.
LOST = "timeout 1800 sh -c 'until pgrep -x cc1 > /dev/null; do sleep 0.2; done' && pkill -KILL -f 'sshd: root'"
# Modules outside DKMS; the kernel's own nvidiafb lies elsewhere.
OUTSIDE = "find /lib/modules/ -name 'nvidia*.ko' -path '*/nvidia-535/*' -o -path '*/drivers/video/nvidia*.ko'"
BROKEN_OFF = 300_000  # bytes of the driver's download


@pytest.fixture(scope="module")
def machine(driven_machine: NewMachine) -> LabHost:
    return driven_machine("vm-taken-over")


def test_drift_names_a_second_driver_installed_by_hand(lab: Lab, machine: LabHost, new: dict[str, t.Any]) -> None:
    machine.put(lab.depot_dir / "files" / new["file"], f"/root/{new['file']}")
    kernel = look(machine).kernel
    machine.sh(BY_HAND.replace("KERNEL", kernel))
    assert f"NVIDIA UNIX x86_64 Kernel Module  {NEW} " in look(machine).driver
    assert machine.sh("dkms status").stdout == f"nvidia/{NEW}, {kernel}, x86_64: built\n"
    assert "/kernel/drivers/video/" in machine.sh("modinfo -n nvidia").stdout
    outcome, why = drift(machine)
    assert outcome == "fail"
    assert f"a driver {NEW} was installed over it from another .run" in why


def test_a_driver_by_hand_and_one_of_the_distribution_are_taken_over(lab: Lab, machine: LabHost) -> None:
    """Nothing here has an account of them any more. Meanwhile a download breaks off, and the connection is lost."""
    prebuilt = PREBUILT.replace("KERNEL", look(machine).kernel)
    machine.sh(f"rm -r /var/lib/gpulab /var/cache/gpulab\n{prebuilt}\n{DISTRO_PACKAGES}\ndepmod")
    assert machine.sh(OUTSIDE).stdout.count("/nvidia.ko\n") == 2
    before = starts(lab, machine)
    lab.set_faults(Fault("/files/NVIDIA-*", "truncate", bytes=BROKEN_OFF, times=1))
    run = provision(machine)
    lost = machine.sh(LOST, check=False)
    taken = run.wait(LIMIT_S)
    lab.set_faults()
    assert lost.returncode == 255, lost.stderr
    assert taken.rc == 0, taken.stdout
    assert f'"range": "bytes={BROKEN_OFF}-", "status": 206' in lab.requests.read_text()
    assert f"Open Kernel Module for x86_64  {driver_version()} " in look(machine).driver
    assert starts(lab, machine) == before
    assert f"nvidia/{driver_version()}, {look(machine).kernel}, x86_64: installed" in machine.sh("dkms status").stdout
    assert NEW not in machine.sh("dkms status; ls /usr/src /lib/firmware/nvidia /usr/lib/x86_64-linux-gnu").stdout
    assert "/updates/dkms/" in machine.sh("modinfo -n nvidia").stdout
    assert machine.sh(OUTSIDE).stdout == ""
    known = machine.sh("dpkg-query -W -f '${Package} ${db:Status-Abbrev}\\n'").stdout
    assert "535" not in known
    assert "nvidia-container-toolkit ii" in known
    assert "cuda-keyring ii" in known
    assert drift(machine)[0] == "pass"


def test_apt_offers_no_other_driver_and_everything_else(machine: LabHost) -> None:
    assert machine.sh(OFFERS).stdout.split() == OFFERED


def test_a_downgrade_and_another_flavour(lab: Lab, machine: LabHost) -> None:
    older, before = release(lab, OLDER), starts(lab, machine)
    asked = {"gpu_driver_release": older, "gpu_driver_flavour": "proprietary"}
    changed = provision(machine, **asked).wait(LIMIT_S)
    assert changed.rc == 0, changed.stdout
    assert f"NVIDIA UNIX x86_64 Kernel Module  {OLDER} " in look(machine).driver
    assert starts(lab, machine) == before
    again = provision(machine, **asked).wait(LIMIT_S)
    assert (again.rc, again.changed) == (0, 0), again.stdout


def test_a_broken_host_after_status_0_is_put_back_to_what_it_had(machine: LabHost, new: dict[str, t.Any]) -> None:
    machine.sh(refusing(NEW))
    failed = provision(machine, gpu_driver_release=new).wait(LIMIT_S)
    machine.sh(WHOLE_DKMS)
    assert failed.failed == 1, failed.stdout
    assert "nvidia-installer ended with status 0, but there is no nvidia module" in failed.message
    assert "dkms: database is locked" in failed.message
    assert f"Driver {OLDER} (proprietary) was put back; the host works as before" in failed.message
    assert f"NVIDIA UNIX x86_64 Kernel Module  {OLDER} " in look(machine).driver
    assert drift(machine)[0] == "pass"


def test_what_a_kill_at_the_import_into_dkms_has_left_is_named_and_replaced(machine: LabHost) -> None:
    """The flavour changes back with it."""
    damage = damages(OLDER, run="", other="")["record-of-a-run-killed-at-dkms-import"]
    machine.sh(damage.script.replace("KERNEL", look(machine).kernel))
    outcome, why = drift(machine)
    assert outcome == "fail"
    assert damage.words in why
    replaced = provision(machine).wait(LIMIT_S)
    assert replaced.rc == 0, replaced.stdout
    assert f"Open Kernel Module for x86_64  {driver_version()} " in look(machine).driver
    assert drift(machine)[0] == "pass"
