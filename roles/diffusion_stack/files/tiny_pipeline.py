# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make one picture with a tiny Stable Diffusion whose weights are random: proof that the whole stack works together.

Nothing is downloaded: the three models are built from configurations written here, the tokenizer from a vocabulary of
single characters. The UNet is saved, read back (safetensors, accelerate) and given an adapter (peft), then the prompt
goes through the text encoder, the scheduler, the UNet and the VAE on the wanted device. The picture shows coloured
noise, as random weights do. The result is one line of JSON on standard output.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import tempfile
import time
import typing as t

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from peft import LoraConfig
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

PROMPT = "a workstation that runs native code"
REPORTED = ("torch", "diffusers", "transformers", "accelerate", "peft", "safetensors")
WIDTH_OF_TEXT = 32
LONGEST_PROMPT = 64


def tokenizer() -> CLIPTokenizer:
    """Return a tokenizer that knows single characters, at a word's end (</w>) and elsewhere."""
    letters = [chr(code) for code in range(ord("!"), ord("~") + 1)]
    words = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: number for number, word in enumerate(words)}
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=LONGEST_PROMPT)


def text_encoder(words: int) -> CLIPTextModel:
    """Return a text encoder of two layers."""
    config = CLIPTextConfig(
        vocab_size=words,
        hidden_size=WIDTH_OF_TEXT,
        intermediate_size=37,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=LONGEST_PROMPT,
        bos_token_id=words - 2,
        eos_token_id=words - 1,
        pad_token_id=words - 1,
    )
    return CLIPTextModel(config).eval()


def unet() -> UNet2DConditionModel:
    """Return a UNet with one plain and one cross-attention block on each side, read back from disk, with an adapter."""
    made = UNet2DConditionModel(
        block_out_channels=(32, 64),
        layers_per_block=1,
        sample_size=32,
        in_channels=4,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=WIDTH_OF_TEXT,
        norm_num_groups=8,
    )
    with tempfile.TemporaryDirectory() as directory:
        made.save_pretrained(directory, safe_serialization=True)
        loaded = UNet2DConditionModel.from_pretrained(directory, use_safetensors=True, low_cpu_mem_usage=True)
    loaded.add_adapter(LoraConfig(r=4, target_modules=["to_q", "to_v"], init_lora_weights=False))
    return loaded.eval()


def vae() -> AutoencoderKL:
    """Return a VAE that makes four pixels of each latent."""
    return AutoencoderKL(
        block_out_channels=(32, 32, 64),
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        latent_channels=4,
        norm_num_groups=8,
    ).eval()


def make_pipeline() -> StableDiffusionPipeline:
    """Return the whole pipeline, on the CPU."""
    words = tokenizer()
    pipeline = StableDiffusionPipeline(
        vae=vae(),
        text_encoder=text_encoder(len(words)),
        tokenizer=words,
        unet=unet(),
        scheduler=DDIMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            clip_sample=False,
            set_alpha_to_one=False,
            steps_offset=1,
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def make_picture(arguments: argparse.Namespace) -> dict[str, t.Any]:
    """Make and save the picture; say with what and how long it took."""
    torch.manual_seed(arguments.seed)
    pipeline = make_pipeline().to(arguments.device)
    start = time.monotonic()
    picture = pipeline(
        PROMPT,
        height=arguments.size,
        width=arguments.size,
        num_inference_steps=arguments.steps,
        generator=torch.Generator("cpu").manual_seed(arguments.seed),
        output_type="np",
    ).images[0]
    seconds = time.monotonic() - start
    finite = bool(np.isfinite(picture).all())
    pipeline.numpy_to_pil(np.nan_to_num(picture))[0].save(arguments.image, format="PNG")
    return {
        "device": torch.cuda.get_device_name() if arguments.device == "cuda" else "cpu",
        "seconds": round(seconds, 3),
        "finite": finite,
        "versions": {name: importlib.metadata.version(name) for name in REPORTED},
    }


def main() -> None:
    """Read the arguments and print the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image", required=True)
    parser.add_argument("--device", choices=["cuda", "cpu"], required=True)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    print(json.dumps(make_picture(parser.parse_args())))


if __name__ == "__main__":
    main()
