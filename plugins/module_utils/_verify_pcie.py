# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge a card's way to the host: the PCIe link under load, and copies from and to pinned memory against it."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from ansible_collections.gpulab.workstation.plugins.module_utils._verify import (
    Check,
    Limit,
    failed,
    not_proven,
    passed,
    warned,
)
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_memory import judge_with_shares
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_programs import ProgramRun, run_problems

# Transfers per second of a lane and the part of them that is data: 8b/10b, 128b/130b from generation 3 on, and 242 of
# 256 bytes of a flit in generation 6 (PCI Express Base Specification, 4.2).
_LANES: t.Mapping[int, tuple[float, float]] = {
    1: (2.5, 8 / 10),
    2: (5.0, 8 / 10),
    3: (8.0, 128 / 130),
    4: (16.0, 128 / 130),
    5: (32.0, 128 / 130),
    6: (64.0, 242 / 256),
}
SHARES = (
    Limit(
        "host_bandwidth",
        "share_of_theoretical",
        "of the link's figure, the slower direction",
        "docs/verification.md, host_bandwidth",
        fail_below=0.63,
    ),
)


@dataclass(frozen=True, order=True)
class Link:
    """A PCIe link: generation and lanes."""

    generation: int
    width: int

    @property
    def gb_s(self) -> float:
        """What it carries in one direction, before the overhead of packets."""
        transfers, share = _LANES[self.generation]
        return transfers * self.width * share / 8

    def __str__(self) -> str:
        return f"generation {self.generation} x{self.width}"


def parse_link(speed: t.Any, width: t.Any) -> Link | None:
    """Read sysfs (``32.0 GT/s PCIe``, ``16``); None for Unknown, 63 lanes and whatever else makes no sense."""
    found = re.match(r"(\d+(?:\.\d)?) GT/s", str(speed))
    by_speed = {transfers: generation for generation, (transfers, _) in _LANES.items()}
    generation = by_speed.get(float(found[1])) if found else None
    return _link(generation, width)


def _link(generation: t.Any, width: t.Any) -> Link | None:
    lanes = int(width) if str(width).isdigit() else 0
    if generation not in _LANES or lanes not in (1, 2, 4, 8, 16, 32):
        return None
    return Link(int(generation), lanes)


def _read(sample: t.Mapping[str, t.Any]) -> Link | None:
    """Return a sample's link: by sysfs, and where that says nothing, by NVML."""
    return parse_link(sample.get("card_speed"), sample.get("card_width")) or _link(
        sample.get("nvml_generation"), sample.get("nvml_width")
    )


def _most(sample: t.Mapping[str, t.Any]) -> tuple[Link | None, Link | None]:
    """Return the most that the card can do, and that it can do in its slot."""
    card = _read(sample)
    port = parse_link(sample.get("port_speed"), sample.get("port_width"))
    if card is None or port is None:
        return card, card
    return card, Link(min(card.generation, port.generation), min(card.width, port.width))


def link_under_load(report: t.Mapping[str, t.Any]) -> Link | None:
    """Return the best link of the samples that were taken while copies were under way."""
    found = [link for sample in report.get("link", {}).get("load", []) if (link := _read(sample))]
    return max(found, default=None)


def judge_link(arch: str, run: ProgramRun, card: str, facts: t.Mapping[str, float]) -> Check:
    """Judge the link under load against the most that the card and its slot can do."""
    name, report = "pcie_link", run.report
    wrong = run_problems(arch, run)
    if wrong:
        return not_proven(name, f"there was no load to read it under: {'; '.join(wrong)}", card=card, **run.figures)
    load, (most_card, most) = link_under_load(report), _most(report["link"]["max"])
    figures: dict[str, t.Any] = {**_figures("", load), **_figures("max_", most), **_figures("card_max_", most_card)}
    figures.update({**_figures("idle_", _read(report["link"]["idle"])), "replays": report.get("replays")})
    figures["samples"] = report["link"]
    if load is None or most is None:
        return not_proven(name, "neither sysfs nor NVML tells the link's speed and width", card=card, **figures)
    if load.generation < most.generation or load.width < most.width:
        why = f"{load} under load, but card and slot can do {most}: reseat the card, look at its slot and the firmware"
        return failed(name, why, card=card, **figures)
    model = _link(int(facts.get("pcie_generation", 0)), int(facts.get("pcie_width", 0)))
    able = model or most_card
    if able is not None and (load.generation < able.generation or load.width < able.width):
        return warned(name, f"{load} is all that the slot can do, the card could do {able}", card=card, **figures)
    return passed(name, f"{load} under load, the most that card and slot can do", card=card, **figures)


def judge_host(arch: str, run: ProgramRun, card: str, limits: t.Callable[[Link], tuple[Limit, ...] | None]) -> Check:
    """Judge the copies from and to pinned memory against the link that was in force; ``limits`` are for a link."""
    name, report = "host_bandwidth", run.report
    wrong = run_problems(arch, run)
    if not wrong and (run.rc != 0 or report.get("ok") is not True):
        wrong = [f"what came back from the card is not what went there; the program ended with {run.rc}"]
    if wrong:
        return failed(name, "; ".join(wrong), card=card, **run.figures)
    keys = ("h2d_gb_s", "d2h_gb_s", "bidirectional_gb_s", "block_bytes")
    figures: dict[str, t.Any] = {key: report[key] for key in keys}
    words = f"{report['h2d_gb_s']:.1f} GB/s to the card, {report['d2h_gb_s']:.1f} back"
    link = link_under_load(report)
    if link is None:
        why = f"{words}; the link's speed and width are not known"
        return not_proven(name, why, card=card, **figures)
    figures.update({**_figures("", link), "theoretical_gb_s": round(link.gb_s, 2)})
    slower = min(report["h2d_gb_s"], report["d2h_gb_s"])
    figures["share_of_theoretical"] = round(slower / link.gb_s, 4)
    why = f"{words}, {report['bidirectional_gb_s']:.1f} both ways at once; {link} carries {link.gb_s:.1f} GB/s"
    return judge_with_shares(name, why, SHARES, card=card, limits=limits(link), **figures)


def _figures(prefix: str, link: Link | None) -> dict[str, int | None]:
    return {
        f"{prefix}generation": link.generation if link else None,
        f"{prefix}width": link.width if link else None,
    }


__all__ = ["SHARES", "Link", "judge_host", "judge_link", "link_under_load", "parse_link"]
