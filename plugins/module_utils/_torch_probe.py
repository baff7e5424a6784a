# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The installed torch, tried once: imported, and where there is a GPU a kernel launched on it without PTX.

The result is noted with what it depends on; importing torch takes seconds, so an unchanged environment is not tried
again.
"""

from __future__ import annotations

import json
import typing as t

from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._host import Host
from ansible_collections.gpulab.workstation.plugins.module_utils._native_code import native_names, sm_name
from ansible_collections.gpulab.workstation.plugins.module_utils._wheel_env import RECORDS

_NOTE = f"{RECORDS}/torch-probe.json"
_LIMIT_S = 600.0
_PROBE = """\
import json, sys
import torch
result = {"version": torch.__version__, "cuda": torch.version.cuda, "arch_flags": torch._C._cuda_getArchFlags() or ""}
result["devices"] = []
if sys.argv[1]:
    result["arch_list"] = torch.cuda.get_arch_list()
    for index in range(torch.cuda.device_count()):
        numbers = torch.arange(1 << 20, device=f"cuda:{index}", dtype=torch.int64)
        got = int((numbers * 3 + 1).sum().item())
        want = 3 * ((1 << 20) * ((1 << 20) - 1) // 2) + (1 << 20)
        capability = ".".join(map(str, torch.cuda.get_device_capability(index)))
        device = {"name": torch.cuda.get_device_name(index), "capability": capability, "right": got == want}
        result["devices"].append(device)
print(json.dumps(result))
"""


def loaded_driver(host: Host) -> str:
    """Return the version of the NVIDIA driver that is loaded and has a GPU, nothing where a GPU cannot be used."""
    text = host.read_text("/proc/driver/nvidia/version") or ""
    words = text.splitlines()[0].split() if text else []
    versions = [word for word in words if word[:1].isdigit() and "." in word]
    return versions[0] if versions and host.exists("/dev/nvidiactl") and host.exists("/dev/nvidia0") else ""


def noted_probe(host: Host, env: str, key: t.Mapping[str, str]) -> dict[str, t.Any] | None:
    """Return the last result if nothing it depends on has changed since."""
    try:
        note = json.loads(host.read_text(f"{env}/{_NOTE}") or "{}")
        return dict(note["result"]) if note["key"] == key else None
    except (ValueError, KeyError, TypeError):
        return None


def probe(host: Host, env: str, key: t.Mapping[str, str], log: str) -> None:
    """Try torch and note the result; OperatorError where it cannot be imported or a kernel does not run."""
    done = host.run(
        [f"{env}/bin/python", "-I", "-c", _PROBE, key["driver"]],
        cwd="/",
        env={"CUDA_DISABLE_PTX_JIT": "1"},
        timeout_s=_LIMIT_S,
    )
    host.append_text(log, done.stdout + done.stderr)
    try:
        result = json.loads(done.stdout.splitlines()[-1]) if done.ok else None
    except (ValueError, IndexError):
        result = None
    if result is None:
        words = [line for line in done.stderr.splitlines() if line.strip()][-1:]
        raise OperatorError(
            found=f"torch in {env} does not work: {' '.join(words) or f'exit status {done.rc}'}.",
            expected="that it can be imported" + (" and runs a kernel on every GPU." if key["driver"] else "."),
            action=f"read {log}; for a CUDA error look at 'dmesg' and 'nvidia-smi' on this host too.",
        )
    complaint = judge_probe(result, key)
    if complaint:
        raise OperatorError(
            found=complaint,
            expected=f"a torch with {sm_name(key['arch'])} whose kernels give right results on every GPU without PTX.",
            action="check that lock and GPU belong together; for wrong results test the card's memory.",
        )
    host.write_text(f"{env}/{_NOTE}", json.dumps({"key": dict(key), "result": result}, indent=1) + "\n")


def judge_probe(result: t.Mapping[str, t.Any], key: t.Mapping[str, str]) -> str:
    """Say what is wrong with a probe's result, nothing where all is right."""
    known = result["arch_list"] if key["driver"] else result["arch_flags"].split()
    if not any(name in known for name in native_names(key["arch"])):
        return f"torch {result['version']} knows {' '.join(known) or 'no GPU architecture'}."
    if key["driver"] and not result["devices"]:
        return f"torch sees no GPU although the driver {key['driver']} is loaded."
    capabilities = [device["capability"] for device in result["devices"]]
    if key["driver"] and key["arch"] not in capabilities:
        return f"no GPU here has compute capability {key['arch']}: torch sees {', '.join(capabilities)}."
    wrong = [device["name"] for device in result["devices"] if not device["right"]]
    return f"a kernel gave a wrong result on {', '.join(wrong)}." if wrong else ""


__all__ = ["judge_probe", "loaded_driver", "noted_probe", "probe"]
