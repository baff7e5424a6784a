# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A new machine with nouveau loaded gets its driver with one restart, and nothing a second time."""

from __future__ import annotations

from vmfixtures import FirstInstallation, driver_version


def test_nouveau_goes_with_one_restart(installation: FirstInstallation) -> None:
    version = driver_version()
    assert "nouveau" in installation.before.loaded
    assert "nouveau.ko" in installation.before.initramfs
    assert installation.first.rc == 0, installation.first.stdout
    assert installation.restarts == 1
    after = installation.after
    assert after.kernel == installation.before.kernel
    assert "nouveau" not in after.loaded
    assert {"nvidia", "nvidia_uvm", "nvidia_drm"} <= after.loaded
    proc, sysfs, modeset = after.driver.splitlines()[0], *after.driver.splitlines()[-2:]
    assert f"Open Kernel Module for x86_64  {version} " in proc
    assert (sysfs, modeset) == (version, "Y")
    assert "etc/modprobe.d/50-gpulab-nvidia.conf" in after.initramfs


def test_a_second_run_changes_nothing(installation: FirstInstallation) -> None:
    second = installation.second
    assert second is not None, installation.first.stdout
    assert second.rc == 0, second.stdout
    assert second.changed == 0, second.stdout
