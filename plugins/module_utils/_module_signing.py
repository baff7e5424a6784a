# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's key pair for kernel modules: where DKMS looks for it, and whether the firmware trusts it."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import typing as t
from dataclasses import dataclass

from ansible_collections.gpulab.workstation.plugins.module_utils import _apt
from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._host import Host
from ansible_collections.gpulab.workstation.plugins.module_utils._host_facts import (
    SecureBoot,
    parse_mokutil_test_key,
    parse_os_release,
)
from ansible_collections.gpulab.workstation.plugins.module_utils._host_reader import (
    read_dkms_pair,
    read_machine,
    read_secure_boot,
)
from ansible_collections.gpulab.workstation.plugins.module_utils._job import log_path
from ansible_collections.gpulab.workstation.plugins.module_utils._plan import Plan, Step
from ansible_collections.gpulab.workstation.plugins.module_utils._reading import Reading

KEPT = ".before-gpulab"
_HASHES = "/run/gpulab/mok-hash"
_STAGED = "is already in the enrollment request"
# shim's lists of certificates, whole since Linux 5.10 or as a variable, and mokutil's request (shim, MokVars.txt).
_ENROLLED = (
    "/sys/firmware/efi/mok-variables/MokListRT",
    "/sys/firmware/efi/efivars/MokListRT-605dab50-e046-4300-abb6-3dd810dd8b23",
)
_REQUESTED = "/sys/firmware/efi/efivars/MokNew-605dab50-e046-4300-abb6-3dd810dd8b23"
_TOOL_LIMIT_S = 60.0
_TOOLS = {"mokutil": "mokutil", "openssl": "openssl"}  # packages by program
# Without it the dkms there, 2.8.7, leaves modules unsigned and says nothing (sign_build in its source).
_TOOLS_OF_JAMMY = {"kmodsign": "sbsigntool"}
_SHORTEST_PASSWORD = 8  # MokManager takes 8 to 16 characters from `mokutil --import` (mokutil.c, PASSWORD_MIN and MAX)
_LONGEST_PASSWORD = 16


@dataclass(frozen=True)
class SigningState:
    """The pair that is there, and what the firmware and its list of requests know of the wanted certificate."""

    secure_boot: SecureBoot
    own_kernel: bool
    key_path: str
    certificate_path: str
    key_sha256: str | None
    certificate_sha256: str | None
    kept: tuple[bool, bool]  # whether the host's own key and certificate lie beside them already
    enrolled: bool | None  # None where nobody could tell
    staged: bool
    missing: tuple[str, ...]  # packages whose programs are not there

    @property
    def enforced(self) -> bool:
        """Whether this host's kernel loads only what the firmware's keys have signed."""
        return self.own_kernel and self.secure_boot.state == "on"


@dataclass(frozen=True)
class ModuleSigning:
    """Component of the module module_signing."""

    present: bool
    key: str
    certificate: bytes
    password: str

    name: t.ClassVar[str] = "module_signing"

    @classmethod
    def from_params(cls, params: t.Mapping[str, t.Any]) -> ModuleSigning:
        """Take the module's options; half a pair or something else than PEM is refused."""
        key, certificate = params["key"].strip(), params["certificate"].strip()
        if bool(key) != bool(certificate):
            raise _refused(f"only the {'key' if key else 'certificate'} of the lab's pair is given", "both or neither")
        if key and "PRIVATE KEY-----" not in key:
            raise _refused("module_signing_key is no private key", "PEM, not encrypted (the vault keeps it)")
        if "ENCRYPTED" in key:
            raise _refused("module_signing_key is encrypted", "a key that DKMS can use alone; the vault keeps it")
        return cls(
            present=params["state"] == "present" and bool(key),
            key=f"{key}\n" if key else "",
            certificate=parse_certificate(certificate) if certificate else b"",
            password=params["password"],
        )

    def read(self, host: Host) -> SigningState:
        """Read what is there; without a wanted pair only the state of Secure Boot."""
        reading = Reading(host)
        secure_boot = read_secure_boot(reading)
        system = parse_os_release(reading.text("/etc/os-release") or "")
        key_path, certificate_path = read_dkms_pair(reading, system)
        tools = {**_TOOLS, **(_TOOLS_OF_JAMMY if system.release == "ubuntu 22.04" else {})}
        certificate = host.sha256(certificate_path)
        enrolled, staged = None, False
        if self.certificate and secure_boot.state == "on":
            same = certificate == hashlib.sha256(self.certificate).hexdigest()
            enrolled, staged = _ask_firmware(host, certificate_path) if same else _look(host, self.certificate)
        return SigningState(
            secure_boot=secure_boot,
            own_kernel=read_machine(reading).kind != "container",
            key_path=key_path,
            certificate_path=certificate_path,
            key_sha256=host.sha256(key_path),
            certificate_sha256=certificate,
            kept=(host.exists(key_path + KEPT), host.exists(certificate_path + KEPT)),
            enrolled=enrolled,
            staged=staged,
            missing=tuple(sorted(package for program, package in tools.items() if host.which(program) is None)),
        )

    def plan(self, state: SigningState) -> Plan:
        """Decide what to write, and whether the certificate has to be put on the firmware's list of requests."""
        steps = self._present(state) if self.present else self._absent(state)
        before = {"certificate_sha256": state.certificate_sha256, "staged": state.staged}
        wanted = hashlib.sha256(self.certificate).hexdigest() if self.present else None
        staged = state.staged or any(step.action == "stage" for step in steps)
        after = {"certificate_sha256": wanted, "staged": staged} if steps else before
        return Plan(tuple(steps), before, after)

    def _present(self, state: SigningState) -> list[Step]:
        steps = []
        if state.enforced and state.missing:
            names = list(state.missing)
            steps.append(Step("packages", f"Install packages: {', '.join(names)}", {"names": names}))
        pair = (
            ("key", state.key_path, state.key_sha256, self.key.encode()),
            ("certificate", state.certificate_path, state.certificate_sha256, self.certificate),
        )
        wrong = [
            (what, path, found is not None and not kept)
            for (what, path, found, content), kept in zip(pair, state.kept, strict=True)
            if found != hashlib.sha256(content).hexdigest()
        ]
        steps += [Step("keep", f"Keep the host's own {path}", {"path": path}) for _, path, keep in wrong if keep]
        for what, path, _keep in wrong:
            steps.append(Step("write", f"Write the lab's {what} to {path}", {"what": what, "path": path}))
        if state.enforced and not state.staged and not state.enrolled:
            steps.append(Step("stage", "Ask the firmware to enrol the lab's certificate, unless it trusts it already"))
        return steps

    def _absent(self, state: SigningState) -> list[Step]:
        """Remove the lab's pair, where one was named or the host's own was kept, and put the host's own back.

        The certificate goes last; a run that was killed before it finds the host's own key there already.
        """
        if not (self.certificate and state.certificate_sha256 == hashlib.sha256(self.certificate).hexdigest()):
            return []
        return [
            Step("restore", f"Remove {path} of the lab, with the host's own back in its place", {"path": path})
            for path, found, lab in (
                (state.key_path, state.key_sha256, self.key.encode()),
                (state.certificate_path, state.certificate_sha256, self.certificate),
            )
            if found == hashlib.sha256(lab).hexdigest()
        ]

    def apply(self, host: Host, step: Step, _progress: t.Callable[[str], None]) -> None:
        """Make one change; each may be made again."""
        path = step.params.get("path", "")
        if step.action == "packages":
            _apt.install(host, step.params["names"], log_path(self.name))
        elif step.action == "keep":
            host.rename(path, path + KEPT)
        elif step.action == "write":
            host.make_dirs(path.rsplit("/", 1)[0], mode=0o700)
            if step.params["what"] == "key":
                host.write_text(path, self.key, mode=0o600)
            else:
                host.write_chunks(f"{path}.new", [self.certificate])
                host.chmod(f"{path}.new", 0o644)
                host.rename(f"{path}.new", path)
        elif step.action == "restore":
            host.remove(path)
            if host.exists(path + KEPT):
                host.rename(path + KEPT, path)
        else:
            self._stage(host)

    def _stage(self, host: Host) -> None:
        """Put the certificate on the list that MokManager offers at the next start, under the one-time password."""
        _key, path = read_dkms_pair(Reading(host), parse_os_release(host.read_text("/etc/os-release") or ""))
        enrolled, staged = _ask_firmware(host, path)
        if enrolled or staged:
            return
        if not _SHORTEST_PASSWORD <= len(self.password) <= _LONGEST_PASSWORD:
            raise OperatorError(
                found="Secure Boot is on, the lab's key is not enrolled on this host, and module_signing_password has"
                f" {len(self.password)} characters.",
                expected=f"{_SHORTEST_PASSWORD} to {_LONGEST_PASSWORD}, which somebody types once at the console.",
                action="set gpulab_signing.password and run again; the firmware has not been asked for anything.",
            )
        hashed = host.run(["openssl", "passwd", "-6", "-stdin"], stdin=self.password + "\n", timeout_s=_TOOL_LIMIT_S)
        if not hashed.ok or not hashed.stdout.startswith("$6$"):
            raise _failed(f"'openssl passwd' ended with {hashed.rc}: {hashed.stderr.strip()[-200:]}")
        host.write_text(_HASHES, hashed.stdout.strip(), mode=0o600)
        try:
            done = host.run(["mokutil", "--import", path, "--hash-file", _HASHES], timeout_s=_TOOL_LIMIT_S)
        finally:
            host.remove(_HASHES)
        if not done.ok:
            raise _failed(f"'mokutil --import' ended with {done.rc}: {(done.stderr or done.stdout).strip()[-200:]}")

    def report(self, state: SigningState) -> dict[str, t.Any]:
        """Return the outcome, one of the four that an admin has to tell apart."""
        return {
            "outcome": outcome(state, present=self.present),
            "secure_boot": state.secure_boot.state,
            "certificate": state.certificate_path if self.present else None,
        }


def outcome(state: SigningState, *, present: bool) -> str:
    """Return off, unreadable, unmanaged (on, and no lab key is named), enrolled or console_visit."""
    if not state.own_kernel or state.secure_boot.state in ("off", "not_uefi"):
        return "off"
    if state.secure_boot.state != "on":
        return "unreadable"
    if not present:
        return "unmanaged"
    return "enrolled" if state.enrolled else "console_visit"


def parse_certificate(text: str) -> bytes:
    """Return the DER bytes of a PEM certificate."""
    found = re.search(r"-----BEGIN CERTIFICATE-----(.+?)-----END CERTIFICATE-----", text, re.DOTALL)
    try:
        data = base64.b64decode("".join(found[1].split()), validate=True) if found else b""
    except binascii.Error:
        data = b""
    if not data.startswith(b"\x30"):
        raise _refused("module_signing_certificate is no certificate", "one certificate in PEM")
    return data


def _ask_firmware(host: Host, certificate: str) -> tuple[bool | None, bool]:
    """Return whether a certificate is enrolled and whether it waits for that, by mokutil's words."""
    done = host.run(["mokutil", "--test-key", certificate], timeout_s=_TOOL_LIMIT_S)
    words = done.stdout + done.stderr
    return parse_mokutil_test_key(words), _STAGED in words


def _look(host: Host, certificate: bytes) -> tuple[bool | None, bool]:
    """Return the same of a certificate that is not on the disk (yet), which is what mokutil would have to be given."""
    lists = [content for path in _ENROLLED if (content := host.read_bytes(path)) is not None]
    enrolled = any(certificate in content for content in lists) if lists else None
    return enrolled, certificate in (host.read_bytes(_REQUESTED) or b"")


def _refused(found: str, expected: str) -> OperatorError:
    return OperatorError(
        found=f"{found}.",
        expected=f"{expected}.",
        action="correct gpulab_signing; 'gpulab signing-key' makes a new pair. Nothing has been changed.",
    )


def _failed(found: str) -> OperatorError:
    return OperatorError(
        found=f"{found}.",
        expected="a request to the firmware.",
        action="cure what it says (is efivarfs mounted and writable: 'findmnt /sys/firmware/efi/efivars'?), run again.",
    )


__all__ = ["KEPT", "ModuleSigning", "SigningState", "outcome", "parse_certificate"]
