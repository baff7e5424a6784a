# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask the collection's module stack_info about a stack, and set its answer for a terminal of any width."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import textwrap
import typing as t
from pathlib import Path
from urllib.parse import urlsplit

from gpulab._errors import OperatorError
from gpulab._paths import repository

MODULE = "ansible_collections.gpulab.workstation.plugins.modules.stack_info"
HOST_FACTS = (
    "distribution",
    "distribution_version",
    "architecture",
    "glibc",
    "gcc",
    "kernels",
    "pci_ids",
    "driver_flavour",
)
LISTS = ("kernels", "pci_ids")
_READABLE = 40  # columns for values beside their names; with fewer, longer values go below


def ask(request: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Run the module in its own process with the request as its options and return the JSON that it prints."""
    with tempfile.TemporaryDirectory(prefix="gpulab-") as scratch:
        arguments = Path(scratch) / "arguments.json"
        arguments.write_text(json.dumps({"ANSIBLE_MODULE_ARGS": request}), encoding="utf-8")
        path = os.pathsep.join(filter(None, [str(repository() / "collections"), os.environ.get("PYTHONPATH")]))
        run = subprocess.run(
            [sys.executable, "-m", MODULE, str(arguments)],
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
    return _answer(run.stdout, run.stderr)


def _answer(stdout: str, stderr: str) -> dict[str, t.Any]:
    lines = stdout.strip().splitlines()
    try:
        answer: dict[str, t.Any] = json.loads(lines[-1]) if lines else {}
    except json.JSONDecodeError:
        answer = {}
    if not answer:
        raise OperatorError(
            found=f"the module stack_info gave no answer: {stderr.strip() or stdout.strip() or 'nothing was printed'}",
            expected="JSON on its standard output.",
            action="run scripts/setup, which installs what it needs.",
        )
    if answer.get("failed"):
        raise OperatorError(
            found=answer.get("found", answer.get("msg", "the module stack_info failed.")),
            expected=answer.get("expected", "a catalogue and a request that can be read."),
            action=answer.get("action", "correct what is named."),
        )
    answer.pop("invocation", None)
    answer.pop("changed", None)
    return answer


def host_facts(given: t.Sequence[tuple[str, str]]) -> dict[str, str | list[str]]:
    """Collect NAME=VALUE pairs; kernels and pci_ids are lists, split at commas and added up."""
    facts: dict[str, str | list[str]] = {}
    for name, value in given:
        if name in LISTS:
            facts[name] = [*facts.get(name, []), *(item.strip() for item in value.split(","))]
        else:
            facts[name] = value
    return facts


def show_lines(answer: t.Mapping[str, t.Any], width: int) -> list[str]:
    """Set the choices and files of a stack."""
    lines = [f"Stack {answer['stack']}", *_pairs(answer["values"].items(), width)]
    for file in answer["files"]:
        lines += ["", *_filled(f"{file['component']}: {file['file']}", width)]
        hosts = [urlsplit(source).hostname or source for source in file["sources"]]
        about = [
            ("sha256", f"{file['sha256'][:16]}…"),
            ("seen in", "; ".join(file["seen"]) or "no record (a stand-in)"),
        ]
        lines += _pairs([*about, ("from", ", ".join(dict.fromkeys(hosts)))], width)
    if answer["standins"]:
        lines += ["", *_filled(f"Stand-ins of the lab: {', '.join(answer['standins'])}", width)]
    return lines


def verdict_lines(answer: t.Mapping[str, t.Any], width: int) -> list[str]:
    """Set the verdict with every broken rule, its source and the nearest valid value."""
    findings = answer["findings"]
    if not findings:
        return _filled(f"Stack {answer['stack']} keeps every rule.", width)
    count = "1 rule is" if len(findings) == 1 else f"{len(findings)} rules are"
    lines = _filled(f"Stack {answer['stack']} is refused: {count} broken.", width)
    for finding in findings:
        lines += ["", finding["rule"], *_filled(finding["sentence"], width, indent=2)]
        labels = ("found", "expected", "nearest", "source")
        lines += _pairs([(label, finding[label]) for label in labels if finding[label]], width)
    return lines


def _pairs(pairs: t.Iterable[tuple[str, str]], width: int) -> list[str]:
    """Set names and values in two columns; a value that does not fit beside the names goes below its name."""
    rows = list(pairs)
    column = max((len(name) for name, _ in rows), default=0) + 4
    lines = []
    for name, value in rows:
        beside = _filled(value, width, indent=column)
        if width - column >= _READABLE or (len(beside) == 1 and len(beside[0]) <= width):
            lines += [f"  {name}".ljust(column) + beside[0].strip(), *beside[1:]]
        else:
            lines += [f"  {name}", *_filled(value, width, indent=4)]
    return lines


def _filled(words: str, width: int, indent: int = 0) -> list[str]:
    margin = " " * indent
    return textwrap.wrap(
        words,
        max(width, indent + 20),
        initial_indent=margin,
        subsequent_indent=margin,
        break_long_words=False,
        break_on_hyphens=False,
    ) or [margin]


__all__ = ["HOST_FACTS", "ask", "host_facts", "show_lines", "verdict_lines"]
