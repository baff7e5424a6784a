# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private ssh host keys that the controller keeps beside a record: how they come from the host, and which are kept.

Ansible shows with -vvv all that a host answers, whatever an action wishes (only a task's no_log keeps it from that, and
then hides every refusal too), so the host seals them with a password that goes to it by standard input, made for this
one answer. No message of this file has anything of a key in it, and no exception is chained that might.
"""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import typing as t

import yaml

from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError

SCHEMA = "host_keys-1"
KINDS = ("rsa", "ecdsa", "ed25519")  # sshd_config(5), HostKey, and what cloud-init can bring back
_MARK = "gpulab-host-key "
_SEALED = "gpulab-sealed"
_SEAL = ("openssl", "enc", "-aes-256-cbc", "-pbkdf2", "-md", "sha256", "-a")
# One look with nothing but a shell, the password on its standard input.
READ = (
    f"exec 3<&0 </dev/null; echo {_SEALED}; for kind in {' '.join(KINDS)}; do file=/etc/ssh/ssh_host_${{kind}}_key;"
    f' if [ -f "$file" ]; then echo "{_MARK}$kind"; cat "$file"; fi; done | {" ".join(_SEAL)} -salt -pass fd:3'
)
_PRIVATE = re.compile(r"-----BEGIN (?P<what>[A-Z ]*PRIVATE KEY)-----\n.+?\n-----END (?P=what)-----", re.DOTALL)


def new_password() -> str:
    """Return a password for one answer."""
    return secrets.token_urlsafe(32)


def parse_read(stdout: str, password: str) -> dict[str, str]:
    """Return the private keys that READ has found, by kind; none where its answer does not open."""
    sealed = stdout.replace("\r", "").partition(f"{_SEALED}\n")[2]
    found = {}
    for block in _opened(sealed, password).split(_MARK)[1:]:
        kind, _, body = block.partition("\n")
        private = _PRIVATE.search(body)
        if private:
            found[kind] = f"{private[0]}\n"
    return found


def _opened(sealed: str, password: str) -> str:
    """Return what was sealed; nothing where it does not open, or where this machine has no openssl."""
    environ = {"PATH": os.environ.get("PATH", os.defpath), "GPULAB_SEAL": password}
    command = [*_SEAL, "-d", "-pass", "env:GPULAB_SEAL"]
    try:
        done = subprocess.run(command, input=sealed.encode(), env=environ, capture_output=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.decode(errors="replace")


def public_half(private: str) -> str | None:
    """Return type and body of the public key that belongs to a private one; None where it is none that opens."""
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415  # only where keys are kept
    from cryptography.hazmat.primitives import serialization as form  # noqa: PLC0415

    load = form.load_ssh_private_key if "BEGIN OPENSSH" in private else form.load_pem_private_key
    try:
        public = load(private.encode(), password=None).public_key()
        return public.public_bytes(form.Encoding.OpenSSH, form.PublicFormat.OpenSSH).decode()
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None


def matching(found: t.Mapping[str, str], recorded: t.Sequence[str], host: str) -> dict[str, dict[str, str]]:
    """Return the keys whose public halves the record has, by kind: only these will be recognised after a rebuild."""
    halves = {kind: public_half(private) for kind, private in found.items()}
    kept = {
        kind: {"private": found[kind], "public": public}
        for kind, public in sorted(halves.items())
        if public and public in recorded
    }
    if kept:
        return kept
    raise OperatorError(
        found=f"none of the private ssh host keys of {host} belongs to a public one of its record"
        f" ({', '.join(sorted(found)) or 'none could be read'} of {', '.join(KINDS)}).",
        expected="/etc/ssh/ssh_host_ed25519_key or one of the others, not encrypted, with its .pub beside it.",
        action="look at 'ls -l /etc/ssh' on the host, have openssl on both sides, or set host_record_private_keys to"
        " false.",
    )


def render(host: str, keys: t.Mapping[str, t.Mapping[str, str]]) -> str:
    """Return the text that is encrypted; its order does not depend on that of the keys."""
    return yaml.safe_dump(
        {"schema": SCHEMA, "host": host, "keys": {kind: dict(keys[kind]) for kind in keys}}, sort_keys=True
    )


__all__ = ["KINDS", "READ", "SCHEMA", "matching", "new_password", "parse_read", "public_half", "render"]
