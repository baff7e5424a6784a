# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian's own NVIDIA driver, the real packages of its archive, gives way to a .run.

Only its modules are not NVIDIA's: a compiler takes five minutes for those, so DKMS is told to copy others under their
names. With NVIDIA's, built, the outcome was the same (2026-11-27, Debian's 535.309.01).
"""

from __future__ import annotations

import pytest
from labhost import LabHost

MAKE = """mkdir -p /etc/dkms; cat > /usr/local/bin/other-modules <<'END'
#!/bin/sh
other=$(find /lib/modules/*/kernel -name '*.ko' -print -quit)
for name in nvidia nvidia-modeset nvidia-drm nvidia-uvm nvidia-peermem; do cp "$other" "$name.ko"; done
END
chmod 0755 /usr/local/bin/other-modules
echo 'MAKE[0]="/usr/local/bin/other-modules"' > /etc/dkms/nvidia-current.conf"""
# With most of what it recommends, and no X server for it.
REAL = """sed -i 's/ main$/ main contrib non-free non-free-firmware/' /etc/apt/sources.list
apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q --yes --no-install-recommends install nvidia-driver \\
  nvidia-kernel-dkms nvidia-persistenced nvidia-settings nvidia-cuda-mps nvidia-opencl-icd nvidia-vulkan-icd \\
  firmware-nvidia-gsp libgles-nvidia1 libgles-nvidia2 libnvidia-encode1 libnvcuvid1 libnvoptix1 libcudadebugger1"""
PACKAGES = "dpkg-query -W -f '${Package} ${db:Status-Abbrev}\\n' | grep -E '^(nvidia|glx-|lib.*nvidia|libcuda|libnv)'"
OF_THE_DRIVER = """find /etc /usr /lib/modules /var/lib/dkms -not -path '/etc/dkms/*' \
  '(' -name '*nvidia-current*' -o -name '*.so.535.*' ')'
dpkg-divert --list '*glx*'; dpkg --verify libgl1 libegl1 libglvnd0 libglx0"""

KEPT_OUT = ("nvidia-driver", "nvidia-kernel-dkms", "libcuda1", "libglx-nvidia0", "libnvoptix1", "nvidia-smi")
FREE = ("nvidia-modprobe", "nvidia-opencl-dev", "nvidia-settings")


@pytest.mark.whole
def test_debians_own_driver_is_taken_over_and_nothing_of_it_stays(fresh_host: LabHost) -> None:
    fresh_host.sh(MAKE)
    fresh_host.sh(REAL)
    assert "nvidia-current/" in fresh_host.sh("dkms status").stdout
    assert "/usr/lib/mesa-diverted" in fresh_host.sh("dpkg-divert --list '*libGL.so.1'").stdout

    taken = fresh_host.apply("gpu_driver")
    assert taken.rc == 0, taken.message
    steps = " ".join(taken.tasks[-1]["result"]["steps"])
    assert steps.index("Try to build the modules") < steps.index("Purge the distribution's driver")

    left = [line.split() for line in fresh_host.sh(PACKAGES).stdout.splitlines()]
    assert sorted(name for name, _ in left) == ["glx-alternative-mesa", "nvidia-modprobe"]
    assert fresh_host.sh(OF_THE_DRIVER).stdout == ""
    (known,) = fresh_host.sh("dkms status").stdout.splitlines()
    assert known.startswith("nvidia/")
    assert known.endswith(": installed")

    offers = "apt-cache policy {} | sed -n 's/  Candidate: //p'"
    assert fresh_host.sh(offers.format(" ".join(KEPT_OUT))).stdout.split() == ["(none)"] * len(KEPT_OUT)
    assert "(none)" not in fresh_host.sh(offers.format(" ".join(FREE))).stdout
    again = fresh_host.apply("gpu_driver")
    assert (again.rc, again.changed) == (0, 0)
