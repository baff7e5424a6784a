# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lookup, called by Ansible itself: it renders the site's variables and refuses a stack that breaks a rule."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]


@pytest.fixture
def ask(tmp_path: Path) -> t.Callable[..., subprocess.CompletedProcess[str]]:
    """Print an expression with Ansible's own debug module."""

    def run(expression: str, **variables: t.Any) -> subprocess.CompletedProcess[str]:
        task = {"ansible.builtin.debug": {"msg": f"ANSWER {{{{ {expression} }}}}"}}
        play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "vars": variables, "tasks": [task]}
        playbook = tmp_path / "play.yml"
        playbook.write_text(json.dumps([play]))
        return subprocess.run(
            [sys.executable, "-m", "ansible", "playbook", "-i", "localhost,", str(playbook)],
            env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"), "ANSIBLE_NOCOLOR": "1"},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_components_come_in_the_order_asked_for(ask: t.Callable[..., subprocess.CompletedProcess[str]]) -> None:
    run = ask(
        "query('gpulab.workstation.stack', 'uv', 'driver', 'stack') | map('list') | list | to_json",
        gpulab_stack="{{ generation }}",
        generation="cu130",
        gpulab_stack_overrides={"driver.version": "{{ driver }}"},
        driver="595.104.02",
    )

    assert run.returncode == 0, run.stdout
    keys = [["version", "lock"], ["version", "file", "size", "sha256", "sources", "standin", "flavour"]]
    assert json.dumps([*keys, ["name", "overrides", "values", "catalogue"]])[1:-1] in run.stdout.replace('\\"', '"')


def test_variables_of_the_site_are_rendered(ask: t.Callable[..., subprocess.CompletedProcess[str]]) -> None:
    run = ask(
        "lookup('gpulab.workstation.stack', 'driver').version ~ ' ' ~ lookup('gpulab.workstation.stack', 'torch').cuda",
        gpulab_stack="{{ generation }}",
        generation="cu130",
        gpulab_stack_overrides={"driver.version": "{{ driver }}"},
        driver="595.104.02",
    )

    assert "ANSWER 595.104.02 13.0" in run.stdout


def test_a_stack_that_breaks_rules_is_refused_with_all_of_them(
    ask: t.Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    run = ask(
        "lookup('gpulab.workstation.stack', 'driver')",
        gpulab_stack_overrides={"driver.version": "570.144", "xformers.version": "0.0.34"},
    )

    assert run.returncode == 2
    told = run.stdout + run.stderr
    assert "The stack cu128 is refused; nothing was changed." in told
    assert "cuda-driver: Code that nvcc makes" in told
    assert "xformers-torch: An xformers wheel" in told
    assert "driver.version=575.57.08" in told


@pytest.mark.parametrize(
    ("term", "variables", "told"),
    [
        ("drivers", {}, "the stack has no component 'drivers'."),
        ("driver", {"gpulab_stack": "cu182"}, "the stack 'cu182' is not in the catalogue."),
        ("driver", {"gpulab_catalogue_overlay": "/nowhere"}, "the catalogue overlay /nowhere is not a directory."),
    ],
)
def test_a_mistake_is_told_in_an_operators_words(
    ask: t.Callable[..., subprocess.CompletedProcess[str]], term: str, variables: dict[str, str], told: str
) -> None:
    run = ask(f"lookup('gpulab.workstation.stack', '{term}')", **variables)

    assert run.returncode == 2
    assert f"Found: {told}" in run.stdout + run.stderr


def test_limits_with_a_typing_error_are_refused(
    ask: t.Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    limit = {"check": "memory_bandwith", "figure": "copy_gb_s", "unit": "GB/s", "fail_below": 1, "source": "ours"}
    (tmp_path / "overlay").mkdir()
    (tmp_path / "overlay/limits.yml").write_text(json.dumps({"cards": {"NVIDIA H200": {"limits": [limit]}}}))
    run = ask("lookup('gpulab.workstation.stack', 'verification')", gpulab_catalogue_overlay=str(tmp_path / "overlay"))
    assert run.returncode != 0
    assert "limits.yml: cards: NVIDIA H200: limits 1: check is" in run.stdout
    assert "did you mean memory_bandwidth?" in run.stdout
