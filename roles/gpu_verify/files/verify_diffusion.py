# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How fast a card makes pictures with the installed diffusers, without a model: random weights take as long as trained.

UNet and VAE are built from the configuration that their authors published, in bf16, with seeded random weights made
on the card. The pictures are noise; they must be finite, and no two alike. Text encoders are left out (a tenth of a
second once for each prompt), their output is random as well. Each job prints one line of JSON as soon as it is done.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import time
import typing as t
from dataclasses import dataclass

import torch
from diffusers import AutoencoderKL, EulerDiscreteScheduler, UNet2DConditionModel
from torch.nn.attention import SDPBackend, sdpa_kernel

GUIDANCE = 7.5
LATENT = 8  # pixels of the picture for one of the latent
PROMPT_TOKENS = 77
WARM_UP_STEPS = 2
TIMED_STEPS = 5
BF16 = torch.bfloat16
BACKENDS = {
    "own": None,
    "flash": SDPBackend.FLASH_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "math": SDPBackend.MATH,
}

# Fields that both VAEs share (config.json of the models' repositories; the VAE of SD 1 differs in scale and size only).
VAE = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": 4,
    "layers_per_block": 2,
    "norm_num_groups": 32,
}


@dataclass(frozen=True)
class Model:
    """A published configuration, and what its UNet is told beside the prompt."""

    size: int
    scaling: float
    unet: dict[str, t.Any]
    pooled: int = 0  # width of the pooled prompt, 0 where the UNet takes none


SDXL = Model(  # stabilityai/stable-diffusion-xl-base-1.0, unet/config.json and vae/config.json
    size=1024,
    scaling=0.13025,
    pooled=1280,
    unet={
        "sample_size": 128,
        "block_out_channels": (320, 640, 1280),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "transformer_layers_per_block": (1, 2, 10),
        "attention_head_dim": (5, 10, 20),
        "cross_attention_dim": 2048,
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    },
)
SD15 = Model(  # stable-diffusion-v1-5/stable-diffusion-v1-5, likewise
    size=512,
    scaling=0.18215,
    unet={
        "sample_size": 64,
        "block_out_channels": (320, 640, 1280, 1280),
        "down_block_types": (*("CrossAttnDownBlock2D",) * 3, "DownBlock2D"),
        "up_block_types": ("UpBlock2D", *("CrossAttnUpBlock2D",) * 3),
        "attention_head_dim": 8,
        "cross_attention_dim": 768,
    },
)


class Bench:
    """A model on one card, and the inputs of a guided step for a batch."""

    def __init__(self, model: Model, device: torch.device, seed: int) -> None:
        self.model, self.device = model, device
        torch.manual_seed(seed)
        torch.set_default_dtype(BF16)
        with device:
            self.unet = UNet2DConditionModel(**model.unet).eval().requires_grad_(requires_grad=False)
            self.vae = AutoencoderKL(**VAE, sample_size=model.size).eval().requires_grad_(requires_grad=False)
        torch.set_default_dtype(torch.float32)

    def random(self, *shape: int, dtype: torch.dtype = BF16) -> torch.Tensor:
        """Return random numbers on the card."""
        return torch.randn(shape, device=self.device, dtype=dtype)

    def step_arguments(self, batch: int) -> dict[str, t.Any]:
        """Return what the UNet is given beside latent and time; twice the batch, because of the guidance."""
        arguments: dict[str, t.Any] = {
            "encoder_hidden_states": self.random(2 * batch, PROMPT_TOKENS, self.model.unet["cross_attention_dim"]),
            "return_dict": False,
        }
        if self.model.pooled:
            size = self.model.size
            times = torch.tensor([[size, size, 0, 0, size, size]], device=self.device, dtype=BF16)
            pooled = self.random(2 * batch, self.model.pooled)
            arguments["added_cond_kwargs"] = {"text_embeds": pooled, "time_ids": times.repeat(2 * batch, 1)}
        return arguments

    def latents(self, batch: int, dtype: torch.dtype = BF16) -> torch.Tensor:
        """Return noise to start from."""
        width = self.model.size // LATENT
        return self.random(batch, 4, width, width, dtype=dtype)

    @torch.inference_mode()
    def picture(self, batch: int, steps: int) -> torch.Tensor:
        """Make pictures: guided Euler steps and the VAE; 8 bits a channel, on the CPU, and whether all was finite."""
        scheduler = EulerDiscreteScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            steps_offset=1,
            timestep_spacing="leading",
        )
        scheduler.set_timesteps(steps, device=self.device)
        latents = self.latents(batch) * scheduler.init_noise_sigma
        arguments = self.step_arguments(batch)
        for moment in scheduler.timesteps:
            both = scheduler.scale_model_input(torch.cat([latents, latents]), moment).to(BF16)
            without, prompted = self.unet(both, moment, **arguments)[0].chunk(2)
            noise = without + GUIDANCE * (prompted - without)
            latents = scheduler.step(noise, moment, latents, return_dict=False)[0].to(BF16)
        decoded = self.vae.decode(latents / self.model.scaling, return_dict=False)[0]
        if not bool(torch.isfinite(decoded).all()):
            message = "the picture has numbers that are not finite"
            raise ArithmeticError(message)
        return (decoded / 2 + 0.5).clamp(0, 1).mul(255).round().to(torch.uint8).cpu()


def measure(model: Model, device: torch.device, seed: int, batches: t.Sequence[int], steps: int) -> dict[str, t.Any]:
    """Time whole pictures, warm; twice each, of which the faster counts."""
    bench = Bench(model, device, seed)
    found: dict[str, t.Any] = {
        "unet_parameters": sum(x.numel() for x in bench.unet.parameters()),
        "vae_parameters": sum(x.numel() for x in bench.vae.parameters()),
        "size": model.size, "steps": steps, "batches": [],
    }  # fmt: skip
    for batch in batches:
        bench.picture(batch, WARM_UP_STEPS)
        torch.cuda.reset_peak_memory_stats(device)
        runs, pictures = [], []
        for _ in range(2):
            torch.cuda.synchronize(device)
            start = time.monotonic()
            pictures.append(bench.picture(batch, steps))
            runs.append(time.monotonic() - start)
        every = torch.cat(pictures).flatten(1).float()
        found["batches"].append({
            "batch": batch,
            "seconds": runs,
            "seconds_per_image": min(runs) / batch,
            "peak_memory_mib": torch.cuda.max_memory_reserved(device) >> 20,
            "contrast": float(every.std(1).min()),
            "alike": bool((every[1:] == every[:1]).all(1).any()),
        })  # fmt: skip
    return found


def clock(step: t.Callable[[], torch.Tensor], device: torch.device) -> float:
    """Return the milliseconds of a step, warm."""
    for _ in range(2):
        step()
    torch.cuda.synchronize(device)
    start = time.monotonic()
    for _ in range(TIMED_STEPS):
        step()
    torch.cuda.synchronize(device)
    return (time.monotonic() - start) / TIMED_STEPS * 1000


def time_step(step: t.Callable[[], torch.Tensor], device: torch.device) -> dict[str, t.Any]:
    """Time a guided step as a program sees it, and as a CUDA graph: the card alone, without the CPU's calls."""
    torch.cuda.reset_peak_memory_stats(device)
    found = {"ms_per_step": clock(step, device), "finite": bool(torch.isfinite(step()).all())}
    found["peak_memory_mib"] = torch.cuda.max_memory_reserved(device) >> 20
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kept = step()

    def replay() -> torch.Tensor:
        graph.replay()
        return kept

    return {**found, "ms_on_card": clock(replay, device)}


def guided_step(bench: Bench, batch: int) -> t.Callable[[], torch.Tensor]:
    """Return a guided step of the UNet with inputs that stay where they are."""
    arguments, latents = bench.step_arguments(batch), bench.latents(2 * batch)
    moment = torch.tensor(500.0, device=bench.device)
    return lambda: t.cast("torch.Tensor", bench.unet(latents, moment, **arguments)[0])


@torch.inference_mode()
def compare(model: Model, device: torch.device, seed: int, batch: int) -> dict[str, t.Any]:
    """Time a guided step with each back end of torch's attention, and with images in NHWC."""
    bench = Bench(model, device, seed)
    step = guided_step(bench, batch)
    clock(step, device)
    rows = []
    for name, backend in BACKENDS.items():
        with contextlib.nullcontext() if backend is None else sdpa_kernel([backend]):
            rows.append({"what": name, **attempt(lambda: time_step(step, device))})
    bench.unet.to(memory_format=torch.channels_last)
    rows.append({"what": "own_channels_last", **attempt(lambda: time_step(step, device))})
    return {"batch": batch, "rows": rows}


@torch.inference_mode()
def compiled(model: Model, device: torch.device, seed: int, batch: int) -> dict[str, t.Any]:
    """Time a guided step with torch.compile: diffusers compiles one transformer block and lets it serve for all."""
    bench = Bench(model, device, seed)
    step = guided_step(bench, batch)
    bench.unet.compile_repeated_blocks(fullgraph=True)
    start = time.monotonic()
    step()
    torch.cuda.synchronize(device)
    seconds = time.monotonic() - start
    return {"row": {"what": "own_compiled", **time_step(step, device), "compile_seconds": seconds}}


def attempt(job: t.Callable[[], dict[str, t.Any]]) -> dict[str, t.Any]:
    """Return what a job found, or what kept it."""
    try:
        return job()
    except Exception as error:  # noqa: BLE001 - whatever it is, it belongs into the result
        return {"error": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"}


def main() -> None:
    """Read the arguments and print the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("jobs", nargs="+", choices=["sdxl", "sd15", "backends", "compiled"])
    arguments = parser.parse_args()
    device, seed, steps = torch.device("cuda", arguments.device), arguments.seed, arguments.steps
    torch.cuda.set_device(device)
    jobs: dict[str, t.Callable[[], dict[str, t.Any]]] = {
        "sdxl": lambda: measure(SDXL, device, seed, (1, 4), steps),
        "sd15": lambda: measure(SD15, device, seed, (1, 4), steps),
        "backends": lambda: compare(SDXL, device, seed, 1),
        "compiled": lambda: compiled(SDXL, device, seed, 1),
    }
    uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
    for name in arguments.jobs:
        start = time.monotonic()
        answer = attempt(jobs[name])
        torch.cuda.empty_cache()
        took = time.monotonic() - start
        print("\n" + json.dumps({"format": 1, "job": name, "uuid": uuid, "took": took, **answer}), flush=True)


if __name__ == "__main__":
    main()
