# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of the keys that a host offers may be believed: by a fingerprint, the lab's CA or the record, never blindly."""

from __future__ import annotations

import base64
import datetime as dt
import fnmatch
import hashlib
import re
import typing as t
from dataclasses import dataclass

from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError

_FINGERPRINT = re.compile(r"SHA256:(?P<body>[A-Za-z0-9+/]{43})=?")
_AT_CONSOLE = "'ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub' on the host's own console"


@dataclass(frozen=True)
class HostKey:
    """A public host key: its type and its base64 body."""

    kind: str
    body: str

    @property
    def fingerprint(self) -> str:
        """Return what 'ssh-keygen -l' shows."""
        digest = hashlib.sha256(base64.b64decode(self.body)).digest()
        return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"

    @property
    def words(self) -> str:
        """Return the key as messages name it."""
        return f"{self.fingerprint} ({self.kind})"


@dataclass(frozen=True)
class Certificate:
    """A host-key certificate as 'ssh-keygen -L' tells it, which has checked the signature of the CA."""

    authority: str  # fingerprint of the CA
    principals: tuple[str, ...]
    since: str
    until: str  # ISO times in the controller's zone; "" where the certificate is valid for ever


@dataclass(frozen=True)
class Known:
    """What known_hosts files say about a host's name."""

    keys: tuple[HostKey, ...] = ()
    authorities: tuple[HostKey, ...] = ()
    revoked: tuple[HostKey, ...] = ()


@dataclass(frozen=True)
class Offer:
    """What a host shows to anyone who asks (ssh-keyscan); whether it has the private half, ssh itself checks."""

    keys: tuple[HostKey, ...] = ()
    certificates: tuple[Certificate, ...] = ()


@dataclass(frozen=True)
class Acceptance:
    """By what the host was recognised, and the keys that known_hosts is to have for it (none: leave it as it is)."""

    way: str  # known, fingerprint, record, certificate
    keys: tuple[HostKey, ...] = ()


def parse_keyscan(text: str) -> tuple[HostKey, ...]:
    """Read the lines of ssh-keyscan: place, type, body."""
    return tuple(HostKey(*parts[1:3]) for line in text.splitlines() if len(parts := line.split()) == 3)  # noqa: PLR2004


def parse_certificate_scan(text: str) -> tuple[str, ...]:
    """Read 'ssh-keyscan -c', which leaves out the place before a certificate: type and body of each."""
    return tuple(re.findall(r"\S+-cert-v01@openssh\.com [A-Za-z0-9+/]+={0,2}", text))


def parse_public_keys(texts: t.Iterable[str]) -> tuple[HostKey, ...]:
    """Read the keys of a record: type and body."""
    return tuple(HostKey(*text.split()[:2]) for text in texts)


def parse_known(text: str) -> Known:
    """Read what 'ssh-keygen -F NAME' found in one file (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT)."""
    found: dict[str, list[HostKey]] = {"": [], "@cert-authority": [], "@revoked": []}
    for line in text.splitlines():
        parts = line.split()
        if not parts or line.startswith("#"):
            continue
        marker = parts.pop(0) if parts[0].startswith("@") else ""
        if marker in found and len(parts) >= 3:  # noqa: PLR2004 - names, type, body
            found[marker].append(HostKey(*parts[1:3]))
    return Known(tuple(found[""]), tuple(found["@cert-authority"]), tuple(found["@revoked"]))


def parse_certificate(text: str) -> Certificate | None:
    """Read 'ssh-keygen -L'; None where it is no certificate of a host."""
    authority = re.search(r"^\s*Signing CA: \S+ (SHA256:\S+)", text, re.MULTILINE)
    if not authority or not re.search(r"^\s*Type: \S+ host certificate", text, re.MULTILINE):
        return None
    valid = re.search(r"^\s*Valid: from (\S+) to (\S+)", text, re.MULTILINE)
    block = re.search(r"^\s*Principals: ?\n(?P<names>.*?)^\s*Critical Options:", text, re.MULTILINE | re.DOTALL)
    names = tuple(block["names"].split()) if block else ()
    since, until = (valid[1], valid[2]) if valid else ("", "")
    return Certificate(authority[1], names, since, until)


def judge(
    offer: Offer, known: Known, recorded: t.Sequence[HostKey], fingerprint: str, name: str, now: dt.datetime
) -> Acceptance:
    """Say which keys may be believed; OperatorError where nothing speaks for any of them.

    A fingerprint that the admin gives decides alone: whoever looked at the console knows better than any file.
    """
    keys = tuple(key for key in offer.keys if key not in known.revoked)
    if fingerprint:
        return _by_fingerprint(keys, fingerprint)
    matching = tuple(key for key in keys if key in known.keys)
    if matching:
        # A stale key of a type that the host offers too would make ssh stop: only what it has is to stay.
        stale = {key.kind for key in known.keys if key not in keys} & {key.kind for key in keys}
        return Acceptance("known", matching if stale else ())
    restored = tuple(key for key in keys if key in recorded)
    if restored:
        return Acceptance("record", restored)
    authorities = {authority.fingerprint for authority in known.authorities}
    signed = [certificate for certificate in offer.certificates if certificate.authority in authorities]
    if any(_covers(certificate, name, now) for certificate in signed):
        return Acceptance("certificate")
    raise _unknown(offer, signed)


def _by_fingerprint(keys: tuple[HostKey, ...], fingerprint: str) -> Acceptance:
    wanted = _FINGERPRINT.fullmatch(fingerprint.strip())
    if not wanted:
        raise OperatorError(
            found=f"host_rebuild_fingerprint is {fingerprint!r}.",
            expected="a fingerprint as ssh-keygen shows it: SHA256: and 43 characters.",
            action=f"copy it from {_AT_CONSOLE}.",
        )
    matching = tuple(key for key in keys if key.fingerprint == f"SHA256:{wanted['body']}")
    if not matching:
        raise OperatorError(
            found=f"the host offers {_listed(keys)}; nothing was changed, neither on the host nor in known_hosts.",
            expected=f"the key SHA256:{wanted['body']} (host_rebuild_fingerprint).",
            action=f"look at {_AT_CONSOLE}. If it shows what you gave, somebody else answers under this address.",
        )
    return Acceptance("fingerprint", matching)


def _covers(certificate: Certificate, name: str, now: dt.datetime) -> bool:
    """Tell whether a certificate is valid now and for this name; ssh checks both once more when it connects."""
    moment = now.strftime("%Y-%m-%dT%H:%M:%S")
    if certificate.until and not certificate.since <= moment < certificate.until:
        return False
    return not certificate.principals or any(fnmatch.fnmatchcase(name, one) for one in certificate.principals)


def _unknown(offer: Offer, signed: t.Sequence[Certificate]) -> OperatorError:
    words = f"the host offers {_listed(offer.keys)}, and nothing speaks for any of these keys"
    if signed:
        first = signed[0]
        words += (
            f"; its certificate of the lab's CA is for {', '.join(first.principals) or 'any name'},"
            f" valid from {first.since} to {first.until}"
        )
    return OperatorError(
        found=f"{words}; nothing was changed, neither on the host nor in known_hosts.",
        expected="a key that is in the host's record, a certificate of a CA that known_hosts names for it"
        " (@cert-authority), or a fingerprint that you give.",
        action=f"read the fingerprint by {_AT_CONSOLE} and run again with -e host_rebuild_fingerprint=SHA256:...; "
        "for several hosts, set it in each one's host_vars.",
    )


def _listed(keys: t.Sequence[HostKey]) -> str:
    return ", ".join(sorted(key.words for key in keys)) or "no key that is not revoked"


__all__ = [
    "Acceptance",
    "Certificate",
    "HostKey",
    "Known",
    "Offer",
    "judge",
    "parse_certificate",
    "parse_certificate_scan",
    "parse_keyscan",
    "parse_known",
    "parse_public_keys",
]
