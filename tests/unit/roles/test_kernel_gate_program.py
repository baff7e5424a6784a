# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program of the kernel gate: which kernel a machine starts, and what it writes for that."""

from __future__ import annotations

import importlib.util
import json
import sys
import typing as t
from pathlib import Path

import pytest

PATH = Path(__file__).parents[3] / "roles/kernel_gate/files/kernel_gate.py"
spec = importlib.util.spec_from_file_location("kernel_gate_program", PATH)
assert spec is not None
assert spec.loader is not None
program = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = program
spec.loader.exec_module(program)

OLD, NEW, NEWEST = "6.1.0-9-amd64", "6.1.0-10-amd64", "6.1.0-50-amd64"
DRIVER = "580.178.04"
UUID = "0f3c2f38-2b7e-4f0a-9a52-6a1d2f7f7b11"
MENU = f"""\
set default="0"
menuentry 'Debian GNU/Linux' --class debian $menuentry_id_option 'gnulinux-simple-{UUID}' {{
}}
submenu 'Advanced options for Debian GNU/Linux' $menuentry_id_option 'gnulinux-advanced-{UUID}' {{
\tmenuentry 'Debian GNU/Linux, with Linux {NEW}' --class debian $menuentry_id_option 'gnulinux-{NEW}-advanced-{UUID}' {{
\t}}
\tmenuentry 'Linux {NEW} (recovery mode)' --class debian $menuentry_id_option 'gnulinux-{NEW}-recovery-{UUID}' {{
\t}}
\tmenuentry 'Debian GNU/Linux, with Linux {OLD}' --class debian $menuentry_id_option 'gnulinux-{OLD}-advanced-{UUID}' {{
\t}}
}}
"""


def fields(kernel: str, **more: str) -> dict[str, dict[str, str]]:
    good = {"version": DRIVER, "vermagic": f"{kernel} SMP preempt mod_unload", "signer": "lab"}
    return {module: {**good, **more} for module in program.MODULES}


@pytest.mark.parametrize(
    ("problems", "state", "choice"),
    [
        ({}, "ok", NEW),
        ({OLD: "none"}, "ok", NEW),
        ({NEW: "none"}, "held", OLD),
        ({NEW: "none", OLD: "none"}, "stranded", NEW),
    ],
    ids=["all-good", "old-one-bad", "newest-bad", "all-bad"],
)
def test_the_newest_kernel_with_modules_is_started(problems: dict[str, str], state: str, choice: str) -> None:
    verdict = program.judge([OLD, NEW], DRIVER, problems)
    assert (verdict.state, verdict.newest, verdict.choice) == (state, NEW, choice)


def test_without_a_proven_driver_nothing_is_decided() -> None:
    assert program.judge([OLD, NEW], "", {}).state == "no_driver"
    assert program.judge([], DRIVER, {}).state == "no_kernel"


def test_kernels_are_ordered_by_number_not_by_letter() -> None:
    assert sorted([NEWEST, OLD, NEW], key=program.kernel_order) == [OLD, NEW, NEWEST]
    assert sorted(["6.8.0-100-generic", "6.14.0-3-generic", "6.8.0-9-generic"], key=program.kernel_order) == [
        "6.8.0-9-generic", "6.8.0-100-generic", "6.14.0-3-generic",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("found", "signed_only", "words"),
    [
        (fields(NEW), True, ""),
        ({}, False, "no nvidia module"),
        ({**fields(NEW), "nvidia-uvm": {}}, False, "no nvidia-uvm module"),
        (fields(NEW, version="570.144"), False, "of driver 570.144"),
        (fields(NEW, vermagic=f"{OLD} SMP"), False, f"built for {OLD}"),
        (fields(NEW, signer=""), True, "not signed"),
        (fields(NEW, signer=""), False, ""),
    ],
    ids=["good", "none", "one-missing", "other-driver", "other-kernel", "unsigned", "unsigned-allowed"],
)
def test_what_a_kernel_would_not_load(found: t.Any, signed_only: bool, words: str) -> None:  # noqa: FBT001
    told = program.module_problem(NEW, DRIVER, found, signed_only=signed_only)
    assert words in told
    assert bool(words) == bool(told)


def test_the_menu_entry_is_named_with_its_submenu() -> None:
    assert program.menu_entry(MENU, OLD) == f"gnulinux-advanced-{UUID}>gnulinux-{OLD}-advanced-{UUID}"
    assert program.menu_entry(MENU, NEWEST) == ""
    flat = f"menuentry 'x' $menuentry_id_option 'gnulinux-{OLD}-advanced-{UUID}' {{\n}}\n"
    assert program.menu_entry(flat, OLD) == f"gnulinux-{OLD}-advanced-{UUID}"


class Machine(program.System):  # type: ignore[misc, name-defined]
    """A machine of files, with the modules in a table and a GRUB that notes what it was asked to do."""

    def __init__(self, root: Path, modules: dict[str, str]) -> None:
        super().__init__(str(root))
        self.modules = modules
        self.grub: list[str | None] = []
        self.grub_status = 0

    def run(self, *command: str, limit_s: int = 0) -> tuple[int, str]:  # noqa: ARG002
        if command[0] == "modinfo":
            version = self.modules.get(command[2])
            text = f"version: {version}\nvermagic: {command[2]} SMP\nsigner: lab\n"
            return (0, text) if version else (1, "not found")
        if command[0] == "update-grub":
            self.grub.append(self.text(program.SELECTION))
            return self.grub_status, "no space left on device"
        assert command[0] == "modprobe"
        return 0, ""


def machine(root: Path, **modules: str) -> Machine:
    for kernel in (OLD, NEW):
        (root / "lib/modules" / kernel).mkdir(parents=True)
        (root / "boot").mkdir(exist_ok=True)
        (root / f"boot/vmlinuz-{kernel}").write_text("")
    for path, text in ((program.PROVEN, json.dumps({"version": DRIVER})), (program.GRUB_MENU, MENU)):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return Machine(root, modules or {OLD: DRIVER})


def test_a_kernel_without_modules_is_not_started_and_everybody_is_told(tmp_path: Path) -> None:
    found = machine(tmp_path)
    account = program.gate(found, dry_run=False)
    assert (account["state"], account["choice"], account["error"]) == ("held", OLD, "")
    assert found.grub == [found.text(program.SELECTION)]
    assert f"GRUB_DEFAULT='gnulinux-advanced-{UUID}>gnulinux-{OLD}-advanced-{UUID}'" in found.grub[0]
    assert f"This machine starts {OLD}" in (found.text(program.MESSAGE) or "")
    assert json.loads(found.text(program.FACT) or "")["state"] == "held"
    assert program.gate(found, dry_run=True)["changes"] == []
    assert len(found.grub) == 1


def test_a_cured_kernel_is_started_again(tmp_path: Path) -> None:
    found = machine(tmp_path)
    program.gate(found, dry_run=False)
    found.modules[NEW] = DRIVER
    assert program.gate(found, dry_run=True)["changes"]
    assert program.gate(found, dry_run=False)["state"] == "ok"
    assert found.grub[1:] == [None]
    assert (found.text(program.SELECTION), found.text(program.MESSAGE)) == (None, None)
    assert json.loads(found.text(program.FACT) or "")["state"] == "ok"


def test_a_failing_update_grub_is_tried_again(tmp_path: Path) -> None:
    found = machine(tmp_path)
    found.grub_status = 1
    assert "no space left" in program.gate(found, dry_run=False)["error"]
    found.grub_status = 0
    assert program.gate(found, dry_run=True)["changes"] == [f"/{program.FACT}"]
    assert program.gate(found, dry_run=False)["error"] == ""
    assert len(found.grub) == 2


def test_a_menu_without_the_kernel_is_told_and_promises_nothing(tmp_path: Path) -> None:
    found = machine(tmp_path)
    (tmp_path / program.GRUB_MENU).write_text("set default=0\n")
    account = program.gate(found, dry_run=False)
    assert "has no entry" in account["error"]
    assert found.text(program.SELECTION) is None
    assert "the next start has no GPU" in (found.text(program.MESSAGE) or "")


def test_without_a_driver_nothing_is_left_behind(tmp_path: Path) -> None:
    found = machine(tmp_path)
    program.gate(found, dry_run=False)
    (tmp_path / program.PROVEN).unlink()
    program.gate(found, dry_run=False)
    assert [found.text(path) for path in (program.SELECTION, program.MESSAGE, program.FACT)] == [None] * 3


def test_a_hook_never_fails_a_package(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    machine(tmp_path)
    (tmp_path / "etc").write_text("not a directory")
    assert program.main(["--hook"], str(tmp_path)) == 0
    assert "gpulab kernel gate: " in capsys.readouterr().err
    assert program.main([], str(tmp_path)) == 1
