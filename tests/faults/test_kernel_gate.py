# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel gate on a host: hooks that never fail a package, words for people, and no trace after removal."""

from __future__ import annotations

import json

from labhost import LabHost

PROVEN = "/var/lib/gpulab/driver/proven.json"
FILES = "find /etc /usr/local /boot -newer /proc/1/stat -name '*gpulab*' -o -path '*gpulab*' -type f | sort"


def run_hooks(host: LabHost, moment: str) -> str:
    """Run the hooks of a kernel package as its maintainer scripts do, and return what they say."""
    kernel = host.sh("ls /boot | sed -n s/^vmlinuz-//p").stdout.strip()
    command = f"run-parts --report --exit-on-error --arg={kernel} --arg=/boot/vmlinuz-{kernel} /etc/kernel/{moment}.d"
    done = host.sh(f"{command} 2>&1")
    return done.stdout


def test_a_host_whose_only_kernel_has_no_modules(fresh_host: LabHost) -> None:
    first = fresh_host.apply("kernel_gate")
    assert (first.rc, first.changed) == (0, 1), first.message
    assert first.tasks[-1]["result"]["state"] == "no_driver"

    fresh_host.sh(f"""mkdir -p {PROVEN.rsplit("/", 1)[0]} && echo '{{"version": "999.99.99"}}' > {PROVEN}""")
    told = run_hooks(fresh_host, "postinst")
    assert "gpulab kernel gate: kernel " in told
    assert "it has no nvidia module" in told
    assert "the next start has no GPU" in fresh_host.sh("cat /etc/motd.d/50-gpulab-kernel").stdout
    fact = json.loads(fresh_host.sh("cat /etc/ansible/facts.d/gpulab_kernel.fact").stdout)
    assert (fact["state"], fact["selection"]) == ("stranded", "")

    again = fresh_host.apply("kernel_gate")
    assert (again.rc, again.changed) == (0, 0)
    assert again.tasks[-1]["result"]["state"] == "stranded"

    fresh_host.sh(f"rm {PROVEN}")
    run_hooks(fresh_host, "postrm")
    assert fresh_host.sh("ls /etc/motd.d/50-gpulab-kernel /etc/ansible/facts.d", check=False).stdout.split() == [
        "/etc/ansible/facts.d:"
    ]


def test_a_broken_gate_lets_packages_through_and_is_repaired(fresh_host: LabHost) -> None:
    fresh_host.apply("kernel_gate")
    fresh_host.sh("echo 'raise SystemExit(1)' > /usr/local/lib/gpulab/kernel-gate")
    run_hooks(fresh_host, "header_postinst")
    fresh_host.sh("rm /usr/local/lib/gpulab/kernel-gate")
    run_hooks(fresh_host, "header_postinst")
    repaired = fresh_host.apply("kernel_gate")
    assert (repaired.rc, repaired.changed) == (0, 1), repaired.message
    assert fresh_host.apply("kernel_gate").changed == 0


def test_a_kernel_package_that_fails_is_looked_at_all_the_same(fresh_host: LabHost) -> None:
    """A build that fails in DKMS ends the kernel's hooks before the gate's; apt then has it look."""
    fresh_host.apply("kernel_gate")
    fresh_host.sh(f"""mkdir -p {PROVEN.rsplit("/", 1)[0]} && echo '{{"version": "999.99.99"}}' > {PROVEN}""")
    fields = ("Package: linux-image-9.9.9", "Version: 1", "Architecture: all", "Maintainer: lab", "Description: broken")
    control = "\\n".join(fields)
    fresh_host.sh(
        f"cd /root && mkdir -p broken/DEBIAN && printf '{control}\\n' > broken/DEBIAN/control && "
        "printf '#!/bin/sh\\nexit 11\\n' > broken/DEBIAN/postinst && chmod 755 broken/DEBIAN/postinst && "
        "dpkg-deb -b broken"
    )
    failed = fresh_host.sh("apt-get -q install --yes ./root/broken.deb 2>&1", check=False)
    assert failed.returncode != 0, failed.stdout
    assert "gpulab kernel gate: kernel " in failed.stdout
    assert json.loads(fresh_host.sh("cat /etc/ansible/facts.d/gpulab_kernel.fact").stdout)["state"] == "stranded"


def test_removal_leaves_no_trace(fresh_host: LabHost) -> None:
    before = fresh_host.sh(FILES).stdout
    fresh_host.apply("kernel_gate")
    assert fresh_host.sh(FILES).stdout != before
    gone = fresh_host.apply("kernel_gate", kernel_gate_state="absent")
    assert (gone.rc, gone.changed) == (0, 1)
    assert fresh_host.sh(FILES).stdout == before
    assert fresh_host.apply("kernel_gate", kernel_gate_state="absent").changed == 0


def test_wrong_values_are_refused(fresh_host: LabHost) -> None:
    result = fresh_host.apply("kernel_gate", kernel_gate_state="maybe")
    assert result.rc == 2
    assert "value of kernel_gate_state must be one of: present, absent" in result.message
