# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Miniforge and the environment as they are found and as they are wanted, and the texts that serve every user."""

from __future__ import annotations

import enum
import typing as t
from dataclasses import dataclass, field

from ansible_collections.gpulab.workstation.plugins.module_utils._conda_lock import CondaLock, Installed

PROFILE = "/etc/profile.d/gpulab-conda.sh"
BASHRC = "/etc/bash.bashrc"
_BEGIN, _END = "# BEGIN gpulab conda_env", "# END gpulab conda_env"


class BaseKind(str, enum.Enum):
    """What lies at the prefix of Miniforge."""

    ABSENT = "absent"
    UNFINISHED = "unfinished"  # an installation of ours that was cut off
    UNFINISHED_UPDATE = "unfinished update"
    OURS = "ours"
    ADOPTED = "adopted"  # a Miniforge that somebody else put there
    LICENSED = "licensed"  # Miniconda or Anaconda
    UNKNOWN = "unknown"


class EnvironmentKind(str, enum.Enum):
    """What lies at the prefix of the environment."""

    ABSENT = "absent"
    UNFINISHED = "unfinished"
    PRESENT = "present"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Base:
    """Miniforge as found; ``version`` is the installer's where it is ours, conda's where it is not."""

    kind: BaseKind
    version: str = ""
    detail: str = ""


@dataclass(frozen=True)
class Environment:
    """The environment as found: conda's records, the files that are gone, the packages a cut-off change was at."""

    kind: EnvironmentKind
    records: t.Mapping[str, Installed] = field(default_factory=dict)
    missing_files: t.Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    interrupted: tuple[str, ...] = ()


@dataclass(frozen=True)
class State:
    """Everything the plan depends on."""

    base: Base
    environment: Environment
    condarc: str | None = None
    profile: str | None = None
    bashrc: str | None = None
    closed: tuple[str, ...] = ()  # directories inside that other users cannot enter
    closed_parents: tuple[str, ...] = ()
    licensed_settings: t.Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # file -> channels
    free_bytes: int = 0
    mount_point: str = "/"


@dataclass(frozen=True)
class Wish:
    """What the role wants."""

    prefix: str
    installer: t.Mapping[str, t.Any]
    lock: CondaLock
    environment: str
    mirror: str = ""
    channel_alias: str = ""
    cache_directory: str = "/var/cache/gpulab"
    standin: bool = False

    @property
    def environment_prefix(self) -> str:
        """Where the environment is."""
        return f"{self.prefix}/envs/{self.environment}"

    @property
    def condarc_path(self) -> str:
        """The settings file of ours, beside Miniforge's own .condarc."""
        return f"{self.prefix}/condarc.d/50-gpulab.yml"


def condarc_text(wish: Wish) -> str:
    """Return our settings; ``defaults`` is given another meaning, so that nobody gets Anaconda's channels by habit."""
    alias = wish.channel_alias.rstrip("/") or "https://conda.anaconda.org"
    lines = [
        "# Managed by gpulab (role conda_env).",
        *([f"channel_alias: {alias}"] if wish.channel_alias else []),
        "channels:",
        "  - conda-forge",
        "default_channels:",
        f"  - {alias}/conda-forge",
        "auto_activate: false",
    ]
    return "".join(f"{line}\n" for line in lines)


def profile_text(wish: Wish) -> str:
    """Return the shell code that gives every user the command conda."""
    script = f"{wish.prefix}/etc/profile.d/conda.sh"
    return (
        f"# Managed by gpulab (role conda_env): 'conda activate {wish.environment}' for every user.\n"
        f"if [ -r '{script}' ]; then\n    . '{script}'\nfi\n"
    )


def with_bashrc_block(text: str) -> str:
    """Return /etc/bash.bashrc with our block in it: shells that are interactive but no login shells read only that."""
    block = f"{_BEGIN}\nif [ -r {PROFILE} ]; then\n    . {PROFILE}\nfi\n{_END}\n"
    start, end = text.find(_BEGIN), text.find(_END)
    if 0 <= start < end:
        return text[:start] + block + text[end + len(_END) :].removeprefix("\n")
    return text + ("" if not text or text.endswith("\n") else "\n") + block


__all__ = [
    "BASHRC",
    "PROFILE",
    "Base",
    "BaseKind",
    "Environment",
    "EnvironmentKind",
    "State",
    "Wish",
    "condarc_text",
    "profile_text",
    "with_bashrc_block",
]
