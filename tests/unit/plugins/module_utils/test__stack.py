# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stack is looked up in the shipped catalogue; what is unknown or mistyped is named with the nearest spelling."""

from __future__ import annotations

import copy
import typing as t

import pytest

from ansible_collections.gpulab.workstation.plugins.module_utils._catalogue_reader import read_catalogue
from ansible_collections.gpulab.workstation.plugins.module_utils._choice import ChoiceError
from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._stack import resolve
from ansible_collections.gpulab.workstation.plugins.module_utils._stack_components import (
    COMPONENTS,
    component,
    portable,
)
from ansible_collections.gpulab.workstation.plugins.plugin_utils._catalogue import catalogue_data, load_catalogue

CATALOGUE = load_catalogue()


@pytest.fixture
def data() -> dict[str, t.Any]:
    return copy.deepcopy(catalogue_data())


def test_the_default_stack_is_what_the_design_says() -> None:
    values = resolve(CATALOGUE, "cu128").values()

    assert values["driver.version"] == "580.178.04"
    assert values["driver.flavour"] == "open"
    assert values["cuda.version"] == "12.9.1"
    assert values["python.version"] == "3.11"
    assert [values[f"{name}.version"] for name in ("torch", "torchvision", "torchaudio")] == [
        "2.9.1",
        "0.24.1",
        "2.9.1",
    ]
    assert values["xformers.version"] == "none"
    assert values["arch"] == "12.0"


def test_companions_follow_torch_unless_they_are_chosen() -> None:
    followed = resolve(CATALOGUE, "cu128", {"torch.version": "2.10.0"})
    chosen = resolve(CATALOGUE, "cu128", {"torch.version": "2.10.0", "torchvision.version": "0.24.1"})

    assert (followed.torchvision, followed.torchaudio) == ("0.25.0", "2.10.0")
    assert chosen.torchvision == "0.24.1"


@pytest.mark.parametrize(
    ("spelling", "version", "cuda"),
    [
        ("2.9.1", "2.9.1", "12.8"),
        ("2.9.1+cu128", "2.9.1", "12.8"),
        ("2.12", "2.12.0", "12.8"),
        ("2.11.0+cu130", "2.11.0", "13.0"),
    ],
)
def test_spellings_of_a_torch_version(spelling: str, version: str, cuda: str) -> None:
    stack = resolve(CATALOGUE, "cu128", {"torch.version": spelling})

    assert (stack.torch.version, stack.torch_cuda) == (version, cuda)


@pytest.mark.parametrize(
    ("overrides", "rule", "found", "nearest"),
    [
        ({"driver.version": "580.178.4"}, "known-version", "driver 580.178.4", "driver.version=580.178.04"),
        ({"driver.version": "999.1"}, "known-version", "driver 999.1", "driver.version=615.71.09"),
        ({"driver.version": "572.16"}, "linux-numbering", "driver 572.16", "driver.version=575.51.02"),
        ({"driver.flavour": "opne"}, "known-version", "driver.flavour opne", "driver.flavour=open"),
        ({"cuda.version": "12.9.2"}, "known-version", "cuda 12.9.2", "cuda.version=12.9.1"),
        ({"torch.version": "2.9.2"}, "known-version", "torch 2.9.2", "torch.version=2.9.1"),
        ({"torch.index": "pytroch"}, "known-version", "torch.index pytroch", "torch.index=pytorch"),
        ({"torchvision.version": "0.24.2"}, "known-version", "torchvision 0.24.2", "torchvision.version=0.24.1"),
        ({"xformers.version": "0.0.33.post3"}, "known-version", "xformers", "xformers.version=0.0.33.post2"),
        ({"python.version": "3.20"}, "known-version", "python 3.20", "python.version=3.14"),
        ({"arch": "sm_120"}, "known-version", "arch sm_120", "arch=12.0"),
        ({"torch.verison": "2.9.1"}, "known-key", "torch.verison", "torch.version"),
        ({"torch.cuda": "13.0"}, "known-key", "torch.cuda", ""),
        ({"driver.version": 580.142}, "known-key", "driver.version is 580.142, not text", 'driver.version: "580.142"'),
        ({"driver.version": ["580.142"]}, "known-key", "not text", ""),
    ],
)
def test_an_unknown_choice_is_named_with_the_nearest(
    overrides: dict[str, t.Any], rule: str, found: str, nearest: str
) -> None:
    with pytest.raises(ChoiceError) as caught:
        resolve(CATALOGUE, "cu128", overrides)

    (finding,) = caught.value.unknown.values()
    assert finding.rule == rule
    assert found in finding.found
    assert nearest in finding.nearest


def test_everything_unknown_is_named_at_once() -> None:
    with pytest.raises(OperatorError) as caught:
        resolve(CATALOGUE, "cu128", {"driver.version": "1.2", "cuda.version": "9.9", "tourch.version": "2.9.1"})

    assert all(word in caught.value.found for word in ("driver 1.2", "cuda 9.9", "tourch.version"))


def test_an_unknown_stack_is_named_with_the_nearest() -> None:
    with pytest.raises(OperatorError) as caught:
        resolve(CATALOGUE, "cu182")

    assert caught.value.found == "the stack 'cu182' is not in the catalogue."
    assert "cu128, cu130" in caught.value.expected
    assert caught.value.action == "take cu128."


@pytest.mark.parametrize(
    ("stack", "found"),
    [
        ({"extends": "cu128", "drivr": {}}, "stacks/x.yml: unknown key drivr (did you mean driver?)"),
        ({"extends": "cu128", "driver": {"verison": "1"}}, "driver: unknown key verison (did you mean version?)"),
        ({"extends": "cu128", "driver": {"version": 580.142}}, "version is the number 580.142, not text: write it"),
        ({"extends": "cu128", "driver": "580.142"}, "driver is text, not a mapping"),
        ({"extends": "cu128", "arch": 12.0}, "arch is the number 12.0, not text"),
        ({"extends": "cu128", "standins": ["driver"]}, "standins holds 'driver'"),
        ({"extends": "x"}, "extends goes in a circle: x -> x"),
        ({"extends": "cu129"}, "the stack 'cu129', which x extends, is not in the catalogue"),
        ({"driver": {"version": "580.142"}}, "driver.flavour is missing"),
        ({"extends": "cu128", "locks": {"torch": "cu129-torch.txt"}}, "names the lock 'cu129-torch.txt', which is not"),
        ({"extends": "cu128", "driver": {"version": "580.99"}}, "driver 580.99 is not in the catalogue"),
        (["driver"], "stacks/x.yml: is a list, not a mapping"),
    ],
)
def test_a_stack_file_with_a_mistake_is_refused(data: dict[str, t.Any], stack: object, found: str) -> None:
    data["stacks"]["x"] = stack

    with pytest.raises(OperatorError) as caught:
        resolve(read_catalogue(data), "x")

    assert found in caught.value.found


def test_a_stack_extends_another_one(data: dict[str, t.Any]) -> None:
    data["stacks"]["lab"] = {"extends": "cu128", "driver": {"version": "595.91.07"}, "standins": ["conda_lock"]}

    stack = resolve(read_catalogue(data), "lab")

    assert (stack.driver.artefact.version, stack.flavour, stack.torch.version) == ("595.91.07", "open", "2.9.1")
    assert component(stack, "conda_lock")["standin"] is True


def test_what_the_lookup_hands_to_roles() -> None:
    stack = resolve(CATALOGUE, "cu128")
    results = {name: component(stack, name) for name in COMPONENTS}

    assert results["driver"]["file"] == "NVIDIA-Linux-x86_64-580.178.04.run"
    assert results["driver"]["flavour"] == "open"
    assert results["driver"]["sources"][1] == (
        "https://download.nvidia.com/XFree86/Linux-x86_64/580.178.04/NVIDIA-Linux-x86_64-580.178.04.run"
    )
    assert results["cuda"]["bundled_driver"] == "575.57.08"
    assert (
        results["conda_lock"]["text"].splitlines()[-1].startswith("https://conda.anaconda.org/conda-forge/noarch/pip-")
    )
    assert results["conda_lock"]["name"] == "rtx5090-py311-linux-64"
    assert (
        "torch==2.9.1 \\\n    --hash=sha256:d033ff0ac3f5400df862a51bdde9bad83561f3739ea0046e68f5401ebfa67c1b"
        in (results["torch"]["lock"])
    )
    assert results["diffusion"]["packages"]["diffusers"] == "0.40.0"
    assert results["uv"]["version"]
    assert not any(results[name]["standin"] for name in ("driver", "cuda", "miniforge", "conda_lock"))


def test_xformers_is_locked_only_where_it_is_chosen() -> None:
    without = component(resolve(CATALOGUE, "cu128"), "torch")
    with_it = component(resolve(CATALOGUE, "cu128", {"xformers.version": "0.0.33.post2"}), "torch")

    assert "xformers" not in without["lock"]
    assert "xformers==0.0.33.post2 \\" in with_it["lock"]


def test_an_unknown_component_is_named_with_the_nearest() -> None:
    with pytest.raises(OperatorError, match="ask for driver"):
        component(resolve(CATALOGUE, "cu128"), "drivers")


def test_a_stack_can_be_resolved_elsewhere(data: dict[str, t.Any]) -> None:
    stack = resolve(CATALOGUE, "cu130", {"driver.version": "595.91.07"})

    sent = portable(stack, data)

    assert resolve(read_catalogue(sent["catalogue"]), sent["name"], sent["overrides"]).values() == sent["values"]
