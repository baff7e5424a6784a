# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel gate as a component: its files on the host, and its last look at the kernels."""

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass

from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._host import Host
from ansible_collections.gpulab.workstation.plugins.module_utils._job import log_path
from ansible_collections.gpulab.workstation.plugins.module_utils._plan import Plan, Step

_DIRECTORY = "/usr/local/lib/gpulab"
PROGRAM = f"{_DIRECTORY}/kernel-gate"
# Not gpulab-kernel-gate: that is the transient unit of the job that sets it up.
UNIT_NAME = "gpulab-kernel-gate-boot.service"
UNIT = f"/etc/systemd/system/{UNIT_NAME}"
# run-parts(8) takes them by name: after zz-update-grub, and after dkms, which builds for a kernel in the first and,
# where the headers come later, in the second.
HOOKS = tuple(f"/etc/kernel/{moment}.d/zzz-gpulab-kernel-gate" for moment in ("postinst", "header_postinst", "postrm"))
# apt.conf(5): what apt runs after dpkg, however that has ended. A module that DKMS cannot build ends the hooks above
# before ours (run-parts stops at the first that fails), and leaves the kernel's packages half configured.
AFTER_DPKG = "/etc/apt/apt.conf.d/99gpulab-kernel-gate"
SELECTION = "/etc/default/grub.d/99-gpulab-kernel.cfg"
_MESSAGES = "/etc/motd.d"
MESSAGE = f"{_MESSAGES}/50-gpulab-kernel"
FACT = "/etc/ansible/facts.d/gpulab_kernel.fact"
_WANTED_BY = f"/etc/systemd/system/multi-user.target.wants/{UNIT_NAME}"
_LOOK_LIMIT_S = 300.0
_GATE_LIMIT_S = 900.0  # with update-grub

_HOOK = f"""\
#!/bin/sh
# Written by gpulab (role kernel_gate); changes are overwritten. A kernel is installed in any case.
[ -x {PROGRAM} ] && {PROGRAM} --hook || true
"""
_AFTER_DPKG = f"""\
// Written by gpulab (role kernel_gate); changes are overwritten.
DPkg::Post-Invoke {{ "[ -x {PROGRAM} ] && {PROGRAM} --hook || true"; }};
"""
_UNIT = f"""\
# Written by gpulab (role kernel_gate); changes are overwritten.
[Unit]
Description=Start no kernel without an NVIDIA module
ConditionPathExists={PROGRAM}

[Service]
Type=oneshot
ExecStart={PROGRAM} --hook

[Install]
WantedBy=multi-user.target
"""


@dataclass(frozen=True)
class GateState:
    """The gate's files as they are, whether it runs at boot, and what it would say and change now."""

    files: t.Mapping[str, str | None]
    executable: t.Mapping[str, bool]
    enabled: bool
    systemd: bool
    held: bool  # a choice of GRUB's made by the gate is in force
    look: t.Mapping[str, t.Any] | None  # None where the program is not there as wanted


@dataclass(frozen=True)
class KernelGate:
    """Component of the module kernel_gate."""

    present: bool
    program: str

    name: t.ClassVar[str] = "kernel_gate"

    @classmethod
    def from_params(cls, params: t.Mapping[str, t.Any]) -> KernelGate:
        """Take the module's options."""
        return cls(params["state"] == "present", params["program"])

    @property
    def _programs(self) -> dict[str, str]:
        start = "#!/usr/bin/python3\n"
        return {PROGRAM: start + self.program, **dict.fromkeys(HOOKS, _HOOK)}

    def _wanted(self, *, systemd: bool) -> dict[str, str]:
        return {**self._programs, AFTER_DPKG: _AFTER_DPKG, **({UNIT: _UNIT} if systemd else {})}

    def read(self, host: Host) -> GateState:
        """Read the files, and let the program look where it is the wanted one."""
        paths = (*self._wanted(systemd=True), SELECTION, MESSAGE, FACT)
        files = {path: host.read_text(path) for path in paths}
        modes = {path: found.mode for path in self._programs if (found := host.status(path))}
        as_wanted = self.present and files[PROGRAM] == self._programs[PROGRAM]
        return GateState(
            files=files,
            executable={path: bool(mode & 0o111) for path, mode in modes.items()},
            enabled=host.readlink(_WANTED_BY) is not None,
            systemd=host.exists("/run/systemd/system"),
            held=files[SELECTION] is not None or _has_chosen(files[FACT]),
            look=_look(host, "--dry-run", _LOOK_LIMIT_S) if as_wanted else None,
        )

    def plan(self, state: GateState) -> Plan:
        """Decide which files change, and whether GRUB's choice is to be looked at again."""
        steps = self._present(state) if self.present else self._absent(state)
        shown = {path: text.splitlines() for path, text in state.files.items() if text is not None and path != PROGRAM}
        before: dict[str, t.Any] = {**shown, "enabled": state.enabled}
        if not steps:
            return Plan((), before, before)
        texts = self._wanted(systemd=state.systemd)
        wanted = {path: text.splitlines() for path, text in texts.items() if path != PROGRAM}
        after = {**before, **wanted, "enabled": state.systemd} if self.present else {"enabled": False}
        return Plan(tuple(steps), before, after)

    def _present(self, state: GateState) -> list[Step]:
        wanted = self._wanted(systemd=state.systemd)
        outdated = [
            path
            for path, text in wanted.items()
            if state.files[path] != text or (path in self._programs and not state.executable.get(path))
        ]
        steps = [Step("write", f"Write {path}", {"path": path}) for path in outdated]
        if state.systemd and (UNIT in outdated or not state.enabled):
            steps.append(Step("enable", f"Enable {UNIT_NAME}"))
        if state.look is None or state.look["changes"] or state.look.get("error"):
            steps.append(Step("look", "Look at the modules of every installed kernel, and choose what GRUB starts"))
        return steps

    def _absent(self, state: GateState) -> list[Step]:
        steps = [Step("disable", f"Disable {UNIT_NAME}")] if state.enabled else []
        there = [path for path, text in state.files.items() if text is not None]
        removed = {path: Step("remove", f"Remove {path}", {"path": path}) for path in there}
        fact = [removed.pop(FACT)] if FACT in removed else []  # last: it is what a run that is killed here is known by
        grub = [Step("grub", "Give GRUB its own choice back")] if state.held else []
        return [*steps, *removed.values(), *grub, *fact]

    def apply(self, host: Host, step: Step, _progress: t.Callable[[str], None]) -> None:
        """Make one change; each may be made again."""
        log = log_path(self.name)
        if step.action == "write":
            path = step.params["path"]
            mode = 0o755 if path in self._programs else 0o644
            host.write_text(path, self._wanted(systemd=True)[path], mode=mode)
        elif step.action == "remove":
            host.remove(step.params["path"])
            for directory in (_DIRECTORY, _MESSAGES):
                if not host.listdir(directory):
                    host.remove(directory)
        elif step.action in ("enable", "disable"):
            host.run(["systemctl", "daemon-reload"], timeout_s=120, log=log)
            _must(host, ["systemctl", step.action, UNIT_NAME], log)
        elif step.action == "grub":
            _must(host, ["update-grub"], log)
        else:
            account = _look(host, "", _GATE_LIMIT_S)
            if account["error"]:
                raise _failed(str(account["error"]))

    def report(self, state: GateState) -> dict[str, t.Any]:
        """Return what the machine would start next and why."""
        look = state.look or {}
        return {
            "state": look.get("state", "absent"),
            "newest": look.get("newest") or None,
            "choice": look.get("choice") or None,
            "problems": dict(look.get("problems", {})),
        }


def _has_chosen(fact: str | None) -> bool:
    """Whether the program's account says that GRUB has been told what to start."""
    try:
        return bool(json.loads(fact or "{}").get("selection"))
    except (ValueError, AttributeError):
        return False


def _look(host: Host, option: str, limit_s: float) -> dict[str, t.Any]:
    done = host.run([PROGRAM, *([option] if option else [])], timeout_s=limit_s)
    try:
        answer = json.loads((done.stdout.strip().splitlines() or [""])[-1])
    except ValueError:
        answer = None
    if not isinstance(answer, dict) or answer.get("format") != 1:
        words = done.stderr.strip()[-300:] or f"status {done.rc}"
        raise _failed(f"{PROGRAM} gave no account: {words}")
    return answer


def _must(host: Host, command: list[str], log: str) -> None:
    done = host.run(command, timeout_s=_GATE_LIMIT_S, log=log)
    if not done.ok:
        raise _failed(f"'{' '.join(command)}' ended with {done.rc}: {done.stdout.strip()[-300:] or 'no words'}")


def _failed(found: str) -> OperatorError:
    return OperatorError(
        found=f"{found}.",
        expected="a gate that looks at every kernel and tells GRUB which one to start.",
        action=f"cure what it says (often a full /boot: 'df /boot'), run {PROGRAM} by hand to see it again, then run"
        " again.",
    )


__all__ = [
    "AFTER_DPKG",
    "FACT",
    "HOOKS",
    "MESSAGE",
    "PROGRAM",
    "SELECTION",
    "UNIT",
    "UNIT_NAME",
    "GateState",
    "KernelGate",
]
