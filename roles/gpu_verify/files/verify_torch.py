# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Right numbers from torch's attention, forward and backward, and the speed of its matrix product, on one card.

The references are sums in double precision on the CPU. The bounds are derived in docs/verification.md. The result is
one line of JSON, the last one on standard output.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import typing as t
import warnings

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

HEADS, HEAD_WIDTH, TOKENS = 8, 64, 512
SHAPES = {"self": TOKENS, "cross": 77}  # keys: as many as queries, or the 77 words of CLIP
TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
UNIT = {"bf16": 2.0**-8, "fp16": 2.0**-11}  # unit roundoff
SMALLEST = {"bf16": 0.0, "fp16": 2.0**-25}  # half the spacing of subnormal numbers; bf16 has the exponents of fp32
BACKENDS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "math": SDPBackend.MATH,
}
ENABLED = {
    "flash": torch.backends.cuda.flash_sdp_enabled,
    "efficient": torch.backends.cuda.mem_efficient_sdp_enabled,
    "cudnn": torch.backends.cuda.cudnn_sdp_enabled,
    "math": torch.backends.cuda.math_sdp_enabled,
}
SECOND_ORDER = 1 + 2.0**-6  # products of the errors below
GRADIENTS = ("dq", "dk", "dv")
ROWS = 4  # of the matrix product that are computed again on the CPU
IMPOSSIBLE = 1e30  # instead of NaN and infinity, which JSON does not have


def gamma(roundings: int) -> float:
    """Return the bound of a chain of roundings in fp32 (Higham, Accuracy and Stability, 3.1)."""
    u = 2.0**-24
    return roundings * u / (1 - roundings * u)


def draw(rows: int, generator: torch.Generator) -> torch.Tensor:
    """Return random numbers that bf16 and fp16 hold exactly: multiples of 1/32 below 4."""
    shape = (1, HEADS, rows, HEAD_WIDTH)
    numbers = torch.randn(shape, generator=generator, dtype=torch.float64)
    return numbers.mul(32).round().clamp(-127, 127).div(32)


def reference(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, g: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return attention and its gradients in double precision, and what the bounds are made of."""
    scale = HEAD_WIDTH**-0.5
    p = torch.softmax(q @ k.mT * scale, dim=-1)
    out = p @ v
    ds = p * (g @ v.mT - (g * out).sum(-1, keepdim=True))
    exponent = gamma(HEAD_WIDTH + 2) * (q.abs() @ k.abs().mT * scale).amax(-1, keepdim=True) + 2.0**-16
    return {"p": p, "ds": ds, "relative": 2 * exponent, "out": out,
            "dq": ds @ k * scale, "dk": ds.mT @ q * scale, "dv": p.mT @ g}  # fmt: skip


def bounds(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, g: torch.Tensor, right: dict[str, torch.Tensor], kind: str
) -> dict[str, torch.Tensor]:
    """Return how far each result may be off: sums in fp32, what is kept between them and the result in 16 bits."""
    u, eta, scale = UNIT[kind], SMALLEST[kind], HEAD_WIDTH**-0.5
    p, ds, relative = right["p"], right["ds"], right["relative"]
    sums = gamma(TOKENS)
    out = (2 * u + sums + relative) * (p @ v.abs()) + eta * (1 + v.abs().sum(-2, keepdim=True))
    delta = (g.abs() * out).sum(-1, keepdim=True) + gamma(HEAD_WIDTH) * (g * right["out"]).abs().sum(-1, keepdim=True)
    dp = gamma(HEAD_WIDTH) * (g.abs() @ v.abs().mT)
    score = p * (delta + dp) + (2 * u + sums + relative) * ds.abs() + eta
    found = {
        "out": out,
        "dq": scale * (score @ k.abs()) + u * right["dq"].abs() + eta,
        "dk": scale * (score.mT @ q.abs()) + u * right["dk"].abs() + eta,
        "dv": ((u + sums + relative) * p).mT @ g.abs()
        + u * right["dv"].abs()
        + eta * (1 + g.abs().sum(-2, keepdim=True)),
    }
    return {name: bound * SECOND_ORDER for name, bound in found.items()}


def worst(got: torch.Tensor, right: torch.Tensor, bound: torch.Tensor) -> float:
    """Return the largest error divided by its bound."""
    ratio = (got.detach().cpu().double() - right).abs() / bound
    return float(ratio.nan_to_num(IMPOSSIBLE, IMPOSSIBLE).max())


def attend(tensors: t.Sequence[torch.Tensor], backend: SDPBackend | None) -> dict[str, torch.Tensor]:
    """Return what the card makes of it: attention and its three gradients."""
    q, k, v = (tensor.clone().requires_grad_() for tensor in tensors[:3])
    with contextlib.nullcontext() if backend is None else sdpa_kernel([backend]):
        out = scaled_dot_product_attention(q, k, v)
        out.backward(tensors[3])
    return {"out": out, **{name: t.cast("torch.Tensor", x.grad) for name, x in zip(GRADIENTS, (q, k, v), strict=True)}}


def try_backend(
    name: str, tensors: t.Sequence[torch.Tensor], judge: t.Callable[..., dict[str, float]]
) -> dict[str, t.Any]:
    """Run one back end; one that cannot serve this card says so, but what torch itself chooses has to serve it.

    Forced back ends fail on new cards in words of their own, such as cuDNN's 'No valid execution plans built'. An error
    of CUDA is one in any case.
    """
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            found = judge(attend(tensors, BACKENDS.get(name)))
        except RuntimeError as error:
            words = str(error).splitlines()[0]
            if "No available kernel" not in words and (name == "own" or "CUDA error" in words):
                raise
            reasons = [str(warning.message).split(" (Triggered")[0] for warning in said]
            return {"backend": name, "unavailable": "; ".join(reasons) or words}
    return {"backend": name, "worst_error_over_bound": found}


def own_choice(tensors: t.Sequence[torch.Tensor]) -> str:
    """Return the back end that torch takes where nobody asks for one."""
    number = torch._fused_sdp_choice(*tensors[:3])  # noqa: SLF001 - there is no public way to ask
    return next((name for name, backend in BACKENDS.items() if backend.value == number), str(number))


def check_attention(device: torch.device, seed: int) -> dict[str, t.Any]:
    """Compare every back end, and torch's own choice, with the reference."""
    runs = []
    for shape, keys in SHAPES.items():
        generator = torch.Generator().manual_seed(seed)
        exact = [draw(rows, generator) for rows in (TOKENS, keys, keys, TOKENS)]
        right = reference(*exact)
        for kind, dtype in TYPES.items():
            allowed = bounds(*exact, right, kind)
            tensors = [tensor.to(device, dtype) for tensor in exact]

            def judge(got: dict[str, torch.Tensor], allowed: t.Any = allowed, right: t.Any = right) -> dict[str, float]:
                return {name: worst(got[name], right[name], bound) for name, bound in allowed.items()}

            for name in ("own", *BACKENDS):
                run = {"shape": shape, "type": kind, **try_backend(name, tensors, judge)}
                runs.append({**run, "chosen": own_choice(tensors)} if name == "own" else run)
    return {"enabled": [name for name, asked in ENABLED.items() if asked()], "runs": runs}


def check_matmul(device: torch.device, seed: int, size: int, iterations: int) -> dict[str, t.Any]:
    """Time products of random bf16 matrices by CUDA events; a few rows are computed again in double precision."""
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    generator = torch.Generator(device).manual_seed(seed)
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16, generator=generator) for _ in range(2))
    first = torch.full_like(a, torch.nan)
    last = torch.full_like(a, torch.nan)
    for _ in range(5):
        torch.mm(a, b, out=first)
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    for _ in range(iterations):
        torch.mm(a, b, out=last)
    end.record()
    torch.cuda.synchronize()
    seconds = start.elapsed_time(end) / 1000
    rows = [seed * step % size for step in range(1, ROWS + 1)]
    left, right = a[rows].cpu().double(), b.cpu().double()
    exact = left @ right
    bound = gamma(size) * (left.abs() @ right.abs()) + UNIT["bf16"] * exact.abs()
    return {
        "size": size,
        "iterations": iterations,
        "seconds": seconds,
        "tflops": 2 * size**3 * iterations / seconds / 1e12,
        "worst_error_over_bound": worst(last[rows], exact, bound),
        "repeatable": torch.equal(first, last),
    }


def attempt(check: t.Callable[[torch.device], dict[str, t.Any]], device: torch.device) -> dict[str, t.Any]:
    """Return what a check found; whatever goes wrong belongs into the result."""
    try:
        torch.cuda.set_device(device)
        return check(device)
    except Exception as error:  # noqa: BLE001
        return {"error": f"{type(error).__name__}: {error}"}


def main() -> None:
    """Read the arguments and print the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--size", type=int, default=8192)
    parser.add_argument("--iterations", type=int, default=50)
    arguments = parser.parse_args()
    answer: dict[str, t.Any] = {"format": 1, "device": arguments.device, "seed": arguments.seed}
    checks = {
        "attention": lambda device: check_attention(device, arguments.seed),
        "matmul": lambda device: check_matmul(device, arguments.seed, arguments.size, arguments.iterations),
    }
    device = torch.device("cuda", arguments.device)
    for name, check in checks.items():
        answer[name] = attempt(check, device)
    with contextlib.suppress(Exception):
        answer["uuid"] = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
    print("\n" + json.dumps(answer))


if __name__ == "__main__":
    main()
