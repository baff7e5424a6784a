# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure torch's ``b.copy_(a)`` over size, timed as gpu_verify_memory times its own copies; prints one JSON object."""

from __future__ import annotations

import json
import sys

import torch

SMALLEST, LARGEST = 1 << 16, 1 << 32
BATCHES, PER_BATCH, MOST, LEAST = 4, 16 << 30, 200, 4


def speed(to: torch.Tensor, source: torch.Tensor) -> float:
    """Return GB/s with what is read and written counted: the best of some batches of copies without a pause."""
    moved = 2 * source.nbytes
    copies = max(LEAST, min(MOST, PER_BATCH // moved))
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    to.copy_(source)
    best = float("inf")
    for _ in range(BATCHES):
        begin.record()
        for _ in range(copies):
            to.copy_(source)
        end.record()
        end.synchronize()
        best = min(best, begin.elapsed_time(end) / copies)
    return moved / best * 1e-6


def main() -> None:
    """Measure on the card whose number is given."""
    torch.cuda.set_device(int(sys.argv[1]))
    free, _ = torch.cuda.mem_get_info()
    largest = LARGEST
    while largest > 1 << 30 and 3 * largest > free:
        largest //= 2
    source, to = (torch.zeros(largest // 4, dtype=torch.float32, device="cuda") for _ in range(2))
    sizes = [size for power in range(16, 40, 2) if SMALLEST <= (size := 1 << power) <= largest]
    over_size = [{"bytes": size, "torch_copy_gb_s": speed(to[: size // 4], source[: size // 4])} for size in sizes]
    sys.stdout.write(json.dumps({"format": 1, "torch": torch.__version__, "over_size": over_size}) + "\n")


if __name__ == "__main__":
    main()
