# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Full load on every card at once for some time, with a line of nvidia-smi for each card and second.

Matrix products in bf16 keep the tensor cores busy, copies beside them the memory. Every few seconds the product is
compared with the first one bit for bit. The result is one line of JSON, the last one on standard output. nvidia-smi
is killed with this program; whoever starts this program sees to it that it is killed too (setpriv --pdeathsig).
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import select
import shutil
import subprocess
import threading
import time
import typing as t

os.environ["CUBLAS_WORKSPACE_CONFIG"] = (
    ":4096:8"  # the same result each time, also beside another stream (cuBLAS 2.1.4)
)

import torch

SIZE = 8192
PRODUCTS = 40  # between two looks at the clock: about 50 ms on an H100
CHECK_EVERY_S = 5.0
COPY_SHARE = 0.2  # of the free memory, for each end of the copies
ROWS = 4  # of the first product that are computed again on the CPU
IMPOSSIBLE = 1e30
LATE_S = 20.0  # how long a last sample is waited for


class Card(threading.Thread):
    """The load on one card, and what came of it."""

    def __init__(self, device: int, seed: int, stop: threading.Event) -> None:
        super().__init__(name=f"card {device}", daemon=True)
        self.device, self.seed, self.stop = torch.device("cuda", device), seed, stop
        self.found: dict[str, t.Any] = {"device": device, "products": 0, "checks": 0, "wrong": 0}

    def run(self) -> None:
        """Work until told to stop; whatever goes wrong belongs into the result."""
        try:
            torch.cuda.set_device(self.device)
            self.found["uuid"] = f"GPU-{torch.cuda.get_device_properties(self.device).uuid}"
            self.work()
        except Exception as error:  # noqa: BLE001
            self.found["error"] = f"{type(error).__name__}: {error}"

    def work(self) -> None:
        """Multiply and copy side by side, and compare now and then."""
        generator = torch.Generator(self.device).manual_seed(self.seed)
        shape = {"device": self.device, "dtype": torch.bfloat16}
        a, b = (torch.randn(SIZE, SIZE, generator=generator, **shape) for _ in range(2))
        first, last = torch.mm(a, b), torch.full((SIZE, SIZE), torch.nan, **shape)
        self.found["worst_error_over_bound"] = self.worst(a, b, first)
        size = int(torch.cuda.mem_get_info(self.device)[0] * COPY_SHARE)
        source, target = (torch.ones(size, device=self.device, dtype=torch.uint8) for _ in range(2))
        multiplying, copying = torch.cuda.Stream(self.device), torch.cuda.Stream(self.device)
        torch.cuda.synchronize(self.device)
        start = checked = time.monotonic()
        while not self.stop.is_set():
            with torch.cuda.stream(copying):
                target.copy_(source)
            with torch.cuda.stream(multiplying):
                for _ in range(PRODUCTS):
                    torch.mm(a, b, out=last)
            torch.cuda.synchronize(self.device)
            self.found["products"] += PRODUCTS
            if time.monotonic() - checked > CHECK_EVERY_S:
                self.found["checks"] += 1
                self.found["wrong"] += int((last != first).sum())
                last.fill_(torch.nan)
                checked = time.monotonic()
        seconds = time.monotonic() - start
        self.found["tflops"] = 2 * SIZE**3 * self.found["products"] / seconds / 1e12

    @staticmethod
    def worst(a: torch.Tensor, b: torch.Tensor, product: torch.Tensor) -> float:
        """Return the largest error of a few rows divided by its bound (docs/verification.md)."""
        left, right = a[:ROWS].cpu().double(), b.cpu().double()
        exact, roundings = left @ right, SIZE * 2.0**-24
        bound = roundings / (1 - roundings) * (left.abs() @ right.abs()) + 2.0**-8 * exact.abs()
        ratio = (product[:ROWS].cpu().double() - exact).abs() / bound
        return float(ratio.nan_to_num(IMPOSSIBLE, IMPOSSIBLE).max())


class Replays:
    """PCIe replay counters from NVML, which nvidia-smi has no field for."""

    def __init__(self) -> None:
        self.error = ""
        try:
            self.nvml: t.Any = ctypes.CDLL("libnvidia-ml.so.1")
            if self.nvml.nvmlInit_v2() != 0:
                self.error = "nvmlInit failed"
        except (OSError, AttributeError) as error:
            self.error = str(error)

    def read(self, uuid: str) -> int | None:
        """Return the counter of a card, None where it cannot be read."""
        if self.error:
            return None
        handle, count = ctypes.c_void_p(), ctypes.c_uint()
        if self.nvml.nvmlDeviceGetHandleByUUID(uuid.encode(), ctypes.byref(handle)) != 0:
            return None
        return count.value if self.nvml.nvmlDeviceGetPcieReplayCounter(handle, ctypes.byref(count)) == 0 else None


def working(cards: t.Sequence[Card], smi: subprocess.Popen[bytes]) -> bool:
    """Whether there is something left to sample, and somebody who does."""
    return smi.poll() is None and any(card.is_alive() for card in cards)


def sample(cards: t.Sequence[Card], fields: str, seconds: float, interval_ms: int) -> dict[str, t.Any]:
    """Collect nvidia-smi's lines while a card works, with the second each came; the uuid is the first field."""
    guard = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
    command = [*guard, "nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader,nounits", f"-lms={interval_ms}"]
    replays, lines, start = Replays(), [], time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as smi:
        pipe, rest = t.cast("t.IO[bytes]", smi.stdout).fileno(), b""
        os.set_blocking(pipe, False)
        while (left := start + seconds - time.monotonic()) > 0 and working(cards, smi):
            if not select.select([pipe], [], [], min(left, 1.0))[0]:
                continue
            *whole, rest = (rest + os.read(pipe, 1 << 16)).split(b"\n")
            now = time.monotonic() - start
            texts = [line.decode("utf-8", "replace") for line in whole if line.strip()]
            lines += [[round(now, 2), text, replays.read(text.split(",")[0].strip())] for text in texts]
        rc = smi.poll()
        smi.kill()
    return {"samples": lines, "smi_rc": rc, "replays_error": replays.error}


def main() -> None:
    """Read the arguments and print the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--fields", required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--interval-ms", type=int, default=1000)
    arguments = parser.parse_args()
    stop = threading.Event()
    cards = [Card(device, arguments.seed, stop) for device in range(torch.cuda.device_count())]
    started = time.time()
    for card in cards:
        card.start()
    taken = sample(cards, arguments.fields, arguments.seconds, arguments.interval_ms)
    stop.set()
    for card in cards:
        card.join(LATE_S)
        if card.is_alive():
            card.found["error"] = f"the card did not answer for {LATE_S:.0f} s after the last product was asked for"
    answer = {"format": 1, "started": started, "seconds": arguments.seconds, "cards": [card.found for card in cards]}
    print("\n" + json.dumps({**answer, **taken}), flush=True)
    os._exit(0)  # a card that hangs would keep the interpreter from ending


if __name__ == "__main__":
    main()
