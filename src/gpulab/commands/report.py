# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`gpulab report`: make the page of kept results again, without touching a host."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

from gpulab import _paths
from gpulab._runner import environment

if t.TYPE_CHECKING:
    import argparse

DONE, FAILED = 0, 1


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `report`."""
    parser = subparsers.add_parser(
        "report",
        help="make the page of the results again",
        description="Write index.html and junit.xml beside the documents of gpu_verify. No host is touched.",
    )
    parser.add_argument("directory", nargs="?", metavar="DIR", help="directory with the results (default: results/)")
    parser.set_defaults(run=report)


def report(arguments: argparse.Namespace) -> int:
    """Let the module of the collection do it, which has the rendering, and print its last line."""
    directory = Path(arguments.directory).resolve() if arguments.directory else _paths.repository() / "results"
    words = json.dumps({"directory": str(directory)})
    program = str(Path(sys.executable).with_name("ansible"))
    done = subprocess.run(
        [program, "localhost", "-i", "localhost,", "-m", "gpulab.workstation.verify_report", "-a", words],
        check=False,
        capture_output=True,
        text=True,
        cwd=_paths.repository(),
        env={**os.environ, **environment(_paths.repository(), os.environ), "ANSIBLE_CALLBACK_RESULT_FORMAT": "json"},
        stdin=subprocess.DEVNULL,
    )
    answer = parse_answer(done.stdout)
    if done.returncode or "page" not in answer:
        print(answer.get("msg") or done.stderr.strip(), file=sys.stderr)
        return FAILED
    for file in answer["unreadable"]:
        print(f"Left out: {file['path']}: {file['why']}")
    print(answer["msg"])
    return DONE


def parse_answer(stdout: str) -> dict[str, t.Any]:
    """Return the module's result from what `ansible` printed; empty where there is none."""
    _, _, text = stdout.partition(" => ")
    try:
        answer = json.loads(text)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


__all__ = ["parse_answer", "register", "report"]
