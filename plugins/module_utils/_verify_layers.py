# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge whether the driver is the same on all its layers and whether every card answers; facts in, checks out."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from ansible_collections.gpulab.workstation.plugins.module_utils._gpu_facts import GpuFacts
from ansible_collections.gpulab.workstation.plugins.module_utils._verify import Check, failed, not_proven, passed

SMI_FIELDS = (
    "index",
    "name",
    "uuid",
    "pci.bus_id",
    "pci.device_id",
    "driver_version",
    "vbios_version",
    "serial",
    "compute_cap",
    "memory.total",
    "memory.used",
)
_UUID = re.compile(r"GPU-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_NOT_ON_THIS_BOARD = ("[N/A]", "N/A", "0", "[Not Supported]")  # GeForce boards have no serial number
NO_DRIVER = "no NVIDIA driver is loaded"


@dataclass(frozen=True)
class Card:
    """One card as nvidia-smi tells of it; a field that it could not read is None."""

    index: int
    name: str | None
    uuid: str | None
    bus_id: str | None
    pci_id: str | None  # vendor:device, as the catalogue writes it
    driver_version: str | None
    vbios: str | None
    serial: str | None
    compute_capability: str | None
    memory_mib: int | None
    memory_used_mib: int | None = None  # before anything was run
    unread: tuple[str, ...] = ()  # fields that must be there and were [N/A] or an error

    @property
    def key(self) -> str:
        """How its checks name it: by its uuid, and where NVML has none, by what else tells it from the others."""
        return self.uuid or self.bus_id or f"card {self.index}"

    def to_json(self) -> dict[str, t.Any]:
        """Return it as it stands in the document."""
        return {
            "index": self.index,
            "name": self.name,
            "uuid": self.uuid,
            "pci": self.bus_id,
            "pci_id": self.pci_id,
            "vbios": self.vbios,
            "serial": self.serial,
            "compute_capability": self.compute_capability,
            "memory_mib": self.memory_mib,
        }


@dataclass(frozen=True)
class SmiAnswer:
    """What nvidia-smi said: its cards, or why there are none."""

    rc: int
    cards: tuple[Card, ...] = ()
    error: str = ""


def parse_smi(rc: int, stdout: str, stderr: str) -> SmiAnswer:
    """Read ``nvidia-smi --query-gpu=... --format=csv,noheader,nounits`` with the fields of SMI_FIELDS."""
    if rc != 0:
        words = (stderr.strip() or stdout.strip() or "no words").splitlines()[0]
        return SmiAnswer(rc, error=f"nvidia-smi ended with {rc}: {words}")
    cards: list[Card] = []
    for line in stdout.splitlines():
        values = [value.strip() for value in line.split(",")]
        if len(values) != len(SMI_FIELDS) or not values[0].isdigit():
            return SmiAnswer(rc, tuple(cards), f"nvidia-smi printed a line that makes no sense: {line.strip()!r}")
        cards.append(_card(dict(zip(SMI_FIELDS, values, strict=True))))
    return SmiAnswer(rc, tuple(cards), "" if cards else "nvidia-smi lists no card")


def _card(values: t.Mapping[str, str]) -> Card:
    def read(field: str) -> str | None:
        value = values[field]
        return None if value in _NOT_ON_THIS_BOARD or "error" in value.lower() or value.startswith("[") else value

    def number(field: str) -> int | None:
        value = read(field)
        return int(value) if value and value.isdigit() else None

    needed = ("name", "uuid", "pci.bus_id", "driver_version", "vbios_version")
    wrong = [field for field in SMI_FIELDS if "error" in values[field].lower()]
    unread = tuple(f"{field} is {values[field]!r}" for field in SMI_FIELDS if field in wrong
                   or (field in needed and read(field) is None))  # fmt: skip
    return Card(
        index=int(values["index"]),
        name=read("name"),
        uuid=read("uuid"),
        bus_id=read("pci.bus_id"),
        pci_id=_pci_id(read("pci.device_id")),
        driver_version=read("driver_version"),
        vbios=read("vbios_version"),
        serial=read("serial"),
        compute_capability=read("compute_cap"),
        memory_mib=number("memory.total"),
        memory_used_mib=number("memory.used"),
        unread=unread,
    )


def _pci_id(text: str | None) -> str | None:
    """Return vendor:device of NVML's number, which has the device in its upper half (0x2B8510DE)."""
    found = re.fullmatch(r"0x([0-9A-Fa-f]{4})([0-9A-Fa-f]{4})", text or "")
    return f"{found[2]}:{found[1]}".lower() if found else None


def judge_loaded(facts: GpuFacts, wanted: str, *, open_only: bool) -> Check:
    """Compare the loaded kernel module with the wanted version; Blackwell cards run on the open modules only."""
    loaded = facts.driver_loaded
    if loaded is None:
        return not_proven("driver_loaded", NO_DRIVER)
    figures: dict[str, t.Any] = {"loaded": loaded.version, "flavour": loaded.flavour, "wanted": wanted or None}
    if wanted and loaded.version != wanted:
        why = f"{loaded.version} is loaded and {wanted} is wanted: restart the host, or run the role gpu_driver"
        return failed("driver_loaded", why, **figures)
    if open_only and loaded.flavour != "open":
        why = f"{loaded.version} is of the {loaded.flavour} flavour; cards of this architecture need the open one"
        return failed("driver_loaded", why, **figures)
    return passed("driver_loaded", f"{loaded.version} ({loaded.flavour}) is loaded", **figures)


def judge_on_disk(facts: GpuFacts, kernels: t.Sequence[str], unreadable: t.Sequence[str]) -> Check:
    """Compare the module of every installed kernel with the loaded one: the next boot may be another kernel's."""
    found = {module.kernel: module.version for module in facts.driver_on_disk}
    figures: dict[str, t.Any] = {"kernels": {kernel: found.get(kernel) for kernel in kernels}}
    if facts.driver_loaded is None:
        return not_proven("driver_on_disk", NO_DRIVER, **figures)
    if not kernels:
        return not_proven("driver_on_disk", "no installed kernel was found (a container has none)", **figures)
    if unreadable:
        return not_proven("driver_on_disk", f"could not be read: {'; '.join(unreadable)}", **figures)
    version = facts.driver_loaded.version
    wrong = [f"{kernel} has {found.get(kernel) or 'none'}" for kernel in kernels if found.get(kernel) != version]
    if wrong:
        return failed("driver_on_disk", f"{version} is loaded, but the module of {'; '.join(wrong)}", **figures)
    return passed("driver_on_disk", f"{version} for {len(kernels)} installed kernel(s)", **figures)


def judge_libraries(facts: GpuFacts, smi: SmiAnswer) -> Check:
    """Compare the user-space half with the loaded module: to the last digit, or NVML refuses (open-gpu issue 47)."""
    figures: dict[str, t.Any] = {library.soname: library.version for library in facts.libraries}
    figures["nvidia_smi"] = sorted({card.driver_version for card in smi.cards if card.driver_version})
    if facts.driver_loaded is None:
        return not_proven("driver_libraries", NO_DRIVER, **figures)
    version = facts.driver_loaded.version
    if smi.rc != 0:
        return failed("driver_libraries", smi.error, **figures)
    wrong = [f"{name} is {figures[name] or 'of no known version'}" for name in figures if name != "nvidia_smi"
             and figures[name] != version]  # fmt: skip
    wrong += [f"nvidia-smi says {told}" for told in figures["nvidia_smi"] if told != version]
    wrong += [
        f"{name} is not known to the linker" for name in ("libcuda.so.1", "libnvidia-ml.so.1") if name not in figures
    ]
    if wrong:
        return failed("driver_libraries", f"{version} is loaded, but {'; '.join(wrong)}", **figures)
    return passed("driver_libraries", f"{version} in user space too", **figures)


def judge_cards(facts: GpuFacts, smi: SmiAnswer, *, container: bool) -> Check:
    """Compare the cards on PCI (VGA and 3D class) with those that NVML has, and look whether each can be read."""
    on_pci = [device.address for device in facts.nvidia_gpus]
    figures: dict[str, t.Any] = {"on_pci": on_pci, "cards": [card.to_json() for card in smi.cards]}
    if facts.driver_loaded is None:
        seen = f"{len(on_pci)} NVIDIA card(s) on PCI" if on_pci else "no NVIDIA card on PCI"
        return not_proven("cards", f"{seen}, {NO_DRIVER}", **figures)
    if smi.error:
        return failed("cards", smi.error, **figures)
    wrong = [f"card {card.index}: {unread}" for card in smi.cards for unread in card.unread]
    wrong += [
        f"card {card.index}: uuid {card.uuid!r}" for card in smi.cards if card.uuid and not _UUID.match(card.uuid)
    ]
    if wrong:
        return failed("cards", "; ".join(wrong), **figures)
    answering = {_sysfs_address(card.bus_id or "") for card in smi.cards}
    silent = [address for address in on_pci if address not in answering]
    if len(on_pci) > len(smi.cards) and container:
        why = f"{len(smi.cards)} of {len(on_pci)} cards on PCI answer; a container may be given only some of them"
        return not_proven("cards", why, **figures)
    if len(on_pci) != len(smi.cards) or silent:
        missing = f": {', '.join(silent)} does not answer" if silent else ""
        return failed("cards", f"{len(on_pci)} on PCI, {len(smi.cards)} in NVML{missing}", **figures)
    return passed("cards", f"{len(smi.cards)} on PCI and in NVML", **figures)


def _sysfs_address(bus_id: str) -> str:
    """Return NVML's address (00000000:01:00.0) as sysfs writes it, with four digits for the domain."""
    return bus_id.lower()[-12:]


def judge_firmware(facts: GpuFacts) -> Check:
    """Compare the firmware on each card (GSP) with the driver: the open modules cannot do without it.

    /proc/driver/nvidia/gpus has a card's firmware, as nvidia-smi -q calls it GSP Firmware Version; N/A is a card that
    the proprietary modules drive without one (driver README, chapter "GSP Firmware").
    """
    loaded = facts.driver_loaded
    found = {device.address: device.firmware for device in facts.nvidia_gpus if device.firmware}
    figures: dict[str, t.Any] = {"cards": found}
    if loaded is None:
        return not_proven("firmware", NO_DRIVER)
    if not found:
        return not_proven("firmware", "the driver tells no card's firmware", **figures)
    without = [address for address, version in found.items() if version == "N/A"]
    wrong = [f"{address} has {found[address]}" for address in found
             if found[address] != loaded.version and address not in without]  # fmt: skip
    if loaded.flavour == "open":
        wrong += [f"{address} has none, which the open modules cannot do without" for address in without]
    if wrong:
        return failed("firmware", f"{loaded.version} is loaded, but {'; '.join(wrong)}", **figures)
    if without:
        return not_proven("firmware", f"{', '.join(without)} runs without GSP firmware", **figures)
    return passed("firmware", f"{loaded.version} on {len(found)} card(s)", **figures)


__all__ = [
    "NO_DRIVER",
    "SMI_FIELDS",
    "Card",
    "SmiAnswer",
    "judge_cards",
    "judge_firmware",
    "judge_libraries",
    "judge_loaded",
    "judge_on_disk",
    "parse_smi",
]
