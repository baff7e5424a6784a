# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a picture with pillow alone: stands in for the diffusion pipeline where a test host has no torch."""

from __future__ import annotations

import argparse
import json
import random
import sys
import time

import PIL
from PIL import Image


def main() -> None:
    """Take the arguments of tiny_pipeline.py, paint noise, and say that no pipeline made it."""
    parser = argparse.ArgumentParser(description=__doc__)
    for option, kind in (("image", str), ("device", str), ("size", int), ("steps", int), ("seed", int)):
        parser.add_argument(f"--{option}", type=kind, required=True)
    arguments = parser.parse_args()
    start = time.monotonic()
    noise = random.Random(arguments.seed).randbytes(3 * arguments.size**2)  # noqa: S311 - a picture, no secret
    Image.frombytes("RGB", (arguments.size, arguments.size), noise).save(arguments.image, format="PNG")
    result = {
        "device": "stand-in, no torch on this host",
        "seconds": round(time.monotonic() - start, 3),
        "finite": True,
        "versions": {"pillow": PIL.__version__},
    }
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
