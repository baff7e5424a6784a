# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel gate on a host: hooks that never fail a package, words for people, and no trace after removal."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from labhost import LabHost

from gpulab.lab import Lab

PROVEN = "/var/lib/gpulab/driver/proven.json"
FILES = "find /etc /usr/local /boot -newer /proc/1/stat -name '*gpulab*' -o -path '*gpulab*' -type f | sort"


@pytest.fixture(scope="module")
def bare(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabHost]:
    lab.add_host("gated")
    yield LabHost(lab, "gated", tmp_path_factory.mktemp("gated"))
    lab.remove_host("gated")


@pytest.fixture(scope="module")
def before(bare: LabHost) -> str:
    """Return the files that are there without a gate."""
    return bare.sh(FILES).stdout


@pytest.fixture(scope="module")
def host(bare: LabHost, before: str) -> LabHost:
    """Give the host a gate; it has no driver."""
    first = bare.apply("kernel_gate")
    assert (first.rc, first.changed) == (0, 1), first.message
    assert first.tasks[-1]["result"]["state"] == "no_driver"
    assert bare.sh(FILES).stdout != before
    return bare


def run_hooks(host: LabHost, moment: str) -> str:
    """Run the hooks of a kernel package as its maintainer scripts do, and return what they say."""
    kernel = host.sh("ls /boot | sed -n s/^vmlinuz-//p").stdout.strip()
    command = f"run-parts --report --exit-on-error --arg={kernel} --arg=/boot/vmlinuz-{kernel} /etc/kernel/{moment}.d"
    done = host.sh(f"{command} 2>&1")
    return done.stdout


def test_a_host_whose_only_kernel_has_no_modules(host: LabHost) -> None:
    host.sh(f"""mkdir -p {PROVEN.rsplit("/", 1)[0]} && echo '{{"version": "999.99.99"}}' > {PROVEN}""")
    told = run_hooks(host, "postinst")
    assert "gpulab kernel gate: kernel " in told
    assert "it has no nvidia module" in told
    assert "the next start has no GPU" in host.sh("cat /etc/motd.d/50-gpulab-kernel").stdout
    fact = json.loads(host.sh("cat /etc/ansible/facts.d/gpulab_kernel.fact").stdout)
    assert (fact["state"], fact["selection"]) == ("stranded", "")

    again = host.apply("kernel_gate")
    assert (again.rc, again.changed) == (0, 0)
    assert again.tasks[-1]["result"]["state"] == "stranded"

    host.sh(f"rm {PROVEN}")
    run_hooks(host, "postrm")
    assert host.sh("ls /etc/motd.d/50-gpulab-kernel /etc/ansible/facts.d", check=False).stdout.split() == [
        "/etc/ansible/facts.d:"
    ]


def test_a_broken_gate_lets_packages_through_and_is_repaired(host: LabHost) -> None:
    host.sh("echo 'raise SystemExit(1)' > /usr/local/lib/gpulab/kernel-gate")
    run_hooks(host, "header_postinst")
    host.sh("rm /usr/local/lib/gpulab/kernel-gate")
    run_hooks(host, "header_postinst")
    repaired = host.apply("kernel_gate")
    assert (repaired.rc, repaired.changed) == (0, 1), repaired.message
    assert host.apply("kernel_gate").changed == 0


def test_a_kernel_package_that_fails_is_looked_at_all_the_same(host: LabHost) -> None:
    """A build that fails in DKMS ends the kernel's hooks before the gate's; apt then has it look."""
    host.sh(f"""mkdir -p {PROVEN.rsplit("/", 1)[0]} && echo '{{"version": "999.99.99"}}' > {PROVEN}""")
    fields = ("Package: linux-image-9.9.9", "Version: 1", "Architecture: all", "Maintainer: lab", "Description: broken")
    control = "\\n".join(fields)
    host.sh(
        f"cd /root && mkdir -p broken/DEBIAN && printf '{control}\\n' > broken/DEBIAN/control && "
        "printf '#!/bin/sh\\nexit 11\\n' > broken/DEBIAN/postinst && chmod 755 broken/DEBIAN/postinst && "
        "dpkg-deb -b broken"
    )
    failed = host.sh("apt-get -q install --yes ./root/broken.deb 2>&1", check=False)
    assert failed.returncode != 0, failed.stdout
    assert "gpulab kernel gate: kernel " in failed.stdout
    assert json.loads(host.sh("cat /etc/ansible/facts.d/gpulab_kernel.fact").stdout)["state"] == "stranded"
    host.sh(f"dpkg --purge linux-image-9.9.9; rm {PROVEN}")


def test_removal_leaves_no_trace(host: LabHost, before: str) -> None:
    gone = host.apply("kernel_gate", kernel_gate_state="absent")
    assert (gone.rc, gone.changed) == (0, 1)
    assert host.sh(FILES).stdout == before
    assert host.apply("kernel_gate", kernel_gate_state="absent").changed == 0


def test_wrong_values_are_refused(bare: LabHost) -> None:
    result = bare.apply("kernel_gate", kernel_gate_state="maybe")
    assert result.rc == 2
    assert "value of kernel_gate_state must be one of: present, absent" in result.message
