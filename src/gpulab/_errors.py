# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one exception that reaches an operator at the controller (the collection has its own twin)."""

from __future__ import annotations


class OperatorError(Exception):
    """A refusal or failure in an operator's words: what was found, what was expected, what to do."""

    def __init__(self, *, found: str, expected: str, action: str) -> None:
        self.found = found
        self.expected = expected
        self.action = action
        super().__init__(f"Found: {found} Expected: {expected} To do: {action}")


__all__ = ["OperatorError"]
