# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command `gpulab`: it parses, calls a subcommand and turns its outcome into an exit code.

Exit codes: 0 done as asked; 1 it was tried and failed; 2 refused before anything was changed, or wrong usage.
"""

from __future__ import annotations

import argparse
import sys
import typing as t

from gpulab._errors import OperatorError
from gpulab.commands import autoinstall, lab, provision, report, signing_key, stack

if t.TYPE_CHECKING:
    from collections.abc import Sequence

DONE = 0
FAILED = 1
REFUSED = 2
INTERRUPTED = 130


def parser() -> argparse.ArgumentParser:
    """Return the parser with every subcommand; each sets `run` to the function that does it."""
    root = argparse.ArgumentParser(
        prog="gpulab",
        description="Provision and verify GPU workstations, and start a lab of hosts to try it on.",
        epilog="Exit codes: 0 done as asked, 1 tried and failed, 2 refused or wrong usage.",
    )
    subparsers = root.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (provision, report, stack, autoinstall, lab, signing_key):
        command.register(subparsers)
    return root


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    root = parser()
    arguments, extra = root.parse_known_args(argv)
    if extra and not getattr(arguments, "takes_extra", False):
        root.error(f"unrecognized arguments: {' '.join(extra)}")
    arguments.extra = extra
    run: t.Callable[[argparse.Namespace], int] = arguments.run
    try:
        return run(arguments)
    except OperatorError as error:
        print(f"Found: {error.found}\nExpected: {error.expected}\nTo do: {error.action}", file=sys.stderr)
        return REFUSED
    except BrokenPipeError:
        # The reader of our output has gone ('| head'); what was to be done is done.
        sys.stdout = None  # Python would complain once more when it ends
        return DONE
    except KeyboardInterrupt:
        print("Interrupted. The same command picks up where this one stopped.", file=sys.stderr)
        return INTERRUPTED


__all__ = ["main", "parser"]
