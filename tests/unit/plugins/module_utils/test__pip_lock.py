# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Locks with hashes: what is read, what is refused, and which versions are the same."""

from __future__ import annotations

import pytest

from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._pip_lock import (
    LockedWheel,
    canonical_name,
    parse_lock,
    render_lock,
    same_version,
    split_version,
)

A, B = "a" * 64, "b" * 64


def test_a_lock_as_uv_and_pip_tools_write_it() -> None:
    text = f"""\
# made by a tool
Jinja2==3.1.6 \\
    --hash=sha256:{A} \\
    --hash=sha256:{B}
    # via torch
typing_extensions==4.16.0 --hash=sha256:{A}  # here too

accelerate[testing]===1.12.0 --hash=sha256:{B}
"""
    assert parse_lock(text, "the lock") == (
        LockedWheel("jinja2", "3.1.6", (A, B)),
        LockedWheel("typing-extensions", "4.16.0", (A,)),
        LockedWheel("accelerate", "1.12.0", (B,)),
    )


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("torch", id="no version"),
        pytest.param("torch==2.9.1", id="no hash"),
        pytest.param(f"torch>=2.9.1 --hash=sha256:{A}", id="a range"),
        pytest.param(f"torch==2.9.* --hash=sha256:{A}", id="a pattern"),
        pytest.param("torch==2.9.1 --hash=md5:d41d8cd98f00b204e9800998ecf8427e", id="another digest"),
        pytest.param(f"torch==2.9.1 --hash=sha256:{A[:-1]}", id="a short hash"),
        pytest.param(f"torch==2.9.1 ; python_version < '3.12' --hash=sha256:{A}", id="a condition"),
        pytest.param("--index-url https://packages.example/simple", id="an address"),
        pytest.param(f"torch @ https://packages.example/torch.whl --hash=sha256:{A}", id="a file's address"),
        pytest.param("-r other.txt", id="another file"),
        pytest.param("-e .", id="a source tree"),
    ],
)
def test_anything_else_is_refused_with_its_line(line: str) -> None:
    with pytest.raises(OperatorError) as caught:
        parse_lock(f"\n# comment\nnumpy==2.4.6 --hash=sha256:{A}\n{line}\n", "torch_stack_lock")
    assert caught.value.found.startswith("torch_stack_lock, line 4: '")
    assert line[:60] in caught.value.found


def test_a_package_pinned_twice_is_refused() -> None:
    with pytest.raises(OperatorError, match="pins numpy twice: 2.4.6 and 1.26.4"):
        parse_lock(f"numpy==2.4.6 --hash=sha256:{A}\nNumPy==1.26.4 --hash=sha256:{B}\n", "lock")


@pytest.mark.parametrize("text", ["", "\n# only a comment\n"], ids=["empty", "comment"])
def test_an_empty_lock_is_refused(text: str) -> None:
    with pytest.raises(OperatorError, match="diffusion_stack_lock is empty"):
        parse_lock(text, "diffusion_stack_lock")


def test_what_is_rendered_reads_back() -> None:
    wheels = (LockedWheel("torch", "2.9.1", (A, B)), LockedWheel("numpy", "2.4.6", (B,)))
    assert parse_lock(render_lock(wheels), "lock") == wheels


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("Jinja2", "jinja2"),
        ("typing_extensions", "typing-extensions"),
        ("ruamel.yaml", "ruamel-yaml"),
        ("a-_.b", "a-b"),
    ],
)
def test_canonical_names(spelling: str, name: str) -> None:
    assert canonical_name(spelling) == name


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2.9.1", "2.9.1", True),
        ("2.9.1", "2.9.1+cu128", True),
        ("2.9.1+cu128", "2.9.1+cu126", False),
        ("2.9.1+cu128", "2.9.1+CU128", True),
        ("1.0", "1.0.0", True),
        ("2.0.0rc1", "2.0rc1", True),
        ("1.10", "1.1", False),
        ("10", "1", False),
        ("2.9.1", "2.9.10", False),
        ("v1.2", "1.2", True),
        ("1!2.0", "2.0", False),
        ("0.0.33.post2", "0.0.33", False),
    ],
)
def test_same_version(one: str, other: str, *, same: bool) -> None:
    assert same_version(one, other) is same
    assert same_version(other, one) is same


@pytest.mark.parametrize(
    ("version", "parts"),
    [
        ("2.9.1+cu128", ("2.9.1", "cu128")),
        ("2.10.0", ("2.10", "")),
        ("100.0", ("100", "")),
        ("1.0.post1", ("1.post1", "")),
    ],
)
def test_split_version(version: str, parts: tuple[str, str]) -> None:
    assert split_version(version) == parts
