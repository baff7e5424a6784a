# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module stack_info, called as Ansible calls it and as the command gpulab does."""

from __future__ import annotations

import json
import typing as t

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.gpulab.workstation.plugins.modules import stack_info
from ansible_collections.gpulab.workstation.plugins.plugin_utils._catalogue import catalogue_data


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> t.Callable[..., dict[str, t.Any]]:
    def run(**options: t.Any) -> dict[str, t.Any]:
        with patch_module_args(options), pytest.raises(SystemExit):
            stack_info.main()
        answer: dict[str, t.Any] = json.loads(capsys.readouterr().out)
        return answer

    return run


def test_a_good_stack_is_returned_without_a_change(call: t.Callable[..., dict[str, t.Any]]) -> None:
    answer = call()

    assert answer["changed"] is False
    assert (answer["valid"], answer["findings"], answer["standins"]) == (True, [], [])
    assert answer["values"]["driver.version"] == "580.178.04"
    assert [file["component"] for file in answer["files"]] == ["driver", "cuda", "miniforge"]
    assert answer["files"][0]["seen"][0].startswith("CachyOS/CachyOS-PKGBUILDS")
    assert answer["stacks"] == ["cu128", "cu130"]


def test_check_mode_answers_the_same(call: t.Callable[..., dict[str, t.Any]]) -> None:
    without, with_it = call(), call(_ansible_check_mode=True)

    assert {**without, "invocation": None} == {**with_it, "invocation": None}


def test_broken_rules_are_findings_and_no_failure(call: t.Callable[..., dict[str, t.Any]]) -> None:
    answer = call(overrides={"driver.version": "570.144"}, host_facts={"glibc": "2.41"})

    assert "failed" not in answer
    assert answer["valid"] is False
    assert [finding["rule"] for finding in answer["findings"]] == ["cuda-driver", "cuda-glibc"]
    assert set(answer["findings"][0]) == {"rule", "sentence", "found", "expected", "nearest", "source"}


def test_an_unknown_choice_leaves_no_values(call: t.Callable[..., dict[str, t.Any]]) -> None:
    answer = call(overrides={"driver.version": "572.16"})

    assert (answer["values"], answer["files"]) == ({}, [])
    assert answer["findings"][0]["rule"] == "linux-numbering"


def test_a_catalogue_can_be_handed_in(call: t.Callable[..., dict[str, t.Any]]) -> None:
    data = catalogue_data()
    data["stacks"] = {"mine": {**data["stacks"]["cu128"], "arch": "9.0"}}

    assert call(stack="mine", catalogue=data)["values"]["arch"] == "9.0"


def test_an_unknown_stack_fails_in_an_operators_words(call: t.Callable[..., dict[str, t.Any]]) -> None:
    answer = call(stack="cu182")

    assert answer["failed"] is True
    assert answer["found"] == "the stack 'cu182' is not in the catalogue."
    assert answer["action"] == "take cu128."
    assert answer["msg"].startswith("Found: the stack 'cu182'")
