# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run every part of the test suite, go on after a failing one, and close with one line that counts all of them."""

from __future__ import annotations

import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / ".test-results"
# Whole machines share two cores here: what fails there is run once more, alone, and the account says so.
ON_HOSTS = ("installer", "faults", "site")
SESSIONS = ("lint", "typing", "unit", "installer", "molecule", "faults", "site")


def main(wanted: list[str]) -> int:
    """Run the named parts (all without names) and return 0 if nothing failed and something passed."""
    total = [0, 0, 0]
    lines = []
    for name in wanted or SESSIONS:
        started = time.monotonic()
        counts, again = _run(name), ""
        if counts[1] and name in ON_HOSTS:
            again = f", {counts[1]} of them run again"
            second = _run(name, "--last-failed", "--last-failed-no-failures=none", "-n", "0")
            counts = (counts[0] + second[0], second[1], counts[2])
        total = [old + new for old, new in zip(total, counts, strict=True)]
        good, bad, skips = counts
        seconds = time.monotonic() - started
        lines.append(f"{name:10} {good:5} passed {bad:3} failed {skips:3} skipped {seconds:6.0f} s{again}")
    print("\n" + "\n".join(lines))
    print(f"{total[0]} passed, {total[1]} failed" + (f", {total[2]} skipped" if total[2] else ""))
    return 0 if total[0] and not total[1] else 1


def _run(name: str, *arguments: str) -> tuple[int, int, int]:
    """Run a part and return (passed, failed, skipped); a part that ends badly has failed at least once."""
    report = RESULTS / f"{name}.xml"
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "nox", "-s", name, *(["--", *arguments] if arguments else [])]
    ok = subprocess.run(command, cwd=ROOT, check=False).returncode == 0
    passed, failed, skipped = _counts(report) or (1, 0, 0)
    if not ok and not failed:
        return max(passed - 1, 0), 1, skipped
    return passed, failed, skipped


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
