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

from gpulab import _autoinstall, _kept_keys, _paths, _vault
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
        " its variable gpulab_autoinstall (docs/rebuild.md). They hold a password's hash, and with --restore-host-keys"
        " the host's private ssh keys: only their owner may read them.",
    )
    parser.add_argument("host", metavar="HOST", help="its name in the inventory")
    parser.add_argument("-i", "--inventory", metavar="PATH", help="another inventory than the one of ansible.cfg")
    parser.add_argument("--output", type=Path, metavar="DIRECTORY", help="default: autoinstall/HOST of the repository")
    parser.add_argument("--ask-password", action="store_true", help="ask for the user's password, keep only its hash")
    parser.add_argument(
        "--restore-host-keys",
        action="store_true",
        help="let the machine come back with its old ssh host keys (kept by host_record_private_keys)",
    )
    parser.add_argument(
        "--records", type=Path, metavar="DIRECTORY", help="where they are kept (default: gpulab_records_directory)"
    )
    _vault.add_option(parser)
    parser.set_defaults(run=autoinstall)


def autoinstall(arguments: argparse.Namespace) -> int:
    """Read the host's variables, write the files, say what to do with them."""
    variables = host_variables(arguments.host, arguments.inventory, arguments.vault_password_file)
    given = variables.get(_autoinstall.VARIABLE) or {}
    if isinstance(given, dict):
        given = {**given, "authorized_keys": given.get("authorized_keys") or own_keys(Path.home())}
        if arguments.ask_password:
            given["password_hash"] = hashed(ask_password(arguments.host))
    answers = _autoinstall.read_answers(arguments.host, {**variables, _autoinstall.VARIABLE: given})
    keys: tuple[_kept_keys.HostKey, ...] = ()
    if arguments.restore_host_keys:
        records = arguments.records or variables.get("gpulab_records_directory") or _paths.repository() / "records"
        keys = host_keys(Path(records).expanduser(), answers.hostname, arguments.vault_password_file)
    directory = arguments.output or _paths.repository() / "autoinstall" / answers.hostname
    texts = {
        "user-data": _autoinstall.user_data(answers, keys),
        "meta-data": _autoinstall.meta_data(answers),
        "preseed.cfg": _autoinstall.preseed(answers, host_keys=bool(keys)),
    }
    (directory / _autoinstall.HOST_KEYS).unlink(missing_ok=True)
    if keys:
        texts[_autoinstall.HOST_KEYS] = _autoinstall.host_keys_script(answers.hostname, keys)
    write_secret(directory, texts)
    print(
        f"{directory}: user-data and meta-data for Ubuntu, preseed.cfg for Debian. ALL of {_disk(answers)} is erased."
    )
    print(f"User {answers.user}, {len(answers.authorized_keys)} ssh keys, {_password(answers)}, no NVIDIA package.")
    print(_next(answers.hostname, keys))
    return DONE


def _next(host: str, keys: tuple[_kept_keys.HostKey, ...]) -> str:
    """Say what to do with the files, and where they must not be seen."""
    if not keys:
        return (
            "To do next: install the machine with one of them (docs/rebuild.md; Ubuntu's installer goes on by itself"
            " with 'autoinstall' on the kernel's command line), read the fingerprint of its ssh key"
            f" at its console, and run ansible-playbook playbooks/rebuild.yml -l {host}"
            " -e host_rebuild_fingerprint=SHA256:..."
        )
    return (
        f"They hold the private ssh host keys ({', '.join(key.kind for key in keys)}) of {host}: whoever reads them can"
        " pass for it. Hand them over on a medium of your own, never by a server that others can read, and remove them"
        f" after the installation. preseed.cfg needs {_autoinstall.HOST_KEYS} beside it.\n"
        "To do next: install the machine with one of them (docs/rebuild.md), and run ansible-playbook"
        f" playbooks/rebuild.yml -l {host}; its key is that of its record, so no fingerprint is needed."
    )


def host_keys(records: Path, host: str, password_file: Path | None) -> tuple[_kept_keys.HostKey, ...]:
    """Return the keys that were kept with a host's record; refuse where there are none."""
    kept, record = records / f"{host}.host-keys.yml", records / f"{host}.json"
    try:
        recorded = json.loads(record.read_text(encoding="utf-8"))["ssh_host_keys"]
        encrypted = kept.is_file()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OperatorError(
            found=f"no record of {host} that can be read: {record} ({type(error).__name__}).",
            expected="the record that the rebuild will recognise the machine by.",
            action="name the directory with --records, or bring it back from a backup.",
        ) from error
    if not encrypted:
        raise OperatorError(
            found=f"no private host keys of {host} were kept: there is no {kept}.",
            expected="those that host_record keeps where host_record_private_keys is true.",
            action="as long as the host runs: playbooks/capture.yml -e host_record_private_keys=true; else leave out"
            " --restore-host-keys and give the rebuild the new fingerprint.",
        )
    return _kept_keys.parse(_vault.decrypt(kept, password_file), host, recorded, str(kept))


def host_variables(host: str, inventory: str | None, password_file: Path | None = None) -> dict[str, t.Any]:
    """Return what the inventory says of a host."""
    command = [str(Path(sys.executable).with_name("ansible-inventory")), "--host", host]
    command += ["-i", str(Path(inventory).resolve())] if inventory else []
    command += [f"--vault-password-file={password_file.resolve()}"] if password_file else []
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
            expected="a host of the inventory; values in ansible-vault need --vault-password-file.",
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


__all__ = ["autoinstall", "hashed", "host_keys", "host_variables", "own_keys", "register", "write_secret"]
