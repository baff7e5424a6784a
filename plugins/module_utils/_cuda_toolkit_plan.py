# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to be done so that a host has the wanted CUDA toolkits, or why it must not be begun."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from ansible_collections.gpulab.workstation.plugins.module_utils import _cuda_toolkit as toolkits
from ansible_collections.gpulab.workstation.plugins.module_utils._cuda_toolkit import Toolkit, Wanted
from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._host import Filesystem
from ansible_collections.gpulab.workstation.plugins.module_utils._plan import Plan, Step

_RUNFILE_BYTES = 6 * 10**9  # of a runfile whose size nobody recorded


@dataclass(frozen=True)
class Wish:
    """The parameters of the role."""

    releases: tuple[Wanted, ...]
    default: str = ""
    packages: tuple[str, ...] = ()
    cache_directory: str = "/var/cache/gpulab"
    work_directory: str = "/var/lib/gpulab/cuda_toolkit/work"
    keep_runfile: bool = False

    @property
    def present(self) -> tuple[Wanted, ...]:
        """Return the releases that should be there."""
        return tuple(release for release in self.releases if release.present)

    @property
    def absent(self) -> tuple[Wanted, ...]:
        """Return the releases that should not be there."""
        return tuple(release for release in self.releases if not release.present)

    @property
    def default_release(self) -> Wanted | None:
        """Return the release that /usr/local/cuda leads to: the one named, else the first."""
        return next((r for r in self.present if not self.default or r.version == self.default), None)


@dataclass(frozen=True)
class State:
    """What was read from the host."""

    found: t.Mapping[str, Toolkit] = field(default_factory=dict)  # by series; a marker alone counts too
    link_kind: str | None = None  # file, directory, link, None where there is nothing
    link_target: str | None = None  # with every link resolved
    linker_text: str | None = None
    linker_cache_stale: bool = False
    profile_text: str | None = None
    missing_packages: tuple[str, ...] = ()
    filesystems: t.Mapping[str, Filesystem] = field(default_factory=dict)  # of cache, work and target
    fetched: t.Mapping[str, int] = field(default_factory=dict)  # bytes of each release's file that are there
    halves: t.Mapping[str, int] = field(default_factory=dict)  # bytes that each release's killed installation has left
    unpacked: int = 0  # bytes in the work directory, which are cleared away


def make_plan(wish: Wish, state: State) -> Plan:
    """Decide; OperatorError with every reason at once where the host must be left as it is."""
    install = [w for w in wish.present if _needs_install(state.found.get(w.series), w)]
    adopt = [w for w in wish.present if w not in install and state.found[w.series].marker is None]
    remove = [w for w in wish.absent if _is_release(state.found.get(w.series), w)]
    refusals = [*_refuse_wish(wish), *_refuse_foreign(state, install, remove), *_refuse_link(wish, state)]
    refusals += _refuse_disks(wish, state, install)
    if refusals:
        raise OperatorError(
            found=" ".join(refusal.found for refusal in refusals),
            expected=" ".join(refusal.expected for refusal in refusals),
            action=" ".join(refusal.action for refusal in refusals),
        )
    packages = state.missing_packages if wish.present else ()
    steps = [
        *([Step("packages", f"Install {' '.join(packages)}", {})] if packages else []),
        *(step for w in install for step in _install_steps(w, state)),
        *(Step("adopt", f"Take note of CUDA {w.version} in {w.path}", {"version": w.version}) for w in adopt),
        *(Step("remove", f"Remove CUDA {w.version} from {w.path}", {"version": w.version}) for w in remove),
        *_environment_steps(wish, state, remove),
    ]  # fmt: skip
    return Plan(tuple(steps), before=_picture(state), after=_picture(state, wish) if steps else _picture(state))


def linker_text(wish: Wish) -> str:
    """Return the linker's directories, the default release first: 12.8 and 12.9 share their library names."""
    default = wish.default_release
    ordered = sorted(wish.present, key=lambda w: w != default)
    lines = [f"{w.path}/lib64" for w in ordered]
    return "# Managed by gpulab (role cuda_toolkit).\n" + "".join(f"{line}\n" for line in lines)


def _needs_install(toolkit: Toolkit | None, wanted: Wanted) -> bool:
    unfinished = toolkit is not None and toolkit.marker is not None and toolkit.marker.state == "installing"
    return unfinished or bool(toolkits.problems(toolkit, wanted))


def _is_release(toolkit: Toolkit | None, wanted: Wanted) -> bool:
    if toolkit is None:
        return False
    return wanted.version in (toolkit.version, toolkit.marker.version if toolkit.marker else None)


def _install_steps(wanted: Wanted, state: State) -> list[Step]:
    found = state.found.get(wanted.series)
    why = f" ({'; '.join(toolkits.problems(found, wanted)[:3]) or 'it was not finished'})" if found else ""
    artefact = wanted.artefact
    name = artefact.file if artefact else ""
    return [
        Step("fetch", f"Fetch {name}", {"version": wanted.version}),
        Step("install", f"Install CUDA {wanted.version} in {wanted.path}{why}", {"version": wanted.version}),
    ]


def _environment_steps(wish: Wish, state: State, removed: t.Sequence[Wanted]) -> list[Step]:
    default = wish.default_release
    steps = []
    if default is None:
        if state.link_kind == "link" and state.link_target in [w.path for w in removed]:
            steps.append(Step("unlink", f"Remove the link {toolkits.LINK}", {}))
        if state.linker_text is not None or state.profile_text is not None:
            steps.append(Step("forget", f"Remove {toolkits.LINKER_FILE} and {toolkits.PROFILE_FILE}", {}))
        return steps
    if state.link_kind != "link" or state.link_target != default.path:
        steps.append(Step("link", f"Point {toolkits.LINK} to {default.path}", {"target": default.path}))
    if state.linker_text != linker_text(wish) or state.linker_cache_stale:
        steps.append(Step("linker", f"Name the libraries in {toolkits.LINKER_FILE}", {}))
    if state.profile_text != toolkits.PROFILE:
        steps.append(Step("profile", f"Put nvcc on the PATH of every user by {toolkits.PROFILE_FILE}", {}))
    return steps


class Refusal(t.NamedTuple):
    """One reason why the host is left as it is."""

    found: str
    expected: str
    action: str


def _refuse_wish(wish: Wish) -> list[Refusal]:
    refusals = []
    series = [release.series for release in wish.releases]
    for name in sorted({one for one in series if series.count(one) > 1}):
        both = ", ".join(release.version for release in wish.releases if release.series == name)
        found = f"cuda_toolkit_releases names {both}, which share {toolkits.toolkit_path(name)}."
        refusals.append(Refusal(found, "one release of each series.", "leave one of them."))
    if wish.present and wish.default_release is None:
        names = ", ".join(w.version for w in wish.present)
        found = f"cuda_toolkit_default is {wish.default}."
        refusals.append(Refusal(found, f"one of the releases to be present: {names}.", "correct cuda_toolkit_default."))
    return refusals


def _refuse_foreign(state: State, install: t.Sequence[Wanted], remove: t.Sequence[Wanted]) -> list[Refusal]:
    """Leave alone what this role did not make: an administrator's toolkit, or one of the distribution's packages."""
    refusals = []
    for wanted in install:
        toolkit = state.found.get(wanted.series)
        if toolkit is not None and not toolkit.owned:
            why = "; ".join(toolkits.problems(toolkit, wanted))
            found = f"{toolkit.path} was not made by this role and is not CUDA {wanted.version}: {why}."
            action = f"find out who needs it ('dpkg -S {toolkit.path}'), remove or rename it, then run again."
            refusals.append(Refusal(found, "no directory there, or that release.", action))
    for wanted in remove:
        toolkit = state.found[wanted.series]
        if not toolkit.owned:
            found = f"{toolkit.path} was not made by this role."
            action = (
                f"remove it the way it came ('dpkg -S {toolkit.path}' tells), or take {wanted.version} off the list."
            )
            refusals.append(Refusal(found, "a toolkit of this role, to remove it.", action))
    return refusals


def _refuse_link(wish: Wish, state: State) -> list[Refusal]:
    if not wish.present or state.link_kind in (None, "link"):
        return []
    action = f"move {toolkits.LINK} away, then run again."
    return [Refusal(f"{toolkits.LINK} is a {state.link_kind}.", "a symbolic link, or nothing.", action)]


def _refuse_disks(wish: Wish, state: State, install: t.Sequence[Wanted]) -> list[Refusal]:
    """Add up what goes to each file system: the files, one unpacked copy at a time, and the toolkits.

    What an installation that was killed has left there counts as done, or as room.
    """
    if not install:
        return []
    needs = {
        wish.cache_directory: sum(
            max(0, (w.artefact.size or _RUNFILE_BYTES) - state.fetched.get(w.version, 0)) for w in install if w.artefact
        ),
        wish.work_directory: max(0, max(w.tmp_bytes for w in install) - state.unpacked),
        toolkits.PREFIX: sum(max(0, w.target_bytes - state.halves.get(w.version, 0)) for w in install),
    }
    mounts = {filesystem.mount_point: filesystem for filesystem in state.filesystems.values()}
    refusals = []
    for point, filesystem in mounts.items():
        needed = sum(size for path, size in needs.items() if state.filesystems[path].mount_point == point)
        if filesystem.free_bytes < needed:
            found = f"{filesystem.free_bytes / 1e9:.1f} GB free on {point}."
            expected = f"{needed / 1e9:.1f} GB there for CUDA {', '.join(w.version for w in install)}."
            places = "cuda_toolkit_cache_directory and cuda_toolkit_work_directory"
            action = f"free space on {point}, or choose {places} on another file system."
            refusals.append(Refusal(found, expected, action))
    work = state.filesystems[wish.work_directory]
    if work.noexec:
        found = f"{wish.work_directory} is on {work.mount_point}, which is mounted noexec."
        expected = "a file system from which the unpacked installer can be started."
        refusals.append(Refusal(found, expected, "choose another cuda_toolkit_work_directory."))
    return refusals


def _picture(state: State, wish: Wish | None = None) -> dict[str, t.Any]:
    """Return the part of the state that a person compares; with a wish, what it will be."""
    releases = {series: found.version for series, found in sorted(state.found.items())}
    link = state.link_target
    if wish is not None:
        releases.update({w.series: w.version for w in wish.present})
        for wanted in wish.absent:
            if _is_release(state.found.get(wanted.series), wanted):
                releases.pop(wanted.series, None)
        default = wish.default_release
        gone = [w.path for w in wish.absent]
        link = default.path if default else None if link in gone else link
    return {"toolkits": releases, toolkits.LINK: link}


__all__ = ["State", "Wish", "linker_text", "make_plan"]
