# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`gpulab stack show` and `gpulab stack check`: what a stack is, and whether it holds together."""

from __future__ import annotations

import argparse
import json
import shutil
import typing as t

from gpulab import _stack
from gpulab._errors import OperatorError

DONE = 0
REFUSED = 2


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command `stack` with its two subcommands."""
    parser = subparsers.add_parser("stack", help="show a stack of versions, or check that it holds together")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    show = commands.add_parser("show", help="print what a stack is made of")
    check = commands.add_parser(
        "check",
        help="name every rule that a stack breaks",
        description="Check a stack as a whole, on its own or for a host, and name every broken rule with its source.",
        epilog="Exit codes: 0 every rule is kept, 2 a rule is broken or the request cannot be read.",
    )
    for command in (show, check):
        command.add_argument("--stack", default="cu128", metavar="NAME", help="default: %(default)s")
        command.add_argument("--overlay", metavar="DIRECTORY", help="catalogue files laid over the project's own")
        command.add_argument("--json", action="store_true", help="print JSON instead of text")
        command.set_defaults(set=[], host_fact=[])
    check.add_argument(
        "--set",
        action="append",
        type=_pair,
        metavar="KEY=VALUE",
        help="e.g. arch=12.0 or driver.version=...; repeatable",
    )
    check.add_argument(
        "--host-fact",
        action="append",
        type=_pair,
        metavar="NAME=VALUE",
        help=f"e.g. glibc=2.41; repeatable; names: {', '.join(_stack.HOST_FACTS)}",
    )
    show.set_defaults(run=_show)
    check.set_defaults(run=_check)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = (part.strip() for part in text.partition("="))
    if not (name and equals and value):
        message = f"{text!r} is not NAME=VALUE"
        raise argparse.ArgumentTypeError(message)
    return name, value


def _answer(arguments: argparse.Namespace) -> dict[str, t.Any]:
    keys = [key for key, _ in arguments.set]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise OperatorError(
            found=f"--set {twice[0]} is given {keys.count(twice[0])} times.",
            expected="one value for each key.",
            action="leave out all but one.",
        )
    facts = _stack.host_facts(arguments.host_fact)
    request = {"stack": arguments.stack, "overrides": dict(arguments.set), "host_facts": facts}
    if arguments.overlay:
        request["overlay"] = arguments.overlay
    return _stack.ask(request)


def _show(arguments: argparse.Namespace) -> int:
    return _print(arguments, _stack.show_lines)


def _check(arguments: argparse.Namespace) -> int:
    return _print(arguments, _stack.verdict_lines)


def _print(arguments: argparse.Namespace, lines: t.Callable[[dict[str, t.Any], int], list[str]]) -> int:
    answer = _answer(arguments)
    if arguments.json:
        print(json.dumps(answer, indent=2, ensure_ascii=False))
    else:
        print("\n".join(lines(answer, shutil.get_terminal_size().columns)))
    return DONE if answer["valid"] else REFUSED


__all__ = ["register"]
