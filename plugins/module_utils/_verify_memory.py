# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge a card's memory: what a test of nearly all of it found, and its speed against physics and public tools."""

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass

from ansible_collections.gpulab.workstation.plugins.module_utils._verify import (
    Check,
    Limit,
    Outcome,
    failed,
    judge_figures,
    not_proven,
    passed,
)
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_programs import ProgramRun, run_problems

LEAST_SHARE = 0.8  # of a card's memory that a test must have seen
_OUT_OF_MEMORY = 2  # cudaErrorMemoryAllocation, driver_types.h
_AGREE = 0.03  # how far the computed bandwidth may be from the model's data sheet
_FULL_SIZE = 1 << 30  # bytes of an array from which on caches no longer help
_GIB = 1 << 30

_PUBLIC = ("cuda_memcpy_gb_s", "nvbandwidth_like_gb_s", "torch_copy_gb_s")
SHARES = (
    Limit(
        "memory_bandwidth",
        "share_of_theoretical",
        "of clock and bus width",
        "docs/verification.md, memory_bandwidth",
        fail_below=0.85,
    ),
    Limit(
        "memory_bandwidth",
        "share_of_best_public",
        "of the best public copy in the same run",
        "docs/verification.md, memory_bandwidth",
        fail_below=0.92,
    ),
)


@dataclass(frozen=True)
class TorchCopy:
    """What torch's own copy reached, by size of array; empty with the reason where it was not measured."""

    gb_s: t.Mapping[int, float]
    why: str = ""


def parse_torch_copy(rc: int, stdout: str, stderr: str) -> TorchCopy:
    """Read what gpu_verify_copy.py printed."""
    try:
        data = json.loads(stdout.strip().splitlines()[-1])
        return TorchCopy({int(row["bytes"]): float(row["torch_copy_gb_s"]) for row in data["over_size"]})
    except (ValueError, KeyError, TypeError, IndexError):
        return TorchCopy({}, f"torch's copy ended with {rc}: {(stderr or stdout).strip()[-200:] or 'no words'}")


def judge_test(arch: str, run: ProgramRun, card: str) -> Check:
    """Judge the test of nearly all memory: any word that came back another is a fault, too few words are no proof."""
    report, figures = run.report, run.figures
    if report.get("code") == _OUT_OF_MEMORY:
        why = f"another process holds the card's memory: {report.get('error')} (at: {report.get('at')})"
        return not_proven("memory_test", why, card=card, **figures)
    wrong = run_problems(arch, run)
    if wrong:
        return failed("memory_test", "; ".join(wrong), card=card, **figures)
    total, tested = report["total_bytes"], report["tested_bytes"]
    share = tested / total
    figures["share_tested"] = round(share, 4)
    if report["errors"]:
        return failed("memory_test", _fault_words(report), card=card, **figures)
    seen = f"{tested / _GIB:.1f} of {total / _GIB:.1f} GiB ({share:.0%})"
    if share < LEAST_SHARE:
        free = report["free_bytes"] / _GIB
        why = f"only {seen} could be tested, {free:.1f} GiB were free: another process holds the rest"
        return not_proven("memory_test", why, card=card, **figures)
    if run.rc != 0 or report.get("ok") is not True:
        why = f"the test program ended with {run.rc} and ok={report.get('ok')}"
        return failed("memory_test", why, card=card, **figures)
    why = f"{seen} kept {len(report['passes'])} patterns, {report['gb_s']:.0f} GB/s"
    return passed("memory_test", why, card=card, **figures)


def _fault_words(report: t.Mapping[str, t.Any]) -> str:
    words = f"{report['errors']} words came back another"
    if report["first"]:
        first = report["first"][0]
        words += f"; first at {first['address']}: {first['expected']} was written, {first['found']} was read"
        words += f" (pattern {first['pattern']})"
    return words


def judge_bandwidth(
    arch: str,
    run: ProgramRun,
    torch: TorchCopy,
    card: str,
    *,
    limits: tuple[Limit, ...] | None,
    facts: t.Mapping[str, float],
) -> Check:
    """Judge the speed of copies and triads: against clock and bus width, public tools, and the limits of the model."""
    name, report = "memory_bandwidth", run.report
    if report.get("code") == _OUT_OF_MEMORY:
        why = f"another process holds the card's memory: {report.get('error')} (at: {report.get('at')})"
        return not_proven(name, why, card=card, **run.figures)
    wrong = run_problems(arch, run)
    if not wrong and (report["wrong_words"] or run.rc != 0):
        wrong = [f"{report['wrong_words']} words of the copies are wrong; the program ended with {run.rc}"]
    if wrong:
        return failed(name, "; ".join(wrong), card=card, **run.figures)
    figures = bandwidth_figures(report, torch)
    theoretical, known = figures["theoretical_gb_s"], facts.get("memory_bandwidth_gb_s")
    if theoretical and known and abs(theoretical / known - 1) > _AGREE:
        why = (
            f"clock and bus width give {theoretical:.0f} GB/s, the model's data sheet says {known:.0f}:"
            " which of them holds for this card is open"
        )
        return not_proven(name, why, card=card, **figures)
    why = (
        f"copy {figures['copy_gb_s']:.0f}, triad {figures['triad_gb_s']:.0f} GB/s;"
        f" {figures['share_of_theoretical'] or 0:.0%} of {theoretical or 0:.0f} GB/s,"
        f" {figures['share_of_best_public']:.0%} of the best public copy ({figures['best_public']})"
    )
    return judge_with_shares(name, why, SHARES, card=card, limits=limits, **figures)


def judge_with_shares(
    name: str, why: str, shares: tuple[Limit, ...], /, *, card: str, limits: tuple[Limit, ...] | None, **figures: t.Any
) -> Check:
    """Compare with limits that hold for every model and with those of this one; an unknown model can only fail.

    Where a model has a limit of its own for a figure, that one holds.
    """
    if limits is not None:
        of_model = {limit.figure for limit in limits}
        shares = tuple(share for share in shares if share.figure not in of_model)
        return judge_figures(name, why, card=card, limits=(*shares, *limits), **figures)
    of_all = judge_figures(name, why, card=card, limits=shares, **figures)
    if of_all.outcome is Outcome.FAIL:
        return of_all
    return judge_figures(name, why, card=card, limits=None, **figures)


def bandwidth_figures(report: t.Mapping[str, t.Any], torch: TorchCopy) -> dict[str, t.Any]:
    """Return the figures of a run; both edges of the memory clock carry data (double data rate)."""
    theoretical = 2 * report["memory_clock_khz"] * 1e3 * report["memory_bus_bits"] / 8 * 1e-9
    figures = {key: value for key, value in report.items() if key != "format"}
    figures["over_size"] = [{**row, "torch_copy_gb_s": torch.gb_s.get(row["bytes"])} for row in report["over_size"]]
    figures["torch_copy_gb_s"] = torch.gb_s.get(_FULL_SIZE)
    if torch.why:
        figures["torch_copy_why"] = torch.why
    public = {name: figures[name] for name in _PUBLIC if figures.get(name)}
    figures["best_public"] = max(public, key=lambda name: public[name]).removesuffix("_gb_s")
    figures["theoretical_gb_s"] = round(theoretical, 1) or None
    figures["share_of_theoretical"] = round(figures["copy_gb_s"] / theoretical, 4) if theoretical else None
    figures["share_of_best_public"] = round(figures["copy_gb_s"] / max(public.values()), 4)
    return figures


__all__ = [
    "LEAST_SHARE",
    "SHARES",
    "TorchCopy",
    "bandwidth_figures",
    "judge_bandwidth",
    "judge_test",
    "judge_with_shares",
    "parse_torch_copy",
]
