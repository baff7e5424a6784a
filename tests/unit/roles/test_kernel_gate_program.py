# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program of the kernel gate: which kernel a machine starts, and what it writes for that."""

from __future__ import annotations

import importlib.util
import json
import ssl
import struct
import sys
import typing as t
from pathlib import Path

import pytest
from cryptography import x509

from gpulab.commands.signing_key import make_pair

PATH = Path(__file__).parents[3] / "roles/kernel_gate/files/kernel_gate.py"
spec = importlib.util.spec_from_file_location("kernel_gate_program", PATH)
assert spec is not None
assert spec.loader is not None
program = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = program
spec.loader.exec_module(program)

OLD, NEW, NEWEST = "6.1.0-9-amd64", "6.1.0-10-amd64", "6.1.0-50-amd64"
DRIVER = "580.178.04"
UUID = "0f3c2f38-2b7e-4f0a-9a52-6a1d2f7f7b11"
MENU = f"""\
set default="0"
menuentry 'Debian GNU/Linux' --class debian $menuentry_id_option 'gnulinux-simple-{UUID}' {{
\tlinux\t/boot/vmlinuz-{NEW} root=UUID={UUID} ro quiet
}}
submenu 'Advanced options for Debian GNU/Linux' $menuentry_id_option 'gnulinux-advanced-{UUID}' {{
\tmenuentry 'Debian GNU/Linux, with Linux {NEW}' --class debian $menuentry_id_option 'gnulinux-{NEW}-advanced-{UUID}' {{
\t}}
\tmenuentry 'Linux {NEW} (recovery mode)' --class debian $menuentry_id_option 'gnulinux-{NEW}-recovery-{UUID}' {{
\t}}
\tmenuentry 'Debian GNU/Linux, with Linux {OLD}' --class debian $menuentry_id_option 'gnulinux-{OLD}-advanced-{UUID}' {{
\t\tlinux\t/vmlinuz-{OLD} root=UUID={UUID} ro quiet
\t}}
}}
menuentry "Another system" --class windows {{
}}
"""


def fields(kernel: str, **more: str) -> dict[str, dict[str, str]]:
    good = {"version": DRIVER, "vermagic": f"{kernel} SMP preempt mod_unload", "signer": "lab"}
    return {module: {**good, **more} for module in program.MODULES}


@pytest.mark.parametrize(
    ("problems", "state", "choice"),
    [
        ({}, "ok", NEW),
        ({OLD: "none"}, "ok", NEW),
        ({NEW: "none"}, "held", OLD),
        ({NEW: "none", OLD: "none"}, "stranded", NEW),
    ],
    ids=["all-good", "old-one-bad", "newest-bad", "all-bad"],
)
def test_the_newest_kernel_with_modules_is_started(problems: dict[str, str], state: str, choice: str) -> None:
    verdict = program.judge([NEW, OLD], DRIVER, problems)
    assert (verdict.state, verdict.newest, verdict.choice) == (state, NEW, choice)


def test_without_a_proven_driver_nothing_is_decided() -> None:
    assert program.judge([OLD, NEW], "", {}).state == "no_driver"
    assert program.judge([], DRIVER, {}).state == "no_kernel"


def test_kernels_are_ordered_by_number_not_by_letter() -> None:
    assert sorted([NEWEST, OLD, NEW], key=program.kernel_order) == [OLD, NEW, NEWEST]
    assert sorted(["6.8.0-100-generic", "6.14.0-3-generic", "6.8.0-9-generic"], key=program.kernel_order) == [
        "6.8.0-9-generic", "6.8.0-100-generic", "6.14.0-3-generic",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("found", "signed_only", "words"),
    [
        (fields(NEW), True, ""),
        ({}, False, "no nvidia module"),
        ({**fields(NEW), "nvidia-uvm": {}}, False, "no nvidia-uvm module"),
        (fields(NEW, version="570.144"), False, "of driver 570.144"),
        (fields(NEW, vermagic=f"{OLD} SMP"), False, f"built for {OLD}"),
        (fields(NEW, signer=""), True, "not signed"),
        (fields(NEW, signer=""), False, ""),
    ],
    ids=["good", "none", "one-missing", "other-driver", "other-kernel", "unsigned", "unsigned-allowed"],
)
def test_what_a_kernel_would_not_load(found: t.Any, signed_only: bool, words: str) -> None:  # noqa: FBT001
    told = program.module_problem(NEW, DRIVER, found, signed_only=signed_only)
    assert words in told
    assert bool(words) == bool(told)


def test_kernels_come_in_the_order_of_grubs_menu() -> None:
    """As a menu has them in which GRUB_FLAVOUR_ORDER puts a flavour first; a new kernel may not be in it yet."""
    lines = MENU.splitlines(keepends=True)
    flavour_first = "".join([*lines[:4], *lines[8:10], *lines[4:8], *lines[10:]])
    assert program.boot_order([NEW, OLD], flavour_first) == [OLD, NEW]
    assert program.boot_order([OLD, NEW], MENU) == [NEW, OLD]
    assert program.boot_order([OLD, NEWEST, NEW], MENU) == [NEWEST, NEW, OLD]
    assert program.boot_order([NEW], MENU) == [NEW]
    flat = "".join(line.lstrip("\t") for line in flavour_first.splitlines(keepends=True) if "submenu" not in line)
    assert program.boot_order([NEW, OLD], flat) == [OLD, NEW]
    assert program.boot_order([OLD, NEWEST, NEW], "") == [NEWEST, NEW, OLD]


def test_the_menu_entry_is_named_with_its_submenu() -> None:
    assert program.menu_entry(MENU, OLD) == f"gnulinux-advanced-{UUID}>gnulinux-{OLD}-advanced-{UUID}"
    assert program.menu_entry(MENU, NEWEST) == ""
    flat = f"menuentry 'x' $menuentry_id_option 'gnulinux-{OLD}-advanced-{UUID}' {{\n}}\n"
    assert program.menu_entry(flat, OLD) == f"gnulinux-{OLD}-advanced-{UUID}"


def key_of(serial: int) -> str:
    """Write a serial number as modinfo does."""
    digits = f"{serial:x}"
    return bytes.fromhex(digits.zfill(len(digits) + len(digits) % 2)).hex(":").upper()


@pytest.mark.parametrize(
    ("key", "trusted", "words"),
    [
        (key_of(0xA1B2C3), {7, 0xA1B2C3}, ""),
        (key_of(0xA1B2C4), {7, 0xA1B2C3}, "is signed by 'lab' with a key that is not enrolled, and Secure Boot is on"),
        (key_of(0xA1B2C3), set(), "not enrolled"),
        (key_of(0xA1B2C4), None, ""),
        ("", {7}, ""),
    ],
    ids=["enrolled", "another", "nothing-enrolled", "list-unread", "key-unread"],
)
def test_a_signature_of_a_key_that_nobody_enrolled_is_none(key: str, trusted: set[int] | None, words: str) -> None:
    found = fields(NEW, sig_key=key)
    known = None if trusted is None else frozenset(trusted)
    told = program.module_problem(NEW, DRIVER, found, signed_only=True, trusted=known)
    assert words in told
    assert bool(words) == bool(told)
    assert program.module_problem(NEW, DRIVER, found, signed_only=False, trusted=known) == ""


def certificate(name: str) -> bytes:
    return ssl.PEM_cert_to_DER_cert(make_pair(name)[1])


def signature_list(*entries: bytes, kind: bytes = program.X509) -> bytes:
    """Return an EFI signature list; its entries are of one size (UEFI 2.10, 32.4.1)."""
    each = 16 + len(entries[0])
    head = struct.pack("<16s3I", kind, 28 + each * len(entries), 0, each)
    return head + b"".join(b"o" * 16 + entry for entry in entries)


@pytest.fixture(scope="module")
def ours() -> bytes:
    return certificate("lab")


@pytest.fixture(scope="module")
def shims() -> bytes:
    return certificate("a distribution")


def test_the_keys_that_a_firmware_trusts(tmp_path: Path, ours: bytes, shims: bytes) -> None:
    found = program.System(str(tmp_path))
    assert found.trusted() is None
    hashes = signature_list(b"h" * 32, b"i" * 32, kind=b"s" * 16)
    (shims_file, _), (variable, _) = program.ENROLLED
    for path, content in ((shims_file, signature_list(shims)), (variable, b"attr" + hashes + signature_list(ours))):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)
    serials = {x509.load_der_x509_certificate(one).serial_number for one in (ours, shims)}
    assert found.trusted() == serials
    own = certificate("a board")
    (tmp_path / program.FIRMWARES_OWN).write_bytes(b"attr" + signature_list(own))
    assert found.trusted() == {*serials, x509.load_der_x509_certificate(own).serial_number}


@pytest.mark.parametrize("length", range(0, 120, 7))
def test_a_list_that_is_cut_short_is_read_as_far_as_it_goes(length: int, ours: bytes) -> None:
    assert program.certificates(signature_list(ours)[:length]) == []
    assert program.serial_number(ours[: min(length, 4)]) is None
    assert program.certificates(bytes(length)) == []


class Machine(program.System):  # type: ignore[misc, name-defined]
    """A machine of files, with the modules in a table and a GRUB that notes what it was asked to do."""

    def __init__(self, root: Path, modules: dict[str, str]) -> None:
        super().__init__(str(root))
        self.modules = modules
        self.grub: list[str | None] = []
        self.grub_status = 0
        self.key = ""

    def run(self, *command: str, limit_s: int = 0) -> tuple[int, str]:  # noqa: ARG002
        if command[0] == "modinfo":
            version = self.modules.get(command[2])
            text = f"version: {version}\nvermagic: {command[2]} SMP\nsigner: lab\nsig_key: {self.key}\n"
            return (0, text) if version else (1, "not found")
        if command[0] == "update-grub":
            self.grub.append(self.text(program.SELECTION))
            return self.grub_status, "no space left on device"
        if command[0] == "sh":
            return super().run(*command)  # type: ignore[no-any-return]
        assert command[0] == "modprobe"
        return 0, ""


def machine(root: Path, **modules: str) -> Machine:
    for kernel in (OLD, NEW):
        (root / "lib/modules" / kernel).mkdir(parents=True)
        (root / "boot").mkdir(exist_ok=True)
        (root / f"boot/vmlinuz-{kernel}").write_text("")
    for path, text in ((program.PROVEN, json.dumps({"version": DRIVER})), (program.GRUB_MENU, MENU)):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return Machine(root, modules or {OLD: DRIVER})


def test_a_kernel_without_modules_is_not_started_and_everybody_is_told(tmp_path: Path) -> None:
    found = machine(tmp_path)
    account = program.gate(found, dry_run=False)
    assert (account["state"], account["choice"], account["error"]) == ("held", OLD, "")
    assert found.grub == [found.text(program.SELECTION)]
    assert f"GRUB_DEFAULT='gnulinux-advanced-{UUID}>gnulinux-{OLD}-advanced-{UUID}'" in found.grub[0]
    assert f"This machine starts {OLD}" in (found.text(program.MESSAGE) or "")
    assert json.loads(found.text(program.FACT) or "")["state"] == "held"
    assert program.gate(found, dry_run=True)["changes"] == []
    assert len(found.grub) == 1


def test_a_kernel_whose_modules_another_key_has_signed_is_not_started(tmp_path: Path, ours: bytes) -> None:
    found = machine(tmp_path, **{NEW: DRIVER})
    mine = x509.load_der_x509_certificate(ours).serial_number
    for path, content in ((program.SECURE_BOOT, b"attr\x01"), (program.ENROLLED[0][0], signature_list(ours))):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)
    found.key = key_of(mine)
    assert program.gate(found, dry_run=False)["state"] == "ok"
    found.key = key_of(mine + 1)
    assert program.gate(found, dry_run=False)["state"] == "stranded"
    assert "signed by 'lab' with a key that is not enrolled" in (found.text(program.MESSAGE) or "")
    assert "To do: run gpulab's site.yml" in (found.text(program.MESSAGE) or "")


def test_secure_boot_without_shims_validation_asks_for_no_signature(tmp_path: Path) -> None:
    found = machine(tmp_path, **{NEW: DRIVER})
    for path, content in ((program.SECURE_BOOT, b"attr\x01"), (program.ENROLLED[0][0], b"")):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)
    found.key = key_of(7)
    states = []
    for shims in (b"\x06\0\0\0\0", b"\x06\0\0\0\1", b"\x07\0\0\0\1"):
        (tmp_path / program.SHIMS_STATE).write_bytes(shims)
        states.append(program.gate(found, dry_run=True)["state"])
    assert states == ["stranded", "ok", "stranded"]


PINNED = f"gnulinux-advanced-{UUID}>gnulinux-{OLD}-advanced-{UUID}"


@pytest.mark.parametrize(
    ("settings", "part", "saved", "kernel"),
    [
        ("GRUB_DEFAULT=0", "", "", NEW),
        ("GRUB_DEFAULT='1>2'", "", "", OLD),
        ('GRUB_DEFAULT="1>2"\nGRUB_TIMEOUT=5', "", "", OLD),
        (f"GRUB_DEFAULT='Advanced options for Debian GNU/Linux>Debian GNU/Linux, with Linux {OLD}'", "", "", OLD),
        (f"GRUB_DEFAULT='{PINNED}'", "", "", OLD),
        (f"GRUB_DEFAULT='{PINNED}'", "GRUB_DEFAULT=0", "", NEW),
        ("GRUB_DEFAULT=saved", "", PINNED, OLD),
        ('GRUB_DEFAULT="1>2"  # the old one', "", "", OLD),
        ("which=2\nexport GRUB_DEFAULT=1\\>$which", "", "", OLD),
        ("GRUB_DEFAULT=saved", "", "", ""),
        ("# GRUB_DEFAULT=1", "", "", ""),
        ("GRUB_DEFAULT=2", "", "", ""),
        ("GRUB_DEFAULT=1", "", "", ""),
        ("GRUB_DEFAULT=7", "", "", ""),
        ("GRUB_DEFAULT='1>9'", "", "", ""),
        ("GRUB_DEFAULT=gone", "", "", ""),
    ],
    ids=["first", "numbers", "quotes", "titles", "ids", "a-later-part", "saved", "with-a-comment", "with-a-variable",
         "nothing-saved", "a-comment",
         "another-system", "a-submenu", "too-far", "too-far-below", "gone"],
)  # fmt: skip
def test_the_kernel_that_the_owner_has_told_grub_to_start(
    tmp_path: Path, settings: str, part: str, saved: str, kernel: str
) -> None:
    found = machine(tmp_path)
    texts = {program.GRUB_SETTINGS: settings, f"{program.GRUB_PARTS}/50-lab.cfg": part,
             program.SELECTION: "GRUB_DEFAULT='1>1'", program.GRUB_ENVIRONMENT: f"saved_entry={saved}\n"}  # fmt: skip
    for path, text in texts.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(f"{text}\n")
    entry = found.wished(MENU)
    assert (entry.kernel if entry else "") == kernel


def test_where_another_system_is_started_grub_is_left_alone(tmp_path: Path) -> None:
    found = machine(tmp_path)
    (tmp_path / program.GRUB_SETTINGS).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / program.GRUB_SETTINGS).write_text("GRUB_DEFAULT='Another system'\n")
    account = program.gate(found, dry_run=False)
    assert (account["state"], account["newest"], account["error"]) == ("ok", NEW, "")
    assert (found.text(program.SELECTION), found.text(program.MESSAGE), found.grub) == (None, None, [])


def test_an_entry_without_an_id_is_not_what_an_empty_wish_means() -> None:
    assert program.named_entry(program.menu_entries("menuentry 'Rescue' {\n\tlinux /vmlinuz-1\n}\n"), "") is None


@pytest.mark.parametrize(
    ("with_modules", "state", "choice"),
    [((OLD, NEW), "ok", OLD), ((OLD,), "ok", OLD), ((NEW,), "held", NEW), ((), "stranded", OLD)],
    ids=["both", "the-old-one", "the-new-one", "none"],
)
def test_a_kernel_that_was_chosen_by_hand_is_the_one_that_counts(
    tmp_path: Path, with_modules: tuple[str, ...], state: str, choice: str
) -> None:
    found = machine(tmp_path)
    found.modules = dict.fromkeys(with_modules, DRIVER)
    (tmp_path / program.GRUB_SETTINGS).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / program.GRUB_SETTINGS).write_text(f"GRUB_DEFAULT='{PINNED}'\n")
    account = program.gate(found, dry_run=False)
    assert (account["state"], account["newest"], account["choice"]) == (state, OLD, choice)
    assert (found.text(program.SELECTION) is not None) == (state == "held")
    assert program.gate(found, dry_run=True)["changes"] == []


def test_a_cured_kernel_is_started_again(tmp_path: Path) -> None:
    found = machine(tmp_path)
    program.gate(found, dry_run=False)
    found.modules[NEW] = DRIVER
    assert program.gate(found, dry_run=True)["changes"]
    assert program.gate(found, dry_run=False)["state"] == "ok"
    assert found.grub[1:] == [None]
    assert (found.text(program.SELECTION), found.text(program.MESSAGE)) == (None, None)
    assert not (tmp_path / program.MESSAGE).parent.exists(), "nobody else has a message"


def test_the_messages_of_others_stay(tmp_path: Path) -> None:
    found = machine(tmp_path)
    other = (tmp_path / program.MESSAGE).with_name("10-of-the-lab")
    other.parent.mkdir(parents=True)
    other.write_text("hello\n")
    program.gate(found, dry_run=False)
    found.modules[NEW] = DRIVER
    program.gate(found, dry_run=False)
    assert [path.name for path in other.parent.iterdir()] == [other.name]
    assert json.loads(found.text(program.FACT) or "")["state"] == "ok"


def test_a_failing_update_grub_is_tried_again(tmp_path: Path) -> None:
    found = machine(tmp_path)
    found.grub_status = 1
    assert "no space left" in program.gate(found, dry_run=False)["error"]
    found.grub_status = 0
    assert program.gate(found, dry_run=True)["changes"] == [f"/{program.FACT}"]
    assert program.gate(found, dry_run=False)["error"] == ""
    assert len(found.grub) == 2


def test_a_menu_without_the_kernel_is_told_and_promises_nothing(tmp_path: Path) -> None:
    found = machine(tmp_path)
    (tmp_path / program.GRUB_MENU).write_text("set default=0\n")
    account = program.gate(found, dry_run=False)
    assert "has no entry" in account["error"]
    assert found.text(program.SELECTION) is None
    assert "the next start has no GPU" in (found.text(program.MESSAGE) or "")


def test_without_a_driver_nothing_is_left_behind(tmp_path: Path) -> None:
    found = machine(tmp_path)
    program.gate(found, dry_run=False)
    (tmp_path / program.PROVEN).unlink()
    program.gate(found, dry_run=False)
    assert [found.text(path) for path in (program.SELECTION, program.MESSAGE, program.FACT)] == [None] * 3


def test_a_hook_never_fails_a_package(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    machine(tmp_path)
    (tmp_path / "etc").write_text("not a directory")
    assert program.main(["--hook"], str(tmp_path)) == 0
    assert "gpulab kernel gate: " in capsys.readouterr().err
    assert program.main([], str(tmp_path)) == 1
