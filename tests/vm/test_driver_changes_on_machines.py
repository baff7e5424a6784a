# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes between two versions on a machine whose kernel has one of them loaded, and removal."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from driverdamages import HOLDER, LIB
from labhost import LabHost
from runfiles import own_runfile
from vmfixtures import LIMIT_S, NEW, NewMachine, look, provision, starts

from gpulab.lab import Fault, Lab

# A kernel that refuses the new version's module and no other's.
REFUSE = f"""cat > /usr/local/sbin/refusing << 'END'
#!/bin/sh
case $(modinfo -F version nvidia) in {NEW}) echo 'could not insert nvidia: No such device' >&2; exit 1 ;; esac
exec modprobe --ignore-install nvidia
END
chmod 0755 /usr/local/sbin/refusing
echo 'install nvidia /usr/local/sbin/refusing' > /etc/modprobe.d/refusing.conf"""
# One that refuses a module which the new version cannot do without.
ONE_REFUSED = f"""cat > /usr/local/sbin/refusing << 'END'
#!/bin/sh
case $(modinfo -F version nvidia-uvm) in {NEW}) echo 'could not insert nvidia_uvm: Invalid argument' >&2; exit 1 ;; esac
exec modprobe --ignore-install nvidia-uvm
END
chmod 0755 /usr/local/sbin/refusing
echo 'install nvidia-uvm /usr/local/sbin/refusing' > /etc/modprobe.d/refusing.conf"""
# A stand-in of the driver's own service, which has the control device open, and a job that will be done by itself.
SERVICE = """[ -e /dev/nvidiactl ] || mknod /dev/nvidiactl c 195 255
cp /bin/sleep /usr/local/bin/nvidia-powerd
printf '%s\\n' '[Service]' 'StandardInput=file:/dev/nvidiactl' 'ExecStart=/usr/local/bin/nvidia-powerd infinity' \\
  > /etc/systemd/system/nvidia-powerd.service
systemctl daemon-reload && systemctl start nvidia-powerd"""
WITHOUT_SERVICE = """systemctl stop nvidia-powerd
rm /etc/systemd/system/nvidia-powerd.service /usr/local/bin/nvidia-powerd"""
PASSING = "systemd-run --quiet --unit passing --property StandardInput=file:/dev/nvidiactl sleep 120"
PID = "systemctl show --property MainPID --value nvidia-powerd"
# A program that has the driver's control device open, from each start on.
COMES_EARLY = """cat > /etc/systemd/system/early.service << 'END'
[Service]
ExecStart=/bin/sh -c '[ -e /dev/nvidiactl ] || mknod /dev/nvidiactl c 195 255; exec sleep infinity < /dev/nvidiactl'
[Install]
WantedBy=multi-user.target
END
systemctl daemon-reload && systemctl enable --now early.service"""
FORCED = {"gpu_driver_allow_running": True, "host_restart_force": True}

SPECIFICATION = "/etc/cdi/nvidia.yaml"
# A stand-in of nvidia-ctk: it names a library of the loaded driver, as the real one does of all.
TOOLKIT = f"""cat > /usr/bin/nvidia-ctk << 'END'
#!/bin/sh
[ "$1 $2 $3" = 'cdi generate --output={SPECIFICATION}' ] || exit 2
library={LIB}/libcuda.so.$(cat /sys/module/nvidia/version) && [ -e $library ] || exit 1
printf '%s\\n' 'kind: nvidia.com/gpu' 'containerEdits:' '  mounts:' "    - hostPath: $library" > {SPECIFICATION}
END
chmod 0755 /usr/bin/nvidia-ctk && mkdir /etc/cdi && nvidia-ctk cdi generate --output={SPECIFICATION}"""

# A runfile of the toolkit that installs its driver too: as far as the linker sees.
OTHER = f"{LIB}/libcuda.so.575.57.08"
BUNDLED = f"echo driver > {OTHER}; ln -sf {OTHER} {LIB}/libcuda.so.1; exit 0\n"

# What a removal has to take away, but for the lab's own, the test's toolkit and the notes of a run.
TRACES = r"""find /etc /usr/bin /usr/sbin /usr/lib/systemd /usr/lib/modprobe.d /usr/lib/firmware /var/lib -xdev \
  '(' -iname '*nvidia*' -o -iname '*gpulab*' ')' |
  grep -vE 'gpulab-(lab|seal)|^/etc/cdi|^/usr/bin/nvidia-ctk$|^/var/lib/(dpkg|gpulab(/jobs.*)?$)' || true"""


@pytest.fixture(scope="module")
def machine(driven_machine: NewMachine) -> LabHost:
    """Have a machine with a driver and containers that use it, whose kernel will not take the next one whole."""
    host = driven_machine("vm-upgrade")
    host.sh(ONE_REFUSED)
    host.sh(TOOLKIT)
    return host


def loaded(machine: LabHost) -> str:
    return machine.sh("cat /sys/module/nvidia/version", check=False).stdout.strip()


def account(machine: LabHost) -> dict[str, t.Any]:
    told: dict[str, t.Any] = json.loads(machine.sh("cat /var/lib/gpulab/driver/transaction.json").stdout)
    return told


def test_a_driver_of_which_a_module_does_not_load_is_put_back_at_once(
    lab: Lab, machine: LabHost, new: dict[str, t.Any]
) -> None:
    """From what the host keeps itself: its cache is empty, and nobody has the old driver any more.

    The new driver's first module is loaded by then and has to go again, while this run's own session is there.
    """
    old, before = loaded(machine), starts(lab, machine)
    machine.sh(f"rm -r /var/cache/gpulab/*/NVIDIA-Linux-x86_64-{old}.run")
    lab.set_faults(Fault(f"/files/NVIDIA-Linux-x86_64-{old}.run", "missing"))
    failed = provision(machine, gpu_driver_release=new).wait(LIMIT_S)
    lab.set_faults()
    assert failed.failed == 1, failed.stdout
    assert "'modprobe nvidia-uvm' ended with 1" in failed.message
    assert f"Driver {old} (open) was put back; the host works as before" in failed.message
    assert (loaded(machine), starts(lab, machine)) == (old, before)
    told = account(machine)
    assert (told["phase"], told["target"]["version"], told["put_back"]) == ("rolled_back", NEW, old)
    assert "Invalid argument" in told["why"]


def test_a_job_on_the_gpu_keeps_its_driver(machine: LabHost, new: dict[str, t.Any]) -> None:
    old = loaded(machine)
    machine.sh(HOLDER)
    refused = provision(machine, gpu_driver_release=new).wait(LIMIT_S)
    assert refused.failed == 1, refused.stdout
    assert "the loaded NVIDIA module has to go, but here are: sleep (pid " in refused.message
    assert "Nothing has been changed." in refused.message
    assert machine.sh("systemctl is-active job").stdout == "active\n"
    assert loaded(machine) == old


def test_a_driver_that_a_restart_does_not_bring_is_put_back(lab: Lab, machine: LabHost, new: dict[str, t.Any]) -> None:
    """The job is still there: the new driver is installed beside the loaded one, and the restart is forced."""
    machine.sh(REFUSE)
    old, before = loaded(machine), starts(lab, machine)
    ended = provision(machine, gpu_driver_release=new, **FORCED).wait(LIMIT_S)
    assert ended.rc != 0, ended.stdout
    assert "No such device" in ended.stdout
    assert f"Driver {old} (open) was put back" in ended.stdout
    assert starts(lab, machine) == before + 1  # the old module could be loaded without another one
    assert loaded(machine) == old
    told = account(machine)
    assert (told["phase"], told["put_back"]) == ("rolled_back", old)
    held = provision(machine, gpu_driver_release=new).wait(LIMIT_S)
    assert held.failed == 1
    assert f"driver {NEW} (open) failed on this host after a restart" in held.message


def test_a_driver_that_does_not_work_after_its_restart_is_taken_back_by_another(
    lab: Lab, machine: LabHost, new: dict[str, t.Any]
) -> None:
    """Its first module is loaded, another is refused, and somebody has come who holds the first."""
    old, before = loaded(machine), starts(lab, machine)
    machine.sh(f"{ONE_REFUSED}\n{COMES_EARLY}")
    failed = provision(machine, gpu_driver_release=new, gpu_driver_retry=True, **FORCED).wait(LIMIT_S)
    machine.sh("systemctl disable --now early.service; rm /etc/modprobe.d/refusing.conf")
    assert failed.rc != 0, failed.stdout
    assert "'modprobe nvidia-uvm' ended with 1" in failed.stdout
    assert f"Driver {old} (open) was put back; a restart is requested" in failed.stdout
    assert starts(lab, machine) == before + 2
    assert loaded(machine) == old
    assert {"nvidia_uvm", "nvidia_drm"} <= look(machine).loaded


def test_a_toolkit_that_brings_its_own_driver_is_found_out(machine: LabHost, tmp_path: Path) -> None:
    chosen = own_runfile(machine, tmp_path, BUNDLED, "12.9.1")
    asked = machine.start("cuda_toolkit", cuda_toolkit_releases=[chosen], cuda_toolkit_packages=[]).wait(LIMIT_S)
    assert asked.failed == 1, asked.stdout
    assert f"the driver changed: {LIB}/libcuda.so.1 was {LIB}/libcuda.so.{loaded(machine)} " in asked.message
    assert f"and is {OTHER} " in asked.message
    assert "run the role gpu_driver to bring the driver back" in asked.message


def test_an_upgrade_needs_no_restart_where_nobody_uses_the_card(
    lab: Lab, machine: LabHost, new: dict[str, t.Any]
) -> None:
    """A job is waited for, the driver's own service is stopped for it and runs again.

    Nothing is left of the driver that the toolkit has brought.
    """
    machine.sh(f"test -e {OTHER}")
    machine.sh(SERVICE)
    machine.sh(PASSING)
    before, service = starts(lab, machine), machine.sh(PID).stdout
    patient = {"gpu_driver_retry": True, "gpu_driver_wait_minutes": 30}
    upgraded = provision(machine, gpu_driver_release=new, **patient).wait(LIMIT_S)
    assert upgraded.rc == 0, upgraded.stdout
    assert "gpu_driver | waiting up to 30 min: sleep (pid " in upgraded.stdout
    assert machine.sh("systemctl is-active nvidia-powerd").stdout == "active\n"
    assert machine.sh(PID).stdout != service
    machine.sh(WITHOUT_SERVICE)
    assert (loaded(machine), starts(lab, machine)) == (NEW, before)
    assert f"hostPath: {LIB}/libcuda.so.{NEW}" in machine.sh(f"cat {SPECIFICATION}").stdout
    again = provision(machine, gpu_driver_release=new).wait(LIMIT_S)
    assert (again.rc, again.changed) == (0, 0), again.stdout
    assert machine.sh(f"realpath {LIB}/libcuda.so.1; ls {LIB} | grep 575 || true").stdout == f"{LIB}/libcuda.so.{NEW}\n"


def test_removal_gives_the_screen_back_to_nouveau(lab: Lab, machine: LabHost, new: dict[str, t.Any]) -> None:
    """The uninstaller leaves a library that somebody has altered, and says that all is well."""
    machine.sh(f"echo altered >> {LIB}/libcuda.so.{NEW}")
    absent = {"gpu_driver_state": "absent", "kernel_gate_state": "absent"}
    removed = provision(machine, gpu_driver_release=new, **absent).wait(LIMIT_S)
    assert removed.rc == 0, removed.stdout
    lab.reboot(machine.name)
    seen = look(machine)
    assert "nouveau" in seen.loaded
    assert not [name for name in seen.loaded if name.startswith("nvidia")]
    assert machine.sh("dkms status").stdout == ""
    assert "50-gpulab-nvidia.conf" not in seen.initramfs
    assert machine.sh(TRACES).stdout == ""
    assert machine.sh("getent passwd nvidia-persistenced", check=False).returncode != 0
    found = machine.sh("find / -xdev -iname '*nvidia*' -path '*modprobe.d*' -o -xdev -name 'nvidia*.ko*'").stdout
    assert [path for path in found.splitlines() if "/kernel/" not in path] == []
    assert machine.sh("find /usr -xdev -name 'libcuda*' -o -xdev -name 'libnvidia*'").stdout == ""
