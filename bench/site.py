# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure site.yml on 1, 4 and 8 fresh lab hosts: a first run and one that changes nothing. Prints JSON.

`nox -s bench -- --hosts 1 4` chooses other numbers. Seconds depend on the machine; the ratios between the rows of one
run are what to compare. Bytes are what the lab's depot sent to each host (Debian's packages are in the lab's image).
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests/support")]

from labhost import Playbook, PlayResult  # noqa: E402

from gpulab.lab import Lab  # noqa: E402 - the path above


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", type=int, nargs="+", default=[1, 4, 8], help="how many hosts at once")
    parser.add_argument("--whole", action="store_true", help="install the whole torch (8 GB on each host), not a part")
    arguments = parser.parse_args()
    rows = [row for count in arguments.hosts for row in measure(count, whole=arguments.whole)]
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    document = {
        "date": dt.datetime.now(tz=dt.timezone.utc).date().isoformat(),
        "commit": commit.stdout.strip(),
        "cores": os.cpu_count(),
        "python_packages": "the stack's locks" if arguments.whole else "a small part of the locks, no torch",
        "rows": rows,
    }
    json.dump(document, sys.stdout, indent=2)
    sys.stdout.write("\n")


def small_locks() -> dict[str, object]:
    """Return the role variables that the role scenarios use too: real locks, but without torch's 4 GB."""
    locks = ROOT / "tests/support/locks"
    return {
        "torch_stack_lock": (locks / "torch-small.txt").read_text(encoding="utf-8"),
        "torch_stack_native_packages": [],
        "torch_stack_space_gb": 0.1,
        "diffusion_stack_lock": (locks / "diffusion-small.txt").read_text(encoding="utf-8"),
        "diffusion_stack_script": str(ROOT / "tests/support/small_picture.py"),
        "diffusion_stack_size": 64,
        "diffusion_stack_space_gb": 0.1,
        "gpu_verify_python": "",
    }


def measure(count: int, *, whole: bool) -> list[dict[str, object]]:
    """Run the site twice on fresh hosts; the lab itself is up before the clock starts."""
    lab = Lab.up(name="bench", hosts=[f"bench-{number}" for number in range(1, count + 1)])
    try:
        if whole:
            lab.add_stack_wheels()
        else:
            locks = ROOT / "tests/support/locks"
            small = ("torch-small.txt", "diffusion-small.txt")
            lab.add_wheels(ROOT / "catalogue/locks/uv.txt", *(locks / name for name in small))
        variables = json.dumps({} if whole else small_locks())
        rows = []
        for label in ("first", "unchanged"):
            before = sent(lab)
            with tempfile.TemporaryDirectory() as directory:
                arguments = ["-i", str(lab.inventory), "site.yml", "-l", "gpu-lab", "-e", variables]
                result = Playbook(arguments, Path(directory) / "record.jsonl").wait(limit_s=3600)
            if result.rc:
                sys.stderr.write(result.stdout)
                raise SystemExit(result.rc)
            rows.append(row(label, count, result, sent(lab) - before))
        return rows
    finally:
        lab.down()


def row(label: str, count: int, result: PlayResult, sent_bytes: int) -> dict[str, object]:
    """Account for one run."""
    return {
        "run": label,
        "hosts": count,
        "seconds": round(result.seconds, 1),
        "seconds_per_host": round(result.seconds / count, 1),
        "tasks_per_host": len(result.tasks) / count,
        "changed_tasks": result.changed,
        "fetched_bytes_per_host": sent_bytes // count,
    }


def sent(lab: Lab) -> int:
    """Add up what the depot has sent."""
    if not lab.requests.exists():
        return 0
    return sum(json.loads(line)["sent"] for line in lab.requests.read_text(encoding="utf-8").splitlines())


if __name__ == "__main__":
    main()
