# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of a host: what it is, what it was given, what was measured; made, read back and judged whole."""

from __future__ import annotations

import hashlib
import json
import re
import typing as t

from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError

SCHEMA = "host_record-1"
FACT = "/etc/ansible/facts.d/gpulab.fact"
# What a record must have, by key and type; docs/schema/host_record-1.json says it in full.
_PARTS: dict[str, type] = {
    "host": str,
    "time": str,
    "origin": str,
    "stack": dict,
    "machine": dict,
    "system": dict,
    "installed": dict,
    "cards": list,
    "ssh_host_keys": list,
    "departures": list,
}
_STACK_PARTS: dict[str, type] = {"name": str, "overrides": dict, "values": dict, "sha256": dict, "fingerprint": str}
_PUBLIC_KEY = re.compile(r"(?P<kind>(?:ssh|ecdsa|sk)-[a-z0-9@.-]+) (?P<body>[A-Za-z0-9+/]+={0,2})(?: .*)?")
# What differs from one look to the next although nothing was changed.
_PASSING = ("time", "origin", "verification")


def digest(lines: t.Iterable[str]) -> str:
    """Return one sha256 of a set of lines, whatever their order."""
    return hashlib.sha256("".join(f"{line}\n" for line in sorted(lines)).encode()).hexdigest()


def public_keys(texts: t.Iterable[str]) -> list[str]:
    """Return type and body of public keys, one per file; anything else in a file, a private key above all, is left."""
    found = (_PUBLIC_KEY.fullmatch(line.strip()) for text in texts for line in text.splitlines())
    return sorted({f"{match['kind']} {match['body']}" for match in found if match})


def departures(stack: t.Mapping[str, t.Any], installed: t.Mapping[str, t.Any]) -> list[str]:
    """Say where a host does not have what its stack says; empty where the run that made the record has done all."""
    wanted = stack["values"]
    found = []
    for kernel, version in sorted(installed["driver"]["on_disk"].items()):
        if version != wanted["driver.version"]:
            found.append(f"driver {version} for kernel {kernel}, the stack has {wanted['driver.version']}")
    if not installed["driver"]["on_disk"]:
        found.append(f"no driver on disk, the stack has {wanted['driver.version']}")
    if wanted["cuda.version"] not in installed["cuda"]:
        there = ", ".join(installed["cuda"]) or "none"
        found.append(f"CUDA toolkit {there}, the stack has {wanted['cuda.version']}")
    torch = str(installed["environment"].get("torch") or "none").partition("+")[0]
    if torch != wanted["torch.version"]:
        found.append(f"torch {torch}, the stack has {wanted['torch.version']}")
    return found


def measured(document: object) -> dict[str, t.Any] | None:
    """Return what a record keeps of a gpu_verify document: outcome and numbers of each check; None without one."""
    if not isinstance(document, dict) or not isinstance(document.get("checks"), list):
        return None
    checks = {}
    for check in document["checks"]:
        name = f"{check['name']}@{check['card']}" if check.get("card") else str(check["name"])
        figures = check.get("figures") or {}
        numbers = {key: value for key, value in figures.items() if type(value) in (int, float)}
        checks[name] = {"outcome": check["outcome"], "figures": numbers}
    return {
        "schema": document.get("schema"),
        "time": document.get("time"),
        "verified": bool(document.get("verified")),
        "checks": checks,
    }


def same(before: t.Mapping[str, t.Any] | None, after: t.Mapping[str, t.Any]) -> bool:
    """Tell whether two records say the same of a host, whenever and why it was looked at and whatever it measured."""
    if before is None:
        return False
    return all(before.get(key) == after.get(key) for key in {*before, *after} - set(_PASSING))


def losses(before: t.Mapping[str, t.Any], after: t.Mapping[str, t.Any]) -> list[str]:
    """Say what a whole host has lost; its record must not be overwritten with that of a host that came back empty."""
    was_whole = before.get("schema") == SCHEMA and before.get("departures") == []
    return list(after["departures"]) if was_whole else []


def parse(text: str, host: str, where: str) -> dict[str, t.Any]:
    """Return a record that is whole and that of this host; OperatorError in every other case."""
    try:
        record = json.loads(text)
    except ValueError as error:
        raise _unusable(where, f"is no whole JSON ({error})") from error
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        said = record.get("schema") if isinstance(record, dict) else type(record).__name__
        raise _unusable(where, f"has the schema {said!r}, not {SCHEMA}")
    lacking = [key for key, kind in _PARTS.items() if not isinstance(record.get(key), kind)]
    stack = record["stack"] if "stack" not in lacking else {}
    lacking += [f"stack.{key}" for key, kind in _STACK_PARTS.items() if not isinstance(stack.get(key), kind)]
    if lacking:
        raise _unusable(where, f"lacks {', '.join(lacking)}")
    if record["host"] != host:
        raise _unusable(where, f"is the record of {record['host']}, not of {host}")
    return record


def _unusable(where: str, what: str) -> OperatorError:
    return OperatorError(
        found=f"{where} {what}.",
        expected=f"a whole record of this host, as capture and every run write it ({SCHEMA}).",
        action="bring the file back from a backup or from the host's own copy of before"
        f" ({FACT}); without one, provision the host as a new one with site.yml.",
    )


def render(record: t.Mapping[str, t.Any]) -> str:
    """Return the record as it is written."""
    return json.dumps(record, indent=2, sort_keys=True) + "\n"


__all__ = [
    "FACT",
    "SCHEMA",
    "departures",
    "digest",
    "losses",
    "measured",
    "parse",
    "public_keys",
    "render",
    "same",
]
