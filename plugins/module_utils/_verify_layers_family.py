# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The driver on all its layers and the cards: judged from what was read, nothing is run."""

from __future__ import annotations

from ansible_collections.gpulab.workstation.plugins.module_utils import _verify_layers as layers
from ansible_collections.gpulab.workstation.plugins.module_utils._verify import Check
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_context import Context, Family

_BLACKWELL = 10  # compute capability 10.0 and 12.0: driven by the open kernel modules only


def checks(context: Context) -> list[Check]:
    """Judge the layers of the driver and the cards."""
    gpu, smi, about = context.gpu, context.smi, context.about
    kernels = [kernel.release for kernel in about.kernels]
    notes = [note for note in context.reading.unreadable if note.what.startswith("driver on disk")]
    unreadable = [f"{note.what}: {note.why}" for note in notes]
    open_only = int(context.wish.arch.split(".")[0]) >= _BLACKWELL
    return [
        layers.judge_loaded(gpu, context.wish.driver, open_only=open_only),
        layers.judge_on_disk(gpu, kernels, unreadable),
        layers.judge_libraries(gpu, smi),
        layers.judge_firmware(gpu),
        layers.judge_cards(gpu, smi, container=about.machine.kind == "container"),
    ]


FAMILY = Family(
    "driver and cards", ("driver_loaded", "driver_on_disk", "driver_libraries", "firmware", "cards"), checks
)

__all__ = ["FAMILY"]
