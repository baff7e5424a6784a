# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Usage errors and refusals leave by their exit codes."""

from __future__ import annotations

import pytest

from gpulab import cli
from gpulab.commands.lab import host_names


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param([], id="no-command"),
        pytest.param(["lab"], id="no-action"),
        pytest.param(["lab", "up", "--hosts", "0"], id="no-hosts"),
        pytest.param(["lab", "up", "--hosts", "2", "--host", "a"], id="number-and-name"),
        pytest.param(["lab", "up", "extra"], id="unknown-argument"),
        pytest.param(["lab", "ssh"], id="ssh-without-a-host"),
        pytest.param(["frobnicate"], id="unknown-command"),
    ],
)
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    assert "usage: gpulab" in capsys.readouterr().err


@pytest.mark.parametrize("action", ["down", "status", "wheels"])
def test_a_lab_that_was_never_started(action: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["lab", action, "--name", "never-started"]) == 2
    words = capsys.readouterr().err.splitlines()
    assert [line.partition(":")[0] for line in words] == ["Found", "Expected", "To do"]
    assert "no lab 'never-started'" in words[0]


def test_a_name_that_leaves_the_directory(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["lab", "down", "--name", "../../etc"]) == 2
    assert "small letters" in capsys.readouterr().err


def test_host_names() -> None:
    assert host_names(3) == ["lab-1", "lab-2", "lab-3"]


def test_a_remote_command_keeps_its_own_options() -> None:
    arguments = cli.parser().parse_args(["lab", "ssh", "lab-1", "ls", "-l", "--all"])
    assert (arguments.host, arguments.command) == ("lab-1", ["ls", "-l", "--all"])
