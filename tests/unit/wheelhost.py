# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Python environment with wheels on a fake host, as pip and uv leave them, and a uv that installs there."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
import typing as t
from collections.abc import Callable
from dataclasses import dataclass, field

from ansible_collections.gpulab.workstation.plugins.module_utils._uv import HOME
from fakehost import FakeHost

ENV = "/opt/env"
SITE = f"{ENV}/lib/python3.11/site-packages"
UV_LOCK = f"uv==0.13.9 --hash=sha256:{'0' * 64}\n"

Files = t.Mapping[str, str | bytes]


def lock_line(name: str, version: str, mark: str = "a") -> str:
    """Return a line of a lock; ``mark`` is repeated to make its hash."""
    return f"{name}=={version} --hash=sha256:{mark * 64}\n"


def fatbin(*archs: int) -> bytes:
    """Return a bare container of device code with an empty piece of machine code for each architecture."""
    entries = b"".join(
        struct.pack("<HHIQIIHHIIIQQQ", 2, 0x101, 64, 0, 0, 0, 0, 0, arch, 0, 0, 0, 0, 0) for arch in archs
    )
    return struct.pack("<IHHQ", 0xBA55ED50, 1, 16, len(entries)) + entries


def add_env(host: FakeHost, env: str = ENV) -> None:
    """Put an empty environment on the host."""
    host.add(f"{env}/bin/python", mode=0o755)
    host.make_dirs(f"{env}/lib/python3.11/site-packages")


def add_wheel(
    host: FakeHost,
    name: str,
    version: str,
    files: Files | None = None,
    *,
    installer: str = "uv",
    site: str = SITE,
) -> None:
    """Put an installed wheel there; RECORD says of every file what is true when it is written."""
    directory = f"{name.replace('-', '_')}-{version}.dist-info"
    contents: dict[str, str | bytes] = {
        **(files if files is not None else {f"{name.replace('-', '_')}/__init__.py": f"# {name} {version}\n"}),
        f"{directory}/METADATA": f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n\nName: not this one\n",
        f"{directory}/INSTALLER": installer,
    }
    record = [f"{directory}/RECORD,,\n"]
    for path, content in contents.items():
        host.add(f"{site}/{path}", content)
        data = content.encode() if isinstance(content, str) else content
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        record.append(f"{path},sha256={digest},{len(data)}\n")
    host.add(f"{site}/{directory}/RECORD", "".join(record))


def add_uv(host: FakeHost, version: str = "0.13.9") -> None:
    """Put uv in its place."""
    host.add(f"{HOME}/bin/uv", mode=0o755)
    host.add(f"{HOME}/uv-{version}.dist-info/METADATA", f"Name: uv\nVersion: {version}\n")


@dataclass
class FakeUv:
    """Answers uv's command lines and does what they say; ``wheels`` maps name==version to the files of a wheel.

    It stands for a program, not for our code: real uv is tried by the fault tests.
    """

    host: FakeHost
    wheels: dict[str, Files | None]
    cached: bool = False
    calls: list[tuple[str, ...]] = field(default_factory=list)
    failure: str = ""
    leaves: str = ""  # version of which a record without RECORD stays behind, as after a half-removed package

    def install(self) -> None:
        """Answer as uv on the host from now on."""
        start = '/bin/sh -c umask 022; exec "$@" uv '
        self.host.commands[f"{start}{HOME}/bin/uv"] = self
        self.host.commands[f"{ENV}/bin/python -m pip config list"] = (0, "", "")

    def __call__(self, command: tuple[str, ...]) -> tuple[int, str, str]:
        arguments = command[4:]
        self.calls.append(arguments[1:])
        if "install" not in arguments:
            return 0, "", ""
        if "--offline" in arguments and not self.cached:
            return 1, "error: No solution found\n  cause: Because x was not found in the cache", ""
        if self.failure:
            return 1, self.failure, ""
        lock = self.host.read_text(arguments[arguments.index("--requirement") + 1]) or ""
        for line in lock.splitlines():
            name, version = line.split(" ")[0].split("==")
            self._unlink(name)
            add_wheel(self.host, name, version, self.wheels.get(f"{name}=={version}"))
            if self.leaves:
                self.host.add(
                    f"{SITE}/{name}-{self.leaves}.dist-info/METADATA", f"Name: {name}\nVersion: {self.leaves}\n"
                )
        return 0, "Prepared 1 package in 1ms\n", ""

    def _unlink(self, name: str) -> None:
        for directory in self.host.listdir(SITE):
            if directory.startswith(f"{name.replace('-', '_')}-"):
                self.host.remove(f"{SITE}/{directory}")


def torch_answer(arch_flags: str = "sm_90 sm_120", devices: t.Sequence[t.Mapping[str, t.Any]] = ()) -> str:
    """Return what the probe prints."""
    result = {"version": "2.9.1+cu128", "cuda": "12.8", "arch_flags": arch_flags, "devices": list(devices)}
    return json.dumps({**result, "arch_list": arch_flags.split()}) + "\n"


Answer = Callable[[tuple[str, ...]], tuple[int, str, str]]

__all__ = [
    "ENV",
    "SITE",
    "UV_LOCK",
    "FakeUv",
    "Files",
    "add_env",
    "add_uv",
    "add_wheel",
    "fatbin",
    "lock_line",
    "torch_answer",
]
