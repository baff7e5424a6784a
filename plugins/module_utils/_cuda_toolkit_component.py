# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The CUDA toolkits of a host: reading them, and the steps that install, remove and choose between them."""

from __future__ import annotations

import dataclasses
import json
import re
import typing as t

from ansible_collections.gpulab.workstation.plugins.module_utils import _apt
from ansible_collections.gpulab.workstation.plugins.module_utils import _cuda_toolkit as toolkits
from ansible_collections.gpulab.workstation.plugins.module_utils._cuda_toolkit import Marker, Toolkit, Wanted
from ansible_collections.gpulab.workstation.plugins.module_utils._cuda_toolkit_plan import (
    State,
    Wish,
    linker_text,
    make_plan,
)
from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._fetch import Progress, cached_path, fetch
from ansible_collections.gpulab.workstation.plugins.module_utils._host import Host
from ansible_collections.gpulab.workstation.plugins.module_utils._job import log_path
from ansible_collections.gpulab.workstation.plugins.module_utils._plan import Plan, Step

_INSTALL_LIMIT_S = 3600.0
_LINKER_CACHE = "/etc/ld.so.cache"


class CudaToolkit:
    """CUDA toolkits side by side under /usr/local; never a driver."""

    name = "cuda_toolkit"

    def __init__(self, wish: Wish) -> None:
        self.wish = wish

    @classmethod
    def from_params(cls, params: t.Mapping[str, t.Any]) -> CudaToolkit:
        """Take the wanted state from the module's parameters."""
        return cls(
            Wish(
                releases=tuple(Wanted.from_release(r, params["state"]) for r in params["releases"]),
                default=params["default"],
                packages=tuple(params["packages"]),
                cache_directory=params["cache_directory"],
                work_directory=params["work_directory"],
                keep_runfile=params["keep_runfile"],
            )
        )

    def read(self, host: Host) -> State:
        """Look at every toolkit directory, by its own files and by running its compilers."""
        link, target = host.status(toolkits.LINK), host.realpath(toolkits.LINK)
        # A release's own directory may be a link, to a larger disk for instance.
        places = {host.realpath(wanted.path): wanted.path for wanted in self.wish.releases}
        linker, cache = host.status(toolkits.LINKER_FILE), host.status(_LINKER_CACHE)
        paths = (self.wish.cache_directory, self.wish.work_directory, toolkits.PREFIX)
        return State(
            found={series: read_toolkit(host, series) for series in known_series(host)},
            link_kind=link.kind if link else None,
            link_target=places.get(target, target) if link else None,
            linker_text=host.read_text(toolkits.LINKER_FILE),
            linker_cache_stale=bool(linker and (cache is None or cache.mtime < linker.mtime)),
            profile_text=host.read_text(toolkits.PROFILE_FILE),
            missing_packages=missing_packages(host, self.wish.packages),
            filesystems={path: host.filesystem(path) for path in paths},
            fetched=self._fetched(host),
            halves=self._halves(host),
            unpacked=_size(host, self.wish.work_directory),
        )

    def _fetched(self, host: Host) -> dict[str, int]:
        """Return the bytes of each release's file that are there, whole or in part."""
        paths = {w.version: cached_path(w.artefact, self.wish.cache_directory) for w in self.wish.present if w.artefact}
        found = {version: [host.status(path), host.status(f"{path}.part")] for version, path in paths.items()}
        return {version: max((file.size for file in files if file), default=0) for version, files in found.items()}

    def _halves(self, host: Host) -> dict[str, int]:
        """Return the bytes of each toolkit that a killed run has left unfinished, which the next one clears away."""
        markers = {w: toolkits.parse_marker(host.read_text(_marker_path(w.series))) for w in self.wish.present}
        return {w.version: _size(host, w.path) for w, m in markers.items() if m and m.state == "installing"}

    def plan(self, state: State) -> Plan:
        """Decide what to do; see :func:`make_plan`."""
        return make_plan(self.wish, state)

    def report(self, state: State) -> dict[str, t.Any]:
        """Return the toolkits as they are."""
        return {
            "toolkits": [_as_result(toolkit) for _, toolkit in sorted(state.found.items())],
            "default": state.link_target,
        }

    def apply(self, host: Host, step: Step, progress: Progress) -> None:
        """Make one change."""
        if "version" in step.params:
            wanted = next(release for release in self.wish.releases if release.version == step.params["version"])
            self._apply_to_release(host, step.action, wanted, progress)
        elif step.action == "packages":
            _apt.install(host, missing_packages(host, self.wish.packages), log_path(self.name))
        elif step.action == "link":
            host.symlink(step.params["target"], toolkits.LINK)
        elif step.action == "unlink":
            host.remove(toolkits.LINK)
        elif step.action == "profile":
            host.write_text(toolkits.PROFILE_FILE, toolkits.PROFILE)
        elif step.action == "linker":
            host.write_text(toolkits.LINKER_FILE, linker_text(self.wish))
            host.run(["ldconfig"])
        elif step.action == "forget":
            host.remove(toolkits.LINKER_FILE)
            host.remove(toolkits.PROFILE_FILE)
            host.run(["ldconfig"])

    def _apply_to_release(self, host: Host, action: str, wanted: Wanted, progress: Progress) -> None:
        if action == "fetch" and wanted.artefact:
            fetch(host, wanted.artefact, self.wish.cache_directory, progress)
        elif action == "install" and wanted.artefact:
            self._install(host, wanted, cached_path(wanted.artefact, self.wish.cache_directory))
        elif action == "adopt":
            _write_marker(host, wanted.series, Marker(wanted.version, "adopted"))
        elif action == "remove":
            _remove(host, wanted)

    def _install(self, host: Host, wanted: Wanted, runfile: str) -> None:
        """Replace a toolkit; the old one, if it works, comes back when the new one cannot be installed."""
        default = host.readlink(toolkits.LINK)
        former = _set_aside(host, wanted)
        _write_marker(host, wanted.series, Marker(wanted.version, "installing", former))
        try:
            self._run_installer(host, wanted, runfile)
        except BaseException:
            _put_back(host, wanted, former)
            raise
        finally:
            _keep_default(host, wanted, default)
        host.run(["ldconfig"])
        host.remove(_aside(wanted))
        _write_marker(host, wanted.series, Marker(wanted.version, "installed"))
        if not self.wish.keep_runfile:
            host.remove(runfile.rsplit("/", 1)[0])

    def _run_installer(self, host: Host, wanted: Wanted, runfile: str) -> None:
        """Run the runfile for the toolkit alone, and believe the result only after looking at it.

        ``--toolkit`` is what keeps the bundled driver out (CUDA install guide, "Advanced options"); it is proven by
        comparing the driver's traces before and after. The wrapper is a bash script. ``--nox11`` is not given: it
        stops the wrapper from opening an xterm where DISPLAY is set, and :meth:`Host.run` takes DISPLAY away.
        """
        for path in (self.wish.work_directory, *toolkits.STALE_LOGS):
            host.remove(path)
        host.make_dirs(self.wish.work_directory, mode=0o700)
        driver = driver_traces(host)
        options = ["--silent", "--toolkit", f"--toolkitpath={wanted.path}", f"--tmpdir={self.wish.work_directory}"]
        done = host.run(
            ["bash", runfile, *options],
            env={"TMPDIR": self.wish.work_directory},
            timeout_s=_INSTALL_LIMIT_S,
            log=log_path(self.name),
        )
        host.remove(self.wish.work_directory)
        _refuse_changed_driver(driver, driver_traces(host), runfile)
        _refuse_failure(host, wanted, done.rc, done.stdout)


def missing_packages(host: Host, names: t.Sequence[str]) -> tuple[str, ...]:
    """Return those that are not installed (dpkg-query(1): the second letter of the status is i)."""
    if not names:
        return ()
    done = host.run(["dpkg-query", "-W", "-f=${Package}\\t${db:Status-Abbrev}\\n", *names], timeout_s=30)
    if done.rc not in (0, 1):  # 1: dpkg does not know one of the names
        raise OperatorError(
            found=f"dpkg-query ended with {done.rc}: {done.stderr.strip()}.",
            expected="a Debian or Ubuntu system whose package database can be read.",
            action="run 'dpkg --audit' on the host and cure what it names.",
        )
    rows = (line.split("\t") for line in done.stdout.splitlines() if "\t" in line)
    installed = {name for name, status in rows if status[1:2] == "i"}
    return tuple(name for name in names if name not in installed)


def _size(host: Host, path: str) -> int:
    """Return the bytes of a directory's files; 0 where there is none."""
    done = host.run(["du", "--summarize", "--bytes", path], timeout_s=120) if host.exists(path) else None
    figure = done.stdout.partition("\t")[0] if done and done.ok else ""
    return int(figure) if figure.isdigit() else 0


def known_series(host: Host) -> list[str]:
    """Return the series that have a directory under /usr/local, or a marker of this role for more than a directory.

    A toolkit that was adopted and that its owner has removed is none any more, whatever the marker says.
    """
    directories = [re.fullmatch(r"cuda-(\d+\.\d+)", name) for name in host.listdir(toolkits.PREFIX)]
    markers = [re.fullmatch(r"(\d+\.\d+)\.json", name) for name in host.listdir(toolkits.MARKERS)]
    there = {found[1] for found in directories if found}
    noted = {found[1] for found in markers if found} - there
    return sorted(there | {series for series in noted if read_toolkit(host, series).owned})


def read_toolkit(host: Host, series: str) -> Toolkit:
    """Look at one toolkit directory; what cannot be run has no version."""
    path = toolkits.toolkit_path(series)
    claims, carries = toolkits.parse_standin_json(host.read_text(f"{path}/standin.json"))
    said = toolkits.parse_version_json(host.read_text(f"{path}/version.json"))
    marker = toolkits.parse_marker(host.read_text(_marker_path(series)))
    return Toolkit(
        series=series,
        version=toolkits.release_of(said, marker),
        build=said,
        nvcc=tool_version(host, f"{path}/bin/nvcc"),
        ptxas=tool_version(host, f"{path}/bin/ptxas"),
        missing=tuple(name for name in toolkits.ESSENTIAL if not host.exists(f"{path}/{name}")),
        standin_claims=claims,
        standin_carries=carries,
        marker=marker,
    )


def driver_traces(host: Host) -> dict[str, str]:
    """Return everything by which a driver installation would show, whether a driver is there or not."""
    traces = {
        "loaded module": host.read_text("/sys/module/nvidia/version") or "",
        "/proc/driver/nvidia/version": host.read_text("/proc/driver/nvidia/version") or "",
    }
    for kernel in host.listdir("/lib/modules"):
        done = host.run(["modinfo", "-k", kernel, "-F", "version", "nvidia"], timeout_s=120)
        traces[f"module for {kernel}"] = done.stdout.strip() if done.ok else ""
    for directory in ("/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib"):
        traces[f"{directory}/libcuda.so.1"] = _trace(host, f"{directory}/libcuda.so.1")
    for path in ("/usr/bin/nvidia-smi", "/usr/bin/nvidia-installer"):
        traces[path] = _trace(host, path)
    return traces


def _trace(host: Host, path: str) -> str:
    found = host.status(path)
    if found is None:
        return ""
    return f"{host.realpath(path)} {found.size} bytes of {found.mtime:.0f}"


def _refuse_changed_driver(before: t.Mapping[str, str], after: t.Mapping[str, str], runfile: str) -> None:
    changed = [
        f"{name} was {before.get(name) or 'absent'} and is {after.get(name) or 'absent'}"
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    ]
    if changed:
        raise OperatorError(
            found=f"while {runfile} ran, the driver changed: {'; '.join(changed)}.",
            expected="an installation of the toolkit alone.",
            action="run the role gpu_driver to bring the driver back, and see whether somebody else installed one just"
            " now; if not, please report this runfile.",
        )


def _refuse_failure(host: Host, wanted: Wanted, rc: int, output: str) -> None:
    problems = toolkits.problems(read_toolkit(host, wanted.series), wanted)
    if rc == 0 and not problems:
        return
    log = host.read_text(toolkits.STALE_LOGS[1]) or ""
    last = " / ".join(line.strip() for line in [*output.splitlines(), *log.splitlines()[-4:]][-8:] if line.strip())
    left = "; ".join(problems) or "a toolkit that looks whole"
    raise OperatorError(
        found=f"the CUDA installer ended with {rc} and left: {left}. It said: {last or 'nothing'}.",
        expected=f"CUDA {wanted.version} in {wanted.path}.",
        action=toolkits.explain_failure(rc, output + log),
    )


def _remove(host: Host, wanted: Wanted) -> None:
    """Remove a toolkit of this role without a trace; the marker goes last, so that a kill leaves it to the next run."""
    host.remove(wanted.path)
    host.remove(_aside(wanted))
    host.remove(_installer_linker_file(wanted))
    if host.readlink(toolkits.LINK) == wanted.path:
        host.remove(toolkits.LINK)
    host.remove(toolkits.STALE_LOGS[1])
    host.run(["ldconfig"])
    _forget(host, wanted)


def _set_aside(host: Host, wanted: Wanted) -> str:
    """Clear the way for an installation, and return which release is set aside; that of a killed run stays so."""
    aside, current = _aside(wanted), read_toolkit(host, wanted.series)
    works = current.nvcc is not None and not current.missing
    finished = current.marker is not None and current.marker.state == "installed"
    if host.exists(aside):
        host.remove(wanted.path)
        known = current.marker or Marker("", "")
        return known.former or (known.version if known.state == "installed" else "")
    if works and finished:
        host.rename(wanted.path, aside)
        return current.version or ""
    host.remove(wanted.path)
    return ""


def _put_back(host: Host, wanted: Wanted, former: str) -> None:
    host.remove(wanted.path)
    if host.exists(_aside(wanted)):
        host.rename(_aside(wanted), wanted.path)
        version = former or read_toolkit(host, wanted.series).version or ""
        _write_marker(host, wanted.series, Marker(version, "installed"))
    else:
        _forget(host, wanted)
    host.run(["ldconfig"])


def _keep_default(host: Host, wanted: Wanted, link: str | None) -> None:
    """Undo what the installer does to be the default: its link and its entry for the linker; both are steps of ours."""
    host.remove(_installer_linker_file(wanted))
    if link is not None:
        host.symlink(link, toolkits.LINK)
    elif host.readlink(toolkits.LINK) == wanted.path:
        host.remove(toolkits.LINK)


def _aside(wanted: Wanted) -> str:
    return f"{toolkits.PREFIX}/.cuda-{wanted.series}.gpulab-old"


def _forget(host: Host, wanted: Wanted) -> None:
    host.remove(_marker_path(wanted.series))
    if not host.listdir(toolkits.MARKERS):
        host.remove(toolkits.MARKERS)


def _installer_linker_file(wanted: Wanted) -> str:
    return f"/etc/ld.so.conf.d/cuda-{wanted.series.replace('.', '-')}.conf"


def _marker_path(series: str) -> str:
    return f"{toolkits.MARKERS}/{series}.json"


def _write_marker(host: Host, series: str, marker: Marker) -> None:
    host.write_text(_marker_path(series), json.dumps(dataclasses.asdict(marker)) + "\n")


def tool_version(host: Host, program: str) -> str | None:
    """Return what a compiler says of itself; None where it cannot be run, also when it was only half written."""
    try:
        done = host.run([program, "--version"], timeout_s=30)
    except OSError:  # an empty or cut off program: "Exec format error"
        return None
    return toolkits.parse_tool_version(done.stdout) if done.ok else None


def _as_result(toolkit: Toolkit) -> dict[str, t.Any]:
    return {
        "version": toolkit.version,
        "path": toolkit.path,
        "nvcc": toolkit.nvcc,
        "ptxas": toolkit.ptxas,
        "missing": list(toolkit.missing),
        "standin": toolkit.standin_claims is not None,
        "owner": {None: "unknown", "adopted": "unknown"}.get(
            toolkit.marker.state if toolkit.marker else None, "gpulab"
        ),
    }


__all__ = ["CudaToolkit", "driver_traces", "known_series", "read_toolkit", "tool_version"]
