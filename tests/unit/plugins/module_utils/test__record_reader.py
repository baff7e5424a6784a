# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Looking at a host for its record: what is read, what is left unread on purpose, and the published schema."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from ansible_collections.gpulab.workstation.plugins.module_utils._module_signing import parse_certificate
from ansible_collections.gpulab.workstation.plugins.module_utils._reading import Reading
from ansible_collections.gpulab.workstation.plugins.module_utils._record_reader import (
    Wish,
    make_record,
    read_environment,
    read_host_keys,
    read_identity,
    read_lab_key,
)
from fakehost import FakeHost
from gpulab.commands.signing_key import make_pair
from records import KEY, record

SCHEMA = json.loads((Path(__file__).resolve().parents[4] / "docs/schema/host_record-1.json").read_text())
ENVIRONMENT = "/opt/miniforge3/envs/rtx5090"
CONTAINER = "/run/.containerenv"
CERTIFICATE = make_pair("a lab of a test")[1]


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    host = FakeHost(tmp_path, {"uname -m": (0, "x86_64\n", ""), "systemd-detect-virt": (1, "none\n", "")})
    host.add("/etc/os-release", 'ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n')
    host.add("/sys/class/dmi/id/product_uuid", "4c4c4544-0035-5310-8052-c7c04f504433\n")
    host.add("/sys/class/dmi/id/board_serial", "/ABC123/\n")
    host.add("/etc/ssh/ssh_host_ed25519_key.pub", f"{KEY} root@ws-01\n")
    host.add("/etc/ssh/ssh_host_ed25519_key", "-----BEGIN OPENSSH PRIVATE KEY-----\n")
    host.add("/etc/ssh/moduli", "20220101 2 6 100 2047 5 ABC\n")
    return host


def add_package(host: FakeHost, name: str, version: str) -> None:
    url = f"https://conda.anaconda.org/conda-forge/linux-64/{name}-{version}-0.conda"
    data = {"name": name, "version": version, "build": "0", "url": url, "sha256": "c" * 64}
    host.add(f"{ENVIRONMENT}/conda-meta/{name}-{version}-0.json", json.dumps(data))


def add_environment(host: FakeHost) -> None:
    add_package(host, "python", "3.11.9")
    host.add(f"{ENVIRONMENT}/bin/python")
    host.add(f"{ENVIRONMENT}/lib/python3.11/site-packages/torch-2.9.1.dist-info/METADATA")
    host.add(f"{ENVIRONMENT}/lib/python3.11/site-packages/typing_extensions-4.12.2.dist-info/METADATA")


def test_a_record_keeps_to_the_published_schema(host: FakeHost) -> None:
    add_environment(host)
    host.add("/var/lib/gpulab/verify.json", json.dumps({"checks": [{"name": "toolkit", "outcome": "pass"}]}))
    made = make_record(host, Wish("ws-01", record()["stack"], ENVIRONMENT, "2026-11-25T10:00:00Z", "run"))
    jsonschema.validate(made, SCHEMA)
    jsonschema.validate(record(), SCHEMA)
    assert made["machine"]["board"]["uuid"] == "4c4c4544-0035-5310-8052-c7c04f504433"
    assert made["departures"] == [
        "no driver on disk, the stack has 580.178.04",
        "CUDA toolkit none, the stack has 12.9.1",
    ]
    assert made["verification"]["checks"] == {"toolkit": {"outcome": "pass", "figures": {}}}
    assert "PRIVATE" not in json.dumps(made)


def trust(host: FakeHost, words: str) -> None:
    """Give the host Secure Boot, and a mokutil that says these words of every certificate."""
    host.add("/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c", b"\x06\x00\x00\x00\x01")
    host.commands["mokutil --test-key"] = (0, f"/var/lib/dkms/mok.pub {words}\n", "")


@pytest.mark.parametrize(
    ("words", "enrolled"),
    [("is already enrolled", True), ("is not enrolled", False), ("", None)],
    ids=["trusted", "not trusted", "no answer"],
)
def test_the_labs_key_for_modules_is_told_by_its_fingerprint(
    host: FakeHost,
    words: str,
    enrolled: bool | None,  # noqa: FBT001
) -> None:
    trust(host, words)
    host.add("/var/lib/dkms/mok.pub", parse_certificate(CERTIFICATE))
    made = make_record(host, Wish("ws-01", record()["stack"], ENVIRONMENT, "", "run", CERTIFICATE))
    jsonschema.validate(made, SCHEMA)
    fingerprint = x509.load_pem_x509_certificate(CERTIFICATE.encode()).fingerprint(hashes.SHA256()).hex()
    assert made["system"]["secure_boot"]["state"] == "on"
    assert made["system"]["secure_boot"]["lab_key"] == {"sha256": fingerprint, "on_disk": True, "enrolled": enrolled}


def test_a_lab_key_that_is_not_on_the_host_is_not_called_trusted(host: FakeHost) -> None:
    trust(host, "is already enrolled")
    host.add("/var/lib/dkms/mok.pub", "the host's own")
    found = read_lab_key(host, CERTIFICATE)
    assert found
    assert (found["on_disk"], found["enrolled"]) == (False, None)


def test_without_a_lab_key_the_record_has_no_word_of_one(host: FakeHost) -> None:
    trust(host, "is already enrolled")
    made = make_record(host, Wish("ws-01", record()["stack"], ENVIRONMENT, "", "run"))
    jsonschema.validate(made, SCHEMA)
    assert "lab_key" not in made["system"]["secure_boot"]


def test_the_hosts_own_clock_counts_where_no_time_is_given(host: FakeHost) -> None:
    made = make_record(host, Wish("ws-01", record()["stack"], ENVIRONMENT, "", "capture"))
    assert made["time"] == "2027-01-15T08:00:00Z"


def test_a_container_has_no_board_of_its_own(host: FakeHost) -> None:
    host.add(CONTAINER)
    assert set(read_identity(Reading(host))["board"].values()) == {None}


def test_only_public_halves_of_host_keys_are_read(host: FakeHost) -> None:
    assert read_host_keys(Reading(host)) == [KEY]


def test_the_environments_digests_change_with_every_package(host: FakeHost) -> None:
    add_environment(host)
    before = read_environment(Reading(host), ENVIRONMENT)
    assert (before["conda_packages"], before["python_packages"], before["torch"]) == (1, 2, "2.9.1")
    add_package(host, "pip", "25.0")
    host.add(f"{ENVIRONMENT}/lib/python3.11/site-packages/xformers-0.0.33.dist-info/METADATA")
    after = read_environment(Reading(host), ENVIRONMENT)
    assert after["conda_sha256"] != before["conda_sha256"]
    assert after["python_sha256"] != before["python_sha256"]


def test_no_environment_has_no_digest(host: FakeHost) -> None:
    empty = read_environment(Reading(host), "/opt/nothing")
    assert (empty["conda_sha256"], empty["python_sha256"], empty["torch"]) == (None, None, None)


def test_a_verification_that_is_cut_off_is_noted_and_is_none(host: FakeHost) -> None:
    host.add("/var/lib/gpulab/verify.json", '{"checks": [')
    made = make_record(host, Wish("ws-01", record()["stack"], ENVIRONMENT, "", "run"))
    assert made["verification"] is None
    assert "the last verification" in [item["what"] for item in made["unreadable"]]
