# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The image's name follows its recipe and its kernel flavour."""

from __future__ import annotations

from pathlib import Path

from gpulab.lab.vms import disk_image


def machine(root: Path) -> Path:
    (root / "etc/apt").mkdir(parents=True)
    (root / "etc/os-release").write_text("ID=debian\nVERSION_CODENAME=bookworm\n")
    (root / "etc/apt/sources.list").write_text("deb http://mirror.example.invalid/debian bookworm main\n")
    return root


def test_each_flavour_has_its_image(tmp_path: Path) -> None:
    root = machine(tmp_path)
    assert len({disk_image.recipe(flavour, root).key for flavour in disk_image.FLAVOURS}) == len(disk_image.FLAVOURS)


def test_everything_that_goes_into_the_disk_is_in_the_recipe(tmp_path: Path) -> None:
    names = {name for name, _ in disk_image.recipe("cloud", machine(tmp_path)).files}
    scripts = {"build.sh", "disk.sh", "files/usr/local/sbin/gpulab-seal", "files/usr/local/sbin/gpulab-lab"}
    lists = {"base.txt", "tools.txt", "downloaded.txt", "masked.txt"}
    assert scripts | lists | {"flavour", "files/etc/default/grub"} <= names
