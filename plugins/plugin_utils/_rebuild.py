# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a freshly installed host must be before its record is brought back, and which stack that record asks for."""

from __future__ import annotations

import time
import typing as t
from dataclasses import dataclass

from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._stack import resolve
from ansible_collections.gpulab.workstation.plugins.module_utils._stack_components import wishes

if t.TYPE_CHECKING:
    from ansible_collections.gpulab.workstation.plugins.module_utils._releases import Catalogue

# Read with nothing but a shell: a machine that comes back empty has no python3 and perhaps no sudo.
PROBE = (
    'echo gpulab-bare; id -u; date +%s; (. /etc/os-release 2>/dev/null; echo "$ID $VERSION_ID");'
    " for program in python3 sudo apt-get; do command -v $program || echo none; done"
)
PYTHON = (
    "export DEBIAN_FRONTEND=noninteractive; apt-get -q -o DPkg::Lock::Timeout=120 update"
    " && apt-get -q -y -o DPkg::Lock::Timeout=120 --no-install-recommends install python3"
)
_PROBED = 7
_CLOCK_S = 600
_WAYS = {
    "known": "its key was known already",
    "fingerprint": "its key has the fingerprint that was given",
    "record": "its key is that of the record",
    "certificate": "its key is signed by the lab's CA",
    "local": "the connection needs no key",
}


@dataclass(frozen=True)
class Bare:
    """What the probe showed; programs are their paths, empty where there is none."""

    uid: str
    clock: float
    system: str
    python: str
    sudo: str
    apt: str


def parse_probe(stdout: str) -> Bare | None:
    """Read the answer to PROBE, behind whatever a login shell prints."""
    lines = stdout.strip().splitlines()
    while lines and lines[0] != "gpulab-bare":
        lines.pop(0)
    if len(lines) < _PROBED or not lines[2].isdigit():
        return None
    programs = ["" if line == "none" else line for line in lines[4:7]]
    return Bare(lines[1], float(lines[2]), lines[3].strip(), *programs)


def needs_python(bare: Bare, become: str, now: float) -> bool:
    """Say whether python3 has to be installed; OperatorError where nothing can be done on this host at all."""
    _check_clock(bare, now)
    if bare.uid != "0" and become == "sudo" and not bare.sudo:
        raise OperatorError(
            found=f"there is no sudo on this host, and the user of the connection is not root"
            f"{'' if bare.python else '; there is no python3 either'}.",
            expected="a way to become root.",
            action="on its console as root: 'apt-get install -y sudo python3' and let the user use sudo"
            " (scripts/autoinstall writes an answer file that does); or connect as root (ansible_user: root).",
        )
    if not bare.python and not bare.apt:
        raise OperatorError(
            found=f"neither python3 nor apt-get on this host ({bare.system or 'a system without /etc/os-release'}).",
            expected="Debian or Ubuntu, where python3 comes with apt.",
            action="install a supported system (catalogue/platforms.yml) and run again.",
        )
    return not bare.python


def _check_clock(bare: Bare, now: float) -> None:
    away = bare.clock - now
    if abs(away) <= _CLOCK_S:
        return
    days, hours = divmod(abs(away) / 3600, 24)
    distance = f"{days:.0f} days" if days else f"{hours:.1f} hours"
    raise OperatorError(
        found=f"the host's clock says {_utc(bare.clock)}, {distance} {'ahead of' if away > 0 else 'behind'} the"
        f" controller's ({_utc(now)}).",
        expected="clocks that agree within 10 minutes: apt and TLS refuse files and certificates that are not valid"
        " yet or no longer.",
        action=f"set it on the host ('date -u -s @{now:.0f}', then 'hwclock -w'), enable time synchronisation"
        " ('timedatectl set-ntp true'), and run again; if the controller's is wrong, set that one.",
    )


def _utc(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))


def no_python(words: str) -> OperatorError:
    """Return what to say when apt did not bring python3."""
    lines = [line for line in words.strip().splitlines() if line.strip()]
    reasons = [line for line in lines if line.startswith(("E:", "Err:", "sudo:"))] or lines[-1:]
    return OperatorError(
        found=f"python3 could not be installed: {'; '.join(reasons)[-600:] or 'no words'}.",
        expected="python3, which Ansible's modules are written in.",
        action="look at the host's network, its apt sources and at sudo (--ask-become-pass); then run again.",
    )


def no_root(words: str) -> OperatorError:
    """Return what to say when the user of the connection could not become root."""
    return OperatorError(
        found=f"the user of the connection cannot become root on this host: {words.strip().rstrip('.')}.",
        expected="to become root without a question, or a password to answer it with.",
        action="run again with --ask-become-pass, or allow this user NOPASSWD in /etc/sudoers.d.",
    )


def check_machine(record: t.Mapping[str, t.Any], found: t.Mapping[str, t.Any], where: str) -> None:
    """Refuse a host that is not the machine of the record: somebody else's stack and figures would be compared."""
    recorded, seen = record["machine"].get("board") or {}, found.get("board") or {}
    for key in ("uuid", "serial"):
        if recorded.get(key) and recorded[key] != seen.get(key):
            raise OperatorError(
                found=f"this machine's board has the {key} {seen.get(key) or '(none that can be read)'};"
                f" {where} was made on {recorded[key]}. Nothing of its stack was installed.",
                expected="the machine that the record was made on.",
                action="check ansible_host of this host. If its board was replaced, that is another machine: remove"
                f" {where} and provision it with site.yml.",
            )


def chosen(record: t.Mapping[str, t.Any], catalogue: Catalogue) -> dict[str, t.Any]:
    """Return the stack and overrides that give exactly the record's versions and files today; else OperatorError."""
    stack = record["stack"]
    try:
        today = resolve(catalogue, stack["name"], stack["overrides"]).values()
        overrides = {**stack["overrides"], **_moved(today, stack["values"])}
        given = wishes(resolve(catalogue, stack["name"], overrides))
    except OperatorError as error:
        raise OperatorError(
            found=f"the catalogue does not have what the record says: {error.found}",
            expected=f"every version of the record's stack {stack['name']} of {record['time']}.",
            action="bring the catalogue's files of that day back ('git log -- catalogue', or an overlay:"
            " gpulab_catalogue_overlay) and run again; to give the host today's versions instead, use site.yml.",
        ) from error
    other = [file for file, digest in stack["sha256"].items() if given["sha256"].get(file) != digest]
    if other:
        raise OperatorError(
            found=f"the catalogue's {', '.join(sorted(other))} {'is' if len(other) == 1 else 'are'} no longer what the"
            " record has: another sha256, or gone.",
            expected="the files that this host was given.",
            action="bring them back from the repository's history ('git log -- catalogue') in an overlay"
            " (gpulab_catalogue_overlay) and run again; to give the host today's versions instead, use site.yml.",
        )
    return {"stack": stack["name"], "overrides": overrides}


def _moved(today: t.Mapping[str, str], then: t.Mapping[str, str]) -> dict[str, str]:
    """Return the overrides for what has changed; the CUDA of torch's build is chosen by torch's version alone."""
    moved = {key: value for key, value in then.items() if today.get(key) != value}
    if "torch.cuda" in moved:
        moved["torch.version"] = f"{then['torch.version']}+cu{moved.pop('torch.cuda').replace('.', '')}"
    return moved


def never_came(address: str, port: str, limit_s: float, proxy: str) -> OperatorError:
    """Return what to say when no ssh server has answered in time."""
    beyond = f" ssh would go through {proxy}, which ssh-keyscan cannot." if proxy else ""
    return OperatorError(
        found=f"for {limit_s:.0f} s no ssh server has shown a host key at {address} port {port}.{beyond}",
        expected="a host that is installed, switched on and runs openssh-server.",
        action="look at its console (is the installer still running? has it the address of the inventory?)"
        + (", or put its key into known_hosts by hand" if proxy else "")
        + "; if it only takes longer, raise host_rebuild_wait_seconds and run again.",
    )


def words(way: str) -> str:
    """Say by what a host was recognised."""
    return _WAYS[way]


__all__ = [
    "PROBE",
    "PYTHON",
    "Bare",
    "check_machine",
    "chosen",
    "needs_python",
    "never_came",
    "no_python",
    "no_root",
    "parse_probe",
    "words",
]
