# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge minutes of full load: nvidia-smi's lines in, a check out."""

from __future__ import annotations

import itertools
import statistics
import typing as t
from dataclasses import dataclass

from ansible_collections.gpulab.workstation.plugins.module_utils._verify import (
    Check,
    Limit,
    Outcome,
    failed,
    judge_figures,
    not_proven,
)
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_answer import Answer

# What a sample holds, and the name of its column in the document.
COLUMNS = {
    "temperature.gpu": "temperature_c",
    "power.draw": "power_w",
    "enforced.power.limit": "power_limit_w",
    "clocks.sm": "sm_clock_mhz",
    "clocks.mem": "memory_clock_mhz",
    "utilization.gpu": "utilization_percent",
    "ecc.errors.uncorrected.volatile.total": "uncorrected_ecc_errors",
    "clocks_event_reasons.active": "reasons",
}
FIELDS = ("uuid", *COLUMNS)
# NVML's bits (nvml.h, nvmlClocksEventReasons; NVML API reference), named as nvidia-smi names them.
REASONS = {
    0x1: "gpu_idle",
    0x2: "applications_clocks_setting",
    0x4: "sw_power_cap",
    0x8: "hw_slowdown",
    0x10: "sync_boost",
    0x20: "sw_thermal_slowdown",
    0x40: "hw_thermal_slowdown",
    0x80: "hw_power_brake_slowdown",
    0x100: "display_clock_setting",
}
_NEEDED = ("temperature_c", "power_w", "power_limit_w", "sm_clock_mhz", "reasons")
_WARM_UP_S = 5.0  # until power and clocks have settled
_LONGEST_GAP_S = 5.0
_LEAST_SHARE = 0.9  # of the samples that should be there
_NVML = "NVML API reference, NvmlClocksEventReasons"
# What holds for every card; limits of temperature and power are those of its model.
EVERYWHERE = (
    Limit("endurance", "wrong_numbers", "elements", "the same product twice is the same bit for bit", fail_above=0),
    Limit("endurance", "hw_power_brake_slowdown_seconds", "s", f"{_NVML}: the power supply asked for it", fail_above=0),
    Limit("endurance", "hw_thermal_slowdown_seconds", "s", f"{_NVML}: clocks halved or worse", fail_above=0),
    Limit("endurance", "hw_slowdown_seconds", "s", f"{_NVML}: also at changes of clocks", warn_above=0),
    Limit("endurance", "sw_thermal_slowdown_seconds", "s", f"{_NVML}: clocks lowered to stay cool", warn_above=0),
    Limit("endurance", "power_percent_of_limit", "%", "a load that fills the card reaches its limit", fail_below=90),
)


# Where the card has the counter: a GeForce has no ECC.
WHERE_READ = (
    Limit("endurance", "pcie_replays_more", "replays", "a sound link under load repeats nothing", warn_above=0),
    Limit("endurance", "uncorrected_ecc_errors_more", "errors", "NVML API reference, ECC", fail_above=0),
)


@dataclass(frozen=True)
class Samples:
    """The columns of one card, all of one length; None where a value could not be read."""

    seconds: tuple[float, ...]
    columns: t.Mapping[str, tuple[t.Any, ...]]

    def to_json(self) -> dict[str, list[t.Any]]:
        """Return them as they stand in the document."""
        return {"seconds": list(self.seconds), **{name: list(column) for name, column in self.columns.items()}}

    def settled(self, name: str) -> list[float]:
        """Return the readings of a column after the warm-up."""
        pairs = zip(self.seconds, self.columns[name], strict=True)
        return [value for second, value in pairs if second > _WARM_UP_S and value is not None]

    def unread(self, name: str) -> int:
        """Return how many samples lack a value."""
        return sum(value is None for value in self.columns[name])


def parse_samples(lines: t.Iterable[t.Sequence[t.Any]], card: str) -> Samples:
    """Read the program's samples of one card: the second, nvidia-smi's line with FIELDS, and the replay counter."""
    seconds: list[float] = []
    rows: list[list[t.Any]] = []
    for second, line, replays in lines:
        uuid, *values = (value.strip() for value in str(line).split(","))
        if uuid == card and len(values) == len(COLUMNS):
            seconds.append(float(second))
            rows.append([*(_read(f, v) for f, v in zip(COLUMNS, values, strict=True)), replays])
    names = [*COLUMNS.values(), "pcie_replays"]
    columns = {name: tuple(row[number] for row in rows) for number, name in enumerate(names)}
    return Samples(tuple(seconds), columns)


def parse_reasons(text: str) -> tuple[str, ...] | None:
    """Return the names of the reasons in nvidia-smi's mask; a bit without a name by its number."""
    try:
        mask = int(text, 16)
    except ValueError:
        return None
    bits = [1 << number for number in range(mask.bit_length()) if mask >> number & 1]
    return tuple(REASONS.get(bit, f"{bit:#x}") for bit in bits)


def _read(field: str, value: str) -> t.Any:
    if COLUMNS[field] == "reasons":
        return parse_reasons(value)
    try:
        return float(value)
    except ValueError:  # [N/A], [Unknown Error], [GPU requires reset]
        return None


def judge_endurance(answer: Answer, card: str, asked_s: float, limits: tuple[Limit, ...] | None) -> Check:
    """Judge the load on one card: its results first, then whether it was watched, then what was seen."""
    whole = answer.objects[-1] if answer.objects else {}
    found: t.Iterable[t.Mapping[str, t.Any]] = whole.get("cards", [])
    load: t.Mapping[str, t.Any] = next((each for each in found if each.get("uuid") == card), {})
    samples = parse_samples(whole.get("samples", []), card)
    figures = {**_figures(load, samples), "asked_seconds": asked_s, "samples": samples.to_json()}
    if not load or "error" in load:
        return failed("endurance", str(load.get("error") or answer.ending), card=card, **figures)
    if not load["worst_error_over_bound"] <= 1:
        ratio = load["worst_error_over_bound"]
        return failed("endurance", f"the product is off by {ratio:.3g} times its error bound", card=card, **figures)
    counted = (limit for limit in WHERE_READ if figures[limit.figure] is not None)
    of_model = {limit.figure for limit in limits or ()}
    own = tuple(limit for limit in (*EVERYWHERE, *counted) if limit.figure not in of_model)
    seen = judge_figures("endurance", _words(figures), card=card, limits=(*own, *(limits or ())), **figures)
    gaps = _unwatched(whole, samples, asked_s)
    if seen.outcome is Outcome.FAIL:
        return seen
    if gaps or not load["checks"]:
        why = gaps or "it was too short for a second look at the result"
        return not_proven("endurance", why, card=card, limits=seen.limits, **figures)
    if limits is None:
        return not_proven("endurance", f"there are no limits for this card: {seen.why}", card=card, **figures)
    return seen


def _figures(load: t.Mapping[str, t.Any], samples: Samples) -> dict[str, t.Any]:
    """Return what the limits are about, and what a person wants to see."""
    figures: dict[str, t.Any] = {
        "products": load.get("products"),
        "tflops": load.get("tflops"),
        "checks": load.get("checks"),
        "wrong_numbers": load.get("wrong"),
        "worst_error_over_bound": load.get("worst_error_over_bound"),
    }
    reasons = [found for found in samples.columns["reasons"] if found is not None]
    for name in REASONS.values():
        figures[f"{name}_seconds"] = sum(name in found for found in reasons) if reasons else None
    replays = [count for count in samples.columns["pcie_replays"] if count is not None]
    ecc = [count for count in samples.columns["uncorrected_ecc_errors"] if count is not None]
    power, limit = samples.settled("power_w"), samples.settled("power_limit_w")
    clocks, temperatures = samples.settled("sm_clock_mhz"), samples.settled("temperature_c")
    figures.update(
        unread={name: samples.unread(name) for name in samples.columns if samples.unread(name)},
        max_temperature_c=max(temperatures, default=None),
        median_power_w=statistics.median(power) if power else None,
        power_percent_of_limit=100 * statistics.median(power) / min(limit) if power and limit else None,
        median_sm_clock_mhz=statistics.median(clocks) if clocks else None,
        pcie_replays_more=replays[-1] - replays[0] if replays else None,
        uncorrected_ecc_errors_more=ecc[-1] - ecc[0] if ecc else None,
    )
    return figures


def _words(figures: t.Mapping[str, t.Any]) -> str:
    def shown(name: str, unit: str) -> str:
        return f"{figures[name]:.0f} {unit}" if figures[name] is not None else f"no reading of {name}"

    parts = [
        shown("tflops", "TFLOP/s"),
        f"median power {shown('power_percent_of_limit', '% of the limit')}",
        f"at most {shown('max_temperature_c', 'degrees C')}",
        f"median clock {shown('median_sm_clock_mhz', 'MHz')}",
    ]
    if figures["sw_power_cap_seconds"]:
        parts.append(f"held at the power limit in {figures['sw_power_cap_seconds']} samples, as full load should be")
    if figures["unread"]:
        parts.append(f"samples without a reading: {', '.join(f'{n} {c}' for n, c in figures['unread'].items())}")
    return ", ".join(parts)


def _unwatched(whole: t.Mapping[str, t.Any], samples: Samples, asked_s: float) -> str:
    """Say what was not seen: a gap between samples, too few of them, or fields that could not be read."""
    if not samples.seconds:
        return "nvidia-smi gave no sample of this card"
    moments = (0.0, *samples.seconds, asked_s)
    gap = max(later - earlier for earlier, later in itertools.pairwise(moments))
    if gap > _LONGEST_GAP_S:
        ended = f" (nvidia-smi ended with {whole['smi_rc']})" if whole.get("smi_rc") is not None else ""
        return f"nothing was sampled for {gap:.0f} s{ended}"
    number = len(samples.seconds)
    if number < _LEAST_SHARE * asked_s:
        return f"only {number} samples in {asked_s:.0f} s"
    unread = [
        f"{name} in {samples.unread(name)}" for name in _NEEDED if samples.unread(name) > (1 - _LEAST_SHARE) * number
    ]
    return f"of {number} samples nvidia-smi could not read {', '.join(unread)}" if unread else ""


__all__ = ["COLUMNS", "EVERYWHERE", "FIELDS", "REASONS", "Samples", "judge_endurance", "parse_reasons", "parse_samples"]
