# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a machine says when it is up, and what is remembered of it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from gpulab.lab.vms import machine

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINbglv99ci/v9nRFwSUdfLFk+pfciSR1SOVSunFdDfYM"
UP = f"up 6.1.0-50-cloud-amd64 837b3304-010a-4c88-8789-1594f4e35942 {KEY}\n"
START = machine.Start("6.1.0-50-cloud-amd64", "837b3304-010a-4c88-8789-1594f4e35942", KEY)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", [], id="never-up"),
        pytest.param(UP, [START], id="once"),
        pytest.param(
            UP + UP.replace("cloud-", ""),
            [START, machine.Start("6.1.0-50-amd64", *UP.split(" ", 3)[2:3], KEY)],
            id="twice",
        ),
        pytest.param(UP[:-30], [], id="power-cut-in-the-line"),
        pytest.param("noise\n" + UP, [START], id="noise"),
        pytest.param("\x1b[2J\x1b[01;01HWelcome to GRUB!\r\n\x1b[40m" + UP, [START], id="after-the-firmware"),
        pytest.param(UP[:40] + "\n" + UP, [START], id="cut-and-on-again"),
    ],
)
def test_starts(text: str, expected: list[machine.Start]) -> None:
    assert machine.parse_starts(text) == expected


def test_the_fingerprint_is_what_ssh_shows(tmp_path: Path) -> None:
    public = tmp_path / "key.pub"
    public.write_text(KEY + "\n")
    shown = subprocess.run(["ssh-keygen", "-l", "-f", str(public)], check=True, text=True, capture_output=True).stdout
    assert shown.split()[1] == START.fingerprint


def test_a_machine_is_off_until_qemu_runs(tmp_path: Path) -> None:
    found = machine.Machine(tmp_path / "vm-1", 2222, machine.Spec(), Path("/image.qcow2"))
    assert (found.state, found.starts()) == ("off", [])
