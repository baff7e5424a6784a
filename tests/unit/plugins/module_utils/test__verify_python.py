# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The programs of the environment's Python: how they are started, and what each family makes of their answers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ansible_collections.gpulab.workstation.plugins.module_utils import (
    _verify_diffusion_family,
    _verify_endurance_family,
    _verify_torch_family,
)
from ansible_collections.gpulab.workstation.plugins.module_utils._verify import CHECKS, Check, Outcome
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_context import Context, Family
from fakehost import FakeHost
from verifyhost import PYTHON, UUID, add_programs, card, under_way
from wheelhost import SITE, fatbin

TORCH, DIFFUSION, ENDURANCE = (
    family.FAMILY for family in (_verify_torch_family, _verify_diffusion_family, _verify_endurance_family)
)
EVERY = [pytest.param(family, id=family.title) for family in (TORCH, DIFFUSION, ENDURANCE)]
BUILD = {
    "format": 1, "version": "2.11.0+cu130", "cuda": "13.0", "directory": f"{SITE}/torch", "available": True,
    "arch_list": ["sm_90"], "cards": [{"device": 0, "worst_error_over_bound": 0.1, "ok": True}],
}  # fmt: skip


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    made = FakeHost(tmp_path)
    add_programs(made)
    made.commands["env"] = (0, json.dumps(BUILD) + "\n", "")
    made.add(f"{SITE}/torch/lib/libtorch_cuda.so", fatbin(90, 120))
    return made


def made(family: Family, context: Context) -> dict[str, Check]:
    return {check.name: check for check in family.checks(context)}


def test_torch_on_a_good_card(host: FakeHost) -> None:
    found = made(TORCH, under_way(host))
    assert {name: check.outcome.value for name, check in found.items()} == dict.fromkeys(TORCH.names, "pass"), found
    assert found["torch_matmul"].figures["percent_of_dense"] == pytest.approx(77.9, abs=0.1)


def test_pictures_on_a_good_card(host: FakeHost) -> None:
    found = made(DIFFUSION, under_way(host))
    assert {name: check.outcome.value for name, check in found.items()} == dict.fromkeys(DIFFUSION.names, "pass"), found


def test_load_on_a_good_card(host: FakeHost) -> None:
    found = made(ENDURANCE, under_way(host, endurance_minutes=1 / 3))
    assert found["endurance"].outcome is Outcome.PASS, found["endurance"].why
    (command,) = host.ran
    assert command[command.index("--seconds") + 1] == "20.0"


def test_a_program_dies_with_us_sees_every_card_and_leaves_nothing(host: FakeHost) -> None:
    made(DIFFUSION, under_way(host))
    command = " ".join(host.ran[0])
    assert command.startswith("setpriv --pdeathsig KILL env -u CUDA_VISIBLE_DEVICES ")
    work = "/var/lib/gpulab/verify.work"
    assert f"CUDA_DISABLE_PTX_JIT=1 CUDA_CACHE_DISABLE=1 HOME={work} TMPDIR={work}" in command
    assert f" {PYTHON} -I -B {work}/verify_diffusion.py --device 0 --seed 7" in command


@pytest.mark.parametrize("family", EVERY)
def test_every_check_of_a_family_on_every_card(family: Family, host: FakeHost) -> None:
    cards = (card(), card(1, "GPU-00000000-0000-0000-0000-000000000001"))
    checks = family.checks(under_way(host, cards, endurance_minutes=1 / 3))
    for name in family.names:
        expected = [each.key for each in cards] if CHECKS[name].per_card else [""]
        assert [check.card for check in checks if check.name == name] == expected
    of_the_second = [check for check in checks if check.card == cards[1].key and check.name != "attention_backends"]
    assert {check.outcome for check in of_the_second} == {Outcome.FAIL}, "the answers are the first card's"


@pytest.mark.parametrize("family", EVERY)
def test_without_a_gpu_nothing_is_run_on_one(family: Family, host: FakeHost) -> None:
    checks = family.checks(under_way(host, (), why_no_gpu="no NVIDIA driver is loaded"))
    on_cards = [check for check in checks if CHECKS[check.name].per_card]
    assert {check.why for check in on_cards} == {"no NVIDIA driver is loaded"}
    assert {check.outcome for check in on_cards} == {Outcome.NOT_PROVEN}
    assert not [command for command in host.ran if command[0] == "setpriv"]


@pytest.mark.parametrize("family", EVERY)
def test_an_environment_that_is_not_there(family: Family, host: FakeHost) -> None:
    host.remove(PYTHON)
    checks = family.checks(under_way(host))
    assert {(check.outcome, check.why) for check in checks} == {(Outcome.NOT_PROVEN, f"there is no {PYTHON}")}
    assert {check.name for check in checks} == set(family.names)


def test_no_environment_was_named(host: FakeHost) -> None:
    context = under_way(host)
    (check,) = ENDURANCE.checks(replace(context, wish=replace(context.wish, python="")))
    assert (check.outcome, "gpu_verify_python" in check.why, check.card) == (Outcome.NOT_PROVEN, True, UUID)
