# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Locks of pip and conda, and the constraints that keep torch in place."""

from __future__ import annotations

import pytest

from ansible_collections.gpulab.workstation.plugins.module_utils._fields import Problems
from ansible_collections.gpulab.workstation.plugins.module_utils._locks import Lock

A, B = "a" * 64, "b" * 64
PIP = (
    f"# comment\ntorch==2.9.1 \\\n    --hash=sha256:{A} \\\n    --hash=sha256:{B}\n"
    f"Typing_Extensions==4.16.0 \\\n    --hash=sha256:{B}\n"
)
LD = "https://c.example/linux-64/ld_impl_linux-64-2.46.1-default_h_1.conda"
CONDA = f"# platform: linux-64\n@EXPLICIT\n{LD}#sha256:{A}\n"


def parse(text: str) -> tuple[Lock, list[str]]:
    problems = Problems()
    return Lock.parse("conda/x.txt", text, problems), problems.found


def test_a_pip_lock_pins_by_normal_name() -> None:
    lock, problems = parse(PIP)

    assert (dict(lock.pins), problems) == ({"torch": "2.9.1", "typing-extensions": "4.16.0"}, [])


def test_a_conda_lock_pins_by_file_name() -> None:
    lock, problems = parse(CONDA)

    assert (dict(lock.pins), lock.name, problems) == ({"ld_impl_linux-64": "2.46.1"}, "x", [])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("torch==2.9.1\n", "does not pin a package by sha256"),
        (f"torch>=2.9.1 --hash=sha256:{A}\n", "does not pin a package by sha256"),
        (f"torch==2.9.1 --hash=md5:{'a' * 32}\n", "does not pin a package by sha256"),
        ("--index-url https://mirror.example/simple\n", "does not pin a package by sha256"),
        (f"{PIP}torch==2.9.1 --hash=sha256:{A}\n", "torch is pinned twice"),
        (f"@EXPLICIT\nhttps://c.example/linux-64/python-3.11.15-h_1.conda#{'a' * 32}\n", "does not pin a package by"),
        ("# nothing\n", "it pins nothing"),
    ],
)
def test_a_line_without_a_sha256_is_a_problem(text: str, problem: str) -> None:
    _, problems = parse(text)

    assert any(problem in found for found in problems)
