# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Install and purge packages by exact name with apt-get, and say in words why it could not be done."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._host import Completed, Host

_LOCK_S = 300  # unattended-upgrades may be at work
_PAUSE_S = 5.0
_LIMIT_S = 3600.0
_ENVIRONMENT = {"DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_MODE": "l", "UCF_FORCE_CONFFOLD": "1"}
_OPTIONS = [
    "-q", "--yes", "--no-install-recommends", f"--option=DPkg::Lock::Timeout={_LOCK_S}",
    "--option=Dpkg::Options::=--force-confold",
]  # fmt: skip


def install(host: Host, names: t.Sequence[str], log: str) -> None:
    """Install packages; the lists are brought up to date where they do not know one, or a version that is gone."""
    missing = without_candidate(host, names)
    if missing:
        updated = _update(host, log)
        missing = without_candidate(host, names)
        if missing:
            headers = any(name.startswith("linux-headers-") for name in missing)
            raise OperatorError(
                found=f"apt knows no package {', '.join(missing)}{'' if updated.ok else f' ({_words(updated)})'}.",
                expected="every package that was asked for.",
                action="check the sources in /etc/apt."
                + (
                    " Headers of a kernel that the archive has dropped do not come back: upgrade the kernel together"
                    " with its headers, restart and run again, or except that kernel in gpu_driver_ignored_kernels."
                    if headers
                    else ""
                ),
            )
    _apt(host, ["install", *names], f"install {', '.join(names)}", log)


def purge(host: Host, names: t.Sequence[str], log: str) -> None:
    """Remove exactly these packages and their settings, also held ones and those that a kill has left half unpacked."""
    also = ["--allow-change-held-packages", "--option=Dpkg::Options::=--force-remove-reinstreq"]
    _apt(host, [*also, "purge", *names], f"purge {', '.join(names)}", log)


def configure(host: Host, log: str) -> None:
    """Finish what dpkg has unpacked and not configured."""
    done = _configure(host, log)
    if not done.ok:
        raise OperatorError(
            found=f"'dpkg --configure -a' ended with {done.rc}: {_words(done)}.",
            expected="every package that is unpacked to be configured.",
            action=f"cure what it says (all of it is in {log}), then run again.",
        )


def without_candidate(host: Host, names: t.Sequence[str]) -> list[str]:
    """Return the packages that could not be installed from what apt knows now."""
    policy = host.run(["apt-cache", "policy", *names], timeout_s=60).stdout
    known = {
        found[1]
        for block in re.split(r"\n(?=\S)", policy)
        if (found := re.match(r"(\S+):\n", block)) and not re.search(r"^  Candidate: \(none\)$", block, re.MULTILINE)
    }
    return [name for name in names if name not in known]


def _half_unpacked(host: Host) -> list[str]:
    """Return the packages that dpkg was unpacking when it was killed, which it only takes installed anew."""
    told = host.run(["dpkg-query", "-W", "-f=${db:Status-Eflag}\\t${binary:Package}\\n"], timeout_s=60).stdout
    fields = (line.split("\t") for line in told.splitlines())
    return sorted({name for flag, name in fields if flag == "reinstreq"})


def removed_beside(host: Host, names: t.Sequence[str]) -> tuple[str, ...]:
    """Return the other packages that purging these would take along, by a simulation."""
    if not names:
        return ()
    done = host.run(["apt-get", "--simulate", "-q", "purge", *names], timeout_s=120)
    if not done.answered:  # what apt only complains about, the purge itself repairs or tells
        raise OperatorError(
            found=f"'apt-get --simulate purge' came to no end (status {done.rc}).",
            expected="to be told what would go together with the packages, before any of them is removed.",
            action="run it by hand on the host, cure what holds it, then run again.",
        )
    return tuple(sorted(set(parse_removals(done.stdout)) - {name.partition(":")[0] for name in names}))


def parse_removals(simulated: str) -> list[str]:
    """Read the ``Purg NAME`` and ``Remv NAME`` lines of apt-get --simulate."""
    return [found[1] for line in simulated.splitlines() if (found := re.match(r"(?:Purg|Remv) ([^\s:]+)", line))]


def _apt(host: Host, arguments: list[str], what: str, log: str) -> None:
    command = ["apt-get", *_OPTIONS, *arguments]
    done = host.run(command, env=_ENVIRONMENT, timeout_s=_LIMIT_S, log=log)
    if not done.ok and _outdated(done):
        _update(host, log)
        done = host.run(command, env=_ENVIRONMENT, timeout_s=_LIMIT_S, log=log)
    if not done.ok and _interrupted(done):  # by a job of ours that was killed, as likely as not
        _configure(host, log)
        done = host.run(command, env=_ENVIRONMENT, timeout_s=_LIMIT_S, log=log)
    half = _half_unpacked(host)  # apt alone takes such a package for installed
    asked = set(arguments) & {name.partition(":")[0] for name in half}
    if half and (asked or not done.ok):
        again = ["apt-get", *_OPTIONS, "install", "--reinstall", *half]
        whole = host.run(again, env=_ENVIRONMENT, timeout_s=_LIMIT_S, log=log)
        done = host.run(command, env=_ENVIRONMENT, timeout_s=_LIMIT_S, log=log) if whole.ok else whole
    if not done.ok:
        raise OperatorError(
            found=f"apt-get could not {what} (status {done.rc}): {_words(done)}.",
            expected="a package system that works.",
            action="run 'dpkg --configure -a' on the host, then run again."
            if _interrupted(done)
            else f"cure what apt says (all of it is in {log}), then run again.",
        )


def _update(host: Host, log: str) -> Completed:
    """Bring the lists up to date; apt's own waiting is for dpkg's lock, and the daily timers hold that of the lists."""
    deadline = host.now() + _LOCK_S
    while True:
        done = host.run(["apt-get", "-q", *_OPTIONS[3:4], "update"], env=_ENVIRONMENT, timeout_s=_LIMIT_S, log=log)
        held = "Could not get lock /var/lib/apt/lists/lock" in done.stdout + done.stderr
        if done.ok or not held or host.now() >= deadline:
            return done
        host.sleep(_PAUSE_S)


def _configure(host: Host, log: str) -> Completed:
    command = ["dpkg", "--force-confold", "--configure", "-a"]
    return host.run(command, env=_ENVIRONMENT, timeout_s=_LIMIT_S, log=log)


def _interrupted(done: Completed) -> bool:
    return "dpkg was interrupted" in done.stdout + done.stderr


def _outdated(done: Completed) -> bool:
    """Whether the archive has no longer what the lists name: a newer version has taken its place."""
    return "Failed to fetch" in done.stdout + done.stderr


def _words(done: Completed) -> str:
    """Return what apt and dpkg complain about; dpkg goes on in lines of their own, which are indented."""
    found = re.findall(r"^[EW]: .*|^dpkg: error .*(?:\n +.*)*", done.stdout + "\n" + done.stderr, re.MULTILINE)
    return " ".join(dict.fromkeys(" ".join(words.split()) for words in found)) or "it says nothing more"


__all__ = ["configure", "install", "parse_removals", "purge", "removed_beside", "without_candidate"]
