# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may read the kernel log, and what is made of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.gpulab.workstation.plugins.module_utils._verify import Outcome
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_kernel_log_family import (
    FAMILY,
    read_kernel_log,
)
from fakehost import FakeHost
from verifyhost import LOG, under_way

XID = "[    9.000000] NVRM: Xid (PCI:0000:01:00): 79, pid=1, name=python3, GPU has fallen off the bus.\n"
REFUSED = (1, "", "dmesg: read kernel buffer failed: Operation not permitted\n")


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    return FakeHost(tmp_path)


def test_the_journal_goes_first(host: FakeHost) -> None:
    host.commands.update(journalctl=(0, LOG, ""), dmesg=(0, "another\n", ""))
    assert (read_kernel_log(host).source, read_kernel_log(host).text) == ("journalctl", LOG)


@pytest.mark.parametrize(
    "journal",
    [(1, "", "No journal files were found.\n"), (0, "", "not seeing messages\n"), (127, "", "journalctl: not found")],
    ids=["no-files", "no-messages", "no-program"],
)
def test_then_the_kernels_own_buffer(host: FakeHost, journal: tuple[int, str, str]) -> None:
    host.commands.update(journalctl=journal, dmesg=(0, LOG, ""))
    assert read_kernel_log(host).source == "dmesg"


def test_neither_may_be_read(host: FakeHost) -> None:
    host.commands["dmesg"] = REFUSED
    log = read_kernel_log(host)
    assert (log.text, "Operation not permitted" in log.error, "journalctl: not found" in log.error) == ("", True, True)


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [((0, LOG, ""), Outcome.PASS), ((0, LOG + XID, ""), Outcome.FAIL), (REFUSED, Outcome.NOT_PROVEN)],
    ids=["quiet", "lost-during-the-tests", "not-readable-any-more"],
)
def test_the_log_after_the_tests_decides(host: FakeHost, answer: tuple[int, str, str], outcome: Outcome) -> None:
    host.commands["dmesg"] = answer
    (check,) = FAMILY.checks(under_way(host))
    assert (check.outcome, check.card) == (outcome, "")


def test_without_a_gpu_it_is_not_read(host: FakeHost) -> None:
    (check,) = FAMILY.checks(under_way(host, (), why_no_gpu="no card answers: x"))
    assert (check.outcome, check.why, host.ran) == (Outcome.NOT_PROVEN, "no card answers: x", [])
