# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What to do about Miniforge and the environment of a host: state and wish in, plan out."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.gpulab.workstation.plugins.module_utils._conda_lock import CondaLock, LockedPackage
from ansible_collections.gpulab.workstation.plugins.module_utils._conda_state import (
    BASHRC,
    PROFILE,
    Base,
    BaseKind,
    Environment,
    EnvironmentKind,
    State,
    Wish,
    condarc_text,
    profile_text,
    with_bashrc_block,
)
from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._plan import Plan, Step
from ansible_collections.gpulab.workstation.plugins.module_utils._versions import is_release, release_key

_MB = 1_000_000
# What Miniforge 26.3 takes unpacked, and an environment of Python with its packages' files (rounded up; for the lab's
# stand-ins, which are smaller, eight times the size of the installer and a tenth).
_BASE_BYTES, _ENVIRONMENT_BYTES = 900 * _MB, 600 * _MB


@dataclass(frozen=True)
class Changes:
    """What has to happen to the packages of an environment."""

    rebuild: bool = False
    reason: str = ""
    link: tuple[str, ...] = ()
    unlink: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self.rebuild or bool(self.link or self.unlink)


def package_changes(environment: Environment, lock: CondaLock) -> Changes:
    """Compare the records with the lock; packages that pip installed have no record and are nobody's business here."""
    if environment.kind is EnvironmentKind.ABSENT:
        return Changes(rebuild=True, link=tuple(lock.by_name))
    if environment.kind is EnvironmentKind.UNFINISHED:
        return Changes(rebuild=True, reason="its creation was cut off", link=tuple(lock.by_name))
    python = environment.records.get("python")
    if python is None or _series(python.version) != _series(lock.python):
        found = f"it has Python {python.version}" if python else "it has no Python"
        reason = f"{found} and the lock has {lock.python} (what pip put there goes)"
        return Changes(rebuild=True, reason=reason, link=tuple(lock.by_name))
    broken = {*environment.missing_files, *environment.interrupted}
    wanted = lock.by_name
    link = [name for name, locked in wanted.items() if name in broken or not _is_there(environment, name, locked)]
    extra = [name for name in environment.records if name not in wanted]
    # conda leaves a package alone that is recorded as listed, so one with missing files has to go first
    unlink = [*extra, *(name for name in link if name in broken and name in environment.records)]
    return Changes(link=tuple(link), unlink=tuple(sorted(unlink)))


def make_plan(wish: Wish, state: State) -> Plan:
    """Decide every step; OperatorError, with all reasons, where the host is not ours to change."""
    _refuse(wish, state)
    install = state.base.kind in (BaseKind.ABSENT, BaseKind.UNFINISHED)
    update = not install and _is_outdated(wish, state.base)
    environment = Environment(EnvironmentKind.ABSENT) if install else state.environment
    changes = package_changes(environment, wish.lock)
    _refuse_small_disk(wish, state, base=install or update, environment=changes.rebuild)
    steps = [*_fetch_steps(wish, changes, base=install or update), *_base_steps(wish, state, install, update)]
    if install or state.condarc != condarc_text(wish):
        steps.append(Step("write_condarc", f"Write {wish.condarc_path} (conda-forge only)"))
    steps += _environment_steps(wish, environment, changes)
    steps += _access_steps(wish, state)
    return Plan(tuple(steps), _account(state), _target(wish, state))


def _series(version: str) -> list[str]:
    return version.split(".")[:2]


def _is_there(environment: Environment, name: str, locked: LockedPackage) -> bool:
    found = environment.records.get(name)
    return found is not None and found.is_as_locked(locked)


def _is_outdated(wish: Wish, base: Base) -> bool:
    """Compare with the installer's version, or conda's alone (26.3.2-3 carries 26.3.2) for what somebody else put."""
    wanted = str(wish.installer["version"])
    if base.kind is BaseKind.UNFINISHED_UPDATE:
        return True
    if base.kind is BaseKind.OURS:
        return base.version != wanted
    conda = wanted.split("-", 1)[0]
    comparable = is_release(base.version) and is_release(conda)
    return comparable and release_key(base.version) < release_key(conda)


def _refuse(wish: Wish, state: State) -> None:
    found, actions = [], []
    if state.base.kind is BaseKind.LICENSED:
        found.append(f"{wish.prefix} is Miniconda or Anaconda ({state.base.detail})")
        actions.append("move it away, or set conda_env_prefix to another directory")
    if state.base.kind is BaseKind.UNKNOWN:
        found.append(f"{wish.prefix} is no conda installation and none that gpulab began ({state.base.detail})")
        actions.append(f"look at {wish.prefix} and move it away, or set conda_env_prefix to another directory")
    if state.environment.kind is EnvironmentKind.UNKNOWN:
        found.append(f"{wish.environment_prefix} is there and is no conda environment")
        actions.append("move it away, or set conda_env_name to another name")
    for path, channels in state.licensed_settings.items():
        found.append(f"{path} lists {', '.join(channels)}")
        actions.append(f"take {', '.join(channels)} out of {path}")
    for path in state.closed_parents:
        found.append(f"other users cannot pass {path}")
        actions.append(f"run 'chmod o+x {path}', or set conda_env_prefix to another directory")
    if found:
        raise OperatorError(
            found="; ".join(found) + ".",
            expected=f"nothing or a Miniforge at {wish.prefix}, usable by every user, with conda-forge as its only"
            " channel (Anaconda's own channels need a licence).",
            action="; ".join(actions) + "; then run again. Nothing was changed.",
        )


def _refuse_small_disk(wish: Wish, state: State, *, base: bool, environment: bool) -> None:
    size = wish.installer.get("size")
    base_bytes = 8 * size if wish.standin and size else _BASE_BYTES
    environment_bytes = _ENVIRONMENT_BYTES // (10 if wish.standin else 1)
    needed = (base_bytes if base else 0) + (environment_bytes if environment else 0)
    if state.free_bytes < needed:
        raise OperatorError(
            found=f"{state.free_bytes // _MB} MB free on {state.mount_point}, which holds {wish.prefix}.",
            expected=f"{needed // _MB} MB for Miniforge and the environment {wish.environment}.",
            action=f"free space on {state.mount_point} or set conda_env_prefix to a directory on another file system,"
            " then run again. Nothing was changed.",
        )


def _fetch_steps(wish: Wish, changes: Changes, *, base: bool) -> list[Step]:
    """Bring every file before the first change, so that a wrong one stops the host as it is."""
    steps = []
    if base:
        steps.append(Step("fetch_installer", f"Fetch {wish.installer['file']}"))
    if changes.link:
        count = f"{len(changes.link)} package{'' if len(changes.link) == 1 else 's'}"
        title = f"Fetch {count} for the environment {wish.environment}"
        steps.append(Step("fetch_packages", title, {"names": list(changes.link)}))
    return steps


def _base_steps(wish: Wish, state: State, install: bool, update: bool) -> list[Step]:  # noqa: FBT001
    name = f"Miniforge {wish.installer['version']}{' (stand-in)' if wish.standin else ''}"
    steps = []
    if state.base.kind is BaseKind.UNFINISHED:
        steps.append(Step("remove_unfinished", f"Remove the unfinished installation in {wish.prefix}"))
    if install:
        steps.append(Step("install_base", f"Install {name} in {wish.prefix}", {"update": False}))
    if update:
        title = f"Update Miniforge {state.base.version} in {wish.prefix} to {name}"
        steps.append(Step("install_base", title, {"update": True}))
    return steps


def _environment_steps(wish: Wish, environment: Environment, changes: Changes) -> list[Step]:
    if not changes:
        return []
    count = len(wish.lock.packages)
    if changes.rebuild and environment.kind is EnvironmentKind.ABSENT:
        title = f"Create the environment {wish.environment} with Python {wish.lock.python} ({count} packages)"
        return [Step("create_environment", title)]
    if changes.rebuild:
        title = f"Create the environment {wish.environment} anew, because {changes.reason}"
        return [Step("create_environment", title)]
    steps = []
    if changes.unlink:
        names = [environment.records[name].distribution for name in changes.unlink]
        title = f"Remove from {wish.environment}: {', '.join(names)}"
        steps.append(Step("remove_packages", title, {"names": list(changes.unlink), "link": list(changes.link)}))
    if changes.link:
        title = f"Link into {wish.environment}: " + ", ".join(_link_words(wish, environment, n) for n in changes.link)
        steps.append(Step("link_packages", title, {"names": list(changes.link)}))
    return steps


def _link_words(wish: Wish, environment: Environment, name: str) -> str:
    wanted = wish.lock.by_name[name].distribution
    missing = environment.missing_files.get(name, ())
    found = environment.records.get(name)
    if missing:
        return f"{wanted} (lacks {missing[0]}{f' and {len(missing) - 1} more' if len(missing) > 1 else ''})"
    if name in environment.interrupted:
        return f"{wanted} (a change of it was cut off)"
    if found is None:
        return f"{wanted} (missing)"
    other = found.distribution if found.distribution != wanted else "another file of that name"
    return f"{wanted} (found {other})"


def _access_steps(wish: Wish, state: State) -> list[Step]:
    steps = []
    if state.closed:
        title = f"Let every user read {wish.prefix} (closed: {', '.join(state.closed)})"
        steps.append(Step("open_permissions", title))
    if state.profile != profile_text(wish):
        steps.append(Step("write_profile", f"Write {PROFILE}"))
    if state.bashrc is None or with_bashrc_block(state.bashrc) != state.bashrc:
        steps.append(Step("write_bashrc", f"Keep a block in {BASHRC}"))
    return steps


def _account(state: State) -> dict[str, t.Any]:
    present = state.environment.kind is EnvironmentKind.PRESENT
    return {
        "miniforge": f"{state.base.version} ({state.base.kind.value})".strip(),
        "packages": {name: record.distribution for name, record in state.environment.records.items()},
        "environment": "present" if present else state.environment.kind.value,
    }


def _target(wish: Wish, state: State) -> dict[str, t.Any]:
    kept = state.base.kind in (BaseKind.OURS, BaseKind.ADOPTED) and not _is_outdated(wish, state.base)
    version = f"{state.base.version} ({state.base.kind.value})" if kept else f"{wish.installer['version']} (ours)"
    packages = {package.name: package.distribution for package in wish.lock.packages}
    return {"miniforge": version, "packages": packages, "environment": "present"}


__all__ = ["Changes", "make_plan", "package_changes"]
