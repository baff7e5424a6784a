# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading of data files field by field: every problem is remembered, with its place and the nearest spelling."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._versions import nearest_spelling

SHA256 = re.compile(r"[0-9a-f]{64}")
ADDRESS = re.compile(r"(https?|file)://\S+|/\S+")
_KINDS: dict[type, str] = {str: "text", int: "a whole number", bool: "true or false", dict: "a mapping", list: "a list"}


class Problems:
    """What is wrong with a set of data files; raised all at once."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def add(self, where: str, what: str) -> None:
        """Remember one problem with the place it is at."""
        self.found.append(f"{where}: {what}")

    def raise_if_any(self, *, expected: str, action: str) -> None:
        """End with an OperatorError that holds every problem."""
        if self.found:
            raise OperatorError(found="; ".join(self.found) + ".", expected=expected, action=action)


class Fields:
    """One mapping of a data file; a wrong field becomes a problem and reads as an empty value of its type."""

    def __init__(self, data: object, where: str, problems: Problems) -> None:
        self.where = where
        self.problems = problems
        self._asked: set[str] = set()
        self.data: dict[str, t.Any] = {}
        if not isinstance(data, dict):
            problems.add(where, f"is {_kind(data)}, not a mapping")
            return
        for key, value in data.items():
            if isinstance(key, str):
                self.data[key] = value
            else:
                problems.add(where, f"key {key!r} is {_kind(key)}: write it in quotes")

    def _get(self, key: str, kind: type, *, required: bool) -> t.Any:
        self._asked.add(key)
        value = self.data.get(key)
        if value is None:
            if required:
                self.problems.add(self.where, f"{key} is missing")
            return None
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            hint = ": write it in quotes" if kind is str and isinstance(value, (int, float)) else ""
            self.problems.add(self.where, f"{key} is {_kind(value)}, not {_KINDS[kind]}{hint}")
            return None
        return value

    def text(self, key: str, pattern: re.Pattern[str] | None = None) -> str:
        """Return a required text, checked against the whole pattern."""
        return self._matched(key, self._get(key, str, required=True), pattern) or ""

    def optional_text(self, key: str, pattern: re.Pattern[str] | None = None) -> str | None:
        """Return a text or None."""
        return self._matched(key, self._get(key, str, required=False), pattern)

    def _matched(self, key: str, value: t.Any, pattern: re.Pattern[str] | None) -> str | None:
        if value is None:
            return None
        if pattern is not None and not pattern.fullmatch(value):
            self.problems.add(self.where, f"{key} is {value!r}, which does not have the form {pattern.pattern}")
            return None
        return str(value)

    def number(self, key: str) -> int:
        """Return a required whole number."""
        return self._get(key, int, required=True) or 0

    def optional_number(self, key: str) -> int | None:
        """Return a whole number or None."""
        value = self._get(key, int, required=False)
        return None if value is None else int(value)

    def optional_figure(self, key: str) -> float | None:
        """Return a number, whole or not, or None."""
        self._asked.add(key)
        value = self.data.get(key)
        if value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)):
            return value
        self.problems.add(self.where, f"{key} is {_kind(value)}, not a number")
        return None

    def named(self, key: str, known: t.Iterable[str]) -> str:
        """Return a required text that is one of those known; another one is refused with the nearest of them."""
        value, known = self.text(key), tuple(known)
        if value and value not in known:
            meant = nearest_spelling(value, known)
            hint = f"did you mean {meant}?" if meant else f"known: {', '.join(known)}"
            self.problems.add(self.where, f"{key} is {value!r} ({hint})")
            return ""
        return value

    def figures(self, key: str, known: t.Iterable[str], *, required: bool = True) -> dict[str, float]:
        """Return a table of numbers with keys of those known."""
        table = self.mapping(key, required=required)
        found = {name: value for name in known if (value := table.optional_figure(name)) is not None}
        table.close()
        return found

    def rows(self, key: str) -> t.Iterator[Fields]:
        """Yield the fields of each mapping in a list; each is closed once the caller has read it."""
        for number, data in enumerate(self._get(key, list, required=True) or [], start=1):
            row = Fields(data, f"{self.where}: {key} {number}", self.problems)
            yield row
            row.close()

    def flag(self, key: str, *, default: bool = False) -> bool:
        """Return true or false."""
        value = self._get(key, bool, required=False)
        return default if value is None else bool(value)

    def texts(self, key: str, pattern: re.Pattern[str] | None = None, *, required: bool = True) -> tuple[str, ...]:
        """Return a list of different texts."""
        values = self._get(key, list, required=required) or []
        for value in values:
            if not isinstance(value, str):
                self.problems.add(self.where, f"{key} holds {value!r}, {_kind(value)}: write it in quotes")
            elif pattern is not None and not pattern.fullmatch(value):
                self.problems.add(self.where, f"{key} holds {value!r}, which does not have the form {pattern.pattern}")
        good = [value for value in values if isinstance(value, str)]
        for value in {value for value in good if good.count(value) > 1}:
            self.problems.add(self.where, f"{key} holds {value!r} twice")
        return tuple(good)

    def bounds(self, key: str) -> tuple[int, int]:
        """Return first and last of a range of whole numbers."""
        values = self._get(key, list, required=True) or [0, 0]
        if [type(value) for value in values] != [int, int] or values[0] > values[1]:
            self.problems.add(self.where, f"{key} is {values!r}, not [first, last]")
            return 0, 0
        return values[0], values[1]

    def entries(self, key: str, pattern: re.Pattern[str] | None = None) -> t.Iterator[tuple[str, Fields]]:
        """Yield name and fields of each mapping in a table; each is closed once the caller has read it."""
        table = self.mapping(key)
        for name, data in table.data.items():
            if pattern is not None and not pattern.fullmatch(name):
                self.problems.add(table.where, f"the name {name!r} does not have the form {pattern.pattern}")
                continue
            entry = Fields(data, f"{table.where}: {name}", self.problems)
            yield name, entry
            entry.close()

    def strings(self, key: str, pattern: re.Pattern[str] | None = None) -> dict[str, str]:
        """Return a table of texts."""
        table = self.mapping(key)
        return {name: table.text(name, pattern) for name in table.data}

    def lists(
        self, key: str, pattern: re.Pattern[str] | None = None, *, required: bool = True
    ) -> dict[str, tuple[str, ...]]:
        """Return a table of lists of texts."""
        table = self.mapping(key, required=required)
        return {name: table.texts(name, pattern) for name in table.data}

    def mapping(self, key: str, *, required: bool = True) -> Fields:
        """Return the fields of a mapping inside this one."""
        return Fields(self._get(key, dict, required=required) or {}, f"{self.where}: {key}", self.problems)

    def close(self) -> None:
        """Complain of every key that nobody asked for, naming the one that was probably meant."""
        for key in self.data.keys() - self._asked:
            meant = nearest_spelling(key, self._asked)
            hint = f" (did you mean {meant}?)" if meant else f" (known: {', '.join(sorted(self._asked))})"
            self.problems.add(self.where, f"unknown key {key}{hint}")


def _kind(value: object) -> str:
    if value is None:
        return "empty"
    if isinstance(value, float):
        return f"the number {value}"
    return next((name for kind, name in _KINDS.items() if type(value) is kind), type(value).__name__)


__all__ = ["ADDRESS", "SHA256", "Fields", "Problems"]
