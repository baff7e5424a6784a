# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answer files that bring a machine to the state in which a rebuild can start: Ubuntu's autoinstall, Debian's preseed.

Ubuntu: autoinstall reference of subiquity. Debian: installation guide, appendix B, and partman-auto's recipes.
"""

from __future__ import annotations

import dataclasses
import re
import typing as t
from dataclasses import dataclass

import yaml

from gpulab._errors import OperatorError

if t.TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gpulab._kept_keys import HostKey

VARIABLE = "gpulab_autoinstall"
HOST_KEYS = "host-keys.sh"
_END = "_END_"  # no line of a key: its letters are those of base64
LAYOUTS = {"direct": "regular", "lvm": "lvm"}  # what Debian's partman-auto calls them
UPDATES = ("security", "all")
_NAME = re.compile(r"[a-z_][a-z0-9_-]{0,30}")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_HASH = re.compile(r"\$(?:6|y|2b)\$[A-Za-z0-9./$=,]{20,}")  # crypt(5): SHA-512, yescrypt, bcrypt
_KEY = re.compile(r"(?P<kind>(?:ssh|ecdsa|sk)-[a-z0-9@.-]+) (?P<body>[A-Za-z0-9+/]+={0,2})(?: .*)?")
_PLAIN = re.compile(r"[A-Za-z0-9_./+-]+")
_DISK = re.compile(r"/dev/[A-Za-z0-9_./:+-]+")
# crypt(5): no password matches it. Not "!": cloud-init takes that away, which leaves an empty one (unlock_passwd).
_LOCKED = "*"
_BY_SERIAL = re.compile(r"/dev/disk/by-id/(?P<bus>ata|nvme|scsi)-(?!eui\.|nvme\.)(?P<serial>.+)")
_NOT_WHOLE = re.compile(r"-part\d+$")
_NAMESPACE = re.compile(r"_\d{1,2}$")
_PACKAGES = ("openssh-server", "python3", "sudo")


@dataclass(frozen=True)
class Answers:
    """What a machine's installer is told; ``password_hash`` empty means that no password opens the account."""

    hostname: str
    user: str
    authorized_keys: tuple[str, ...]
    password_hash: str = ""
    sudo_password: bool = True
    layout: str = "lvm"
    disk: str = ""
    updates: str = "security"
    locale: str = "en_US.UTF-8"
    keyboard: str = "us"
    timezone: str = "Etc/UTC"

    @property
    def free_sudo(self) -> bool:
        """Whether sudo asks for nothing, as it must where there is no password."""
        return not self.sudo_password or not self.password_hash


def read_answers(hostname: str, variables: Mapping[str, t.Any]) -> Answers:
    """Take the answers from a host's variables; OperatorError names everything that is wrong with them."""
    given = variables.get(VARIABLE) or {}
    known = {field.name for field in dataclasses.fields(Answers)} - {"hostname"}
    if not isinstance(given, dict):
        raise _wrong([f"it is a {type(given).__name__}, not a mapping"])
    problems = [f"{key} is none of its keys" for key in sorted(set(given) - known)]
    values = {"user": str(variables.get("ansible_user") or ""), **{key: given[key] for key in given if key in known}}
    values["authorized_keys"] = tuple(_public_key(key, problems) for key in values.get("authorized_keys") or ())
    answers = Answers(hostname=hostname, **values)
    problems += _problems(answers)
    if problems:
        raise _wrong(problems)
    return answers


def _public_key(text: object, problems: list[str]) -> str:
    """Return type and body; a comment is left out, so that nothing in it can end a quotation in a shell line."""
    found = _KEY.fullmatch(str(text).strip())
    if not found:
        problems.append(f"authorized_keys has {str(text)[:30]!r}, which is no public key")
        return ""
    return f"{found['kind']} {found['body']}"


def _problems(answers: Answers) -> list[str]:
    problems = []
    if not _HOST.fullmatch(answers.hostname):
        problems.append(f"the host's name {answers.hostname!r} cannot be a hostname (RFC 1123)")
    if not _NAME.fullmatch(answers.user) or answers.user == "root":
        problems.append(f"user is {answers.user!r}, not a user's name other than root (set ansible_user)")
    if not answers.authorized_keys:
        problems.append("authorized_keys is empty: nobody could log in")
    if answers.password_hash and not _HASH.fullmatch(str(answers.password_hash)):
        problems.append("password_hash is no hash of crypt(5): make one with 'openssl passwd -6'")
    if not isinstance(answers.sudo_password, bool):
        problems.append(f"sudo_password is {answers.sudo_password!r}, not true or false")
    if answers.layout not in LAYOUTS:
        problems.append(f"layout is {answers.layout!r}, not {' or '.join(LAYOUTS)}")
    if answers.disk and not _DISK.fullmatch(str(answers.disk)):
        problems.append(f"disk is {answers.disk!r}, not a path below /dev")
    if answers.updates not in UPDATES:
        problems.append(f"updates is {answers.updates!r}, not {' or '.join(UPDATES)}")
    plain = ("locale", "keyboard", "timezone")
    problems += [f"{name} has a blank or a sign in it" for name in plain if not _is_plain(getattr(answers, name))]
    return problems


def _is_plain(text: object) -> bool:
    return bool(_PLAIN.fullmatch(str(text)))


def _wrong(problems: list[str]) -> OperatorError:
    return OperatorError(
        found=f"{VARIABLE}: {'; '.join(problems)}.",
        expected="the answers of docs/rebuild.md, in the variables of the host or of its group.",
        action="correct the inventory and run again.",
    )


def user_data(answers: Answers, host_keys: Sequence[HostKey] = ()) -> str:
    """Return Ubuntu's answer file: no driver of the distribution, all of the disk for /, nothing to press.

    Old host keys go through the new system's cloud-init: at its first start it deletes the keys that the installation
    made, and those that a late command would have written (cloud-init, module ssh: ssh_deletekeys, ssh_keys).
    """
    layout: dict[str, t.Any] = {"name": answers.layout}
    layout["match"] = _match(answers.disk)
    if answers.layout == "lvm":
        layout["sizing-policy"] = "all"  # else / gets 100 GiB, which torch and models fill
    autoinstall: dict[str, t.Any] = {
        "version": 1,
        "locale": answers.locale,
        "keyboard": {"layout": answers.keyboard},
        "timezone": answers.timezone,
        "identity": {
            "hostname": answers.hostname,
            "username": answers.user,
            "password": answers.password_hash or _LOCKED,
        },
        "ssh": {"install-server": True, "allow-pw": False, "authorized-keys": list(answers.authorized_keys)},
        "storage": {"layout": layout},
        "packages": list(_PACKAGES),
        "drivers": {"install": False},
        "updates": answers.updates,
        "shutdown": "reboot",
    }
    if host_keys:
        halves = [(f"{key.kind}_private", key.private) for key in host_keys]
        halves += [(f"{key.kind}_public", f"{key.public}\n") for key in host_keys]
        autoinstall["user-data"] = {"ssh_keys": dict(sorted(halves))}
    if answers.free_sudo:
        autoinstall["late-commands"] = [["curtin", "in-target", "--", "sh", "-c", _sudoers(answers, "")]]
    return "#cloud-config\n" + yaml.safe_dump({"autoinstall": autoinstall}, sort_keys=False, width=1000)


def _match(disk: str) -> dict[str, str]:
    """Return how subiquity is told of a disk: it compares names in /dev and udev's ID_SERIAL by pattern, no links.

    udev makes links in by-id from the bus and ID_SERIAL. That of an NVMe disk ends with the number of the namespace
    since systemd 254, and a link without it is there still.
    """
    if not disk:
        return {"size": "largest"}
    if not disk.startswith("/dev/disk/"):
        return {"path": disk}
    found = _BY_SERIAL.fullmatch(disk)
    if found and not _NOT_WHOLE.search(disk):
        older = found["bus"] == "nvme" and not _NAMESPACE.search(disk)
        return {"serial": f"{found['serial']}*" if older else found["serial"]}
    raise OperatorError(
        found=f"{VARIABLE}: disk is {disk}, which Ubuntu's installer cannot be told of.",
        expected="/dev/disk/by-id/ata-..., nvme-... or scsi-... with model and serial number, or a name such as"
        " /dev/nvme0n1.",
        action="choose another name of that disk ('ls -l /dev/disk/by-id').",
    )


def meta_data(answers: Answers) -> str:
    """Return what cloud-init's NoCloud source wants beside user-data."""
    return yaml.safe_dump({"instance-id": answers.hostname, "local-hostname": answers.hostname})


def _sudoers(answers: Answers, root: str) -> str:
    """Return the line that lets the user become root without a question; sudoers(5) wants 0440."""
    path = f"{root}/etc/sudoers.d/90-{answers.user}"
    return f"echo '{answers.user} ALL=(ALL:ALL) NOPASSWD:ALL' > {path} && chmod 0440 {path}"


_LARGEST_DISK = (
    'debconf-set partman-auto/disk "$(for disk in $(list-devices disk); do'
    ' echo "$(cat /sys/block/${disk##*/}/size) $disk"; done | sort -n | tail -n 1 | cut -d " " -f 2)"'
)


def preseed(answers: Answers, *, host_keys: bool = False) -> str:
    """Return Debian's answer file (one line a question); boot with 'auto=true priority=critical url=...'.

    With `host_keys` it has the installer run the file of host_keys_script(), which lies beside it.
    """
    # partman compares names below /dev; a link to an NVMe disk is none that it resolves (libdebian-installer, devfs.c).
    named = f'debconf-set partman-auto/disk "$(readlink -f {answers.disk})"'
    disk = ("d-i partman/early_command", "string", named if answers.disk else _LARGEST_DISK)
    services = "security" if answers.updates == "security" else "security, updates"
    lines = [
        ("d-i debian-installer/locale", "string", answers.locale),
        ("d-i keyboard-configuration/xkb-keymap", "select", answers.keyboard),
        ("d-i netcfg/choose_interface", "select", "auto"),
        ("d-i netcfg/hostname", "string", answers.hostname),
        ("d-i netcfg/get_hostname", "string", answers.hostname),
        ("d-i netcfg/get_domain", "string", ""),
        ("d-i hw-detect/load_firmware", "boolean", "true"),
        ("d-i passwd/root-login", "boolean", "false"),
        ("d-i passwd/user-fullname", "string", answers.user),
        ("d-i passwd/username", "string", answers.user),
        ("d-i passwd/user-password-crypted", "password", answers.password_hash or _LOCKED),
        ("d-i clock-setup/utc", "boolean", "true"),
        ("d-i clock-setup/ntp", "boolean", "true"),
        ("d-i time/zone", "string", answers.timezone),
        disk,
        ("d-i partman-auto/method", "string", LAYOUTS[answers.layout]),
        ("d-i partman-auto/choose_recipe", "select", "atomic"),
        ("d-i partman-auto-lvm/guided_size", "string", "max"),
        ("d-i partman-lvm/device_remove_lvm", "boolean", "true"),
        ("d-i partman-md/device_remove_md", "boolean", "true"),
        ("d-i partman-lvm/confirm", "boolean", "true"),
        ("d-i partman-lvm/confirm_nooverwrite", "boolean", "true"),
        ("d-i partman-partitioning/confirm_write_new_label", "boolean", "true"),
        ("d-i partman/choose_partition", "select", "finish"),
        ("d-i partman/confirm", "boolean", "true"),
        ("d-i partman/confirm_nooverwrite", "boolean", "true"),
        ("d-i apt-setup/services-select", "multiselect", services),
        ("tasksel tasksel/first", "multiselect", "standard, ssh-server"),
        ("d-i pkgsel/include", "string", " ".join(_PACKAGES)),
        ("d-i pkgsel/upgrade", "select", "full-upgrade"),
        ("d-i pkgsel/update-policy", "select", "unattended-upgrades"),
        ("popularity-contest popularity-contest/participate", "boolean", "false"),
        ("d-i grub-installer/only_debian", "boolean", "true"),
        ("d-i grub-installer/bootdev", "string", "default"),
        ("d-i preseed/late_command", "string", _late_command(answers, host_keys=host_keys)),
        ("d-i finish-install/reboot_in_progress", "note", ""),
    ]
    return "".join(" ".join(filter(None, line)) + "\n" for line in lines)


def _late_command(answers: Answers, *, host_keys: bool) -> str:
    """Let the keys in, and sudo where it is to ask for nothing; the new system is mounted at /target.

    The installer logs this line: a secret must not stand in it.
    """
    directory = f"/target/home/{answers.user}/.ssh"
    keys = " ".join(f"'{key}'" for key in answers.authorized_keys)
    # An answer file from a web server comes after the network's questions: the name would be that of DHCP, or debian.
    line = f"s/^127\\.0\\.1\\.1.*/127.0.1.1 {answers.hostname}/"
    commands = [
        f"echo {answers.hostname} > /target/etc/hostname",
        f"if sed '{line}' /target/etc/hosts > /tmp/hosts; then cat /tmp/hosts > /target/etc/hosts; fi",
        "rm -f /tmp/hosts",
        f"mkdir -p -m 0700 {directory}",
        f"printf '%s\\n' {keys} > {directory}/authorized_keys",
        f"chmod 0600 {directory}/authorized_keys",
        f"in-target chown -R {answers.user}:{answers.user} /home/{answers.user}/.ssh",
    ]
    if answers.free_sudo:
        commands.append(_sudoers(answers, "/target"))
    if host_keys:
        commands += [f"preseed_fetch {HOST_KEYS} /tmp/{HOST_KEYS}", f"sh /tmp/{HOST_KEYS}", f"rm /tmp/{HOST_KEYS}"]
    return " && ".join(commands)


def host_keys_script(hostname: str, host_keys: Sequence[HostKey]) -> str:
    """Return what Debian's installer runs at its end: the old host keys take the place of those it has made."""
    lines = [
        "#!/bin/sh",
        f"# Private ssh host keys of {hostname}, for the installation of this machine alone; remove the file after it.",
        "set -eu",
        "umask 077",
        "cd /target/etc/ssh",
        "rm -f ssh_host_*_key ssh_host_*_key.pub",
    ]
    for key in host_keys:
        name = f"ssh_host_{key.kind}_key"
        lines += [f"cat > {name} <<'{_END}'", *key.private.splitlines(), _END]
        lines += [f"echo '{key.public}' > {name}.pub", f"chmod 0644 {name}.pub"]
    return "".join(f"{line}\n" for line in lines)


__all__ = ["HOST_KEYS", "VARIABLE", "Answers", "host_keys_script", "meta_data", "preseed", "read_answers", "user_data"]
