# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell from a module's failed answer that the host could not run it at all, and what the operator should do."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.gpulab.workstation.plugins.module_utils._host_facts import parse_os_release
from ansible_collections.gpulab.workstation.plugins.module_utils._refusal import Refusal

_NOT_FOUND = 127
_TOO_OLD = re.compile(r"Ansible requires Python (\S+) or newer on the target\. Current version: ([\d.]+)")
_PASSWORD = ("sudo: a password is required", "Missing sudo password", "sudo: a terminal is required")


def recognise(
    answer: t.Mapping[str, t.Any], interpreter: str, host: str, os_release: t.Callable[[], str]
) -> Refusal | None:
    """Return the reason why no module can run on a host; None where the answer is of another kind.

    ``os_release`` reads the host's /etc/os-release without Python and is asked only where the answer needs it.

    A missing interpreter is ansible-core's "module interpreter ... was not found", or the shell's rc 127.
    """
    text = "\n".join(str(answer.get(key, "")) for key in ("msg", "module_stdout", "module_stderr"))
    if any(words in text for words in _PASSWORD):
        return Refusal(
            "sudo on this host asks for a password.",
            "to become root without a question.",
            "run again with --ask-become-pass, or allow this user NOPASSWD in /etc/sudoers.d.",
        )
    if re.search(r"\bsudo: (?:command )?not found", text):
        return Refusal(
            "there is no sudo on this host.",
            "a way to become root.",
            "connect as root (ansible_user: root), or install sudo and allow this user to use it.",
        )
    old = _TOO_OLD.search(text)
    if old:
        return Refusal(
            f"{interpreter} is Python {old[2]}.",
            f"Python {old[1]} or newer.",
            "install the python3 of a supported system, or set ansible_python_interpreter of this host.",
        )
    if answer.get("rc") == _NOT_FOUND and interpreter in text:
        return _no_python(interpreter, host, os_release())
    return None


def _no_python(interpreter: str, host: str, os_release: str) -> Refusal:
    system = parse_os_release(os_release).name if os_release else "a system without /etc/os-release"
    install = "apt-get update && apt-get install -y python3"
    return Refusal(
        f"{system} without {interpreter}.",
        "python3, which Ansible's modules are written in.",
        f"run '{install}' on this host as root, or from here:"
        f" ansible {host} -b -m ansible.builtin.raw -a '{install}'; then run again.",
    )


__all__ = ["recognise"]
