# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files on the controller that outlive a host: its record, the promise of a rebuild, the ledger of a rollout."""

from __future__ import annotations

import contextlib
import fcntl
import json
import re
import typing as t
from pathlib import Path

from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._record import parse

_CHECKOUT = Path(__file__).resolve().parents[2]


def records_directory(wanted: str, playbook_directory: str) -> Path:
    """Return the directory asked for, else records/ of the checkout this file is in, else beside the playbook."""
    if wanted:
        return Path(wanted).expanduser().absolute()
    return (_CHECKOUT if (_CHECKOUT / "site.yml").is_file() else Path(playbook_directory)) / "records"


def record_path(directory: Path, host: str) -> Path:
    """Return where a host's record lies; the name of the host must not lead out of the directory."""
    return directory / f"{_file_name(host)}.json"


def promise_path(directory: Path, host: str) -> Path:
    """Return where the record lies that a rebuild has begun to bring back; it goes when the host is equal to it."""
    return directory / f"{_file_name(host)}.rebuild.json"


def keys_path(directory: Path, host: str) -> Path:
    """Return where a host's private ssh host keys lie, encrypted, if they are kept at all."""
    return directory / f"{_file_name(host)}.host-keys.yml"


def _file_name(host: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "_", host).lstrip(".")


def load_record(path: Path, host: str) -> dict[str, t.Any]:
    """Return a host's record; OperatorError where there is none or it is not usable."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise OperatorError(
            found=f"there is no record of {host} ({path}).",
            expected="a record, as every run of site.yml and playbooks/capture.yml write it.",
            action="bring the file back from a backup; without one nobody knows what this host had: provision it as a"
            " new one with site.yml.",
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise OperatorError(
            found=f"{path}: {error}.",
            expected="a record that can be read.",
            action="correct the file's owner or bring it back from a backup.",
        ) from error
    return parse(text, host, str(path))


def load_json(path: Path) -> dict[str, t.Any]:
    """Return a file's mapping; empty where there is none that can be read or it is no whole JSON."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


@contextlib.contextmanager
def alone(path: Path) -> t.Iterator[None]:
    """Let one process at a time change a file: several hosts are worked on at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


__all__ = [
    "alone",
    "keys_path",
    "load_json",
    "load_record",
    "promise_path",
    "record_path",
    "records_directory",
]
