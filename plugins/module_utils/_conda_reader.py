# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading Miniforge and an environment from their files, and the notes about what has been begun.

A note says what was begun and not ended: it is written before a change and taken back after it, so that a run that
was killed is told apart from what somebody else made.
"""

from __future__ import annotations

import json
import re
import typing as t

from ansible_collections.gpulab.workstation.plugins.module_utils._conda_lock import (
    Installed,
    is_licensed,
    licensed_channels,
    parse_record,
)
from ansible_collections.gpulab.workstation.plugins.module_utils._conda_state import (
    BASHRC,
    PROFILE,
    Base,
    BaseKind,
    Environment,
    EnvironmentKind,
    State,
    Wish,
)
from ansible_collections.gpulab.workstation.plugins.module_utils._host import Host

STATE = "/var/lib/gpulab/conda_env"
_NOTES = f"{STATE}/unfinished.json"
_RECORD = re.compile(r"(?P<name>.+)-[^-]+-[^-]+\.json")
_LICENSED_PACKAGES = ("anaconda", "_anaconda_depends", "miniconda")
_BASE_PROGRAMS = ("bin/conda", "bin/python", "etc/profile.d/conda.sh")
_OTHERS_READ_AND_ENTER, _OTHERS_ENTER = 0o005, 0o001
_SYSTEM_SETTINGS = ("/etc/conda/.condarc", "/etc/conda/condarc")


def read_state(host: Host, wish: Wish) -> State:
    """Read everything that the plan depends on, changing nothing."""
    filesystem = host.filesystem(wish.prefix)
    return State(
        base=_read_base(host, wish.prefix),
        environment=_read_environment(host, wish.environment_prefix),
        condarc=host.read_text(wish.condarc_path),
        profile=host.read_text(PROFILE),
        bashrc=host.read_text(BASHRC),
        closed=tuple(path for path in _inside(wish) if _is_closed(host, path, _OTHERS_READ_AND_ENTER)),
        closed_parents=tuple(path for path in _parents(wish.prefix) if _is_closed(host, path, _OTHERS_ENTER)),
        licensed_settings=_licensed_settings(host, wish.prefix),
        free_bytes=filesystem.free_bytes,
        mount_point=filesystem.mount_point,
    )


def marker_path(prefix: str) -> str:
    """Return the file that says which installer of ours made the prefix; written last."""
    return f"{prefix}/.gpulab-miniforge.json"


def base_record(host: Host, prefix: str, name: str) -> Installed | None:
    """Return conda's record of one package of the base environment."""
    for file in _record_files(host, prefix):
        found = _RECORD.fullmatch(file)
        if found and found["name"] == name:
            return parse_record(host.read_text(f"{prefix}/conda-meta/{file}") or "")
    return None


def broken_records(host: Host, prefix: str) -> list[str]:
    """Return the files of conda-meta that hold no whole record (a write that was cut off)."""
    paths = [f"{prefix}/conda-meta/{file}" for file in _record_files(host, prefix)]
    return [path for path in paths if parse_record(host.read_text(path) or "") is None]


def note_unfinished(host: Host, path: str, what: t.Mapping[str, t.Any]) -> None:
    """Note that a change of a prefix has been begun."""
    _write_notes(host, {**_notes(host), path: dict(what)})


def forget_unfinished(host: Host, path: str) -> None:
    """Note that it has ended well."""
    _write_notes(host, {key: value for key, value in _notes(host).items() if key != path})


def _read_base(host: Host, prefix: str) -> Base:
    entries = host.listdir(prefix)
    there = host.status(prefix)
    note = _notes(host).get(prefix, {})
    if there is None or (not entries and there.kind == "directory"):
        return Base(BaseKind.ABSENT)
    conda = base_record(host, prefix, "conda")
    licensed = _licensed_detail(host, prefix, conda)
    if licensed:
        return Base(BaseKind.LICENSED, conda.version if conda else "", licensed)
    if note:
        begun_anew = note["what"] == "install" and not host.listdir(f"{prefix}/envs")
        kind = BaseKind.UNFINISHED if begun_anew else BaseKind.UNFINISHED_UPDATE
        return Base(kind, conda.version if conda else "")
    missing = [path for path in _BASE_PROGRAMS if not host.exists(f"{prefix}/{path}")]
    if conda is None or missing:
        detail = f"there is no {missing[0]}" if missing else "conda-meta has no record of conda"
        return Base(BaseKind.UNKNOWN, "", detail)
    marker = _json(host, marker_path(prefix))
    if marker.get("version"):
        return Base(BaseKind.OURS, str(marker["version"]))
    return Base(BaseKind.ADOPTED, conda.version)


def _licensed_detail(host: Host, prefix: str, conda: Installed | None) -> str:
    for file in _record_files(host, prefix):
        found = _RECORD.fullmatch(file)
        if found and found["name"] in _LICENSED_PACKAGES:
            return f"conda-meta has {file.removesuffix('.json')}"
    origin = (conda.channel or conda.url) if conda else ""
    return f"its conda comes from {origin}" if is_licensed(origin) else ""


def _read_environment(host: Host, prefix: str) -> Environment:
    there = host.status(prefix)
    note = _notes(host).get(prefix, {})
    if there is None or (there.kind == "directory" and not host.listdir(prefix) and not note):
        return Environment(EnvironmentKind.ABSENT)
    if note.get("what") == "create":
        return Environment(EnvironmentKind.UNFINISHED)
    if host.status(f"{prefix}/conda-meta/history") is None:
        return Environment(EnvironmentKind.UNKNOWN)
    records: dict[str, Installed] = {}
    broken: list[str] = list(note.get("names", ()))
    for file in _record_files(host, prefix):
        record = parse_record(host.read_text(f"{prefix}/conda-meta/{file}") or "")
        found = _RECORD.fullmatch(file)
        if record is not None:
            records[record.name] = record
        elif found:
            broken.append(found["name"])
    missing = {name: _missing_files(host, prefix, record) for name, record in records.items()}
    present = {name: files for name, files in missing.items() if files}
    return Environment(EnvironmentKind.PRESENT, records, present, tuple(broken))


def _missing_files(host: Host, prefix: str, record: Installed) -> tuple[str, ...]:
    return tuple(path for path in record.files if host.status(f"{prefix}/{path}") is None)


def _record_files(host: Host, prefix: str) -> list[str]:
    return [name for name in host.listdir(f"{prefix}/conda-meta") if name.endswith(".json")]


def _licensed_settings(host: Host, prefix: str) -> dict[str, tuple[str, ...]]:
    places = [*_SYSTEM_SETTINGS, f"{prefix}/.condarc", f"{prefix}/condarc"]
    for directory in ("/etc/conda/condarc.d", f"{prefix}/condarc.d"):
        places += [f"{directory}/{name}" for name in host.listdir(directory)]
    found = {path: licensed_channels(host.read_text(path) or "") for path in places}
    return {path: channels for path, channels in found.items() if channels}


def _inside(wish: Wish) -> list[str]:
    folders = [wish.prefix, f"{wish.prefix}/bin", f"{wish.prefix}/etc/profile.d", f"{wish.prefix}/envs"]
    environment = wish.environment_prefix
    return [*folders, environment, f"{environment}/bin", f"{environment}/lib", f"{environment}/conda-meta"]


def _parents(prefix: str) -> list[str]:
    parts = prefix.strip("/").split("/")[:-1]
    return ["/" + "/".join(parts[: end + 1]) for end in range(len(parts))]


def _is_closed(host: Host, path: str, needed: int) -> bool:
    found = host.status(path)
    return found is not None and found.kind == "directory" and found.mode & needed != needed


def _notes(host: Host) -> dict[str, t.Any]:
    return _json(host, _NOTES)


def _write_notes(host: Host, notes: t.Mapping[str, t.Any]) -> None:
    if notes:
        host.write_text(_NOTES, json.dumps(notes, indent=2, sort_keys=True) + "\n", mode=0o600)
    else:
        host.remove(_NOTES)


def _json(host: Host, path: str) -> dict[str, t.Any]:
    try:
        data = json.loads(host.read_text(path) or "{}")
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}


__all__ = [
    "STATE",
    "base_record",
    "broken_records",
    "forget_unfinished",
    "marker_path",
    "note_unfinished",
    "read_state",
]
