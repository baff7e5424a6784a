# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look at a host for its record. Changes nothing; private keys are not even opened."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import time
import typing as t

from ansible_collections.gpulab.workstation.plugins.module_utils import _record
from ansible_collections.gpulab.workstation.plugins.module_utils._conda_lock import parse_record
from ansible_collections.gpulab.workstation.plugins.module_utils._cuda_toolkit_component import read_toolkit
from ansible_collections.gpulab.workstation.plugins.module_utils._gpu_facts import GpuFacts
from ansible_collections.gpulab.workstation.plugins.module_utils._gpu_reader import read_gpu
from ansible_collections.gpulab.workstation.plugins.module_utils._host import Host
from ansible_collections.gpulab.workstation.plugins.module_utils._host_facts import HostFacts, Machine
from ansible_collections.gpulab.workstation.plugins.module_utils._host_reader import read_host, read_machine
from ansible_collections.gpulab.workstation.plugins.module_utils._module_signing import (
    ModuleSigning,
    parse_certificate,
)
from ansible_collections.gpulab.workstation.plugins.module_utils._reading import Reading
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_reader import ask_smi
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_run import RESULT
from ansible_collections.gpulab.workstation.plugins.module_utils._wheel_env import find_site_packages

_DMI = "/sys/class/dmi/id"
_BOARD = {
    "uuid": "product_uuid",
    "serial": "board_serial",
    "vendor": "board_vendor",
    "name": "board_name",
    "firmware": "bios_version",
}
_DIST_INFO = re.compile(r"(?P<name>[^-]+)-(?P<version>[^-]+)\.dist-info")


@dataclasses.dataclass(frozen=True)
class Wish:
    """What the controller knows: name, stack in force, environment's place, time, reason, lab's certificate."""

    host: str
    stack: t.Mapping[str, t.Any]
    environment: str
    time: str
    origin: str
    signing_certificate: str = ""


def make_record(host: Host, wish: Wish) -> dict[str, t.Any]:
    """Look at everything once and return the record, in JSON's own types, so that it can be compared with one read."""
    reading = Reading(host)
    about = read_host(reading)
    gpu = read_gpu(reading, [kernel.release for kernel in about.kernels])
    installed = {
        "driver": _driver(gpu),
        "cuda": _toolkits(host),
        "environment": read_environment(reading, wish.environment),
    }
    found = {
        "schema": _record.SCHEMA,
        "host": wish.host,
        "time": wish.time or time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(about.clock)),
        "origin": wish.origin,
        "stack": dict(wish.stack),
        "departures": _record.departures(wish.stack, installed),
        "machine": read_identity(reading),
        "system": _system(about, read_lab_key(host, wish.signing_certificate)),
        "installed": installed,
        "cards": _cards(reading, gpu, about.machine.kind),
        "ssh_host_keys": read_host_keys(reading),
        "verification": _record.measured(_json(reading, RESULT)),
        "unreadable": [dataclasses.asdict(item) for item in reading.unreadable],
    }
    whole: dict[str, t.Any] = json.loads(_record.render(found))
    return whole


def read_identity(reading: Reading) -> dict[str, t.Any]:
    """Return by which marks this machine is known after a reinstall; a container shows those of its carrier: none."""
    machine: Machine = read_machine(reading)
    board: dict[str, str | None] = dict.fromkeys(_BOARD)
    if machine.kind != "container":
        for key, name in _BOARD.items():
            text = reading.text(f"{_DMI}/{name}", f"the board's {key}")
            board[key] = (text or "").strip() or None
    return {"kind": machine.kind, "name": machine.name, "board": board}


def read_host_keys(reading: Reading) -> list[str]:
    """Return the public halves of sshd's host keys."""
    names = [name for name in reading.names("/etc/ssh") if re.fullmatch(r"ssh_host_\w+_key\.pub", name)]
    return _record.public_keys(reading.text(f"/etc/ssh/{name}") or "" for name in names)


def read_environment(reading: Reading, prefix: str) -> dict[str, t.Any]:
    """Return digests of what conda and pip have put into an environment, as 'list --explicit' and 'freeze' tell it."""
    host = reading.host
    records = [name for name in reading.names(f"{prefix}/conda-meta") if name.endswith(".json")]
    packages = [parse_record(reading.text(f"{prefix}/conda-meta/{name}") or "") for name in records]
    explicit = [f"{package.url}#{package.sha256}" for package in packages if package]
    site_packages = find_site_packages(host, prefix)
    found = [_DIST_INFO.fullmatch(name) for name in (reading.names(site_packages) if site_packages else [])]
    wheels = {match["name"].lower().replace("_", "-"): match["version"] for match in found if match}
    return {
        "prefix": prefix,
        "conda_packages": len(explicit),
        "conda_sha256": _record.digest(explicit) if explicit else None,
        "python_packages": len(wheels),
        "python_sha256": _record.digest(f"{name}=={version}" for name, version in wheels.items()) if wheels else None,
        "torch": wheels.get("torch"),
    }


def _driver(gpu: GpuFacts) -> dict[str, t.Any]:
    loaded = gpu.driver_loaded
    return {
        "loaded": dataclasses.asdict(loaded) if loaded else None,
        "on_disk": {module.kernel: module.version for module in gpu.driver_on_disk},
        "flavours": sorted({module.flavour for module in gpu.driver_on_disk}),
    }


def _toolkits(host: Host) -> list[str]:
    series = [found[1] for name in host.listdir("/usr/local") if (found := re.fullmatch(r"cuda-(\d+\.\d+)", name))]
    toolkits = [read_toolkit(host, name) for name in series]
    return sorted(toolkit.version for toolkit in toolkits if toolkit.version and not toolkit.missing)


def read_lab_key(host: Host, certificate: str) -> dict[str, t.Any] | None:
    """Return whether the lab's certificate is on the host and whether the firmware trusts it; None without one."""
    if not certificate.strip():
        return None
    signing = ModuleSigning(present=True, key="", certificate=parse_certificate(certificate), password="")
    wanted, state = hashlib.sha256(signing.certificate).hexdigest(), signing.read(host)
    return {"sha256": wanted, "on_disk": state.certificate_sha256 == wanted, "enrolled": state.enrolled}


def _system(about: HostFacts, lab_key: dict[str, t.Any] | None) -> dict[str, t.Any]:
    return {
        "os": dataclasses.asdict(about.os),
        "architecture": about.architecture,
        "kernel": about.running_kernel,
        "kernels": [kernel.release for kernel in about.kernels],
        "secure_boot": {**dataclasses.asdict(about.secure_boot), **({"lab_key": lab_key} if lab_key else {})},
    }


def _cards(reading: Reading, gpu: GpuFacts, kind: str) -> list[dict[str, t.Any]]:
    """Return what NVML tells of the cards; where no driver answers, what PCI tells, which for a container is not it."""
    if gpu.nvidia_gpus and gpu.driver_loaded:
        answer = ask_smi(reading.host)
        if answer.cards:
            fields = ("uuid", "serial", "vbios", "name", "pci")
            return [{key: card.to_json()[key] for key in fields} for card in answer.cards]
        reading.note("cards", answer.error or "nvidia-smi lists none")
    if kind == "container":
        return []
    return [
        {"uuid": card.uuid, "serial": None, "vbios": None, "name": card.model, "pci": card.address}
        for card in gpu.nvidia_gpus
    ]


def _json(reading: Reading, path: str) -> object:
    text = reading.text(path, "the last verification")
    try:
        return json.loads(text) if text else None
    except ValueError as error:
        reading.note("the last verification", f"{path}: {error}")
        return None


__all__ = ["Wish", "make_record", "read_environment", "read_host_keys", "read_identity"]
