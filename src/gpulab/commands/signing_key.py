# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`gpulab signing-key`: make the lab's key pair for kernel modules and lay it into ansible-vault."""

from __future__ import annotations

import argparse
import datetime as dt
import os
import secrets
import string
from pathlib import Path

import yaml

from gpulab import _paths, _vault
from gpulab._errors import OperatorError

YEARS = 20  # a certificate that has run out is still honoured by the kernel; a machine's life is shorter
# Module signing only: shim does not accept the key for a kernel or boot loader (OID of the Linux kernel and shim).
MODULE_SIGNING_OID = "1.3.6.1.4.1.2312.16.1.2"
_ALPHABET = string.ascii_lowercase + string.digits
_PASSWORD_LENGTH = 12  # typed on a console's US keyboard: letters and digits that look alike are left out
_LOOK_ALIKE = "01ilozy"


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `signing-key`."""
    parser = subparsers.add_parser(
        "signing-key",
        help="make the lab's key pair for Secure Boot, in ansible-vault",
        description="Make a key pair that signs kernel modules, and a password for the one visit to each console, and"
        " write them, encrypted by ansible-vault, to a file that Ansible reads for every host of the lab.",
    )
    parser.add_argument("--name", default="gpulab module signing", help="common name in the certificate")
    parser.add_argument("--output", type=Path, metavar="FILE", help="default: inventory/group_vars/gpu-lab/signing.yml")
    _vault.add_option(parser)
    parser.set_defaults(run=signing_key)


def signing_key(arguments: argparse.Namespace) -> int:
    """Make the pair and encrypt it; an older one is never overwritten."""
    output = arguments.output or _paths.repository() / "inventory/group_vars/gpu-lab/signing.yml"
    if output.exists():
        raise OperatorError(
            found=f"{output} is there already.",
            expected="no pair yet: machines that trust the old key would have to be visited again.",
            action="keep it; to change the key on purpose, move the file away first.",
        )
    key, certificate = make_pair(arguments.name)
    text = render(key, certificate, make_password())
    output.parent.mkdir(parents=True, exist_ok=True)
    _vault.encrypt(text, output, arguments.vault_password_file)
    print(f"Wrote {os.path.relpath(output)}, encrypted by ansible-vault.")
    print("Keep it and the vault's password: machines trust this key through every reinstallation.")
    print("Now: ansible-playbook site.yml -l gpu-lab --ask-vault-pass")
    return 0


def make_pair(name: str) -> tuple[str, str]:
    """Return an RSA key of 2048 bits, which every firmware takes, and its certificate, both PEM."""
    from cryptography import x509  # noqa: PLC0415  # only this command needs it
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import rsa  # noqa: PLC0415
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID  # noqa: PLC0415

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    usage = [ExtendedKeyUsageOID.CODE_SIGNING, x509.ObjectIdentifier(MODULE_SIGNING_OID)]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=365 * YEARS))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usage), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return private.decode(), certificate.public_bytes(pem).decode()


def make_password() -> str:
    """Return a password that can be typed without a second look."""
    letters = [letter for letter in _ALPHABET if letter not in _LOOK_ALIKE]
    return "".join(secrets.choice(letters) for _ in range(_PASSWORD_LENGTH))


def render(key: str, certificate: str, password: str) -> str:
    """Return the variables as the file holds them before it is encrypted."""
    data = {"gpulab_signing": {"key": key, "certificate": certificate, "password": password}}
    return "---\n" + yaml.safe_dump(data, sort_keys=False)
