# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every case that the documents name has a test that exists where they say, or says that it has none.

`docs/cases.md` names tests as pytest does, `docs/driver.md` by a letter for the file and a part of the name, and the
roles' pages by a part of the name.
"""

from __future__ import annotations

import ast
import functools
import re
import typing as t
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CASES, DRIVER = ROOT / "docs/cases.md", ROOT / "docs/driver.md"
NODE = re.compile(r"(?P<file>tests/[\w/]+\.py)::(?:(?P<group>\w+)::)?(?P<name>test_\w+)(?:\[(?P<case>[^\[\]]+)\])?")
# Tests below tests/faults that need no container: they work on layers of an overlay.
ON_LAYERS = ("tests/installer/", "tests/faults/test_driver_changes.py", "tests/faults/test_driver_kills.py")
# At the end of a role's README: files of tests, and names that are a part of a test's.
FAULT_CASES = re.compile(r"Fault cases \(.*?(?=\n\n|\Z)", re.DOTALL)
PLACES = ("unit", "layers", "container", "virtual machine")


class Written(t.NamedTuple):
    """What stands in a file of tests: its tests, with their class if they have one, and its words without blanks."""

    tests: frozenset[str]
    words: frozenset[str]


class Row(t.NamedTuple):
    """A row of a table, by the heading that it stands under."""

    section: str
    cells: tuple[str, ...]


@functools.cache
def written(path: Path) -> Written:
    """Read a file of tests without importing it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    tests = {
        f"{group.name}::{node.name}" if isinstance(group, ast.ClassDef) else node.name
        for group in [tree, *(node for node in tree.body if isinstance(node, ast.ClassDef))]
        for node in group.body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }
    constants = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    return Written(frozenset(tests), frozenset(word for word in map(str, constants) if not re.search(r"\s", word)))


def rows(text: str, *, columns: t.Sequence[str]) -> list[Row]:
    """Return the rows of the tables whose head ends with these columns."""
    found, section, wanted = [], "", False
    for line in text.splitlines():
        if line.startswith("#"):
            section = line.lstrip("# ")
        if not line.startswith("|"):
            wanted = False
            continue
        cells = tuple(cell.strip() for cell in line.strip("|").split("|"))
        if cells[-len(columns) :] == tuple(columns):
            wanted = True
        elif wanted and not re.fullmatch(r"[-: ]+", cells[0]):
            found.append(Row(section, cells))
    return found


def place(path: str) -> str:
    """Return on what kind of host a test runs, by where its file lies."""
    if path.startswith(ON_LAYERS):
        return "layers"
    top = path.split("/")[1]
    return {"unit": "unit", "vm": "virtual machine", "faults": "container", "site": "container"}[top]


def problems(row: Row) -> list[str]:
    """Say what is wrong with a row of the cases: its form, its tests, the place that it claims."""
    if len(row.cells) != 3:
        return [f"{len(row.cells)} cells, not case, place and tests"]
    case, where, tests = row.cells
    named = re.findall(r"`([^`]*(?:::|tests/)[^`]*)`", tests)
    found, places = [], set()
    for node in named:
        match = NODE.fullmatch(node)
        if match is None or not (ROOT / match["file"]).is_file():
            found.append(f"{node} names no file of tests")
            continue
        there = written(ROOT / match["file"])
        if (f"{match['group']}::{match['name']}" if match["group"] else match["name"]) not in there.tests:
            found.append(f"{node} is not there")
        if match["case"] and match["case"] not in there.words:
            found.append(f"{node} has no case of that name")
        places.add(place(match["file"]))
    expected = ", ".join(word for word in PLACES if word in places) or "nowhere"
    if where != expected:
        found.append(f"it says {where!r}, its tests run on {expected!r}")
    if not named and "no test" not in tests:
        found.append('neither a test nor the words "no test"')
    return [f"{case}: {words}" for words in found]


def test_every_case_has_a_test_that_is_there_or_says_that_it_has_none() -> None:
    found = rows(CASES.read_text(encoding="utf-8"), columns=("Case", "Where", "Test"))
    assert len(found) > 100, "the tables were not found"
    wrong = [words for row in found for words in problems(row)]
    assert not wrong, "\n".join(wrong)
    twice = [name for name, number in Counter((row.section, row.cells[0]) for row in found).items() if number > 1]
    assert twice == []


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (("a", "unit", "`tests/unit/test_cases.py::test_gone`"), "is not there"),
        (("a", "unit", "`tests/unit/test_gone.py::test_a`"), "names no file"),
        (("a", "unit", "`tests/unit/test_cases.py`"), "names no file"),
        (("a", "unit", "`tests/unit/test_cases.py::place`"), "names no file"),
        (("a", "unit", "`unit/test_cases.py::test_a`"), "names no file"),
        (("a", "unit", "`tests/unit/test_cases.py::test_what_is_wrong_is_found[gone-case]`"), "no case of that name"),
        (("a", "container", "`tests/unit/test_cases.py::test_what_is_wrong_is_found`"), "run on 'unit'"),
        (("a", "unit", "no test"), "run on 'nowhere'"),
        (("a", "nowhere", "somebody looked at it"), 'neither a test nor the words "no test"'),
        (("a", "unit"), "2 cells"),
    ],
    ids=["test", "file", "no-test", "no-test-function", "path", "case", "place", "no-place", "nothing", "cells"],
)
def test_what_is_wrong_is_found(cells: tuple[str, ...], words: str) -> None:
    assert any(words in found for found in problems(Row("", cells)))


ON_A_MACHINE = "`tests/vm/test_machine.py::test_a_reinstalled_machine_is_a_stranger`"
IN_A_CONTAINER = "`tests/faults/test_lab.py::test_ssh_checks_the_host_key`"


@pytest.mark.parametrize(
    "cells",
    [
        ("a", "unit", "`tests/unit/test_cases.py::test_what_is_wrong_is_found[no-place]`, of two files; no test of it"),
        ("a", "nowhere", "no test"),
        ("a", "container, virtual machine", f"{ON_A_MACHINE}; no test of a card; {IN_A_CONTAINER}"),
    ],
    ids=["case", "no-test", "places-in-order"],
)
def test_what_is_right_is_left_alone(cells: tuple[str, ...]) -> None:
    assert problems(Row("", cells)) == []


LETTER = r"[A-Z]"
NAMES = r"`[^`]+`(?:,\s`[^`]+`)*"
CELL = re.compile(rf"{LETTER} {NAMES}(?:, {LETTER} {NAMES})*")
LEGEND = re.compile(rf"`(?P<directory>tests/[\w/]*)`|\b(?P<letter>{LETTER})\s`(?P<file>test_\w+\.py)`")


def files_by_letter(text: str) -> dict[str, Path]:
    """Return the files of tests that the driver's page names by a letter, each in the directory named before it."""
    found, directory = {}, ""
    for match in LEGEND.finditer(text):
        directory = match["directory"] or directory
        if match["letter"]:
            found[match["letter"]] = ROOT / directory / match["file"]
    return found


def test_every_test_that_the_drivers_page_names_is_there() -> None:
    text = DRIVER.read_text(encoding="utf-8")
    files = files_by_letter(text)
    assert len(files) > 8
    missing = [str(path) for path in files.values() if not path.is_file()]
    missing += [name for name in re.findall(r"`(test_\w+\.py)`", text) if not list((ROOT / "tests").rglob(name))]
    for letter, names in re.findall(rf"\b({LETTER})\s({NAMES})", text):
        for name in re.findall(r"`([^`]+)`", names):
            if name.endswith(".py"):
                continue
            there = written(files[letter])
            if not any(name in test for test in there.tests) and not any(name in word for word in there.words):
                missing.append(f"{letter} {name}")
    assert missing == []


def test_every_ending_has_tests_by_name() -> None:
    endings = rows(DRIVER.read_text(encoding="utf-8"), columns=("Tests",))
    assert len(endings) > 15, "the tables were not found"
    assert [row.cells[0] for row in endings if not CELL.fullmatch(row.cells[-1])] == []


def test_every_fault_case_that_a_role_names_is_there() -> None:
    lists = [
        (page.parent.name, text)
        for page in sorted((ROOT / "roles").glob("*/README.md"))
        for text in FAULT_CASES.findall(page.read_text(encoding="utf-8"))
    ]
    assert len(lists) > 5, "the lists were not found"
    missing = []
    for role, text in lists:
        there = {test for file in re.findall(r"`(tests/[\w/]+\.py)`", text) for test in written(ROOT / file).tests}
        named = re.findall(r"`(\w+)`", text)
        missing += [f"{role}: {name}" for name in named if not any(name in test for test in there)]
    assert missing == []
