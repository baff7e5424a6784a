# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The texts that the role keeps, held against the names they are meant for."""

from __future__ import annotations

import fnmatch
import re

import pytest

import recorded
from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_files as files

DRIVER = ["nvidia-driver-580-open", "nvidia-driver", "nvidia-open", "nvidia-dkms-580-open", "nvidia-kernel-source-580",
          "nvidia-kernel-open-dkms", "nvidia-utils-580", "nvidia-smi", "nvidia-persistenced", "libnvidia-compute-580",
          "libnvidia-ml1", "libcuda1", "linux-modules-nvidia-580-generic", "linux-objects-nvidia-580-6.8.0-51-generic",
          "xserver-xorg-video-nvidia-580", "cuda-drivers", "cuda-drivers-580", "nvidia-headless-580-open",
          # NVIDIA's own repository, without the branch in the name since 590
          "nvidia-utils", "nvidia-dkms-open", "libnvidia-compute", "libnvidia-gl", "libnvidia-decode"]  # fmt: skip
DEBIANS = [line.split() for line in recorded.text("apt/debian12-nvidia-packages.txt").splitlines() if line[0] != "#"]
DRIVER += [name for source, name in DEBIANS if source.startswith("nvidia-graphics-drivers") and name != "nvidia-detect"]
TOOLKIT = [name for source, name in DEBIANS if source in ("nvidia-cuda-toolkit", "nvidia-cudnn", "nvidia-cg-toolkit")]
FREE = ["nvidia-container-toolkit", "nvidia-container-toolkit-base", "libnvidia-container1",
        "libnvidia-container-tools", "cuda-keyring"]  # fmt: skip
UNPINNED = [*FREE, "nvidia-modprobe", "nvidia-cuda-toolkit", "cuda-toolkit-12-9", "firmware-misc-nonfree",
            "linux-image-generic", "nvidia-settings", "libcudart12", *TOOLKIT]  # fmt: skip


def texts(**changes: bool) -> dict[str, str | None]:
    asked = {"present": True, "hold_packages": True, "persistenced": True, **changes}
    return files.managed_files({"nvidia-drm": {"modeset": "1"}}, **asked)


def pinned() -> list[str]:
    text = texts()[files.PIN] or ""
    return next(line.split()[1:] for line in text.splitlines() if line.startswith("Package:"))


@pytest.mark.parametrize("name", DRIVER)
def test_the_pin_keeps_drivers_out(name: str) -> None:
    assert any(fnmatch.fnmatchcase(name, pattern) for pattern in pinned())


@pytest.mark.parametrize("name", UNPINNED)
def test_the_pin_keeps_nothing_else_out(name: str) -> None:
    assert not any(fnmatch.fnmatchcase(name, pattern) for pattern in pinned())


@pytest.mark.parametrize(("name", "held"), [*((n, True) for n in DRIVER), *((n, False) for n in FREE),
                                            ("cuda-toolkit-12-9", True), ("linux-image-generic", False),
                                            ("openssh-server", False)])  # fmt: skip
def test_unattended_upgrades_leaves_nvidia_alone_and_nothing_else(name: str, held: bool) -> None:  # noqa: FBT001
    patterns = re.findall(r'^    "(.*)";$', texts()[files.UNATTENDED] or "", re.MULTILINE)
    assert any(re.match(pattern, name) for pattern in patterns) is held


def test_no_other_driver_takes_the_card() -> None:
    text = texts()[files.MODPROBE] or ""
    for line in ("blacklist nouveau", "blacklist nova_core", "blacklist nova_drm", "options nouveau modeset=0",
                 "options nvidia-drm modeset=1"):  # fmt: skip
        assert line in text.splitlines()


@pytest.mark.parametrize(
    ("changes", "gone"),
    [
        ({"hold_packages": False}, {files.PIN, files.UNATTENDED}),
        ({"persistenced": False}, {files.UNIT}),
        ({"present": False}, {files.MODPROBE, files.PIN, files.UNATTENDED, files.UNIT}),
    ],
    ids=["not-held", "no-daemon", "absent"],
)
def test_what_is_not_wanted_must_not_be_there(changes: dict[str, bool], gone: set[str]) -> None:
    assert {path for path, text in texts(**changes).items() if text is None} == gone
