# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The image's name follows everything that decides what is in it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gpulab.lab import image

RECIPE = image.Recipe(
    "deb http://mirror.example.invalid bookworm main\n", "http://mirror.example.invalid", (("a", b"b"),)
)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(replace(RECIPE, sources="deb http://other.example.invalid bookworm main\n"), id="sources"),
        pytest.param(replace(RECIPE, files=(("a", b"c"),)), id="content"),
        pytest.param(replace(RECIPE, files=(("c", b"b"),)), id="name"),
        pytest.param(replace(RECIPE, files=(("a", b""), ("b", b""))), id="more-files"),
    ],
)
def test_another_recipe_is_another_image(other: image.Recipe) -> None:
    assert other.image != RECIPE.image
    assert replace(RECIPE).image == RECIPE.image


def machine(root: Path, os_release: str) -> Path:
    (root / "etc/apt").mkdir(parents=True)
    (root / "etc/os-release").write_text(os_release)
    (root / "etc/apt/sources.list").write_text("deb http://mirror.example.invalid/debian bookworm main\n")
    return root


def test_a_debian_gives_its_own_mirror(tmp_path: Path) -> None:
    recipe = image.recipe(machine(tmp_path, "ID=debian\nVERSION_CODENAME=bookworm\n"))
    assert recipe.mirror == "http://mirror.example.invalid/debian"
    assert "bookworm main" in recipe.sources
    assert {"base.txt", "build.sh", "downloaded.txt", "kernel.txt", "pack.sh"} <= {name for name, _ in recipe.files}


def test_another_system_leaves_it_to_debootstrap(tmp_path: Path) -> None:
    recipe = image.recipe(machine(tmp_path, "ID=ubuntu\nVERSION_CODENAME=noble\n"))
    assert (recipe.mirror, recipe.sources) == ("", "")
