# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secure Boot under OVMF is enforced: a module loads with an enrolled key only, and the firmware keeps that key.

A kernel update past Ansible gets modules that this key has signed; one whose modules another key has signed is passed
over.
"""

from __future__ import annotations

import subprocess
import typing as t
from pathlib import Path

import pytest
import yaml
from driverdamages import NO_SECURITY, SECURITY
from labhost import ROOT, LabHost, Playbook, PlayResult
from vmfixtures import (
    LIMIT_S,
    NewMachine,
    accept_host_key,
    build_modules,
    drift,
    driver_file,
    driver_version,
    following_kernel,
    kernel_fact,
    look,
    provision,
)

from gpulab.lab import Lab

OWNER = "lab of the tests"
OTHER = "openssl req -new -x509 -newkey rsa:2048 -nodes -subj /CN=other/ -outform DER -out other.der -keyout other.key"
PARTS = "host_preflight,module_signing,gpu_driver,kernel_gate,host_restart"
KERNEL = "cloud-amd64"
MODULES = "nvidia nvidia-uvm nvidia-modeset nvidia-drm"
BROUGHT = "dpkg-query --show -f '${Version}\\n' nvidia-container-toolkit nvidia-driver-libs"
# The same driver once more, as somebody installs it who does not think of the key, which lies where DKMS looks.
BY_HAND = """rmmod nvidia_drm nvidia_modeset nvidia_uvm nvidia
sh /root/driver.run --silent -M open --dkms --no-x-check --skip-module-load"""


@pytest.fixture(scope="module")
def machine(new_machine: NewMachine) -> LabHost:
    return new_machine("vm-secure", flavour="cloud", secure_boot=True)


class LabsKey(t.NamedTuple):
    """The lab's key pair as it lies on a controller: in a file that ansible-vault has encrypted."""

    file: Path
    vault: Path  # the file of the vault's password

    def provision(self, machine: LabHost, parts: str = PARTS, *options: str) -> Playbook:
        pair = ["-e", f"@{self.file}", "--vault-password-file", str(self.vault)]
        return provision(machine, parts=parts, options=[*pair, *options])

    def password(self) -> str:
        """Return what is typed at the console."""
        view = [ROOT / ".venv/bin/ansible-vault", "view", "--vault-password-file", self.vault, self.file]
        text = subprocess.run(view, check=True, capture_output=True, text=True).stdout
        return str(yaml.safe_load(text)["gpulab_signing"]["password"])


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> LabsKey:
    directory = tmp_path_factory.mktemp("signing")
    found = LabsKey(directory / "signing.yml", directory / "vault")
    found.vault.write_text("of these tests\n")
    options = ["--name", OWNER, "--output", found.file, "--vault-password-file", found.vault]
    subprocess.run([ROOT / ".venv/bin/gpulab", "signing-key", *options], check=True, capture_output=True)
    assert found.file.read_text().startswith("$ANSIBLE_VAULT;")
    return found


@pytest.fixture(scope="module")
def following(machine: LabHost) -> str:
    return following_kernel(machine, f"linux-image-{KERNEL}")


def signers(machine: LabHost, kernel: str) -> set[str]:
    told = machine.sh(f"for module in {MODULES}; do modinfo -k {kernel} -F signer $module; done").stdout
    return set(told.splitlines())


def load(host: LabHost, key: str = "") -> str:
    """Load nvidia.ko, signed with a key or not at all; return what insmod says."""
    sign = f"/usr/src/linux-headers-$(uname -r)/scripts/sign-file sha256 /root/{key}.key /root/{key}.der /root/try.ko"
    command = f"cp /root/driver/kernel-open/nvidia.ko /root/try.ko && {sign if key else 'true'} && insmod /root/try.ko"
    return host.sh(command, check=False).stderr


def outcomes(done: PlayResult) -> list[t.Any]:
    return [task["result"]["outcome"] for task in done.tasks if "outcome" in task["result"]]


def test_without_it_nobody_has_to_walk(plain_machine: LabHost, key: LabsKey) -> None:
    done = key.provision(plain_machine, "module_signing").wait(LIMIT_S)
    assert (done.rc, outcomes(done)) == (0, ["off"]), done.stdout
    again = key.provision(plain_machine, "module_signing").wait(LIMIT_S)
    assert (again.rc, again.changed) == (0, 0), again.stdout


def test_it_is_enforced(lab: Lab, machine: LabHost) -> None:
    assert machine.sh("mokutil --sb-state").stdout == "SecureBoot enabled\n"
    assert "[integrity]" in machine.sh("cat /sys/kernel/security/lockdown").stdout
    build_modules(lab, machine)
    machine.sh(f"cd /root && {OTHER}")
    assert "Key was rejected by service" in load(machine)
    assert "Key was rejected by service" in load(machine, "other")


def test_without_a_key_of_the_lab_the_machine_is_refused(machine: LabHost) -> None:
    refused = provision(machine, parts=PARTS).wait(LIMIT_S)
    assert refused.rc == 2, refused.stdout
    told = " ".join(refused.message.split())
    assert "Secure Boot is on, and there is no key on this host to sign kernel modules with." in told
    assert "make one for the lab with 'gpulab signing-key'" in told
    assert machine.sh("test -e /var/lib/dkms/mok.key -o -e /var/lib/nvidia", check=False).returncode == 1


def test_the_run_asks_for_one_visit_to_the_console(machine: LabHost, key: LabsKey) -> None:
    asked = key.provision(machine).wait(LIMIT_S)
    assert asked.rc == 2, asked.stdout
    assert "console" in asked.message
    assert f"to enrol the lab's key at their console: {machine.name}\n" in asked.stdout
    assert machine.sh("mokutil --list-new").stdout.count("SHA1 Fingerprint") == 1
    assert machine.sh("test -e /var/lib/nvidia/log", check=False).returncode == 1, "a driver that cannot be loaded"


def test_after_it_the_driver_is_signed_and_loaded(lab: Lab, machine: LabHost, key: LabsKey) -> None:
    lab.visit_console(machine.name, key.password())
    done = key.provision(machine).wait(LIMIT_S)
    assert done.rc == 0, done.stdout
    assert "nvidia_drm" in look(machine).loaded
    machine.sh("rmmod nvidia_drm nvidia_modeset nvidia_uvm nvidia", check=False)
    assert "Key was rejected by service" in load(machine, "other")
    machine.sh("modprobe nvidia-drm")
    assert signers(machine, look(machine).kernel) == {OWNER}
    again = key.provision(machine).wait(LIMIT_S)
    assert (again.rc, again.changed) == (0, 0), again.stdout


def test_a_driver_that_was_installed_without_the_key_is_named_and_signed(
    lab: Lab, machine: LabHost, key: LabsKey
) -> None:
    """nvidia-installer ends with status 0, and the next start would have no driver."""
    machine.put(driver_file(lab), "/root/driver.run")
    machine.sh(BY_HAND)
    kernel = look(machine).kernel
    assert signers(machine, kernel) == set()
    assert "Key was rejected by service" in machine.sh("modprobe nvidia", check=False).stderr
    outcome, why = drift(machine)
    assert outcome == "fail"
    assert f"the module of {kernel} is not signed" in why
    cured = key.provision(machine).wait(LIMIT_S)
    assert cured.rc == 0, cured.stdout
    assert signers(machine, kernel) == {OWNER}
    assert "nvidia_drm" in look(machine).loaded


def test_a_kernel_that_unattended_upgrades_bring_gets_signed_modules_and_is_started(
    lab: Lab, machine: LabHost, following: str
) -> None:
    """In whichever order they take its image and its headers; a part of a driver they leave as it is."""
    machine.sh(SECURITY)
    updated = machine.sh("unattended-upgrade --verbose 2>&1", check=False)
    brought = machine.sh(BROUGHT).stdout.split()
    machine.sh(NO_SECURITY)
    assert updated.returncode == 0, updated.stdout
    assert brought == ["999", "1"], updated.stdout
    assert signers(machine, following) == {OWNER}
    told = kernel_fact(machine)
    assert (told["state"], told["choice"], told["problems"]) == ("ok", following, {}), updated.stdout
    lab.reboot(machine.name)
    seen = look(machine)
    assert seen.kernel == following
    assert "nvidia_drm" in seen.loaded
    assert "[integrity]" in machine.sh("cat /sys/kernel/security/lockdown").stdout


def test_a_kernel_whose_modules_another_key_has_signed_is_not_started(
    lab: Lab, machine: LabHost, key: LabsKey, following: str
) -> None:
    """Where DKMS finds no pair it makes one, signs with that, and says that all is well."""
    remove = f"dkms remove -m nvidia -v {driver_version()} -k {following}"
    built = machine.sh(f"rm /var/lib/dkms/mok.*; {remove}; run-parts --arg={following} /etc/kernel/header_postinst.d")
    [stranger] = signers(machine, following)
    assert stranger != OWNER
    told = kernel_fact(machine)
    assert (told["state"], told["newest"]) == ("held", following), built.stdout
    assert f"signed by '{stranger}' with a key that is not enrolled" in told["problems"][following]
    lab.reboot(machine.name)
    seen = look(machine)
    assert seen.kernel == told["choice"]
    assert "nvidia_drm" in seen.loaded
    cured = key.provision(machine).wait(LIMIT_S)
    assert cured.rc == 0, cured.stdout
    assert signers(machine, following) == {OWNER}
    assert kernel_fact(machine)["state"] == "ok"
    lab.reboot(machine.name)
    seen = look(machine)
    assert seen.kernel == following
    assert "nvidia_drm" in seen.loaded


def test_the_firmware_keeps_the_key_through_a_reinstallation(lab: Lab, machine: LabHost, key: LabsKey) -> None:
    lab.reinstall(machine.name)
    assert machine.sh("test -e /var/lib/dkms/mok.pub", check=False).returncode == 1
    accept_host_key(lab, machine.name)
    told = key.provision(machine, "module_signing", "--check").wait(LIMIT_S)
    assert (told.rc, outcomes(told)) == (0, ["enrolled"]), told.stdout
    assert "Machines to walk to" not in told.stdout
    known = key.provision(machine, "module_signing").wait(LIMIT_S)
    assert known.rc == 0, known.stdout
    assert outcomes(known) == ["enrolled"]
