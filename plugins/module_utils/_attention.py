# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which attention the programs of an environment should take, by what gpu_verify measured on this host's cards.

It is told to them by environment variables, which a .pth file in site-packages sets where they are not set (site,
Python's documentation): so it holds however a program is started, and a user's own setting goes before it.
"""

from __future__ import annotations

import json
import typing as t

DOCUMENT = "/var/lib/gpulab/verify.json"  # what gpu_verify leaves on the host
FILE = "gpulab_attention.pth"
_CHECK = "attention_backends"
_KNOWN = ("TORCH_CUDNN_SDPA_DEPRIORITIZED", "TORCH_CUDNN_SDPA_PREFERRED")
_HEAD = "# The quickest attention on this host's cards, measured by gpu_verify; written by diffusion_stack.\n"


def measured_environment(document: str | None) -> dict[str, str]:
    """Return the variables that the last measurement recommends; none where there is none or the cards disagree."""
    try:
        checks = json.loads(document or "{}")["checks"]
        found = [check["figures"].get("environment") for check in checks if check["name"] == _CHECK]
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}
    if not found or any(each != found[0] for each in found) or not isinstance(found[0], dict):
        return {}
    return {name: str(value) for name, value in found[0].items() if name in _KNOWN}


def render_defaults(environment: t.Mapping[str, str]) -> str:
    """Return the file that sets them as defaults; empty where there is nothing to set."""
    lines = (f"import os; os.environ.setdefault({name!r}, {value!r})\n" for name, value in sorted(environment.items()))
    return _HEAD + "".join(lines) if environment else ""


__all__ = ["DOCUMENT", "FILE", "measured_environment", "render_defaults"]
