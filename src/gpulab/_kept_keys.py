# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The private ssh host keys that host_record has kept for a host, read back for the answer files of an installer.

No message of this file has anything of a key in it, and no exception is chained that might.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, field

import yaml

from gpulab._errors import OperatorError

if t.TYPE_CHECKING:
    from collections.abc import Sequence

SCHEMA = "host_keys-1"
KINDS = ("rsa", "ecdsa", "ed25519")  # cloud-init, module ssh: ssh_keys
# PEM with nothing in it that could end a quotation or a here-document.
_PRIVATE = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----\n(?:[A-Za-z0-9+/=]+\n)+-----END [A-Z ]*PRIVATE KEY-----\n")
_PUBLIC = re.compile(r"(?:ssh|ecdsa)-[a-z0-9-]+ [A-Za-z0-9+/]+={0,2}")


@dataclass(frozen=True, slots=True)
class HostKey:
    """One of a host's ssh keys, both halves."""

    kind: str
    public: str
    private: str = field(repr=False)


def parse(text: str, host: str, recorded: Sequence[str], where: str) -> tuple[HostKey, ...]:
    """Return the keys of a decrypted file; refuse what is not this host's, or not what its record will recognise."""
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError:
        data = None
    if not isinstance(data, dict) or data.get("schema") != SCHEMA or not isinstance(data.get("keys"), dict):
        raise _unusable(where, f"is no file of host keys ({SCHEMA})")
    if data.get("host") != host:
        raise _unusable(where, f"has the keys of {data.get('host')}, not of {host}")
    keys = tuple(_key(kind, data["keys"][kind], where) for kind in sorted(data["keys"]))
    if not keys:
        raise _unusable(where, "has no key in it")
    unknown = [key.kind for key in keys if key.public not in recorded]
    if unknown:
        raise _unusable(where, f"has other keys ({', '.join(unknown)}) than the record of {host}")
    return keys


def _key(kind: str, given: object, where: str) -> HostKey:
    halves = given if isinstance(given, dict) else {}
    public, private = str(halves.get("public")), str(halves.get("private"))
    if kind not in KINDS or not _PUBLIC.fullmatch(public) or not _PRIVATE.fullmatch(private):
        raise _unusable(where, f"has a key that is none of {', '.join(KINDS)}, or not whole")
    return HostKey(kind, public, private)


def _unusable(where: str, what: str) -> OperatorError:
    return OperatorError(
        found=f"{where} {what}.",
        expected="the keys that were kept with the host's record (host_record_private_keys: true).",
        action="as long as the host runs, playbooks/capture.yml keeps them anew; else leave out --restore-host-keys and"
        " give the rebuild the new fingerprint.",
    )


__all__ = ["KINDS", "SCHEMA", "HostKey", "parse"]
