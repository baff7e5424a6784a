# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Data files are read field by field, and every problem is reported with its place."""

from __future__ import annotations

import re
import typing as t

import pytest

from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._fields import SHA256, Fields, Problems


def read(data: object, *calls: tuple[str, str, t.Any]) -> tuple[list[t.Any], list[str]]:
    problems = Problems()
    fields = Fields(data, "x.yml", problems)
    values = [getattr(fields, method)(key, *([extra] if extra else [])) for method, key, extra in calls]
    fields.close()
    return values, problems.found


def test_good_fields_are_returned_without_a_problem() -> None:
    data = {"a": "text", "b": 3, "c": True, "d": ["x", "y"], "e": [6, 14], "f": {"k": "v"}}
    calls = [("text", "a", None), ("number", "b", None), ("flag", "c", None), ("texts", "d", None)]
    calls += [("bounds", "e", None), ("strings", "f", None), ("optional_text", "g", None)]

    assert read(data, *calls) == (["text", 3, True, ("x", "y"), (6, 14), {"k": "v"}, None], [])


@pytest.mark.parametrize(
    ("data", "call", "problem"),
    [
        ({"a": 580.142}, ("text", "a", None), "a is the number 580.142, not text: write it in quotes"),
        ({"a": None}, ("text", "a", None), "a is missing"),
        ({}, ("number", "a", None), "a is missing"),
        ({"a": "3"}, ("number", "a", None), "a is text, not a whole number"),
        ({"a": True}, ("number", "a", None), "a is true or false, not a whole number"),
        ({"a": "yes"}, ("flag", "a", None), "a is text, not true or false"),
        ({"a": ["x", 1.0]}, ("texts", "a", None), "a holds 1.0, the number 1.0: write it in quotes"),
        ({"a": ["x", "x"]}, ("texts", "a", None), "a holds 'x' twice"),
        ({"a": [14, 6]}, ("bounds", "a", None), "a is [14, 6], not [first, last]"),
        ({"a": "AB"}, ("text", "a", re.compile("[a-z]+")), "a is 'AB', which does not have the form [a-z]+"),
        ({"a": "0" * 63}, ("text", "a", SHA256), "which does not have the form [0-9a-f]{64}"),
        ({"a": {"k": 1}}, ("strings", "a", None), "a: k is a whole number, not text"),
        ({"sha265": "x"}, ("optional_text", "sha256", None), "unknown key sha265 (did you mean sha256?)"),
        ({"zz": "x"}, ("optional_text", "ab", None), "unknown key zz (known: ab)"),
        ({1: "x"}, ("optional_text", "a", None), "key 1 is a whole number: write it in quotes"),
        (["x"], ("optional_text", "a", None), "is a list, not a mapping"),
    ],
)
def test_a_bad_field_is_a_problem_with_its_place(data: object, call: tuple[str, str, t.Any], problem: str) -> None:
    _, found = read(data, call)

    assert len(found) == 1
    assert found[0].startswith("x.yml")
    assert problem in found[0]


def test_entries_check_their_names_and_close_themselves() -> None:
    problems = Problems()
    fields = Fields({"releases": {"1.0": {"a": "x", "b": "y"}, "one": {}}}, "x.yml", problems)

    read_ = {name: entry.text("a") for name, entry in fields.entries("releases", re.compile(r"\d+\.\d+"))}

    assert read_ == {"1.0": "x"}
    assert problems.found == [
        "x.yml: releases: 1.0: unknown key b (known: a)",
        r"x.yml: releases: the name 'one' does not have the form \d+\.\d+",
    ]


def test_all_problems_are_raised_at_once() -> None:
    problems = Problems()
    problems.add("x.yml", "one")
    problems.add("y.yml", "two")

    with pytest.raises(OperatorError) as caught:
        problems.raise_if_any(expected="good files.", action="correct them.")

    assert caught.value.found == "x.yml: one; y.yml: two."
