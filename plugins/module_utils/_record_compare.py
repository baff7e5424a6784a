# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare a host with its record of before: what differs is a failure, what a reinstall may change is only told."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

GOOD = ("pass", "warn")
# Figures that tell how fast something is; by their units, because checks come and go.
_RATES = ("_gb_s", "_gib_s", "_tflops", "_gflops", "_per_s", "_it_s")
_VERSIONS = (
    ("driver on disk", lambda record: sorted(set(record["installed"]["driver"]["on_disk"].values()))),
    ("flavour of the driver", lambda record: record["installed"]["driver"]["flavours"]),
    ("CUDA toolkits", lambda record: record["installed"]["cuda"]),
    ("conda packages (sha256 of the explicit list)", lambda record: _environment(record, "conda_sha256")),
    ("Python packages (sha256 of the frozen list)", lambda record: _environment(record, "python_sha256")),
)
_TOLD = (
    ("operating system", lambda record: record["system"]["os"].get("name")),
    ("running kernel", lambda record: record["system"]["kernel"]),
    ("Secure Boot", lambda record: record["system"]["secure_boot"].get("state")),
    ("firmware", lambda record: (record["machine"].get("board") or {}).get("firmware")),
    ("ssh host keys", lambda record: record["ssh_host_keys"]),
    ("VBIOS", lambda record: {card.get("uuid"): card.get("vbios") for card in record["cards"]}),
)


_LAB_KEY = "the lab's key for kernel modules"
_VISIT = (
    "visit the console once: run site.yml, which asks the firmware (role module_signing), restart the machine, and at"
    " its blue screen 'Perform MOK management' choose Enroll MOK, Continue, Yes, and type module_signing_password"
)


@dataclass(frozen=True)
class Difference:
    """One thing that was so before and is otherwise now."""

    what: str
    before: str
    after: str

    @property
    def words(self) -> str:
        """Return it as one line."""
        return f"{self.what}: before {self.before}, now {self.after}"


@dataclass(frozen=True)
class Comparison:
    """What differs (each one a failure), what a reinstall may change, and how many figures were compared."""

    differences: tuple[Difference, ...] = ()
    told: tuple[Difference, ...] = ()
    figures: int = 0
    unmeasured: tuple[str, ...] = ()

    def message(self, host: str, time: str, promise: str) -> str:
        """Say how the comparison ended; ``promise`` is the file with the record of before."""
        if self.differences:
            lines = "".join(f"\n- {difference.words}" for difference in self.differences)
            return (
                f"{host} is not what its record of {time} says; {len(self.differences)} differences:{lines}\nTo do:"
                " cure them and run the rebuild again. If the host is meant to be like this now (a card was replaced),"
                f" remove {promise}: the newer record already says so."
            )
        measured = f"equal to its record of {time}: versions, environment, cards, {self.figures} figures"
        return measured + (f"; not proven before either: {', '.join(self.unmeasured)}" if self.unmeasured else "")


def compare(before: t.Mapping[str, t.Any], after: t.Mapping[str, t.Any], tolerance: float) -> Comparison:
    """Compare two records of a host; ``tolerance`` is in percent of what a figure was before."""
    differences = [_difference(what, read(before), read(after)) for what, read in _VERSIONS]
    differences += _of_tables("stack", before["stack"]["values"], after["stack"]["values"])
    differences += _of_tables("sha256 of", before["stack"]["sha256"], after["stack"]["sha256"])
    differences += _of_cards(before["cards"], after["cards"])
    lost, noticed = _of_lab_key(before["system"]["secure_boot"], after["system"]["secure_boot"])
    measured, figures, unmeasured = _of_checks(before.get("verification"), after.get("verification"), tolerance)
    told = [_difference(what, read(before), read(after)) for what, read in _TOLD]
    return Comparison(
        tuple(filter(None, [*differences, lost, *measured])),
        tuple(filter(None, [*told, noticed])),
        figures,
        tuple(unmeasured),
    )


def _environment(record: t.Mapping[str, t.Any], key: str) -> object:
    return record["installed"]["environment"].get(key)


def _difference(what: str, before: object, after: object) -> Difference | None:
    return None if before == after else Difference(what, _show(before), _show(after))


def _show(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{key} {value[key]}" for key in value) or "none"
    return "none" if value is None else str(value)


def _of_tables(what: str, before: t.Mapping[str, t.Any], after: t.Mapping[str, t.Any]) -> list[Difference | None]:
    return [_difference(f"{what} {key}", before.get(key), after.get(key)) for key in sorted({*before, *after})]


def _of_cards(before: t.Sequence[t.Mapping[str, t.Any]], after: t.Sequence[t.Mapping[str, t.Any]]) -> list[Difference]:
    """Compare by uuid; a card whose uuid cannot be read any more is not the same card until it is."""
    there = {card.get("uuid") for card in after}
    known = {card.get("uuid") for card in before}
    gone = [card for card in before if card.get("uuid") not in there]
    new = [card for card in after if card.get("uuid") not in known]
    return [
        *(Difference("card", _card(card), "not there, or its uuid cannot be read") for card in gone),
        *(Difference("card", "not there", _card(card)) for card in new),
    ]


def _card(card: t.Mapping[str, t.Any]) -> str:
    return f"{card.get('name') or 'a card'} {card.get('uuid') or 'without a readable uuid'} at {card.get('pci')}"


def _of_lab_key(
    before: t.Mapping[str, t.Any], after: t.Mapping[str, t.Any]
) -> tuple[Difference | None, Difference | None]:
    """Return what was lost of the lab's key for kernel modules, a failure, and what else has changed about it.

    With Secure Boot on, a firmware that does not trust the key any more lets no module of the lab in; the key outlives
    a reinstallation, so it was reset or the memory was cleared, and only a person at the console can cure that.
    """
    was, now = before.get("lab_key"), after.get("lab_key")
    if not (was or {}).get("enrolled") or after.get("state") != "on" or (now or {}).get("enrolled"):
        return None, _difference(_LAB_KEY, _lab_key(was), _lab_key(now))
    if now and now["enrolled"] is False:
        return Difference(_LAB_KEY, _lab_key(was), f"{_lab_key(now)}, with Secure Boot on; {_VISIT}"), None
    unknown = f"{_lab_key(now)}, with Secure Boot on: nobody could ask the firmware (gpulab_signing, module_signing)"
    return Difference(_LAB_KEY, _lab_key(was), unknown), None


def _lab_key(key: t.Mapping[str, t.Any] | None) -> str:
    if not key:
        return "none named"
    enrolled = {True: "enrolled", False: "not enrolled", None: "not known to be enrolled"}[key["enrolled"]]
    return f"{key['sha256'][:16]} {enrolled if key['on_disk'] else 'not on the host'}"


def _of_checks(
    before: t.Mapping[str, t.Any] | None, after: t.Mapping[str, t.Any] | None, tolerance: float
) -> tuple[list[Difference], int, list[str]]:
    """Compare outcomes and rates; a check that was proven and is not measured any more is a difference."""
    old, new = (before or {}).get("checks") or {}, (after or {}).get("checks") or {}
    differences: list[Difference] = []
    figures, unmeasured = 0, []
    for name, check in old.items():
        now = new.get(name) or {"outcome": "not made", "figures": {}}
        if check["outcome"] not in GOOD:
            unmeasured.append(name)
            continue
        if now["outcome"] not in GOOD:
            differences.append(Difference(f"check {name}", check["outcome"], now["outcome"]))
            continue
        for figure, value in check["figures"].items():
            if not figure.endswith(_RATES):
                continue
            figures += 1
            differences += _of_figure(f"{name}: {figure}", value, now["figures"].get(figure), tolerance)
    return differences, figures, unmeasured


def _of_figure(what: str, before: float, after: float | None, tolerance: float) -> list[Difference]:
    if after is None:
        return [Difference(what, f"{before:g}", "not measured")]
    change = 100 * (after - before) / before if before else (0.0 if after == before else float("inf"))
    if abs(change) <= tolerance:
        return []
    return [Difference(what, f"{before:g}", f"{after:g} ({change:+.1f} %, the tolerance is {tolerance:g} %)")]


__all__ = ["Comparison", "Difference", "compare"]
