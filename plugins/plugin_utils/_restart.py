# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting for a host to come back: what one attempt to reach it means, without asking it anything here.

Two traps are closed. A host that still answers while it goes down is not back (ansible#78007, ansible#83018): only
another boot identity is. A host key that has changed will never be accepted by waiting (ansible#77353).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._restart import parse_boot_identity

# Needs neither Python nor a login profile on the host; the answer is read by parse_probe.
PROBE = (
    "echo gpulab-probe; cat /proc/sys/kernel/random/boot_id; cat /proc/1/stat;"
    " if [ -d /run/systemd/system ]; then systemctl is-system-running; else echo running; fi"
)
_KEY_CHANGED = "REMOTE HOST IDENTIFICATION HAS CHANGED"
_KEY_REFUSED = ("Host key verification failed", "host key is known for")
# systemctl(1), is-system-running: these states mean that the boot is not over.
_COMING_UP = ("initializing", "starting")
_GOING_DOWN = ("stopping",)


@dataclass(frozen=True)
class Sight:
    """What one attempt showed: an identity and a state of the system, or the words of what failed."""

    identity: str = ""
    state: str = ""
    failure: str = ""


def parse_probe(stdout: str) -> Sight:
    """Read the answer to PROBE; anything else counts as a failed attempt."""
    lines = stdout.strip().splitlines()
    while lines and lines[0] != "gpulab-probe":
        lines.pop(0)
    if len(lines) < 4:  # noqa: PLR2004 - mark, boot id, init, state
        return Sight(failure=f"an unexpected answer: {stdout.strip()[:80]!r}")
    identity = parse_boot_identity(lines[1], lines[2])
    return Sight(str(identity), lines[3].strip()) if identity else Sight(failure=f"no boot identity in {lines[1:3]}")


def verdict(before: str, sight: Sight) -> str:
    """Return back or wait for one attempt; OperatorError where waiting cannot help."""
    if sight.failure:
        refuse_changed_key(sight.failure)
        return "wait"
    if sight.identity == before or sight.state in _COMING_UP + _GOING_DOWN:
        return "wait"
    return "back"


def describe(before: str, sight: Sight | None) -> str:
    """Say in a few words what was last seen, for progress and for the message when time is over."""
    if sight is None:
        return "it has not been tried yet"
    if sight.failure:
        return f"it does not answer ({_shorten(sight.failure)})"
    if sight.identity == before:
        return "it answers, but it has not gone down yet"
    return f"it is up again and its state is {sight.state}"


def refuse_changed_key(failure: str) -> None:
    """Stop at once when ssh refuses the host's key, and name the line of known_hosts to look at."""
    if not any(words in failure for words in (_KEY_CHANGED, *_KEY_REFUSED)):
        return
    offending = re.search(r"Offending (?:\S+ )?key in (\S+?):(\d+)", failure)
    prints = re.search(r"(SHA256:[A-Za-z0-9+/=]+)", failure)
    removal = re.search(r"(ssh-keygen -f \S+ -R \S+)", failure)
    where = f"line {offending[2]} of {offending[1]}" if offending else "known_hosts"
    words = "shows another host key" if _KEY_CHANGED in failure else "has a host key that ssh does not accept"
    cure = f"remove {where}" + (f" ({removal[1]})" if removal else "") if offending else "add it to known_hosts"
    raise OperatorError(
        found=f"after the restart the host {words}" + (f", {prints[1]}" if prints else "") + ".",
        expected=f"the key in {where}.",
        action="compare it with the host's own at its console ('ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub');"
        f" was it reinstalled, and is the key its own, then {cure} and run again. If not, somebody else answers under"
        " this address.",
    )


def never_back(before: str, sight: Sight | None, limit_s: float) -> OperatorError:
    """Return what to say when time is over."""
    return OperatorError(
        found=f"{limit_s:.0f} s after the restart was asked for, {describe(before, sight)}.",
        expected="a host that has started again and finished booting.",
        action="look at its console (a boot menu, a file system check, a firmware question); if it only boots slowly,"
        " raise host_restart_timeout_seconds and run again.",
    )


def _shorten(failure: str) -> str:
    lines = [line.strip() for line in failure.strip().splitlines() if line.strip()]
    return lines[-1][-160:] if lines else "no words"


__all__ = [
    "PROBE",
    "Sight",
    "describe",
    "never_back",
    "parse_probe",
    "refuse_changed_key",
    "verdict",
]
