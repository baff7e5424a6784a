# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a run can end before its work is done."""

from __future__ import annotations


class StoppedError(Exception):
    """The run ends here with exit status 1; the operator has been told the reason.

    Whether the closing "Installation has failed" follows differs from case to case (installer.md, difference 7).
    """

    def __init__(self, *, says_failed: bool) -> None:
        super().__init__(says_failed)
        self.says_failed = says_failed
