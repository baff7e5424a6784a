# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read what :mod:`_host_facts` understands, on hosts with and without systemd, sudo or lspci. Changes nothing."""

from __future__ import annotations

import fnmatch
import re
import sys
import typing as t

from ansible_collections.gpulab.workstation.plugins.module_utils import _host_facts as facts
from ansible_collections.gpulab.workstation.plugins.module_utils._host import Host
from ansible_collections.gpulab.workstation.plugins.module_utils._reading import Reading

_FRAMEWORK = "/etc/dkms/framework.conf"
_EFI = "/sys/firmware/efi"
_SECURE_BOOT = f"{_EFI}/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
_SHIMS_STATE = f"{_EFI}/efivars/MokSBStateRT-605dab50-e046-4300-abb6-3dd810dd8b23"


def read_host(
    reading: Reading,
    places: t.Sequence[str] = (),
    landmarks: t.Sequence[str] = (),
    certificates: t.Sequence[str] = (),
) -> facts.HostFacts:
    """Read everything about a host.

    ``places`` are directories that files will go to, ``landmarks`` are paths that may exist, ``certificates`` belong
    to keys that modules may be signed with, beside those that DKMS uses.
    """
    host = reading.host
    running = reading.required("/proc/sys/kernel/osrelease", "running kernel").strip()
    uid = facts.status_field(reading.required("/proc/self/status", "own user"), "Uid").split("\t")[0]
    users = facts.parse_users(reading.text("/etc/passwd") or "")
    gcc = host.run(["gcc", "-dumpfullversion"], timeout_s=120) if host.which("gcc") else None
    manager = _display_manager(reading)
    system = facts.parse_os_release(reading.required("/etc/os-release", "operating system"))
    pair = read_dkms_pair(reading, system)
    known = dict.fromkeys((*certificates, pair[1], facts.UBUNTU_PAIR[1], facts.DKMS_PAIR[1]))
    return facts.HostFacts(
        os=system,
        architecture=(reading.output(["uname", "-m"], "architecture") or "unknown").strip(),
        python=".".join(map(str, sys.version_info[:3])),
        user=users.get(int(uid), uid) if uid.isdigit() else "unknown",
        root=uid == "0",
        clock=host.now(),
        machine=read_machine(reading),
        glibc=_glibc(reading),
        running_kernel=running,
        kernels=_kernels(reading, running),
        gcc=gcc.stdout.strip() or None if gcc else None,
        gcc_majors=_gcc_majors(reading, gcc.stdout if gcc else ""),
        secure_boot=read_secure_boot(reading, tuple(known)),
        dkms_pair=pair,
        named_certificates=tuple(certificates),
        places=_places(reading, places),
        sessions=read_sessions(reading),
        display_manager=manager,
        desktop_running=_desktop_running(reading, manager),
        tools=_tools(reading),
        landmarks=tuple(pattern for pattern in landmarks if _leads_somewhere(host, pattern)),
    )


def _leads_somewhere(host: Host, pattern: str) -> bool:
    """Tell whether something exists at a path, in which names may be shell patterns."""
    found = [""]
    for part in pattern.strip("/").split("/"):
        if re.search(r"[*?\[]", part):
            found = [f"{base}/{name}" for base in found for name in fnmatch.filter(host.listdir(base or "/"), part)]
        else:
            found = [f"{base}/{part}" for base in found]
    return any(map(host.exists, found))


def _glibc(reading: Reading) -> str | None:
    answer = reading.output(["getconf", "GNU_LIBC_VERSION"], "glibc") or ""
    found = re.fullmatch(r"glibc (\d+\.\d+)", answer.strip())
    return found[1] if found else None


def _kernels(reading: Reading, running: str) -> tuple[facts.Kernel, ...]:
    """Find kernels that can boot; a directory that only holds headers or leftovers is none."""
    images = {name[len("vmlinuz-") :] for name in reading.names("/boot") if name.startswith("vmlinuz-")}
    with_modules = {k for k in reading.names("/lib/modules") if reading.host.exists(f"/lib/modules/{k}/kernel")}
    kernels = []
    for release in sorted(images | with_modules):
        build = f"/lib/modules/{release}/build"
        there = reading.host.exists(f"{build}/include/generated/uapi/linux/version.h")
        headers = reading.host.realpath(build) if there else None
        compiler = _compiler(reading, release, running)
        kernels.append(facts.Kernel(release, release in images, headers, compiler))
    return tuple(kernels)


def _compiler(reading: Reading, release: str, running: str) -> str:
    for path in (f"/lib/modules/{release}/build/.config", f"/boot/config-{release}"):
        found = facts.parse_compiler(reading.text(path) or "")
        if found:
            return found
    found = facts.parse_proc_version(reading.text("/proc/version") or "") if release == running else ""
    if not found:
        reading.note(f"compiler of kernel {release}", f"no .config in its headers and no /boot/config-{release}")
    return found


def _gcc_majors(reading: Reading, version: str) -> tuple[int, ...]:
    names = [*reading.names("/usr/bin"), *reading.names("/usr/local/bin")]
    majors = {int(found[1]) for name in names if (found := re.fullmatch(r"gcc-(\d+)", name))}
    plain = version.split(".", maxsplit=1)[0].strip()
    return tuple(sorted(majors | ({int(plain)} if plain.isdigit() else set())))


def read_secure_boot(reading: Reading, certificates: t.Sequence[str] = ()) -> facts.SecureBoot:
    """Return whether Secure Boot is on, and where it is which of the certificates are enrolled."""
    if not reading.host.exists(_EFI):
        return facts.SecureBoot("not_uefi", f"there is no {_EFI}")
    try:
        variable = reading.host.read_bytes(_SECURE_BOOT)
    except OSError as error:
        variable, why = None, f"{_SECURE_BOOT}: {error.strerror or error}"
    else:
        why = f"{_SECURE_BOOT} is missing or malformed (is efivarfs mounted?)"
    state, detail = facts.parse_secure_boot(variable or b""), "EFI variable"
    if state is None:
        answer = reading.host.run(["mokutil", "--sb-state"], timeout_s=120)
        state, detail = facts.parse_mokutil_state(answer.stdout + answer.stderr), "mokutil"
    if state is None:
        reading.note("Secure Boot", why)
        return facts.SecureBoot("unreadable", why)
    if state == "on" and facts.validates_nothing(_content(reading, _SHIMS_STATE)):
        return facts.SecureBoot("off", "on in the firmware, but validation is disabled in shim")
    return facts.SecureBoot(state, detail, _signing_keys(reading, certificates) if state == "on" else ())


def read_dkms_pair(reading: Reading, system: facts.OperatingSystem) -> tuple[str, str]:
    """Return the paths of the key and the certificate that DKMS signs with."""
    places = [_FRAMEWORK, *(f"{_FRAMEWORK}.d/{name}" for name in reading.names(f"{_FRAMEWORK}.d"))]
    texts = [reading.text(path) or "" for path in places if path.endswith(".conf")]
    return facts.parse_dkms_pair("\n".join(texts), system)


def _signing_keys(reading: Reading, certificates: t.Sequence[str]) -> tuple[facts.SigningKey, ...]:
    keys = []
    for path in filter(reading.host.exists, certificates):
        answer = reading.host.run(["mokutil", "--test-key", path], timeout_s=120)
        enrolled = facts.parse_mokutil_test_key(answer.stdout + answer.stderr)
        if enrolled is None:
            reading.note(f"whether {path} is enrolled", f"mokutil: {answer.stderr.strip() or answer.stdout.strip()}")
        keys.append(facts.SigningKey(path, enrolled, facts.parse_serial_number(_content(reading, path))))
    return tuple(keys)


def _content(reading: Reading, path: str) -> bytes:
    try:
        return reading.host.read_bytes(path) or b""
    except OSError as error:
        reading.note(path, str(error.strerror or error))
        return b""


def _places(reading: Reading, paths: t.Sequence[str]) -> tuple[facts.Place, ...]:
    places = []
    for path in dict.fromkeys(paths):
        try:
            found = reading.host.filesystem(path)
        except OSError as error:
            reading.note(f"file system of {path}", str(error.strerror or error))
            continue
        places.append(
            facts.Place(
                path, found.mount_point, found.fstype, found.free_bytes, found.total_bytes, found.noexec,
                "ro" in found.options,
            )
        )  # fmt: skip
    return tuple(places)


def read_sessions(reading: Reading) -> tuple[facts.Session, ...]:
    """Return who is logged in, by logind and by utmp, the session of this very process marked as own."""
    own = _own_pids(reading)
    logind: tuple[facts.Session, ...] = ()
    asked = reading.host.which("loginctl") is not None and reading.host.exists("/run/systemd/system")
    if asked:
        listed = reading.output(["loginctl", "list-sessions", "--no-legend", "--no-pager"], "sessions of logind") or ""
        ids = [line.split()[0] for line in listed.splitlines() if line.split()]
        if ids:
            shown = reading.host.run(["loginctl", "show-session", *ids], timeout_s=120)
            logind = facts.parse_sessions(shown.stdout, own)
    try:
        utmp = reading.host.read_bytes("/run/utmp")
    except OSError as error:
        reading.note("/run/utmp", str(error.strerror or error))
        utmp = None
    if utmp is None and not asked:
        reading.note("logged-in users", "neither systemd-logind nor /run/utmp is there")
    logins = facts.parse_utmp(utmp or b"", lambda pid: reading.host.exists(f"/proc/{pid}"), own)
    return facts.merge_sessions(logind, logins)


def _own_pids(reading: Reading) -> frozenset[int]:
    """Return this process and its ancestors, among which is the leader of the session it runs in."""
    pids: set[int] = set()
    status = reading.text("/proc/self/status") or ""
    pid = facts.status_field(status, "Pid")
    while pid.isdigit() and pid != "0" and int(pid) not in pids:
        pids.add(int(pid))
        pid = facts.status_field(status, "PPid")
        status = reading.text(f"/proc/{pid}/status") or ""
    return frozenset(pids - {1})


def read_machine(reading: Reading) -> facts.Machine:
    """Tell a container from a virtual machine from hardware; engines that systemd does not know leave marks."""
    host = reading.host
    marks = [name for path, name in (("/run/.containerenv", "podman"), ("/.dockerenv", "docker")) if host.exists(path)]
    told = (reading.text("/run/systemd/container") or "").strip()
    environment = (
        reading.text("/proc/1/environ", "environment of PID 1") or "" if host.exists("/proc/1/environ") else ""
    )
    marks += [told] if told else re.findall(r"(?:^|\0)container=([^\0]+)", environment)
    virt = host.run(["systemd-detect-virt"], timeout_s=120)
    machine = facts.parse_detect_virt(virt.stdout)
    if machine and (machine.kind == "container" or not marks):
        return machine
    product = (reading.text("/sys/class/dmi/id/product_name") or "").strip()
    cpuinfo = reading.text("/proc/cpuinfo", "processors") or ""
    return facts.guess_machine(container_marks=marks, cpuinfo=cpuinfo, product=product)


def _display_manager(reading: Reading) -> str | None:
    unit = reading.host.readlink("/etc/systemd/system/display-manager.service") or ""
    program = (reading.text("/etc/X11/default-display-manager") or "").strip()
    return unit.rsplit("/", 1)[-1].removesuffix(".service") or program.rsplit("/", 1)[-1] or None


def _desktop_running(reading: Reading, manager: str | None) -> bool:
    sockets = (name for name in reading.names("/tmp/.X11-unix") if name.startswith("X"))  # noqa: S108 - X servers listen
    if any(_is_screen(reading, name) for name in sockets):
        return True
    if manager is None:
        return False
    return reading.host.run(["systemctl", "is-active", "display-manager.service"], timeout_s=120).ok


def _is_screen(reading: Reading, socket: str) -> bool:
    """Whether an X server with a screen listens there; one that was killed leaves socket and lock behind.

    A server's lock holds its pid (Xserver(1), "FILES"). Without one, as where a container shares the socket, somebody
    is assumed there.
    """
    lock = f"/tmp/.{socket}-lock"  # noqa: S108
    if not reading.host.exists(lock):
        return True
    pid = (reading.text(lock) or "").strip()
    if not pid.isdigit() or not reading.host.exists(f"/proc/{pid}"):
        return not pid.isdigit()
    return (reading.text(f"/proc/{pid}/comm") or "").strip() not in facts.X_WITHOUT_SCREEN


def _tools(reading: Reading) -> tuple[str, ...]:
    programs = tuple(name for name in facts.TOOLS if reading.host.which(name))
    return (("systemd", *programs)) if reading.host.exists("/run/systemd/system") else programs


__all__ = ["read_dkms_pair", "read_host", "read_machine", "read_secure_boot", "read_sessions"]
