# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts that cannot run a module: recorded answers of ansible-core 2.21 in, one clear reason out."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.gpulab.workstation.plugins.plugin_utils._interpreter import recognise

PYTHON = "/usr/bin/python3"
NO_PYTHON = {
    "changed": False,
    "module_stderr": "/bin/sh: 1: /usr/bin/python3: not found\n",
    "module_stdout": "",
    "msg": "The module interpreter '/usr/bin/python3' was not found.",
    "rc": 127,
}


def debian() -> str:
    return 'ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n'


@pytest.mark.parametrize(
    ("answer", "found", "action"),
    [
        (NO_PYTHON, "Debian GNU/Linux 12 (bookworm) without /usr/bin/python3.", "apt-get install -y python3"),
        (
            {**NO_PYTHON, "module_stderr": "", "module_stdout": "/bin/sh: 1: /usr/bin/python3: not found\r\n"},
            "without /usr/bin/python3",
            "apt-get install -y python3",
        ),
        (
            {
                "msg": "Ansible requires Python 3.9 or newer on the target. Current version: 3.6.9 (default)",
                "failed": True,
            },
            "/usr/bin/python3 is Python 3.6.9.",
            "ansible_python_interpreter",
        ),
        ({"module_stderr": "sudo: a password is required\n", "rc": 1}, "sudo on this host asks", "--ask-become-pass"),
        ({"module_stderr": "/bin/sh: 1: sudo: not found\n", "rc": 127}, "there is no sudo", "connect as root"),
    ],
    ids=["no-python", "no-python-on-a-terminal", "old-python", "sudo-password", "no-sudo"],
)
def test_recognised(answer: dict[str, t.Any], found: str, action: str) -> None:
    reason = recognise(answer, PYTHON, "lab-1", debian)
    assert reason is not None
    assert found in reason.found
    assert action in reason.action


def test_a_host_without_os_release() -> None:
    reason = recognise(NO_PYTHON, PYTHON, "lab-1", str)
    assert reason is not None
    assert reason.found == "a system without /etc/os-release without /usr/bin/python3."


@pytest.mark.parametrize(
    "answer",
    [{"msg": "Traceback", "rc": 1}, {"msg": "", "module_stderr": "ldconfig: not found", "rc": 127}, {}],
    ids=["crash", "other-program", "nothing"],
)
def test_other_failures_are_left_alone(answer: dict[str, t.Any]) -> None:
    assert recognise(answer, PYTHON, "lab-1", debian) is None
