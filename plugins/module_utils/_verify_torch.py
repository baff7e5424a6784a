# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask an environment's own Python about its torch, and judge the answer."""

from __future__ import annotations

import json
import re
import typing as t
from dataclasses import dataclass

from ansible_collections.gpulab.workstation.plugins.module_utils._pip_lock import same_version
from ansible_collections.gpulab.workstation.plugins.module_utils._verify import Check, failed, passed

# get_arch_list() is empty without a GPU; the flags it is made of are not (torch/cuda/__init__.py).
SCRIPT = r"""
import json, os, sys
answer = {"format": 1}
try:
    import torch
    answer.update(version=torch.__version__, cuda=torch.version.cuda, directory=os.path.dirname(torch.__file__))
    flags = getattr(torch._C, "_cuda_getArchFlags", lambda: None)()
    answer["arch_list"] = (flags or "").split()
    answer["available"] = torch.cuda.is_available()
    answer["cards"] = []
    for index in range(torch.cuda.device_count() if answer["available"] else 0):
        generator = torch.Generator().manual_seed(index + 1)
        x = torch.randn(512, 512, dtype=torch.float64, generator=generator)
        y = torch.randn(512, 512, dtype=torch.float64, generator=generator)
        a, b = x.float(), y.float()
        torch.backends.cuda.matmul.allow_tf32 = False
        got = (torch.relu(a.to(f"cuda:{index}") @ b.to(f"cuda:{index}") + 1.0)).cpu().double()
        expected = torch.relu(a.double() @ b.double() + 1.0)
        bound = 514 * 2.0 ** -24 / (1 - 514 * 2.0 ** -24) * (a.double().abs() @ b.double().abs() + 1.0)
        worst = float(((got - expected).abs() / bound).nan_to_num(1e30).max())
        answer["cards"].append({"device": index, "name": torch.cuda.get_device_name(index),
                                "worst_error_over_bound": worst, "ok": worst <= 1.0})
except Exception as error:
    answer["error"] = f"{type(error).__name__}: {error}"
print("\n" + json.dumps(answer))
"""


@dataclass(frozen=True)
class TorchAnswer:
    """What the environment's Python said, and what its CUDA library carries by our own reading."""

    python: str
    rc: int
    answer: t.Mapping[str, t.Any]
    stderr: str = ""
    library: str = ""
    library_code: t.Mapping[str, int] | None = None
    library_error: str = ""


def parse_answer(stdout: str) -> dict[str, t.Any]:
    """Return the JSON object in the last line; empty where there is none."""
    last = (stdout.strip().splitlines() or [""])[-1]
    try:
        data = json.loads(last)
    except ValueError:
        return {}
    return data if isinstance(data, dict) and data.get("format") == 1 else {}


def judge_build(found: TorchAnswer, arch: str, version: str, cuda: str) -> Check:
    """Compare version, CUDA build and architectures, by torch's own word and by what lies in its library."""
    answer = found.answer
    figures: dict[str, t.Any] = {
        "python": found.python,
        "version": answer.get("version"),
        "cuda": answer.get("cuda"),
        "arch_list": answer.get("arch_list"),
        "library": found.library or None,
        "library_code": None if found.library_code is None else dict(found.library_code),
    }
    if not answer or "version" not in answer:
        why = answer.get("error") or f"ended with {found.rc}: {found.stderr.strip()[-300:] or 'no answer'}"
        return failed("torch_build", f"{found.python} cannot import torch: {why}", **figures)
    wrong = []
    if version and not same_version(answer["version"], version):
        wrong.append(f"torch is {answer['version']}, not {version}")
    if cuda and answer.get("cuda") != cuda:
        wrong.append(f"it is built with CUDA {answer.get('cuda')}, not {cuda}")
    if f"sm_{arch}" not in (answer.get("arch_list") or []):
        wrong.append(f"its list of architectures lacks sm_{arch}")
    if found.library_code is None:
        wrong.append(f"its library could not be read: {found.library_error}")
    elif f"sm_{arch}" not in found.library_code:
        wrong.append(f"{found.library} carries no machine code for sm_{arch}")
    if wrong:
        return failed("torch_build", "; ".join(wrong), **figures)
    return passed("torch_build", f"torch {answer['version']} carries machine code for sm_{arch}", **figures)


def judge_launch(found: TorchAnswer, device: int, card: str) -> Check:
    """Judge torch's own matrix product on a card, with PTX JIT disabled, against double precision."""
    answer = found.answer
    ours = next((each for each in answer.get("cards", []) if each.get("device") == device), None)
    if not answer.get("available"):
        why = answer.get("error") or "torch.cuda.is_available() is false"
        return failed("torch_launch", f"the card answers, but {why}", card=card)
    if ours is None:
        return failed("torch_launch", str(answer.get("error", "torch does not see this card")), card=card)
    figures: dict[str, t.Any] = {"device": device, "worst_error_over_bound": ours.get("worst_error_over_bound")}
    if ours.get("ok") is not True:
        why = f"off by {figures['worst_error_over_bound']:.3g} times the error bound"
        return failed("torch_launch", why, card=card, **figures)
    return passed("torch_launch", "right numbers, PTX JIT disabled", card=card, **figures)


def cuda_library(directory: str) -> str:
    """Return where torch keeps its own kernels."""
    return f"{re.sub(r'/+$', '', directory)}/lib/libtorch_cuda.so"


__all__ = ["SCRIPT", "TorchAnswer", "cuda_library", "judge_build", "judge_launch", "parse_answer"]
