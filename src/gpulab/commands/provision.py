# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`gpulab provision`: site.yml against your machines; without machines of your own, against a lab of container hosts.

Anything that this command does not know goes to ansible-playbook: --check --diff, --tags, -e, -K.
"""

from __future__ import annotations

import contextlib
import getpass
import io
import json
import os
import shutil
import subprocess
import sys
import time
import typing as t
from pathlib import Path

from gpulab import _paths, _results, _text
from gpulab._errors import OperatorError
from gpulab._runner import Difference, Ending, Outcome, Said, TaskEnded, Verbatim, environment, run_playbook
from gpulab.commands.lab import host_names, positive
from gpulab.lab import Lab
from gpulab.lab.inventory import GROUP

if t.TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from gpulab._runner import Event

DONE, FAILED, REFUSED, INTERRUPTED = 0, 1, 2, 130
LAB_DISK_GB = 25
# What ansible-playbook asks for, by the name that its own parser gives the option or the setting.
_PROMPTS = {
    "ask_pass": ("SSH password: ", r"^SSH password:\s*?$"),
    "become_ask_pass": ("BECOME password: ", r"^BECOME password.*:\s*?$"),
    "ask_vault_pass": ("Vault password: ", r"^Vault password.*:\s*?$"),
}


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `provision`."""
    parser = subparsers.add_parser(
        "provision",
        allow_abbrev=False,
        help="bring hosts from bare to verified (your own, or a lab)",
        description="Run site.yml and say per host what was proven. Without hosts of your own in the inventory, a lab"
        " of container hosts is started for it. Options not listed here go to ansible-playbook (--check --diff, -K).",
    )
    parser.add_argument("-l", "--limit", metavar="PATTERN", help=f"which hosts of your inventory (default: {GROUP})")
    parser.add_argument(
        "-i", "--inventory", action="append", metavar="PATH", help="another inventory than the one of ansible.cfg"
    )
    parser.add_argument("--hosts", type=positive, metavar="N", help="use a lab of N container hosts, whatever you own")
    parser.set_defaults(run=provision, takes_extra=True)


def provision(arguments: argparse.Namespace) -> int:
    """Choose the hosts, run the site play, report."""
    extra: list[str] = arguments.extra
    options = check_arguments(extra)
    lab = None
    if arguments.hosts or (not arguments.inventory and not arguments.limit and not own_hosts()):
        if arguments.inventory or arguments.limit:
            raise OperatorError(
                found="--hosts, which asks for a lab, together with -i or -l, which name your own hosts.",
                expected="one of the two.",
                action="leave out --hosts, or -i and -l.",
            )
        lab = start_lab(arguments.hosts or 1)
    inventories = [str(lab.inventory)] if lab else [_absolute(path) for path in arguments.inventory or []]
    chosen = [argument for path in inventories for argument in ("-i", path)]
    selection = [*chosen, "--limit", arguments.limit or GROUP]
    started = time.time()
    outcome = run_playbook(
        _paths.repository(), "site.yml", [*selection, *extra], ask_passwords(options), show, verbatim=_verbose(extra)
    )
    results = _results.read_results(_paths.repository() / "results", since=int(started))
    return report(outcome, results, lab, seconds=time.time() - started)


def _absolute(inventory: str) -> str:
    """Return an inventory that means the same from the checkout: a list of hosts ("a,b,") stays as it is."""
    return inventory if "," in inventory else str(Path(inventory).resolve())


def check_arguments(extra: Sequence[str]) -> argparse.Namespace | None:
    """Return what ansible-playbook's own parser makes of the options; None where they ask for its help.

    What it would refuse later with two pages of help is refused now, before a lab is started.
    """
    from ansible.cli.playbook import PlaybookCLI  # noqa: PLC0415  # half a second that other commands need not spend

    words = io.StringIO()
    command_line = PlaybookCLI(["ansible-playbook", "site.yml", *extra])
    try:
        with contextlib.redirect_stderr(words), contextlib.redirect_stdout(words):
            command_line.init_parser()
            parser = command_line.parser
            options = parser.parse_args(["site.yml", *extra]) if parser is not None else None
    except SystemExit as error:
        if not error.code:
            return None
        raise OperatorError(
            found=words.getvalue().rpartition("error: ")[2].strip() + ".",
            expected="options of 'gpulab provision --help' or of 'ansible-playbook --help'.",
            action="correct the command line.",
        ) from error
    prompted = [name for name in getattr(options, "vault_ids", None) or () if str(name).endswith("prompt")]
    if prompted:
        raise OperatorError(
            found=f"--vault-id {prompted[0]}, which asks for a password where nobody would see the question.",
            expected="a password that comes from a file, or --ask-vault-pass.",
            action="give --vault-password-file FILE or --ask-vault-pass, or run ansible-playbook itself.",
        )
    return options


def own_hosts() -> list[str]:
    """Return the hosts that the user's inventory has in the group."""
    command = [str(Path(sys.executable).with_name("ansible-inventory")), "--list"]
    full = {**os.environ, **environment(_paths.repository(), os.environ)}
    outcome = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        cwd=_paths.repository(),
        env=full,
        stdin=subprocess.DEVNULL,
    )
    if outcome.returncode != 0:
        raise OperatorError(
            found=f"the inventory cannot be read: {outcome.stderr.strip()[-600:]}",
            expected="inventory/ with files that Ansible understands.",
            action="correct the file named; inventory/hosts.yml.example shows the form.",
        )
    groups = json.loads(outcome.stdout)
    return hosts_of(groups, GROUP)


def hosts_of(groups: dict[str, t.Any], name: str) -> list[str]:
    """Return a group's hosts and those of the groups below it ('ansible-inventory --list')."""
    group = groups.get(name, {})
    below = [host for child in group.get("children", []) for host in hosts_of(groups, child)]
    return [*group.get("hosts", []), *below]


def start_lab(number: int) -> Lab:
    """Start the lab and bring the wheels that its hosts install."""
    say(f"There are no hosts of your own in the group {GROUP}; a lab of container hosts takes their place.")
    needed = LAB_DISK_GB + (number - 1) * LAB_DISK_GB // 2
    check_disk([_paths.repository(), _paths.cache_directory()], needed)
    lab = Lab.up(hosts=host_names(number), say=say)
    for standin in lab.standins:
        say(standin.described)
    lab.add_stack_wheels()
    return lab


def check_disk(places: Sequence[Path], needed_gb: int) -> None:
    """Refuse early where torch and its libraries would fill the disk."""
    for place in places:
        there = next(parent for parent in (place, *place.parents) if parent.exists())
        free = shutil.disk_usage(there).free / 1e9
        if free < needed_gb:
            raise OperatorError(
                found=f"{free:.0f} GB free at {there}.",
                expected=f"{needed_gb} GB for the lab's hosts and the wheels that they install.",
                action="free some space, or choose another place with GPULAB_CACHE.",
            )


def ask_passwords(options: argparse.Namespace | None) -> dict[str, str]:
    """Ask here what ansible-playbook would ask where nobody sees it, by an option (-bK) or by its configuration."""
    asked = [words for name, words in _PROMPTS.items() if getattr(options, name, False)]
    return {pattern: getpass.getpass(prompt) for prompt, pattern in asked}


def _verbose(extra: Sequence[str]) -> bool:
    return any(argument.startswith("-v") or argument == "--verbose" for argument in extra)


def say(line: str) -> None:
    """Print a line, folded to the terminal, at once."""
    print(_text.wrap(line, _text.width()), flush=True)


def show(event: Event) -> None:
    """Print an event if a person should see it."""
    if isinstance(event, Said):
        say(event.text)
    elif isinstance(event, Difference | Verbatim):
        print(event.text, flush=True)
    elif isinstance(event, TaskEnded):
        for line in task_lines(event):
            say(line)


def task_lines(event: TaskEnded) -> list[str]:
    """Return what to print of a task's end: nothing for a skipped one or for the check of a role's arguments."""
    quiet = event.ending is Ending.SKIPPED or event.action.endswith("validate_argument_spec")
    if quiet and event.ending in (Ending.OK, Ending.SKIPPED):
        return []
    task = event.task.removeprefix(f"{event.role} | ") if event.role else event.task
    place = " | ".join(part for part in (event.host, event.role) if part)
    if event.ending in (Ending.FAILED, Ending.UNREACHABLE):
        return [f"{place} | {event.ending.upper()} | {task}", *(f"  {part}" for part in _text.sections(event.message))]
    return [f"{place} | {event.ending} | {task} ({event.seconds:.0f} s)"]


def report(outcome: Outcome, results: dict[str, _results.Result], lab: Lab | None, *, seconds: float) -> int:
    """Print a line for each host, and last what to do next."""
    if outcome.interrupted:
        say("Interrupted. Long steps go on on the hosts; the same command picks them up.")
        return INTERRUPTED
    print(flush=True)
    for host, recap in outcome.hosts.items():
        if host in results:
            say(_results.describe(results[host]))
        elif recap.good:
            say(f"{host}: {recap.changed} changed; nothing was measured (gpu_verify did not run).")
        else:
            failure = outcome.failures.get(host)
            where = f" in {failure.role or failure.task}" if failure else ""
            word = "unreachable" if recap.unreachable else "failed"
            say(f"{host}: {word}{where}; NOT PROVEN: everything.")
    bad = [host for host, recap in outcome.hosts.items() if not recap.good]
    if outcome.hosts:
        number = f"{len(outcome.hosts)} host" + ("s" if len(outcome.hosts) != 1 else "")
        say(f"{number} in {seconds:.0f} s; failed or unreachable: {', '.join(bad) or 'none'}.")
    say(next_step(outcome, bad, lab))
    if not outcome.hosts and outcome.code:
        return REFUSED
    return FAILED if outcome.code or bad else DONE


def next_step(outcome: Outcome, bad: Sequence[str], lab: Lab | None) -> str:
    """Return the last line: what to do now."""
    if not outcome.hosts:
        return "To do next: see the lines above; no host was touched."
    if bad:
        return f"To do next: cure what is said above for {', '.join(bad)}; then run the same command again."
    if lab:
        return (
            "To do next: name your machines in inventory/hosts.yml (a copy of inventory/hosts.yml.example) and run"
            " ./scripts/provision -l gpu-lab. Look into the lab with .venv/bin/gpulab lab ssh lab-1; remove it with"
            " .venv/bin/gpulab lab down."
        )
    return "To do next: nothing. The same command again finds nothing to change."


__all__ = ["check_disk", "hosts_of", "provision", "register", "report", "show", "task_lines"]
