# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run every part of the test suite, go on after a failing one, and close with one line that counts all of them.

Parts that are named run one after the other, in sight. The whole suite runs in two lanes at once, because hosts often
wait: what a part prints goes to .test-results/NAME.log, and to the terminal where the part has failed.
"""

from __future__ import annotations

import concurrent.futures
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / ".test-results"
LANES = (("lint", "typing", "unit", "installer", "faults"), ("molecule", "site", "machines"))
# Whole machines share two cores here: what fails there is run once more, alone, and the account says so.
ON_HOSTS = ("installer", "faults", "site", "machines")


@dataclass(frozen=True)
class Account:
    """How a part ended."""

    name: str
    passed: int
    failed: int
    skipped: int
    seconds: float
    again: int = 0

    def __str__(self) -> str:
        """Return the part's line of the closing table."""
        counts = f"{self.passed:5} passed {self.failed:3} failed {self.skipped:3} skipped {self.seconds:6.0f} s"
        return f"{self.name:10} {counts}" + (f", {self.again} of them run again" if self.again else "")


def main(wanted: list[str]) -> int:
    """Run the named parts (all without names) and return 0 if nothing failed and something passed."""
    RESULTS.mkdir(exist_ok=True)
    started = time.monotonic()
    if wanted:
        accounts = [_run(name) for name in wanted]
    else:
        with concurrent.futures.ThreadPoolExecutor(len(LANES)) as pool:
            lanes = pool.map(lambda lane: [_run(name, RESULTS / f"{name}.log") for name in lane], LANES)
            accounts = [account for lane in lanes for account in lane]
    accounts = [_once_more(account) if account.failed and account.name in ON_HOSTS else account for account in accounts]
    print("\n" + "\n".join(map(str, accounts)))
    passed, failed, skipped = map(sum, zip(*((a.passed, a.failed, a.skipped) for a in accounts), strict=True))
    print(f"All of it took {time.monotonic() - started:.0f} s; {skipped} skipped.")
    print(f"{passed} passed, {failed} failed")
    return 0 if passed and not failed else 1


def _once_more(first: Account) -> Account:
    """Run what failed again; it stays failed unless every one of them was run and passed."""
    second = _run(first.name, None, "--last-failed", "--last-failed-no-failures=none", "-n", "0")
    lost = max(first.failed - second.passed - second.failed, 0)
    return Account(
        first.name, first.passed + second.passed, second.failed + lost, first.skipped, first.seconds + second.seconds,
        first.failed,
    )  # fmt: skip


def _run(name: str, log: Path | None = None, *arguments: str) -> Account:
    """Run a part, in sight or into a log; one that ends badly has failed at least once."""
    started = time.monotonic()
    report = RESULTS / f"{name}.xml"
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "nox", "-s", name, *(["--", *arguments] if arguments else [])]
    ok = _succeeds(command, log)
    passed, failed, skipped = _counts(report) or (1, 0, 0)
    if not ok and not failed:
        passed, failed = max(passed - 1, 0), 1
    account = Account(name, passed, failed, skipped, time.monotonic() - started)
    if log:
        print(f"{log.read_text(encoding='utf-8', errors='replace') if failed else ''}{account}", flush=True)
    return account


def _succeeds(command: list[str], log: Path | None) -> bool:
    if log is None:
        return subprocess.run(command, cwd=ROOT, check=False).returncode == 0
    with log.open("wb") as stream:
        done = subprocess.run(command, cwd=ROOT, check=False, stdout=stream, stderr=subprocess.STDOUT)
    return done.returncode == 0


def _counts(report: Path) -> tuple[int, int, int] | None:
    """Return (passed, failed, skipped) of a JUnit report; None where a part writes none and counts as one check."""
    if not report.exists():
        return None
    suites = ET.parse(report).getroot().iter("testsuite")  # noqa: S314 - written by pytest a moment ago
    passed = failed = skipped = 0
    for suite in suites:
        bad = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        skips = int(suite.get("skipped", 0))
        failed, skipped = failed + bad, skipped + skips
        passed += int(suite.get("tests", 0)) - bad - skips
    return passed, failed, skipped


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
