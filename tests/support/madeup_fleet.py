# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A made-up fleet for trying the page: `.venv/bin/python tests/support/madeup_fleet.py DIRECTORY [HOSTS [CARDS]]`.

Nothing in it was measured. Host checks are those of the recorded H100; bandwidths, temperatures and the rest come from
a random generator. Hosts and uuids say "made-up", and none of it may ever be kept as a record.
"""

from __future__ import annotations

import copy
import datetime as dt
import json
import math
import random
import sys
import typing as t
from pathlib import Path

from ansible_collections.gpulab.workstation.plugins.module_utils._verify import CHECKS, SCHEMA
from ansible_collections.gpulab.workstation.plugins.plugin_utils._results_report import Run, make_report
from ansible_collections.gpulab.workstation.plugins.plugin_utils._results_store import NoResult, keep_document

RECORD = Path(__file__).resolve().parents[2] / "docs/records/2026-11-23-h100/hopper.json"
SOURCE = "made up for trying the page"
_PLAIN = ("memory_test", "pcie_link", "torch_launch", "torch_attention")
_PLAIN_FULL = ("diffusion_sd15", "attention_backends")
MODEL = "NVIDIA H100 80GB HBM3"


def madeup_document(host: str, cards: int = 1, *, seed: int = 1, day: int = 1, **options: t.Any) -> dict[str, t.Any]:
    """Return a document: options are level, minutes, sick (a check that fails on the first card), uuids."""
    dice = random.Random(seed)  # noqa: S311 - nothing secret
    level, minutes = options.get("level", "full"), options.get("minutes", 10)
    uuids = options.get("uuids") or [f"GPU-made-up-{host}-{place}" for place in range(cards)]
    checks = [_host_check(check) for check in json.loads(RECORD.read_text(encoding="utf-8"))["checks"]]
    checks = [check for check in checks if not CHECKS[check["name"]].per_card]
    for place, uuid in enumerate(uuids):
        made = _card_checks(uuid, dice, level, minutes)
        if place == 0 and options.get("sick"):
            _make_sick(made, options["sick"])
        checks += made
    checks.sort(key=lambda check: list(CHECKS).index(check["name"]))
    bad = [f"{check['name']}: {check['why']}" for check in checks if check["outcome"] == "fail"]
    return {
        "schema": SCHEMA, "host": host, "time": f"2026-11-{day:02d}T06:{dice.randrange(60):02d}:00Z", "seconds": 700.5,
        "level": level, "endurance_minutes": minutes, "arch": "9.0", "expect_gpu": True, "verified": not bad,
        "failure": "; ".join(bad) or None,
        "stack": {"name": "made-up", "driver": "580.159.04", "cuda": "12.9.1", "torch": "2.11.0"},
        "cards": [_card(place, uuid) for place, uuid in enumerate(uuids)], "checks": checks,
        "machine": {"os": "ubuntu 24.04", "kernel": "6.8.0-45-generic", "kind": "bare_metal"},
        "nvcc_flags": [], "unreadable": [],
    }  # fmt: skip


def _card(place: int, uuid: str) -> dict[str, t.Any]:
    return {
        "index": place, "uuid": uuid, "name": MODEL, "pci": f"00000000:{place + 1:02x}:00.0", "pci_id": "10de:2330",
        "vbios": "96.00.DA.00.0C", "serial": None, "compute_capability": "9.0", "memory_mib": 81559,
        "limits_row": MODEL,
    }  # fmt: skip


def _host_check(old: dict[str, t.Any]) -> dict[str, t.Any]:
    check = {key: old[key] for key in ("name", "outcome", "required", "needs_gpu", "why", "figures")}
    if check["outcome"] == "not_proven":
        check.update(outcome="pass", why=SOURCE)
    return {**check, "card": None, "level": "quick", "limits": []}


def _check(name: str, uuid: str, figures: dict[str, t.Any], *limits: dict[str, t.Any]) -> dict[str, t.Any]:
    kind = CHECKS[name]
    return {
        "name": name, "card": uuid, "outcome": "pass", "required": kind.level.value == "quick",
        "needs_gpu": kind.needs_gpu, "level": kind.level.value, "why": f"{SOURCE}: within its limits",
        "figures": figures, "limits": list(limits),
    }  # fmt: skip


def _limit(figure: str, unit: str, **bounds: float) -> dict[str, t.Any]:
    empty = dict.fromkeys(("fail_below", "warn_below", "fail_above", "warn_above"))
    return {"figure": figure, "unit": unit, "source": SOURCE, **empty, **bounds}


def _card_checks(uuid: str, dice: random.Random, level: str, minutes: float) -> list[dict[str, t.Any]]:
    copied, tflops, seconds = dice.gauss(2890, 25), dice.gauss(690, 12), dice.gauss(2.6, 0.05)
    made = [
        _check("kernel_results", uuid, {"worst_error_over_bound": 0.0138, "kernels": [{"name": "integer_mix"}]}),
        _check("foreign_code_refused", uuid, {"built_for": "sm_89", "code": 209}),
        _check("host_bandwidth", uuid, {"h2d_gb_s": dice.gauss(54.8, 0.3), "d2h_gb_s": dice.gauss(55.1, 0.3)},
               _limit("h2d_gb_s", "GB/s", fail_below=45, warn_below=50)),
        _check("memory_bandwidth", uuid,
               {"copy_gb_s": copied, "triad_gb_s": copied * 1.01, "over_size": _sizes(copied)},
               _limit("copy_gb_s", "GB/s", fail_below=2600, warn_below=2750)),
        _check("torch_matmul", uuid, {"tflops": tflops, "dense_tflops": 989.4, "percent_of_dense": tflops / 9.894},
               _limit("tflops", "TFLOP/s", fail_below=550, warn_below=620)),
    ]  # fmt: skip
    made += [_check(name, uuid, {"worst_error_over_bound": round(dice.random() / 9, 4)}) for name in _PLAIN]
    if level == "full":
        made += [_check(name, uuid, {"seconds_per_image": dice.gauss(0.9, 0.02)}) for name in _PLAIN_FULL]
        figures = {"seconds_per_image": seconds, "seconds_per_image_batch_4": seconds * 0.8, "peak_memory_mib": 9216}
        made.append(_check("diffusion_sdxl", uuid, figures, _limit("seconds_per_image", "s/image", fail_above=4)))
    if minutes:
        made.append(_endurance(uuid, dice, int(minutes * 60)))
    return made


def _sizes(peak: float) -> list[dict[str, t.Any]]:
    sizes = [1 << power for power in range(20, 34)]
    near = [(size, peak * (1.9 if size < 1 << 25 else 1) * size / (size + (1 << 22))) for size in sizes]
    return [
        {"bytes": size, "copy_gb_s": speed, "triad_gb_s": speed * 1.02, "torch_copy_gb_s": speed * 0.93}
        for size, speed in near
    ]


def _endurance(uuid: str, dice: random.Random, count: int) -> dict[str, t.Any]:
    heat = [78 - 42 * math.exp(-second / 45) + dice.gauss(0, 0.4) for second in range(count)]
    reasons = [["sw_power_cap"] if second > 8 else ["gpu_idle"] for second in range(count)]
    samples: dict[str, t.Any] = {
        "seconds": [second + 0.0 for second in range(count)],
        "temperature_c": [round(value) for value in heat],
        "power_w": [round(min(700, 120 + second * 90) + dice.gauss(0, 4), 1) for second in range(count)],
        "power_limit_w": [700.0] * count,
        "sm_clock_mhz": [1980 - 15 * round(max(0.0, value - 60) / 3) for value in heat],
        "memory_clock_mhz": [2619] * count,
        "utilization_percent": [100] * count,
        "pcie_replays": [0] * count,
        "reasons": reasons,
    }
    for place in range(count // 3, count // 3 + 5):
        samples["temperature_c"][place] = None
    figures = {"max_temperature_c": max(heat), "power_percent_of_limit": 99.1, "median_power_w": 694.0,
               "sw_thermal_slowdown_seconds": 0, "samples": samples}  # fmt: skip
    limits = (_limit("max_temperature_c", "°C", fail_above=87, warn_above=83),
              _limit("power_percent_of_limit", "%", fail_below=90),
              _limit("sw_thermal_slowdown_seconds", "s", warn_above=0))  # fmt: skip
    return _check("endurance", uuid, figures, *limits)


def _make_sick(checks: list[dict[str, t.Any]], name: str) -> None:
    check = next(check for check in checks if check["name"] == name)
    check.update(outcome="fail", why=f"{SOURCE}: beyond its limits")
    if name == "endurance":
        samples = check["figures"]["samples"]
        hot = range(len(samples["seconds"]) // 2, len(samples["seconds"]) * 4 // 5)
        for place in hot:
            samples["reasons"][place] = ["sw_power_cap", "hw_thermal_slowdown"]
            samples["temperature_c"][place] = 91
            samples["sm_clock_mhz"][place] = 990
        samples["reasons"][-20:] = [["hw_slowdown", "hw_power_brake_slowdown"]] * 20
        check["figures"]["max_temperature_c"] = 91
    if name == "memory_bandwidth":
        check["figures"].update(copy_gb_s=2210.0, over_size=_sizes(2210.0))


def write_fleet(directory: Path, hosts: int, cards: int) -> None:
    """Write two runs of a fleet: one that was well, and one in which some are not, one card moved, one file broke."""
    sick = {3: "memory_bandwidth", 5: "endurance", 8: "host_bandwidth"}
    for day, level in ((3, "full"), (17, "quick")):
        for place in range(1 if day == 3 else 2, hosts + 1):  # host 1 gave its card away and was not run again
            host = f"made-up-{place:02d}"
            options: dict[str, t.Any] = {"level": "full" if place % 4 else level, "minutes": 10 if place % 4 else 0}
            options["minutes"] = options["minutes"] or (10 if level == "full" else 0)
            document = madeup_document(
                host, cards, seed=place * 100 + day, day=day, sick=sick.get(place) if day > 3 else None, **options
            )
            if day > 3 and place == 2:  # its card came from host 1
                document = json.loads(
                    json.dumps(document).replace("GPU-made-up-made-up-02-0", "GPU-made-up-made-up-01-0")
                )
            now = dt.datetime(2026, 11, day, 7, tzinfo=dt.timezone.utc)
            keep_document(directory, host, document, now)
    if hosts > 10:
        _spoil(directory)


def _spoil(directory: Path) -> None:
    empty = copy.deepcopy(madeup_document("made-up-09", 0, seed=9, day=18, level="quick", minutes=0, uuids=[]))
    for check in empty["checks"]:
        check.update(outcome="not_proven", why="no NVIDIA driver is loaded")
    empty.update(cards=[], verified=False, failure="no NVIDIA driver is loaded")
    keep_document(directory, "made-up-09", empty, dt.datetime(2026, 11, 18, 7, tzinfo=dt.timezone.utc))
    broken = directory / "made-up-10.json"
    broken.write_text(broken.read_text(encoding="utf-8")[:5000], encoding="utf-8")


def main(arguments: t.Sequence[str]) -> int:
    """Write a fleet and its page."""
    directory = Path(arguments[0])
    write_fleet(directory, *(int(number) for number in arguments[1:] or ("12", "2")))
    lost = NoResult("made-up-99", "2026-11-17T06:30:00Z", "unreachable", "ssh: connect: no route to host (made up)")
    names = frozenset(path.stem for path in directory.glob("*.json"))
    made = make_report(directory, dt.datetime(2026, 11, 17, 8, tzinfo=dt.timezone.utc), Run(names, (lost,)))
    sys.stdout.write(f"{made.sentence}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))


__all__ = ["madeup_document", "write_fleet"]
