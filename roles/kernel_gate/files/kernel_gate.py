# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lets no machine start a kernel that has no NVIDIA module: run by the kernel packages' hooks, after DKMS, and at boot.

Each installed kernel is asked for the modules of the driver that gpulab has proven on this machine. As long as GRUB's
choice (what GRUB_DEFAULT names, else the first of its menu) has none, a drop-in makes the first one with modules the
choice, the message of the day and the local fact gpulab_kernel say so; once it has them, all of that goes away again.
Kernels are never held back.

It must not break a package installation: `--hook` always ends with status 0. `--dry-run` prints what it would do.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import re
import struct
import subprocess
import sys
import tempfile
import uuid
from dataclasses import asdict, dataclass, field

PROVEN = "var/lib/gpulab/driver/proven.json"
SELECTION = "etc/default/grub.d/99-gpulab-kernel.cfg"
MESSAGE = "etc/motd.d/50-gpulab-kernel"
FACT = "etc/ansible/facts.d/gpulab_kernel.fact"
SECURE_BOOT = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
# Whether validation was disabled in shim (mokutil --disable-validation): then the kernel takes Secure Boot for off, if
# the variable is not one that a reboot keeps, the first bit of its attributes (Linux, secureboot.c of its EFI stub).
SHIMS_STATE = "sys/firmware/efi/efivars/MokSBStateRT-605dab50-e046-4300-abb6-3dd810dd8b23"
# The certificates that a machine's owner has enrolled, as shim passes them on: a file of the kernel's own (since Linux
# 5.10, whole), else the variable, with four bytes of attributes before its value; and those of the firmware.
ENROLLED = (
    ("sys/firmware/efi/mok-variables/MokListRT", 0),
    ("sys/firmware/efi/efivars/MokListRT-605dab50-e046-4300-abb6-3dd810dd8b23", 4),
)
FIRMWARES_OWN = "sys/firmware/efi/efivars/db-d719b2cb-3d3a-4596-a3bc-dad00e67656f"
X509 = uuid.UUID("a5c059a1-94e4-4aa7-87b5-ab155c2bf072").bytes_le  # EFI_CERT_X509_GUID (UEFI 2.10, 32.4.1)
GUID_BYTES = 16
GRUB_MENU = "boot/grub/grub.cfg"
GRUB_SETTINGS, GRUB_PARTS = "etc/default/grub", "etc/default/grub.d"
GRUB_ENVIRONMENT = "boot/grub/grubenv"
READ_DEFAULT = """for part; do [ -r "$part" ] && . "$part"; done > /dev/null 2>&1; printf %s "$GRUB_DEFAULT\""""
MODULES = ("nvidia", "nvidia-modeset", "nvidia-drm", "nvidia-uvm")
SECURE_BOOT_ON = 1  # fifth byte of the variable, after four of attributes (UEFI specification 2.10, 3.3)
UNSIGNED = ", and Secure Boot is on"
DER_INTEGER, DER_VERSION, DER_LONG = 0x02, 0xA0, 0x80
TOOL_LIMIT_S = 120
GRUB_LIMIT_S = 600


@dataclass(frozen=True)
class Verdict:
    """What a machine would start: `state` is ok, held, stranded (no kernel has modules), no_driver or no_kernel.

    `newest` is what GRUB starts without us: the kernel that GRUB_DEFAULT names, as a rule the newest.
    """

    state: str
    driver: str = ""
    newest: str = ""
    choice: str = ""
    problems: dict[str, str] = field(default_factory=dict)


def kernel_order(release: str) -> list[tuple[int, int, str]]:
    """Return a key that orders kernels as GRUB does where it knows no flavours (sort -V): numbers by value."""
    return [(1, int(part), "") if part.isdigit() else (0, 0, part) for part in re.findall(r"\d+|\D+", release)]


def boot_order(kernels: list[str], menu: str) -> list[str]:
    """Order kernels as GRUB's menu has them, of which it starts the first; one that it lacks comes by its version.

    Versions alone do not tell: Ubuntu's GRUB_FLAVOUR_ORDER puts a flavour before all others.
    """
    listed = re.findall(r"^\s*menuentry .*\$menuentry_id_option 'gnulinux-(\S+?)-advanced-", menu, re.MULTILINE)
    ordered = [kernel for kernel in dict.fromkeys(listed) if kernel in kernels]
    for kernel in sorted(set(kernels) - set(ordered), key=kernel_order):
        older = (at for at, other in enumerate(ordered) if kernel_order(other) < kernel_order(kernel))
        ordered.insert(next(older, len(ordered)), kernel)
    return ordered


def judge(ordered: list[str], driver: str, problems: dict[str, str], wished: str = "") -> Verdict:
    """Decide which of the kernels, in GRUB's order, to start; `problems` says why a kernel's modules would not do.

    `wished` is the kernel that the machine's owner has told GRUB to start, empty where GRUB starts the first.
    """
    if not driver:
        return Verdict("no_driver")
    if not ordered:
        return Verdict("no_kernel", driver)
    newest = wished if wished in ordered else ordered[0]
    told = {kernel: problems[kernel] for kernel in ordered if problems.get(kernel)}
    if newest not in told:
        return Verdict("ok", driver, newest, newest, told)
    good = [kernel for kernel in ordered if kernel not in told]
    return Verdict("held" if good else "stranded", driver, newest, good[0] if good else newest, told)


def module_problem(
    kernel: str,
    driver: str,
    fields: dict[str, dict[str, str]],
    *,
    signed_only: bool,
    trusted: frozenset[int] | None = None,
) -> str:
    """Say why a kernel would not load the driver's modules, from modinfo's fields by module; empty where it would.

    `trusted` has the serial numbers of the certificates that the firmware knows, None where nobody can tell.
    """
    for module in MODULES:
        found = fields.get(module)
        if not found:
            return f"it has no {module} module"
        if found.get("version") != driver:
            return f"its {module} module is of driver {found.get('version') or 'unknown'}"
        magic = found.get("vermagic", "").split(" ")[0]
        if magic != kernel:
            return f"its {module} module was built for {magic or 'an unknown kernel'}"
        if signed_only and (told := signature_problem(found, trusted)):
            return f"its {module} module is {told}{UNSIGNED}"
    return ""


def signature_problem(found: dict[str, str], trusted: frozenset[int] | None) -> str:
    """Say what is wrong with a module's signature: modinfo's sig_key is the serial number of its certificate."""
    if not found.get("signer"):
        return "not signed"
    try:
        serial = int(found.get("sig_key", "").replace(":", ""), 16)
    except ValueError:
        return ""
    if trusted is None or serial in trusted:
        return ""
    return f"signed by '{found['signer']}' with a key that is not enrolled"


def certificates(lists: bytes) -> list[bytes]:
    """Return the certificates of EFI signature lists (UEFI 2.10, 32.4.1)."""
    found, at, head = [], 0, struct.Struct("<16s3I")
    while at + head.size <= len(lists):
        kind, size, extra, each = head.unpack_from(lists, at)
        if size < head.size:
            break
        if kind == X509 and each > GUID_BYTES:  # before each certificate stands its owner
            starts = range(at + head.size + extra, min(at + size, len(lists)) - each + 1, each)
            found += [lists[start + GUID_BYTES : start + each] for start in starts]
        at += size
    return found


def serial_number(certificate: bytes) -> int | None:
    """Return a certificate's serial number: the first INTEGER in it, behind its version (RFC 5280, 4.1)."""
    try:
        _, at, _ = der_element(certificate, 0)
        _, at, _ = der_element(certificate, at)
        tag, at, end = der_element(certificate, at)
        if tag == DER_VERSION:
            tag, at, end = der_element(certificate, end)
    except IndexError:
        return None
    return int.from_bytes(certificate[at:end], "big") if tag == DER_INTEGER else None


def der_element(data: bytes, at: int) -> tuple[int, int, int]:
    """Return an element's tag, and where its content begins and ends (X.690, 8.1.3)."""
    length, begin = data[at + 1], at + 2
    if length & DER_LONG:
        size = length ^ DER_LONG
        length, begin = int.from_bytes(data[begin : begin + size], "big"), begin + size
    return data[at], begin, begin + length


def menu_entry(menu: str, kernel: str) -> str:
    """Return GRUB's name for a kernel's normal entry, with the submenu it is in; empty where the menu has none.

    GRUB names entries by id, joined by '>' (GRUB manual, "default").
    """
    submenu = ""
    for line in menu.splitlines():
        found = re.search(r"\$menuentry_id_option '([^']+)'", line)
        if not found:
            continue
        if line.lstrip().startswith("submenu "):
            submenu = found[1]
        elif found[1].startswith(f"gnulinux-{kernel}-advanced-"):
            return f"{submenu}>{found[1]}" if submenu and line.startswith((" ", "\t")) else found[1]
    return ""


@dataclass
class Entry:
    """An entry of GRUB's menu, with those of its own where it is a submenu."""

    title: str
    ident: str
    kernel: str = ""
    entries: list[Entry] = field(default_factory=list)


def menu_entries(menu: str) -> list[Entry]:
    """Read grub.cfg as grub-mkconfig writes it: what is indented belongs to the submenu above."""
    top: list[Entry] = []
    last = Entry("", "")
    for line in menu.splitlines():
        found = re.match(r"(\s*)(?:menuentry|submenu)\s+(['\"])(.*?)\2(.*)", line)
        if found:
            ident = re.search(r"\$menuentry_id_option '([^']+)'", found[4])
            last = Entry(found[3], ident[1] if ident else "")
            (top[-1].entries if found[1] and top else top).append(last)
        elif image := re.match(r"\s*linux(?:efi|16)?\s+\S*vmlinuz-(\S+)", line):
            last.kernel = last.kernel or image[1]
    return top


def named_entry(entries: list[Entry], name: str) -> Entry | None:
    """Return the entry that GRUB_DEFAULT names; None where there is no such one.

    A name is a number, a title or an id; one in a submenu follows that of the submenu and '>' (GRUB manual, "default").
    """
    here, _, below = name.partition(">")
    if not here:
        return None
    if here.isdigit():
        found = entries[int(here)] if int(here) < len(entries) else None
    else:
        found = next((entry for entry in entries if here in (entry.title, entry.ident)), None)
    return named_entry(found.entries, below) if found and below else found


def grub_default(name: str, environment: str) -> str:
    """Return what GRUB is told to start: GRUB_DEFAULT, or where that is `saved` what grub-set-default has noted."""
    if name != "saved":
        return name
    saved = re.search(r"^saved_entry=(.*)$", environment, re.MULTILINE)
    return saved[1] if saved else ""


def selection_text(verdict: Verdict, entry: str) -> str | None:
    """Return GRUB's drop-in, None where GRUB's own choice is right."""
    if verdict.state != "held" or not entry:
        return None
    return (
        f"# Written by gpulab: {verdict.newest} has no NVIDIA module ({verdict.problems[verdict.newest]}).\n"
        f"# It goes away when that kernel has one: 'dkms autoinstall -k {verdict.newest}', then the next start or"
        " kernel-gate by hand.\n"
        f"GRUB_DEFAULT='{entry}'\n"
    )


def message_text(verdict: Verdict, entry: str) -> str | None:
    """Return what people read when they log in, None where there is nothing to say."""
    if verdict.state not in ("held", "stranded"):
        return None
    why = f"Kernel {verdict.newest} has no working NVIDIA module for driver {verdict.driver}:\n"
    why += f"{verdict.problems[verdict.newest]}.\n"
    if verdict.state == "stranded":
        then = "No other kernel has one either: the next start has no GPU.\n"
    elif entry:
        then = f"This machine starts {verdict.choice} until that is cured.\n"
    else:
        then = f"GRUB's menu has no {verdict.choice}, which has one: the next start has no GPU.\n"
    if verdict.problems[verdict.newest].endswith(UNSIGNED):
        todo = "To do: run gpulab's site.yml, which has the module signed with the lab's key.\n"
    else:
        todo = f"To do: read /var/lib/dkms/nvidia/{verdict.driver}/build/make.log, mostly a newer driver is needed.\n"
    return f"\n{why}{then}{todo}\n"


class System:
    """The machine; `root` is another directory in tests."""

    def __init__(self, root: str = "/") -> None:
        self.root = pathlib.Path(root)

    def text(self, path: str) -> str | None:
        """Return a file's text, None where it cannot be read."""
        try:
            return (self.root / path).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None

    def kernels(self) -> list[str]:
        """Return the kernels that could be started: an image in /boot and a directory of modules."""
        try:
            images = [path.name.removeprefix("vmlinuz-") for path in (self.root / "boot").glob("vmlinuz-*")]
        except OSError:
            return []
        return [kernel for kernel in images if (self.root / "lib/modules" / kernel).is_dir()]

    def wished(self, menu: str) -> Entry | None:
        """Return the entry that the machine's owner has told GRUB to start; None where GRUB starts its first.

        The settings are a shell's, and are read by one, as grub-mkconfig does.
        """
        parts = sorted((self.root / GRUB_PARTS).glob("*.cfg"))
        paths = [self.root / GRUB_SETTINGS, *(part for part in parts if part != self.root / SELECTION)]
        _, name = self.run("sh", "-c", READ_DEFAULT, "sh", *map(str, paths))
        return named_entry(menu_entries(menu), grub_default(name, self.text(GRUB_ENVIRONMENT) or ""))

    def driver(self) -> str:
        """Return the version of the driver that gpulab has proven here, empty where there is none."""
        try:
            return str(json.loads(self.text(PROVEN) or "{}").get("version", ""))
        except (ValueError, AttributeError):
            return ""

    def selection_in_force(self) -> str:
        """Return the menu entry that GRUB was last told to start, empty where it chooses itself."""
        try:
            return str(json.loads(self.text(FACT) or "{}").get("selection", ""))
        except (ValueError, AttributeError):
            return ""

    def signed_only(self) -> bool:
        """Tell whether Secure Boot is on, where the kernel refuses modules without a signature of a key it trusts."""
        if (self._bytes(SECURE_BOOT) or b"")[4:5] != bytes([SECURE_BOOT_ON]):
            return False
        shims = self._bytes(SHIMS_STATE) or b"\0"
        return shims[4:5] != b"\1" or bool(shims[0] & 1)

    def trusted(self) -> frozenset[int] | None:
        """Return the serial numbers of the certificates that a kernel trusts; None where no list can be read."""
        lists = [found[skip:] for path, skip in ENROLLED if (found := self._bytes(path)) is not None]
        if not lists:
            return None
        lists.append((self._bytes(FIRMWARES_OWN) or b"")[4:])
        serials = (serial_number(found) for text in lists for found in certificates(text))
        return frozenset(serial for serial in serials if serial is not None)

    def _bytes(self, path: str) -> bytes | None:
        try:
            return (self.root / path).read_bytes()
        except OSError:
            return None

    def run(self, *command: str, limit_s: int = TOOL_LIMIT_S) -> tuple[int, str]:
        """Run a tool in the C locale and return its status and what it printed."""
        settings = {**os.environ, "LC_ALL": "C", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        try:
            done = subprocess.run(
                command,
                env=settings,
                capture_output=True,
                text=True,
                timeout=limit_s,
                check=False,
                stdin=subprocess.DEVNULL,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return 127, str(error)
        return done.returncode, done.stdout + (done.stderr if done.returncode else "")

    def problem(self, kernel: str, driver: str) -> str:
        """Say why a kernel would not load the driver's modules."""
        fields = {module: self._fields(kernel, module) for module in MODULES}
        signed_only = self.signed_only()
        trusted = self.trusted() if signed_only else None
        told = module_problem(kernel, driver, fields, signed_only=signed_only, trusted=trusted)
        if told:
            return told
        for module in MODULES:
            rc, output = self.run(
                "modprobe", "--dry-run", "--set-version", kernel, "--show-depends", "--ignore-install", module
            )
            if rc:
                return f"modprobe finds not all that {module} needs: {' '.join(output.split())[:200]}"
        return ""

    def _fields(self, kernel: str, module: str) -> dict[str, str]:
        rc, output = self.run("modinfo", "-k", kernel, module)
        pairs = (line.split(":", 1) for line in output.splitlines() if ":" in line) if rc == 0 else ()
        fields: dict[str, str] = {}
        for key, value in pairs:
            fields.setdefault(key, value.strip())
        return fields

    def put(self, path: str, text: str | None) -> bool:
        """Write a file whole or remove it; return whether that changed something."""
        if self.text(path) == text:
            return False
        target = self.root / path
        if text is None:
            target.unlink(missing_ok=True)
            if path == MESSAGE:
                with contextlib.suppress(OSError):  # somebody else's messages are there
                    target.parent.rmdir()
            return True
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        pathlib.Path(name).chmod(0o644)
        pathlib.Path(name).replace(target)
        return True


def wanted_files(verdict: Verdict, entry: str) -> dict[str, str | None]:
    """Return what each file of the gate has to hold, None where there must be none."""
    fact = json.dumps({**asdict(verdict), "selection": entry}, indent=1, sort_keys=True) + "\n"
    return {
        SELECTION: selection_text(verdict, entry),
        MESSAGE: message_text(verdict, entry),
        FACT: fact if verdict.state != "no_driver" else None,
    }


def gate(system: System, *, dry_run: bool) -> dict[str, object]:
    """Look at every kernel and bring GRUB's choice, the message and the fact in line; return the account."""
    driver, kernels, menu = system.driver(), system.kernels(), system.text(GRUB_MENU) or ""
    problems = {kernel: system.problem(kernel, driver) for kernel in kernels} if driver else {}
    ordered, wished = boot_order(kernels, menu), system.wished(menu)
    if wished and not wished.kernel and not wished.entries:  # another system, or a test of the memory
        verdict = judge(ordered, driver, {})
    else:
        verdict = judge(ordered, driver, problems, wished.kernel if wished else "")
    entry = menu_entry(menu, verdict.choice) if verdict.state == "held" else ""
    files = wanted_files(verdict, entry)
    changes = [path for path, text in files.items() if system.text(path) != text]
    account: dict[str, object] = {
        "format": 1,
        **asdict(verdict),
        "changes": [f"/{path}" for path in changes],
        "error": "",
    }
    if verdict.state == "held" and not entry:
        account["error"] = f"/{GRUB_MENU} has no entry for {verdict.choice}: the choice cannot be changed"
    if dry_run:
        return account
    system.put(SELECTION, files[SELECTION])
    system.put(MESSAGE, files[MESSAGE])
    if SELECTION in changes or system.selection_in_force() != entry:
        rc, output = system.run("update-grub", limit_s=GRUB_LIMIT_S)
        if rc:
            account["error"] = f"update-grub ended with {rc}: {' '.join(output.split())[-200:]}"
            return account
    system.put(FACT, files[FACT])  # last: a run that ends before this is repeated whole
    return account


def main(arguments: list[str], root: str = "/") -> int:
    """Run once: by a hook (quiet where all is well, never failing), by hand, or as a trial."""
    hook, dry_run = "--hook" in arguments, "--dry-run" in arguments
    try:
        account = gate(System(root), dry_run=dry_run)
    except Exception as error:  # noqa: BLE001 - whatever it is, a package installation goes on
        sys.stderr.write(f"gpulab kernel gate: {type(error).__name__}: {error}\n")
        return 0 if hook else 1
    if not hook:
        sys.stdout.write(json.dumps(account) + "\n")
        return 1 if account["error"] else 0
    words = []
    if account["state"] in ("held", "stranded"):
        problems = account["problems"]
        why = problems[account["newest"]] if isinstance(problems, dict) else ""
        words.append(f"kernel {account['newest']}: {why}; the next start uses {account['choice']}")
    if account["error"]:
        words.append(str(account["error"]))
    with contextlib.suppress(OSError):
        sys.stderr.writelines(f"gpulab kernel gate: {line}\n" for line in words)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
