# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A verification under way on a fake host with H100s, whose programs print what a real one printed."""

from __future__ import annotations

import typing as t

from ansible_collections.gpulab.workstation.plugins.module_utils._gpu_facts import GpuFacts
from ansible_collections.gpulab.workstation.plugins.module_utils._reading import Reading
from ansible_collections.gpulab.workstation.plugins.module_utils._verify import Level
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_context import Context
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_kernel_log import KernelLog
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_layers import Card, SmiAnswer
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_limits import CardLimits
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_wish import Wish
from fakehost import FakeHost
from recorded import text
from wheelhost import ENV

PYTHON = f"{ENV}/bin/python"
UUID = "GPU-00000000-0000-0000-0000-000000000000"
LOG = "[    0.000000] Linux version 6.18.44\n"
ANSWERS = {
    "verify_torch.py": "gpu_verify/h100-torch.txt",
    "verify_diffusion.py": "gpu_verify/h100-diffusion.txt",
    "compiled": "gpu_verify/h100-diffusion-compiled.txt",
    "verify_load.py": "gpu_verify/h100-load.txt",
}
H100 = {
    "name": "NVIDIA H100 80GB HBM3",
    "pci_ids": ["10de:2330"],
    "facts": {"bf16_dense_tflops": 989.4},
    "limits": [
        {"check": "torch_matmul", "figure": "tflops", "unit": "TFLOP/s", "source": "x", "fail_below": 600},
        {"check": "diffusion_sdxl", "figure": "seconds_per_image", "unit": "s", "source": "x", "fail_above": 4.5},
        {"check": "diffusion_sd15", "figure": "seconds_per_image", "unit": "s", "source": "x", "fail_above": 2.5},
        {"check": "endurance", "figure": "max_temperature_c", "unit": "degrees C", "source": "x", "fail_above": 87},
    ],
}


def add_programs(host: FakeHost) -> None:
    """Let the programs of the environment's Python print what an H100 made of them."""

    def answer(command: tuple[str, ...]) -> tuple[int, str, str]:
        program = next(word.rpartition("/")[2] for word in command if word.endswith(".py"))
        return 0, text(ANSWERS["compiled" if command[-1] == "compiled" else program]), ""

    host.commands["setpriv --pdeathsig KILL env"] = answer
    host.add(PYTHON, mode=0o755)


def card(index: int = 0, uuid: str = UUID) -> Card:
    """Return an H100."""
    return Card(
        index, H100["name"], uuid, f"00000000:0{index}:00.0", "10de:2330", "580.159.04", None, None, "9.0", 81559
    )


def under_way(host: FakeHost, cards: tuple[Card, ...] = (card(),), why_no_gpu: str = "", **wish: t.Any) -> Context:
    """Return what the families are given."""
    wanted = Wish(
        "9.0", (), expect_gpu=True, python=PYTHON, level=Level.FULL, limits=(CardLimits.from_json(H100),), **wish
    )
    about: t.Any = None  # no family that runs programs of the environment looks at it
    smi = SmiAnswer(0, cards)
    log = KernelLog("dmesg", LOG)
    return Context(host, wanted, Reading(host), about, GpuFacts(), smi, why_no_gpu, lambda _words: None, 7, log)


__all__ = ["LOG", "PYTHON", "UUID", "add_programs", "card", "under_way"]
