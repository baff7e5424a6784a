# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel log says about cards: lines of public reports and of a healthy machine."""

from __future__ import annotations

import pytest

from ansible_collections.gpulab.workstation.plugins.module_utils._verify import Outcome
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_kernel_log import (
    NOTES,
    OF_PROGRAMS,
    KernelLog,
    judge_kernel_log,
    parse_xids,
)
from recorded import text

PASS, WARN, FAIL, OPEN = Outcome.PASS, Outcome.WARN, Outcome.FAIL, Outcome.NOT_PROVEN
GOOD = text("kernel_log/dmesg-2.39.3-h100.txt")
HEAD = "[    0.000000] Linux version 6.1.0\n"


def line(code: int, second: int = 7) -> str:
    return f"[{second:5}.000000] NVRM: Xid (PCI:0000:01:00): {code}, pid=1, name=python3, words\n"


def log(*codes: int) -> KernelLog:
    return KernelLog("dmesg", HEAD + "".join(line(code, second) for second, code in enumerate(codes)))


def test_every_form_of_the_public_reports_is_read() -> None:
    found = parse_xids(text("kernel_log/xids-public-reports.txt"))
    assert [(xid.code, xid.pci) for xid in found] == [
        (79, "0000:2b:00"),
        (154, "0000:2b:00"),
        (79, "0000:01:00"),
        (31, "0000:01:00"),
        (14, "0000:03:00"),
        (13, "0000:01:00"),
    ]


def test_a_lost_card_counts_where_the_driver_gives_no_number() -> None:
    lost = "[ 1843.3] NVRM: The NVIDIA GPU 0000:b3:00.0\n NVRM: fallen off the bus and is not responding to commands.\n"
    assert [xid.code for xid in parse_xids(lost)] == [79]


def test_a_healthy_machine() -> None:
    check = judge_kernel_log(KernelLog("dmesg", GOOD), KernelLog("dmesg", GOOD))
    assert (check.outcome, check.figures["from_boot"]) == (PASS, True)
    assert "since the start of the kernel" in check.why


@pytest.mark.parametrize(
    ("before", "after", "outcome", "words"),
    [
        pytest.param(log(31), log(31), WARN, "Xid 31 of 0000:01:00 before the tests", id="a-program-of-before"),
        pytest.param(log(), log(31), FAIL, "Xid 31 of 0000:01:00 during the tests", id="a-program-of-ours"),
        pytest.param(log(31), log(31, 13), FAIL, "Xid 13 of 0000:01:00 during", id="one-old-one-new"),
        pytest.param(log(79), log(79), FAIL, "Xid 79 of 0000:01:00 before the tests", id="lost-before"),
        pytest.param(log(), log(119), FAIL, "Xid 119 of 0000:01:00 during", id="firmware-during"),
        pytest.param(log(94), log(94), FAIL, "Xid 94", id="memory-error-that-hit-a-program"),
        pytest.param(log(63), log(63), WARN, "Xid 63", id="remapped-before"),
        pytest.param(log(), log(63), WARN, "Xid 63 of 0000:01:00 during", id="remapped-during"),
        pytest.param(log(999), log(999), FAIL, "Xid 999", id="not-in-the-catalogue"),
        pytest.param(
            log(79, 154), log(79, 154), FAIL, "Xid 79 of 0000:01:00 before the tests", id="note-about-another"
        ),
    ],
)
def test_before_and_during(before: KernelLog, after: KernelLog, outcome: Outcome, words: str) -> None:
    check = judge_kernel_log(before, after)
    assert (check.outcome, words in check.why) == (outcome, True), check.why


def test_a_buffer_that_forgot_the_start_says_so() -> None:
    late = KernelLog("dmesg", "[98765.000000] usb 1-1: new device\n")
    check = judge_kernel_log(late, late)
    assert (check.outcome, check.figures["from_boot"]) == (PASS, False)
    assert "as far back as the kernel remembers" in check.why


def test_an_old_message_that_the_buffer_forgets_meanwhile_is_no_new_one() -> None:
    before = KernelLog("dmesg", HEAD + line(31, 1) + line(31, 2))
    after = KernelLog("dmesg", line(31, 2))
    assert judge_kernel_log(before, after).outcome is WARN


@pytest.mark.parametrize("which", ["before", "after"])
def test_what_cannot_be_read_is_not_proven(which: str) -> None:
    unread = KernelLog("", error="dmesg ended with 1: Operation not permitted")
    logs = (unread, log()) if which == "before" else (log(), unread)
    check = judge_kernel_log(*logs)
    assert (check.outcome, "Operation not permitted" in check.why) == (OPEN, True)


def test_no_number_is_of_two_kinds() -> None:
    assert not NOTES & OF_PROGRAMS
