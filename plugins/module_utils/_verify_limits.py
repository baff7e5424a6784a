# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits of a model of card as data: what is known of it, and from which figures on it fails or is worth a look."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.gpulab.workstation.plugins.module_utils._verify import Limit

LINK_FACTS = ("pcie_generation", "pcie_width")
FACTS = ("memory_bandwidth_gb_s", "memory_bus_bits", "bf16_dense_tflops", *LINK_FACTS)
# The checks that have limits, and their figures that a limit may be about.
LIMITED: dict[str, tuple[str, ...]] = {
    "host_bandwidth": ("h2d_gb_s", "d2h_gb_s"),
    "memory_bandwidth": ("copy_gb_s", "triad_gb_s", "share_of_theoretical"),
    "torch_matmul": ("tflops", "percent_of_dense"),
    "diffusion_sdxl": ("seconds_per_image", "seconds_per_image_batch_4"),
    "diffusion_sd15": ("seconds_per_image", "seconds_per_image_batch_4"),
    "endurance": ("max_temperature_c", "power_percent_of_limit", "tflops"),
}


@dataclass(frozen=True)
class RowLimit:
    """A limit, and the facts (of the link in force) under which it holds; none: always."""

    limit: Limit
    when: t.Mapping[str, float]


@dataclass(frozen=True)
class CardLimits:
    """The row of catalogue/limits.yml for one model of card."""

    name: str
    pci_ids: tuple[str, ...]  # vendor:device
    facts: t.Mapping[str, float]
    limits: tuple[RowLimit, ...]

    @classmethod
    def from_json(cls, row: t.Mapping[str, t.Any]) -> CardLimits:
        """Read a row that the controller has validated."""
        limits = []
        for entry in row["limits"]:
            values = {key: value for key, value in entry.items() if key != "when"}
            limits.append(RowLimit(Limit(**values), entry.get("when", {})))
        return cls(row["name"], tuple(row["pci_ids"]), row["facts"], tuple(limits))

    def of(self, check: str, facts: t.Mapping[str, float]) -> tuple[Limit, ...]:
        """Return the limits of a check that hold under these facts."""
        return tuple(
            row.limit
            for row in self.limits
            if row.limit.check == check and all(facts.get(key) == value for key, value in row.when.items())
        )


def row_for(rows: t.Iterable[CardLimits], pci_id: str | None, name: str | None) -> CardLimits | None:
    """Return the row of a card: by its PCI id, and where that could not be read, by its name."""
    for row in rows:
        if pci_id in row.pci_ids or (pci_id is None and name == row.name):
            return row
    return None


__all__ = ["FACTS", "LIMITED", "LINK_FACTS", "CardLimits", "RowLimit", "row_for"]
