# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which host keys are believed, on recorded output of OpenSSH: what speaks for a key, and that nothing else does."""

from __future__ import annotations

import dataclasses
import datetime as dt

import pytest

import recorded
from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.plugin_utils._host_keys import (
    Acceptance,
    Certificate,
    HostKey,
    Known,
    Offer,
    judge,
    parse_certificate,
    parse_certificate_scan,
    parse_keyscan,
    parse_known,
    parse_public_keys,
)

ED25519, ECDSA = parse_keyscan(recorded.text("ssh/9.2p1-debian12-keyscan.txt"))
ED25519_PRINT = "SHA256:JLj6rSTmVnL6AidAcx7Mn/a9xZY+3WLwJr/swiP69iE"  # as ssh-keygen -l showed it
OTHER = HostKey("ssh-ed25519", "AAAAC3NzaC1lZDI1NTE5AAAAIFQ9ke5dfATkM/rgvR6pB/knABz6/oa0kGUJI5lLVtiG")
FOUND = parse_known(recorded.text("ssh/9.2p1-debian12-keygen-F.txt"))
CERTIFICATE = parse_certificate(recorded.text("ssh/9.2p1-debian12-keygen-L.txt"))
NOW = dt.datetime(2026, 11, 25, 10, 0)  # noqa: DTZ001 - local time, as ssh-keygen tells it
OFFER = Offer((ED25519, ECDSA))


def decide(
    offer: Offer = OFFER,
    known: Known = Known(),  # noqa: B008 - frozen
    recorded_keys: tuple[HostKey, ...] = (),
    fingerprint: str = "",
    name: str = "ws-01",
    now: dt.datetime = NOW,
) -> Acceptance:
    return judge(offer, known, recorded_keys, fingerprint, name, now)


def test_fingerprints_are_those_of_ssh_keygen() -> None:
    assert ED25519.fingerprint == ED25519_PRINT
    assert ECDSA.fingerprint == "SHA256:HUGR7wqyrhQAPS8SXG8MzNCjNcBjYuTT5sZ/9k2Plu4"


def test_known_hosts_are_read_with_their_markers() -> None:
    assert FOUND.keys == (ECDSA,)
    assert [key.fingerprint for key in FOUND.authorities] == ["SHA256:ArgiE02qKFvoVF/xnDAcslubIlSxQy3RVC0vruNEVSw"]
    assert parse_known(f"@revoked * {ED25519.kind} {ED25519.body}\n").revoked == (ED25519,)
    assert parse_known("") == Known()


def test_a_certificate_is_read() -> None:
    assert (
        Certificate(
            "SHA256:ArgiE02qKFvoVF/xnDAcslubIlSxQy3RVC0vruNEVSw",
            ("ws-01", "192.0.2.11", "*.lab.example"),
            "2026-11-01T00:00:00",
            "2027-11-01T00:00:00",
        )
        == CERTIFICATE
    )
    assert parse_certificate("(stdin) is not a certificate\n") is None
    user = recorded.text("ssh/9.2p1-debian12-keygen-L.txt").replace("host certificate", "user certificate")
    assert parse_certificate(user) is None


def test_scanned_certificates_are_read_with_and_without_a_place() -> None:
    line = "ssh-ed25519-cert-v01@openssh.com AAAAIHNzaC1l"
    assert parse_certificate_scan(f"# 192.0.2.11:22 SSH-2.0\n{line}\n192.0.2.11 {line}=\n") == (line, f"{line}=")
    assert parse_certificate_scan(recorded.text("ssh/9.2p1-debian12-keyscan.txt")) == ()


@pytest.mark.parametrize("given", [ED25519_PRINT, f" {ED25519_PRINT} ", f"{ED25519_PRINT}="])
def test_a_given_fingerprint_accepts_its_key_alone(given: str) -> None:
    assert decide(fingerprint=given) == Acceptance("fingerprint", (ED25519,))


def test_a_given_fingerprint_decides_alone() -> None:
    with pytest.raises(OperatorError, match="the key SHA256:") as refused:
        decide(known=Known((ED25519,)), recorded_keys=(ED25519, ECDSA), fingerprint=OTHER.fingerprint)
    assert ED25519_PRINT in refused.value.found
    assert "nothing was changed" in refused.value.found
    assert "somebody else answers" in refused.value.action


@pytest.mark.parametrize("given", ["yes", "SHA256:short", "MD5:aa:bb", ED25519_PRINT[7:]])
def test_what_is_no_fingerprint_is_refused(given: str) -> None:
    with pytest.raises(OperatorError, match="SHA256: and 43 characters"):
        decide(fingerprint=given)


def test_a_restored_key_is_accepted_and_only_that() -> None:
    assert decide(recorded_keys=parse_public_keys([f"{ECDSA.kind} {ECDSA.body}"])) == Acceptance("record", (ECDSA,))


def test_a_known_key_needs_nothing() -> None:
    assert decide(known=Known((ED25519,)), recorded_keys=(OTHER,)) == Acceptance("known")


def test_a_stale_key_beside_a_known_one_goes() -> None:
    assert decide(known=Known((OTHER, ECDSA))) == Acceptance("known", (ECDSA,))


def test_a_certificate_of_the_labs_ca_is_accepted() -> None:
    assert CERTIFICATE is not None
    known = Known((OTHER,), FOUND.authorities)
    assert decide(Offer((ED25519,), (CERTIFICATE,)), known) == Acceptance("certificate")
    assert decide(Offer((ED25519,), (CERTIFICATE,)), known, name="ws-09.lab.example").way == "certificate"
    for_ever = dataclasses.replace(CERTIFICATE, since="", until="", principals=())
    assert decide(Offer((ED25519,), (for_ever,)), known, name="any").way == "certificate"


@pytest.mark.parametrize(
    ("name", "now", "authorities"),
    [
        ("ws-02", NOW, FOUND.authorities),
        ("ws-01", NOW.replace(year=2028), FOUND.authorities),
        ("ws-01", NOW.replace(year=2025), FOUND.authorities),
        ("ws-01", NOW, (OTHER,)),
        ("ws-01", NOW, ()),
    ],
    ids=["another name", "expired", "not yet valid", "another CA", "no CA"],
)
def test_a_certificate_that_does_not_cover_is_refused(
    name: str, now: dt.datetime, authorities: tuple[HostKey, ...]
) -> None:
    assert CERTIFICATE is not None
    with pytest.raises(OperatorError, match="nothing speaks for any of these keys"):
        decide(Offer((ED25519,), (CERTIFICATE,)), Known((), authorities), name=name, now=now)


def test_a_key_that_nothing_speaks_for_is_refused_with_the_three_ways() -> None:
    with pytest.raises(OperatorError) as refused:
        decide(known=Known((OTHER,)), recorded_keys=(OTHER,))
    assert all(key.fingerprint in refused.value.found for key in (ED25519, ECDSA))
    for way in ("record", "@cert-authority", "fingerprint"):
        assert way in refused.value.expected
    assert "host_rebuild_fingerprint=SHA256:" in refused.value.action


def test_a_revoked_key_is_not_accepted_whatever_speaks_for_it() -> None:
    revoked = Known(revoked=(ED25519,))
    with pytest.raises(OperatorError):
        decide(Offer((ED25519,)), revoked, recorded_keys=(ED25519,))
    with pytest.raises(OperatorError, match="no key that is not revoked"):
        decide(Offer((ED25519,)), revoked, fingerprint=ED25519_PRINT)
