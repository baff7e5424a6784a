# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge the Xid messages of the kernel log; text in, a check out.

The driver reports every trouble with a card as an Xid. What each asks for is in NVIDIA's catalogue (Xid errors,
"Analyzing Xid errors with the Xid catalog", column "Immediate action"), which this file follows; what the catalogue
does not have counts as trouble with the card.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from ansible_collections.gpulab.workstation.plugins.module_utils._verify import (
    Check,
    failed,
    not_proven,
    passed,
    warned,
)

# Immediate action RESTART_APP, and 43 and 45, which follow when a program ends: some program did wrong. 94 is left
# out: a program has to be restarted, because the card's memory failed.
OF_PROGRAMS = frozenset(
    {8, 11, 13, 25, 31, 32, 39, 40, 41, 43, 45, 60, 68, 69, 70, 71, 72, 75, 76, 77, 80, 82, 83, 84, 85, 86, 88, 89,
     *range(96, 106), *range(126, 136), 139}
)  # fmt: skip
# Immediate action IGNORE, or told about another Xid (154): something to know of.
NOTES = frozenset({14, 37, 38, 44, 63, 66, 67, 92, 93, 106, 107, 121, 137, 141, 152, 153, 154, 160})
LOST = 79  # the card has fallen off the bus
_XID = re.compile(r"NVRM: Xid \((?:PCI:)?(?P<pci>[0-9A-Fa-f:.]+)\): (?P<code>\d+),? ?(?P<words>.*)")
_LOST = re.compile(r"NVRM:.*\bfallen off the bus\b")
_SHOWN = 20


@dataclass(frozen=True)
class KernelLog:
    """The kernel's messages as far as they could be read: by which program, or why not."""

    source: str
    text: str = ""
    error: str = ""

    @property
    def from_boot(self) -> bool:
        """Whether the first message of this boot is still there; the kernel's own buffer forgets the oldest."""
        return self.source == "journalctl" or bool(re.match(r"\[\s*0\.0+\]", self.text))


@dataclass(frozen=True)
class Xid:
    """One message: the card's address on PCI, the number, and the line."""

    code: int
    pci: str
    line: str


def parse_xids(text: str) -> tuple[Xid, ...]:
    """Return the Xid messages of a kernel log; a lost card is one of them even where the driver gives no number."""
    found: list[Xid] = []
    for line in text.splitlines():
        match = _XID.search(line)
        if match:
            found.append(Xid(int(match["code"]), match["pci"].lower(), line.strip()))
        elif _LOST.search(line) and not (found and found[-1].code == LOST):
            found.append(Xid(LOST, "", line.strip()))
    return tuple(found)


def judge_kernel_log(before: KernelLog, after: KernelLog) -> Check:
    """Judge the log as it was before the tests and as it is after them.

    A program's fault before the tests is somebody's, and a warning; during the tests it is one of ours, and those make
    none. Trouble with a card fails whenever it was.
    """
    if before.error or after.error:
        why = f"the kernel log could not be read: {before.error or after.error}"
        return not_proven("kernel_log", why, source=None)
    old = parse_xids(before.text)
    known = {xid.line for xid in old}
    new = [xid for xid in parse_xids(after.text) if xid.line not in known]
    figures: dict[str, t.Any] = {
        "source": after.source,
        "from_boot": before.from_boot,
        "before": [xid.line for xid in old][-_SHOWN:],
        "during": [xid.line for xid in new][-_SHOWN:],
    }
    wrong = [f"{_named(xid)} before the tests" for xid in old if xid.code not in OF_PROGRAMS | NOTES]
    wrong += [f"{_named(xid)} during the tests" for xid in new if xid.code not in NOTES]
    if wrong:
        return failed("kernel_log", _some(wrong), **figures)
    odd = [f"{_named(xid)} before the tests" for xid in old] + [f"{_named(xid)} during the tests" for xid in new]
    if odd:
        return warned("kernel_log", _some(odd), **figures)
    reach = "since the start of the kernel" if before.from_boot else "as far back as the kernel remembers"
    return passed("kernel_log", f"no Xid {reach}, nor during the tests ({after.source})", **figures)


def _named(xid: Xid) -> str:
    return f"Xid {xid.code} of {xid.pci or 'a card'}"


def _some(words: t.Sequence[str]) -> str:
    every = list(dict.fromkeys(words))
    more = len(every) - 5
    return "; ".join(every[:5]) + (f" and {more} more" if more > 0 else "")


__all__ = ["NOTES", "OF_PROGRAMS", "KernelLog", "Xid", "judge_kernel_log", "parse_xids"]
