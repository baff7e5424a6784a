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
SESSIONS = ("lint", "typing", "unit", "installer", "molecule", "faults", "site")


def main(wanted: list[str]) -> int:
    """Run the named parts (all without names) and return 0 if nothing failed and something passed."""
    passed = failed = skipped = 0
    lines = []
    for name in wanted or SESSIONS:
        (RESULTS / f"{name}.xml").unlink(missing_ok=True)
        started = time.monotonic()
        ok = subprocess.run([sys.executable, "-m", "nox", "-s", name], cwd=ROOT, check=False).returncode == 0
        counts = _counts(RESULTS / f"{name}.xml") or (1, 0, 0)
        good, bad, skips = counts if ok else (counts[0] if counts[1] else counts[0] - 1, max(counts[1], 1), counts[2])
        passed, failed, skipped = passed + good, failed + bad, skipped + skips
        lines.append(f"{name:10} {good:5} passed {bad:3} failed {skips:3} skipped {time.monotonic() - started:6.0f} s")
    print("\n" + "\n".join(lines))
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 0 if passed and not failed else 1


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
