# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Variables that mean nothing or have the wrong type, against a small collection and against this one."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.gpulab.workstation.plugins.plugin_utils._variables import Vocabulary, complaints, vocabulary

REPOSITORY = Path(__file__).resolve().parents[4]
SPEC = """---
argument_specs:
  main:
    short_description: x
    options:
      gpu_driver_enabled: {type: bool, default: true, description: x}
      gpu_driver_release: {type: dict, default: "{{ lookup('x') }}", description: x}
      gpu_driver_flavour: {type: str, choices: [open, proprietary], default: open, description: x}
      gpu_driver_ports: {type: list, elements: int, default: [], description: x}
      gpu_driver_rows:
        type: list
        elements: dict
        default: []
        description: x
        options: {path: {type: path, required: true, description: x}}
"""
DEFAULTS = """---
gpu_driver_enabled: "{{ gpulab_has_gpu | default(true) }}"
gpu_driver_release: "{{ lookup('x') }}"
gpu_driver_flavour: open
"""


def plain(value: t.Any) -> t.Any:
    """Evaluate nothing: the tests' values are no templates."""
    return value


@pytest.fixture
def known(tmp_path: Path) -> Vocabulary:
    """Return what a collection of one role knows."""
    for path, text in (("meta/argument_specs.yml", SPEC), ("defaults/main.yml", DEFAULTS)):
        target = tmp_path / "roles/gpu_driver" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    return vocabulary(tmp_path)


@pytest.mark.parametrize(
    "variables",
    [
        {"gpu_driver_enabled": "no", "gpu_driver_ports": ["22"], "gpulab_has_gpu": False},
        {"gpu_driver_flavour": "open", "gpu_driver_rows": [{"path": "/opt"}]},
        {"ansible_host": "x", "gpus": 2, "gpu_driverless": 1, "my_gpu_driver_x": 1},
        {"gpu_driver_release": "{{ lookup('x') }}"},
    ],
    ids=["good", "choices", "strangers", "default"],
)
def test_no_complaint(known: Vocabulary, variables: dict[str, t.Any]) -> None:
    assert complaints(variables, known, plain) == []


@pytest.mark.parametrize(
    ("name", "value", "found", "expected"),
    [
        ("gpu_driver_enabled", "maybe", "gpu_driver_enabled is 'maybe': The value 'maybe' is not", "true or false"),
        ("gpu_driver_flavour", "closed", "gpu_driver_flavour is 'closed'", "one of open, proprietary"),
        ("gpu_driver_release", [1], "gpu_driver_release is [1]", "a value of type dict"),
        ("gpu_driver_ports", ["ssh"], "gpu_driver_ports is ['ssh']", "a list of int"),
        ("gpu_driver_rows", [{"pth": "/opt"}], "gpu_driver_rows", "a list of dict"),
        ("gpu_driver_flavor", "open", "gpu_driver_flavor is set, and nothing reads it", "perhaps gpu_driver_flavour"),
        ("gpulab_has_gpus", True, "gpulab_has_gpus is set, and nothing reads it", "perhaps gpulab_has_gpu"),
    ],
)
def test_complaint(known: Vocabulary, name: str, value: t.Any, found: str, expected: str) -> None:
    (complaint,) = complaints({name: value}, known, plain)
    assert found in complaint.found
    assert expected in complaint.expected
    assert name in complaint.action


def test_a_template_that_fails_is_told(known: Vocabulary) -> None:
    def evaluate(value: t.Any) -> t.Any:
        message = f"'typo' is undefined in {value}"
        raise ValueError(message)

    (complaint,) = complaints({"gpu_driver_enabled": "{{ typo }}"}, known, evaluate)
    assert "'typo' is undefined" in complaint.found


def test_this_collection_has_nothing_to_complain_about_its_own_defaults() -> None:
    own = vocabulary(REPOSITORY)
    assert {"host_preflight", "host_restart"} <= set(own.roles)
    assert {"gpulab_has_gpu", "gpulab_stack", "gpulab_stack_overrides", "gpulab_catalogue_overlay"} <= own.site
    assert complaints(own.defaults, own, plain) == []


def test_a_prefix_belongs_to_the_longest_role() -> None:
    known = Vocabulary({}, {}, ("gpu", "gpu_driver"), frozenset())
    assert known.role_of("gpu_driver_x") == "gpu_driver"
    assert known.role_of("other") is None
