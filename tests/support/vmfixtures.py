# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests on virtual machines share: a lab for the whole run, machines by kind, kept for the tests of a file.

One machine goes from nouveau to the driver for all of them, as site.yml does it; others start from a copy of its disk.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import typing as t
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from installerhost import TOOLS, Workshop
from labhost import ROOT, LabHost, Playbook, PlayResult

from gpulab.lab import Lab, VmSpec, overlay, ssh
from gpulab.lab.vms import disk_image

NewMachine = Callable[..., LabHost]
DRIVER_PARTS = "host_preflight,gpu_driver,kernel_gate,host_restart"
NEW = "595.45.04"  # the driver that machines are brought to from that of the lab's stack
LIMIT_S = 3600  # emulation is slow; what hangs is ended by the limits of roles and modules long before
CONSOLES = ROOT / ".test-results/consoles"
LOOK = """uname -r; echo ---
lsmod | cut -d' ' -f1; echo ---
cat /proc/driver/nvidia/version /sys/module/nvidia/version /sys/module/nvidia_drm/parameters/modeset 2> /dev/null
echo ---
lsinitramfs /boot/initrd.img-$(uname -r)"""
ALICE = "useradd --create-home alice && cp -r /root/.ssh /home/alice && chown -R alice: /home/alice/.ssh"
# What makes the driver, its settings, and what apt installs; not what the machine and a refused run write anyway.
CHANGED = """find /etc /usr /lib/modules /boot /opt /var/lib/dkms /var/lib/nvidia /var/lib/gpulab/driver \
  -newer /root/mark"""
# A desktop as far as the roles look at it: the unit that display managers have, enabled, and an Xorg.
DESKTOP = """cp /bin/sleep /usr/local/bin/Xorg
printf '%s\\n' '[Service]' 'ExecStart=/usr/local/bin/Xorg infinity' '[Install]' 'WantedBy=multi-user.target' \\
    'Alias=display-manager.service' > /etc/systemd/system/stand-in-dm.service
systemctl daemon-reload && systemctl enable --now stand-in-dm.service"""


@dataclass(frozen=True)
class Look:
    """What a machine's own tools say of its driver."""

    kernel: str
    loaded: frozenset[str]
    driver: str
    initramfs: str


@dataclass(frozen=True)
class FirstInstallation:
    """A new machine before and after its first run, and what the second one did; it is off now, for copies."""

    name: str
    before: Look
    first: PlayResult
    restarts: int
    after: Look
    second: PlayResult | None


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """Start a lab without hosts; its depot serves the stand-ins."""
    lab = Lab.up(name=f"vm-tests-{os.environ.get('PYTEST_XDIST_WORKER', os.getpid())}", hosts=[])
    yield lab
    lab.down()


@pytest.fixture(scope="session")
def plain_machine(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabHost]:
    """Start a machine with the smaller kernel, for the tests that need no driver: a start costs more than they do.

    By the command, as somebody does who tries gpulab.
    """
    name = "vm-1"
    subprocess.run(["gpulab", "lab", "up", "--vm", "--name", lab.name], check=True, capture_output=True)
    yield LabHost(lab, name, tmp_path_factory.mktemp(name))
    discard(lab, name)


@pytest.fixture(scope="module")
def new_machine(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NewMachine]:
    """Start machines of a kind by name; they go when the file's tests are done. A start takes half a minute.

    They have the generic kernel, so that one image serves most tests.
    """
    names: list[str] = []

    def start(name: str, **spec: object) -> LabHost:
        lab.add_vm(name, VmSpec(**{"flavour": "generic", **spec}))  # type: ignore[arg-type]
        names.append(name)
        directory: Path = tmp_path_factory.mktemp(name)
        return LabHost(lab, name, directory)

    yield start
    for name in names:
        discard(lab, name)


def discard(lab: Lab, name: str) -> None:
    """Remove a machine; what its console has shown is kept for whoever looks for the reason of a failure."""
    CONSOLES.mkdir(parents=True, exist_ok=True)
    shutil.copy(lab.fleet.machine(name).console, CONSOLES / f"{name}.log")
    lab.remove_host(name)


def look(machine: LabHost) -> Look:
    """Look at a machine past the project's own code."""
    kernel, loaded, driver, initramfs = machine.sh(LOOK).stdout.split("---\n")
    return Look(kernel.strip(), frozenset(loaded.split()), driver, initramfs)


def starts(lab: Lab, machine: LabHost) -> int:
    """Count how often a machine has been started."""
    return len(lab.fleet.machine(machine.name).starts())


def following_kernel(machine: LabHost, metapackage: str = "linux-image-amd64") -> str:
    """Tell the release that an update brings."""
    command = f"apt-cache depends {metapackage} | sed -n 's/.*Depends: linux-image-//p'"
    release = machine.sh(command).stdout.strip()
    assert release != look(machine).kernel
    return release


def update_kernel(machine: LabHost) -> subprocess.CompletedProcess[str]:
    """Update the kernel as an admin does, past Ansible."""
    names = "linux-image-amd64 linux-headers-amd64"
    options = "-q --yes --no-install-recommends --no-download"
    return machine.sh(f"DEBIAN_FRONTEND=noninteractive apt-get {options} install {names} 2>&1", check=False)


def kernel_fact(machine: LabHost) -> dict[str, t.Any]:
    """Return what the kernel gate has noted."""
    told: dict[str, t.Any] = json.loads(machine.sh("cat /etc/ansible/facts.d/gpulab_kernel.fact").stdout)
    return told


def provision(
    machine: LabHost, *, parts: str = DRIVER_PARTS, options: Sequence[str] = (), **variables: t.Any
) -> Playbook:
    """Start the parts of site.yml that deal with the driver on one machine."""
    target = ["-i", str(machine.lab.inventory), "site.yml", "-l", machine.name, "--tags", parts, "--diff", *options]
    return Playbook([*target, "-e", json.dumps(variables)], machine.directory / "record.jsonl")


def log_in(machine: LabHost) -> subprocess.Popen[str]:
    """Have alice at a terminal of a machine that knows her."""
    command = [word.replace("root@", "alice@") for word in machine.lab.ssh_command(machine.name, "cat")]
    terminal = subprocess.Popen(
        [command[0], "-tt", *command[1:]], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )  # fmt: skip
    machine.sh("until who | grep -q alice; do sleep 1; done")
    return terminal


def drift(machine: LabHost) -> tuple[str, str]:
    """Run playbooks/verify.yml and return how its check of the driver's drift ended, and its words.

    What needs a card or other roles is not asked for here: on these machines it would not be proven.
    """
    others = {"gpu_verify_require": [], "gpu_verify_python": "", "gpu_verify_toolkit": {}}
    variables = json.dumps({**others, "gpu_verify_results_directory": str(machine.directory / "results")})
    target = ["-i", str(machine.lab.inventory), "playbooks/verify.yml", "-l", machine.name, "-e", variables]
    machine.sh("rm -f /var/lib/gpulab/verify.json")
    done = Playbook(target, machine.directory / "record.jsonl").wait(LIMIT_S)
    document = json.loads(machine.sh("cat /var/lib/gpulab/verify.json").stdout)
    [check] = [check for check in document["checks"] if check["name"] == "driver_drift"]
    assert (done.rc != 0) == any(check["outcome"] == "fail" for check in document["checks"]), done.stdout
    return check["outcome"], check["why"]


def untouched_after(machine: LabHost, **variables: t.Any) -> PlayResult:
    """Apply the driver's role, which must refuse; make sure that nothing was changed."""
    machine.sh("touch /root/mark; sleep 0.01")
    refused = machine.start("gpu_driver", **variables).wait(LIMIT_S)
    assert refused.failed == 1, refused.stdout
    assert machine.sh(CHANGED).stdout == ""
    assert f" {driver_version()} " in look(machine).driver
    return refused


def driver_version() -> str:
    """Return the version that the lab's stack has; tests may have added others to the lab."""
    return overlay.versions()["driver"]


def driver_file(lab: Lab) -> Path:
    """Return the .run of that version."""
    [driver] = [known for known in lab.standins if (known.kind, known.version) == ("driver", driver_version())]
    return lab.depot_dir / "files" / driver.file


def accept_host_key(lab: Lab, name: str) -> None:
    """Note a reinstalled machine's new host key as known, as somebody who has read it at the console would."""
    found = lab.fleet.machine(name)
    known = lab.directory / "known_hosts"
    others = ssh.parse_known_hosts(known.read_text())
    known.write_text(ssh.known_hosts({**others, found.port: [found.starts()[-1].host_key]}))


def release(lab: Lab, version: str) -> dict[str, t.Any]:
    """Return the entry that the catalogue would have of another version of the driver."""
    found = lab.add_standin("driver", version)
    return {
        "version": found.version, "flavour": "open", "file": found.file, "size": found.size, "sha256": found.sha256,
        "sources": [found.url(lab.depot_url)], "standin": True,
    }  # fmt: skip


@pytest.fixture(scope="session")
def new(lab: Lab) -> dict[str, t.Any]:
    """Have the newer driver in the lab; return its entry of the catalogue."""
    return release(lab, NEW)


@pytest.fixture(scope="session")
def installation(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FirstInstallation]:
    """Bring a machine with nouveau to the driver, once for all tests."""
    name = "vm-fresh"
    lab.add_vm(name, VmSpec(flavour="generic"))
    machine = LabHost(lab, name, tmp_path_factory.mktemp(name))
    before, started = look(machine), starts(lab, machine)
    first = provision(machine).wait(LIMIT_S)
    restarts = starts(lab, machine) - started
    after = look(machine)
    second = provision(machine).wait(LIMIT_S) if first.rc == 0 else None
    lab.power_off(name)
    yield FirstInstallation(name, before, first, restarts, after, second)
    discard(lab, name)


@pytest.fixture(scope="module")
def driven_machine(
    lab: Lab, installation: FirstInstallation, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[NewMachine]:
    """Start copies of the machine that has got its driver; they go when the file's tests are done."""
    names: list[str] = []

    def start(name: str) -> LabHost:
        assert installation.first.rc == 0, "no machine has got a driver"
        lab.clone_vm(installation.name, name)
        names.append(name)
        return LabHost(lab, name, tmp_path_factory.mktemp(name))

    yield start
    for name in names:
        discard(lab, name)


def build_modules(lab: Lab, host: LabHost) -> None:
    """Have the stand-in's open modules in /root/driver/kernel-open, built from source for the machine's kernel.

    They are built beside the machine, on a disposable Debian of its release with the headers of its image: emulated,
    the compiler takes minutes for what takes seconds here.
    """
    machine = lab.fleet.machine(host.name)
    builder = Workshop(host.directory / "workshop").host("builder")
    shutil.copy(driver_file(lab), builder.out / "driver.run")
    shutil.copy(disk_image.headers_of(machine.image), builder.out / "headers.tar")
    build = f"""set -e; cd /{TOOLS}/out
    tar --extract --file headers.tar --directory /
    sh driver.run -x --target driver
    make -C driver/kernel-open -j2 modules
    mkdir built && cp driver/kernel-open/*.ko built/"""
    built = builder.run(build, package=None, look=False, kernel=machine.starts()[-1].release)
    assert built.rc == 0, built.stdout + built.stderr
    host.sh("mkdir /root/driver")
    host.put(builder.out / "built", "/root/driver/kernel-open")


__all__ = [
    "ALICE",
    "DESKTOP",
    "NEW",
    "FirstInstallation",
    "Look",
    "NewMachine",
    "accept_host_key",
    "build_modules",
    "drift",
    "driven_machine",
    "driver_file",
    "driver_version",
    "following_kernel",
    "installation",
    "kernel_fact",
    "lab",
    "log_in",
    "look",
    "new",
    "new_machine",
    "plain_machine",
    "provision",
    "release",
    "starts",
    "untouched_after",
    "update_kernel",
]
