# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files that gpu_driver keeps beside what nvidia-installer installs; pure text."""

from __future__ import annotations

import typing as t

SETTINGS = "50-gpulab-nvidia.conf"
MODPROBE = f"/etc/modprobe.d/{SETTINGS}"
PIN = "/etc/apt/preferences.d/50-gpulab-nvidia"
UNATTENDED = "/etc/apt/apt.conf.d/50-gpulab-nvidia"
UNIT_NAME = "nvidia-persistenced.service"
UNIT = f"/etc/systemd/system/{UNIT_NAME}"
SERVICES = (UNIT_NAME, "nvidia-powerd.service")  # the driver's own, which hold its devices
ACCOUNT = "nvidia-persistenced"
MARKER = "/var/lib/gpulab/driver/proven.json"

_HEAD = "Written by gpulab (role gpu_driver); changes are overwritten."

# The parts of a driver, by the names Debian, Ubuntu and NVIDIA's own repository give them. nvidia-container-toolkit,
# libnvidia-container*, nvidia-modprobe, nvidia-cuda-toolkit, cuda-toolkit-* and cuda-keyring are none and stay free.
_PINNED = (
    "nvidia-driver*", "nvidia-open", "nvidia-open-*", "nvidia-dkms*", "nvidia-kernel-*", "nvidia-headless*",
    "nvidia-utils*", "nvidia-compute-utils*", "nvidia-firmware*", "nvidia-smi", "nvidia-alternative*",
    "nvidia-persistenced", "nvidia-legacy-*", "nvidia-tesla-*", "nvidia-vdpau-driver", "nvidia-egl-*",
    "nvidia-opencl-common", "nvidia-opencl-icd*", "nvidia-vulkan-*", "nvidia-cuda-mps", "nvidia-libopencl1",
    "nvidia-powerd", "nvidia-suspend-common", "libnvidia-allocator1*", "libnvidia-api1*", "libnvidia-cfg1*",
    "libnvidia-common*", "libnvidia-compiler*", "libnvidia-compute*", "libnvidia-decode*", "libnvidia-eglcore*",
    "libnvidia-encode*", "libnvidia-extra*", "libnvidia-fbc1*", "libnvidia-gl*", "libnvidia-gpucomp*",
    "libnvidia-ml1", "libnvidia-ngx1*", "libnvidia-nvvm4*", "libnvidia-opticalflow1*", "libnvidia-pkcs11*",
    "libnvidia-ptxjitcompiler1*", "libnvidia-rtcore*", "libnvidia-tesla-*", "libcuda1", "libcudadebugger1",
    "libnvcuvid1", "libnvoptix1", "libegl-nvidia*", "libgl1-nvidia-*", "libgles-nvidia*", "libglx-nvidia*",
    "firmware-nvidia-*gsp", "linux-modules-nvidia-*", "linux-objects-nvidia-*", "linux-signatures-nvidia-*",
    "xserver-xorg-video-nvidia*", "cuda-drivers*",
)  # fmt: skip

# unattended-upgrades matches these from the start of a name (re.match); everything else is still upgraded.
_BLACKLISTED = (
    "nvidia-(?!container)", "libnvidia-(?!container)", "libcuda", "libnvcuvid", "libnvoptix", "cuda-(?!keyring)",
    "lib(egl|gl1|gles|glx)-nvidia", "firmware-nvidia-.*gsp", "xserver-xorg-video-nvidia",
    "linux-(modules|objects|signatures)-nvidia",
)  # fmt: skip


def modprobe_text(options: t.Mapping[str, t.Mapping[str, str]]) -> str:
    """Return modprobe.d(5) settings: no other driver for these cards, and the options asked for.

    nova_core and nova_drm are nouveau's successors, which nvidia-installer does not know yet.
    """
    lines = [f"# {_HEAD}", "blacklist nouveau", "blacklist nova_core", "blacklist nova_drm"]
    lines += ["options nouveau modeset=0"]
    for module, values in sorted(options.items()):
        words = " ".join(f"{name}={value}" for name, value in sorted(values.items()))
        lines += [f"options {module} {words}"] if words else []
    return "\n".join(lines) + "\n"


def pin_text() -> str:
    """Return apt_preferences(5) that keep any other driver from being installed, and nothing else."""
    return (
        f"Explanation: {_HEAD}\n"
        "Explanation: The driver comes from NVIDIA's .run; another version's package would overwrite its libraries.\n"
        f"Package: {' '.join(_PINNED)}\nPin: release *\nPin-Priority: -1\n"
    )


def unattended_text() -> str:
    """Return apt.conf(5) that keeps unattended-upgrades away from NVIDIA's packages; security updates stay on."""
    names = "".join(f'    "{name}";\n' for name in _BLACKLISTED)
    return f"// {_HEAD}\nUnattended-Upgrade::Package-Blacklist {{\n{names}}};\n"


def unit_text() -> str:
    """Return the systemd unit that nvidia-installer does not bring (it only packs a sample).

    The condition skips the unit without failure on a host that has no NVIDIA device.
    """
    return f"""\
# {_HEAD}
[Unit]
Description=NVIDIA Persistence Daemon
Documentation=man:nvidia-persistenced(1)
After=systemd-modules-load.service

[Service]
Type=forking
ExecCondition=/bin/sh -c 'grep -qsi 0x10de /sys/bus/pci/devices/*/vendor'
ExecStart=/usr/bin/nvidia-persistenced --user {ACCOUNT}
ExecStopPost=/bin/rm -rf /var/run/nvidia-persistenced

[Install]
WantedBy=multi-user.target
"""


def managed_files(
    options: t.Mapping[str, t.Mapping[str, str]], *, present: bool, hold_packages: bool, persistenced: bool
) -> dict[str, str | None]:
    """Return what each file has to hold; None where there must be none."""
    return {
        MODPROBE: modprobe_text(options) if present else None,
        PIN: pin_text() if present and hold_packages else None,
        UNATTENDED: unattended_text() if present and hold_packages else None,
        UNIT: unit_text() if present and persistenced else None,
    }


__all__ = [
    "ACCOUNT",
    "MARKER",
    "MODPROBE",
    "PIN",
    "SERVICES",
    "SETTINGS",
    "UNATTENDED",
    "UNIT",
    "UNIT_NAME",
    "managed_files",
]
