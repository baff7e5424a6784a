# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known about a host apart from its GPUs; text in, facts out."""

from __future__ import annotations

import re
import struct
import typing as t
from dataclasses import dataclass

# struct utmp of glibc on 64-bit Linux, utmp(5): type, pid, line, id, user, host, exit, session, time, address.
_UTMP = struct.Struct("<hxxi32s4s32s256shhiii4i20x")
_USER_PROCESS = 7
X_WITHOUT_SCREEN = frozenset({"Xvfb", "Xvnc", "Xtigervnc", "Xtightvnc", "Xvnc4", "Xdummy", "Xephyr", "Xnest"})
_EFI_VALUE = 4  # the first four bytes of a file in efivarfs are the variable's attributes
_DER_INTEGER, _DER_VERSION, _DER_LONG = 0x02, 0xA0, 0x80

TOOLS = ("sudo", "lspci", "mokutil", "modinfo", "dkms", "curl", "git")
# Where dkms looks for its pair when nobody tells it otherwise; in Ubuntu shim-signed keeps its own pair there.
DKMS_PAIR = ("/var/lib/dkms/mok.key", "/var/lib/dkms/mok.pub")
UBUNTU_PAIR = ("/var/lib/shim-signed/mok/MOK.priv", "/var/lib/shim-signed/mok/MOK.der")
_SETTING = re.compile(r"^[ \t]*(mok_signing_key|mok_certificate)=([\"']?)(/[^\s\"'$]*)\2[ \t]*(?:#.*)?$", re.MULTILINE)


@dataclass(frozen=True)
class Unreadable:
    """Something that is neither known to be there nor known to be absent."""

    what: str
    why: str


@dataclass(frozen=True)
class OperatingSystem:
    """/etc/os-release, os-release(5)."""

    id: str
    version: str
    name: str

    @property
    def release(self) -> str:
        """How it is written in lists of supported systems, ``debian 12``."""
        return f"{self.id} {self.version}".strip()


@dataclass(frozen=True)
class SigningKey:
    """A certificate that kernel modules may be signed for; enrolled is None where nobody could tell."""

    path: str
    enrolled: bool | None
    serial: int | None = None  # None where the file is no certificate in DER


@dataclass(frozen=True)
class SecureBoot:
    """Whether the firmware only lets signed kernels boot, in which case the kernel only loads signed modules."""

    state: str  # on, off, not_uefi or unreadable
    detail: str = ""
    keys: tuple[SigningKey, ...] = ()


@dataclass(frozen=True)
class Kernel:
    """An installed kernel and what building a module for it needs."""

    release: str
    image: bool
    headers: str | None
    compiler: str  # CONFIG_CC_VERSION_TEXT, empty where it could not be found


@dataclass(frozen=True)
class Place:
    """A directory that files will go to, with the file system that holds it or would."""

    path: str
    mount_point: str
    fstype: str
    free_bytes: int
    total_bytes: int
    noexec: bool
    read_only: bool


@dataclass(frozen=True)
class Session:
    """Somebody who is logged in."""

    user: str
    what: str  # for people: ssh from 10.0.0.7, desktop on seat0, left processes behind
    leader: int
    own: bool = False  # the session this code runs in


@dataclass(frozen=True)
class Machine:
    """What the system runs in: kind is container, vm, bare_metal or unknown."""

    kind: str
    name: str = ""


@dataclass(frozen=True)
class HostFacts:
    """Everything about a host that could be read; what could not be is listed beside it."""

    os: OperatingSystem
    architecture: str
    python: str
    user: str
    root: bool
    clock: float
    machine: Machine
    glibc: str | None = None
    running_kernel: str = ""
    kernels: tuple[Kernel, ...] = ()
    gcc: str | None = None  # the version that plain gcc is
    gcc_majors: tuple[int, ...] = ()  # every gcc there is, gcc-12 as 12
    secure_boot: SecureBoot = SecureBoot("unreadable")
    dkms_pair: tuple[str, str] = DKMS_PAIR  # key and certificate that DKMS signs with on this host
    named_certificates: tuple[str, ...] = ()  # of other keys that modules may be signed with, as the operator says
    places: tuple[Place, ...] = ()
    sessions: tuple[Session, ...] = ()
    display_manager: str | None = None
    desktop_running: bool = False
    tools: tuple[str, ...] = ()  # those of TOOLS that are there; systemd counts when it is running
    landmarks: tuple[str, ...] = ()  # the paths asked about that exist

    @property
    def has_own_kernel(self) -> bool:
        """Whether kernel modules are this host's business; a container runs on somebody else's kernel."""
        return self.machine.kind != "container"

    @property
    def signing_keys(self) -> tuple[SigningKey, ...]:
        """The certificates whose key may sign a module here: the one that DKMS takes, and those that were named."""
        known = (self.dkms_pair[1], *self.named_certificates)
        return tuple(key for key in self.secure_boot.keys if key.path in known)


def parse_os_release(text: str) -> OperatingSystem:
    """Read os-release(5); values may be quoted as in a shell."""
    pairs = (line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    fields = {key.strip(): value.strip().strip("\"'") for key, value in pairs}
    name = fields.get("PRETTY_NAME") or fields.get("NAME") or "an unnamed system"
    return OperatingSystem(fields.get("ID", "unknown").lower(), fields.get("VERSION_ID", ""), name)


def parse_dkms_pair(settings: str, system: OperatingSystem) -> tuple[str, str]:
    """Return key and certificate that dkms signs with (prepare_signing in its source, 3.0).

    ``settings`` are the texts of /etc/dkms/framework.conf and of framework.conf.d, which the last one decides. The
    dkms of Ubuntu 22.04, 2.8.7, does not know these settings (sign_build in its source).
    """
    named = {found[1]: found[3] for found in _SETTING.finditer(settings)}
    if system.id == "ubuntu" and (system.version == "22.04" or "mok_signing_key" not in named):
        return UBUNTU_PAIR
    return named.get("mok_signing_key", DKMS_PAIR[0]), named.get("mok_certificate", DKMS_PAIR[1])


def parse_secure_boot(variable: bytes) -> str | None:
    """Return on or off from the bytes of the EFI variable SecureBoot; None where they make no sense."""
    values = {0: "off", 1: "on"}
    return values.get(variable[_EFI_VALUE]) if len(variable) == _EFI_VALUE + 1 else None


def validates_nothing(variable: bytes) -> bool:
    """Whether shim's variable MokSBStateRT says that its owner has had validation disabled (mokutil, then the console).

    The kernel takes Secure Boot for off then, if the variable is one of shim's own making, which no reboot keeps (EFI
    stub of Linux, secureboot.c; UEFI 2.10, 8.2: EFI_VARIABLE_NON_VOLATILE is the first bit of the attributes).
    """
    return len(variable) == _EFI_VALUE + 1 and variable[_EFI_VALUE] == 1 and not variable[0] & 1


def parse_mokutil_state(text: str) -> str | None:
    """Return the state from ``mokutil --sb-state``; None where it says something else."""
    if "validation is disabled in shim" in text:
        return "off"
    if "SecureBoot enabled" in text:
        return "on"
    if "SecureBoot disabled" in text:
        return "off"
    return "not_uefi" if "EFI variables are not supported" in text else None


def parse_mokutil_test_key(text: str) -> bool | None:
    """Return whether ``mokutil --test-key FILE`` knows the key; its words are clear, its exit status is not."""
    if "is not enrolled" in text:
        return False
    return True if "is already enrolled" in text or "is enrolled" in text else None


def parse_serial_number(certificate: bytes) -> int | None:
    """Return a DER certificate's serial number: the first INTEGER in it, behind its version (RFC 5280, 4.1)."""
    try:
        _, at, _ = _der_element(certificate, 0)
        _, at, _ = _der_element(certificate, at)
        tag, at, end = _der_element(certificate, at)
        if tag == _DER_VERSION:
            tag, at, end = _der_element(certificate, end)
    except IndexError:
        return None
    return int.from_bytes(certificate[at:end], "big") if tag == _DER_INTEGER else None


def _der_element(data: bytes, at: int) -> tuple[int, int, int]:
    """Return an element's tag, and where its content begins and ends (X.690, 8.1.3)."""
    length, begin = data[at + 1], at + 2
    if length & _DER_LONG:
        size = length ^ _DER_LONG
        length, begin = int.from_bytes(data[begin : begin + size], "big"), begin + size
    return data[at], begin, begin + length


def parse_compiler(config: str) -> str:
    """Return CONFIG_CC_VERSION_TEXT of a kernel's configuration, empty where it is missing."""
    found = re.search(r'^CONFIG_CC_VERSION_TEXT="(.*)"$', config, re.MULTILINE)
    return found[1] if found else ""


def parse_proc_version(text: str) -> str:
    """Return the compiler that /proc/version names for the running kernel, empty where there is none."""
    found = re.search(r"\(((?:\S*gcc|clang)[^()]*(?:\([^()]*\)[^(),]*)?)", text)
    return found[1].strip() if found else ""


def parse_sessions(text: str, own_pids: t.Container[int]) -> tuple[Session, ...]:
    """Read ``loginctl show-session`` of several sessions: blocks of KEY=value with an empty line between."""
    sessions = []
    for block in text.strip().split("\n\n"):
        fields = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if not fields.get("Class", "").startswith("user"):  # greeter, background, manager: nobody sits there
            continue
        leader = int(fields.get("Leader") or 0)
        own = leader in own_pids
        sessions.append(Session(fields.get("Name", "?"), _session_words(fields), leader, own))
    return tuple(sessions)


def _session_words(fields: t.Mapping[str, str]) -> str:
    if fields.get("State") == "closing":
        return "logged out, processes left running"
    if fields.get("Remote") == "yes":
        return f"{fields.get('Service') or 'remote'} from {fields.get('RemoteHost') or 'elsewhere'}"
    if fields.get("Type") in ("x11", "wayland", "mir"):
        return f"desktop on {fields.get('Seat') or 'a seat'}"
    return f"{fields.get('Service') or 'login'} on {fields.get('TTY') or 'no terminal'}"


def parse_utmp(data: bytes, alive: t.Callable[[int], bool], own_pids: t.Container[int]) -> tuple[Session, ...]:
    """Read the logins in /run/utmp, utmp(5); an entry whose process is gone was left by a crash."""
    sessions = []
    for start in range(0, len(data) - _UTMP.size + 1, _UTMP.size):
        kind, pid, line, _, user, origin = _UTMP.unpack_from(data, start)[:6]
        if kind != _USER_PROCESS or not alive(pid):
            continue
        where = f"on {_c_string(line)}" + (f" from {_c_string(origin)}" if origin.strip(b"\0") else "")
        sessions.append(Session(_c_string(user), f"login {where}", pid, pid in own_pids))
    return tuple(sessions)


def _c_string(data: bytes) -> str:
    return data.split(b"\0", 1)[0].decode("utf-8", "replace")


def merge_sessions(first: t.Sequence[Session], second: t.Sequence[Session]) -> tuple[Session, ...]:
    """Join what logind and utmp know; utmp's process descends from logind's leader, so users tell them apart."""
    known = {session.user for session in first} | {session.leader for session in first}
    return (*first, *(s for s in second if s.user not in known and s.leader not in known))


def parse_detect_virt(text: str) -> Machine | None:
    """Read systemd-detect-virt(1); None where it names something that the table does not know."""
    name = text.strip()
    if name == "none":
        return Machine("bare_metal")
    if name in _CONTAINERS:
        return Machine("container", name)
    return Machine("vm", name) if re.fullmatch(r"[a-z0-9_-]+", name) else None


_CONTAINERS = frozenset(
    {"openvz", "lxc", "lxc-libvirt", "systemd-nspawn", "docker", "podman", "rkt", "wsl", "proot", "pouch",
     "container-other"}
)  # fmt: skip


def guess_machine(*, container_marks: t.Sequence[str], cpuinfo: str, product: str) -> Machine:
    """Judge without systemd: marks that container engines leave, the CPU's hypervisor bit, the firmware's name."""
    if container_marks:
        return Machine("container", container_marks[0])
    if re.search(r"^flags\s*:.*\bhypervisor\b", cpuinfo, re.MULTILINE):
        return Machine("vm", product)
    return Machine("bare_metal", product) if product else Machine("unknown")


def parse_users(passwd: str) -> dict[int, str]:
    """Return the names of the local accounts by uid, passwd(5)."""
    rows = (line.split(":") for line in passwd.splitlines())
    return {int(row[2]): row[0] for row in rows if len(row) > 3 and row[2].isdigit()}  # noqa: PLR2004 - name:x:uid:gid


def status_field(status: str, key: str) -> str:
    """Return a field of /proc/PID/status, proc(5)."""
    found = re.search(rf"^{key}:\s*(.*)$", status, re.MULTILINE)
    return found[1].strip() if found else ""


__all__ = [
    "DKMS_PAIR",
    "TOOLS",
    "UBUNTU_PAIR",
    "X_WITHOUT_SCREEN",
    "HostFacts",
    "Kernel",
    "Machine",
    "OperatingSystem",
    "Place",
    "SecureBoot",
    "Session",
    "SigningKey",
    "Unreadable",
    "guess_machine",
    "merge_sessions",
    "parse_compiler",
    "parse_detect_virt",
    "parse_dkms_pair",
    "parse_mokutil_state",
    "parse_mokutil_test_key",
    "parse_os_release",
    "parse_proc_version",
    "parse_secure_boot",
    "parse_serial_number",
    "parse_sessions",
    "parse_users",
    "parse_utmp",
    "status_field",
    "validates_nothing",
]
