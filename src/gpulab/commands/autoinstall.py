# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`gpulab autoinstall`: answer files for the installers of Ubuntu and Debian, from the inventory."""

from __future__ import annotations

import getpass
import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

from gpulab import _autoinstall, _paths
from gpulab._errors import OperatorError
from gpulab._runner import environment

if t.TYPE_CHECKING:
    import argparse

DONE = 0
_OWN_KEYS = ("id_ed25519.pub", "id_ecdsa.pub", "id_rsa.pub")


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `autoinstall`."""
    parser = subparsers.add_parser(
        "autoinstall",
        help="write answer files that install a machine so that a rebuild can start",
        description="Write user-data and meta-data (Ubuntu) and preseed.cfg (Debian) for a host of the inventory, from"
        " its variable gpulab_autoinstall (docs/rebuild.md). They hold a password's hash: only their owner may read"
        " them.",
    )
    parser.add_argument("host", metavar="HOST", help="its name in the inventory")
    parser.add_argument("-i", "--inventory", metavar="PATH", help="another inventory than the one of ansible.cfg")
    parser.add_argument("--output", type=Path, metavar="DIRECTORY", help="default: autoinstall/HOST of the repository")
    parser.add_argument("--ask-password", action="store_true", help="ask for the user's password, keep only its hash")
    parser.set_defaults(run=autoinstall)


def autoinstall(arguments: argparse.Namespace) -> int:
    """Read the host's variables, write the three files, say what to do with them."""
    variables = host_variables(arguments.host, arguments.inventory)
    given = variables.get(_autoinstall.VARIABLE) or {}
    if isinstance(given, dict):
        given = {**given, "authorized_keys": given.get("authorized_keys") or own_keys(Path.home())}
        if arguments.ask_password:
            given["password_hash"] = hashed(ask_password(arguments.host))
    answers = _autoinstall.read_answers(arguments.host, {**variables, _autoinstall.VARIABLE: given})
    directory = arguments.output or _paths.repository() / "autoinstall" / answers.hostname
    texts = {
        "user-data": _autoinstall.user_data(answers),
        "meta-data": _autoinstall.meta_data(answers),
        "preseed.cfg": _autoinstall.preseed(answers),
    }
    write_secret(directory, texts)
    print(
        f"{directory}: user-data and meta-data for Ubuntu, preseed.cfg for Debian. ALL of {_disk(answers)} is erased."
    )
    print(f"User {answers.user}, {len(answers.authorized_keys)} ssh keys, {_password(answers)}, no NVIDIA package.")
    print(
        "To do next: install the machine with one of them (docs/rebuild.md), read the fingerprint of its ssh key at its"
        f" console, and run ansible-playbook playbooks/rebuild.yml -l {answers.hostname}"
        " -e host_rebuild_fingerprint=SHA256:..."
    )
    return DONE


def host_variables(host: str, inventory: str | None) -> dict[str, t.Any]:
    """Return what the inventory says of a host."""
    command = [str(Path(sys.executable).with_name("ansible-inventory")), "--host", host]
    command += ["-i", str(Path(inventory).resolve())] if inventory else []
    full = {**os.environ, **environment(_paths.repository(), os.environ)}
    done = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        cwd=_paths.repository(),
        env=full,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode != 0:
        raise OperatorError(
            found=f"the inventory has no {host} that can be read: {done.stderr.strip()[-300:]}",
            expected="a host of the inventory; values in ansible-vault need ANSIBLE_VAULT_PASSWORD_FILE.",
            action="name a host of inventory/hosts.yml, or another inventory with -i.",
        )
    variables: dict[str, t.Any] = json.loads(done.stdout)
    return variables


def own_keys(home: Path) -> list[str]:
    """Return the public key with which this user logs in elsewhere: the machine is to let the same person in."""
    found = (home / ".ssh" / name for name in _OWN_KEYS)
    return [path.read_text(encoding="utf-8").strip() for path in found if path.is_file()][:1]


def ask_password(host: str) -> str:
    """Ask twice, without showing it."""
    password = getpass.getpass(f"Password of the user on {host}: ")
    if not password or password != getpass.getpass("Once more: "):
        raise OperatorError(
            found="two different passwords, or an empty one.", expected="the same one twice.", action="run again."
        )
    return password


def hashed(password: str) -> str:
    """Return the SHA-512 crypt hash; the password goes to openssl by its standard input, where nobody else sees it."""
    done = subprocess.run(
        ["openssl", "passwd", "-6", "-stdin"], input=password + "\n", check=True, capture_output=True, text=True
    )  # fmt: skip
    return done.stdout.strip()


def write_secret(directory: Path, texts: dict[str, str]) -> None:
    """Write files that only their owner may read."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        path = directory / name
        path.unlink(missing_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)


def _disk(answers: _autoinstall.Answers) -> str:
    return answers.disk or "the largest disk"


def _password(answers: _autoinstall.Answers) -> str:
    if not answers.password_hash:
        return "no password (sudo asks for none)"
    return "sudo asks for no password" if answers.free_sudo else "sudo asks for the password"


__all__ = ["autoinstall", "hashed", "host_variables", "own_keys", "register", "write_secret"]
