# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes wrong with diffusion_stack: locks that disagree, pictures that prove nothing, plugins, interruptions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from labhost import LabHost
from wheellayers import Place, lock, pins, prepared_host

from gpulab.lab import Lab


@pytest.fixture(scope="module")
def host(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabHost]:
    yield from prepared_host(lab, "diffusion-faults", tmp_path_factory.mktemp("diffusion"))


@pytest.fixture
def bare(host: LabHost) -> Place:
    return Place.make(host)


@pytest.fixture
def place(bare: Place) -> Place:
    done = bare.torch()
    assert done.rc == 0, done.message
    return bare


@pytest.fixture(scope="module")
def installed(host: LabHost) -> Place:
    """Share one environment with both layers: every test that damages it sees it repaired."""
    place = Place.make(host)
    for done in (place.torch(), place.diffusion()):
        assert (done.rc, done.changed) == (0, 1), done.message
    return place


def picture_again(place: Place) -> str:
    return f"Make a picture on the CPU: {place.env}/proof.png"


def test_the_layers_do_not_undo_each_other(installed: Place) -> None:
    assert installed.torch().changed == 0
    assert installed.diffusion().changed == 0
    together = {**pins("torch-small"), **pins("diffusion-small")}
    assert together.items() <= installed.installed().items()


def test_lock_that_contradicts_torchs(place: Place) -> None:
    before = place.installed()
    result = place.diffusion(diffusion_stack_lock=lock("diffusion-small") + lock("torch-small-other"))
    assert "this lock pins otherwise than the locks below it: filelock 3.20.0 (below: 4.2.11)" in result.message
    assert "or the roles would undo each other" in result.message
    assert place.installed() == before


def test_damaged_packages(installed: Place) -> None:
    installed.sh(f"cd {installed.site} && rm -r safetensors idna-*.dist-info/RECORD")
    result = installed.diffusion()
    assert (result.rc, result.changed) == (0, 1), result.message
    assert result.tasks[-1]["result"]["steps"][0].startswith("Repair ")
    assert installed.diffusion().changed == 0


def test_picture_is_made_again(installed: Place) -> None:
    for damage in ("rm proof.png", "printf x >> proof.png", "rm proof.json"):
        installed.sh(f"cd {installed.env} && {damage}")
        result = installed.diffusion()
        assert (result.rc, result.changed) == (0, 1), f"{damage}: {result.message}"
        assert result.tasks[-1]["result"]["steps"] == [picture_again(installed)]
    assert installed.diffusion().changed == 0


GREY = """\
import sys
from PIL import Image
Image.new("RGB", (64, 64), (9, 9, 9)).save(sys.argv[sys.argv.index("--image") + 1], format="PNG")
print('{"finite": true}')
"""


PROVES_NOTHING = {
    "raise SystemExit('CUDA error: out of memory')": "ended on cpu with 1: CUDA error: out of memory",
    "import os; os.kill(os.getpid(), 9)": "ended on cpu with -9",
    "print('{\"finite\": true}')": "it is not a PNG file",
    "import torch": "No module named 'torch'",
    GREY: "is no good: it shows one shade only",
}


@pytest.mark.whole
def test_script_that_proves_nothing(bare: Place, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    for program, words in PROVES_NOTHING.items():
        script.write_text(program)
        result = bare.diffusion(diffusion_stack_script=str(script))
        assert result.rc == 2, program
        assert words in result.message
        assert bare.sh(f"ls {bare.env}/proof.png", check=False).returncode != 0, program
    mended = bare.diffusion()
    assert mended.tasks[-1]["result"]["steps"] == [picture_again(bare)], "what was installed stays"


def test_what_is_told_about_the_picture(installed: Place) -> None:
    told = installed.diffusion().tasks[-1]["result"]["proof"]
    noted = json.loads(installed.sh(f"cat {installed.env}/proof.json").stdout)
    assert told["outcome"] == "pass"
    assert told["why"] == "made on the CPU, because this host is said to have no GPU"
    assert told["device"] == noted["result"]["device"] == "stand-in, no torch on this host"
    assert told["image_sha256"] == installed.sh(f"sha256sum {installed.env}/proof.png").stdout.split()[0]


@pytest.mark.whole
def test_torch_may_come_later(bare: Place) -> None:
    assert bare.diffusion().rc == 0
    assert bare.torch().rc == 0
    again = bare.diffusion()
    assert again.tasks[-1]["result"]["steps"] == [picture_again(bare)], "it was made with other packages below it"
    assert bare.diffusion().changed == 0
    assert bare.torch().changed == 0
