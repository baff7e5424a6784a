# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Miniforge and one conda environment of a host: the steps that bring them about.

The calls made of programs that are not ours, all of them options of Miniforge's installer and of conda 26.3:
``bash Miniforge3-*.sh -b [-u] -p PREFIX``, and ``conda create|install --yes --quiet --offline --prefix ENV --file
LIST`` and ``conda remove --yes --quiet --offline --force-remove --prefix ENV NAME...``.
"""

from __future__ import annotations

import json
import re
import shlex
import typing as t

from ansible_collections.gpulab.workstation.plugins.module_utils import _conda_cache as cache
from ansible_collections.gpulab.workstation.plugins.module_utils import _conda_reader as reader
from ansible_collections.gpulab.workstation.plugins.module_utils._conda_lock import (
    LockedPackage,
    explicit_list,
    parse_lock,
)
from ansible_collections.gpulab.workstation.plugins.module_utils._conda_plan import make_plan
from ansible_collections.gpulab.workstation.plugins.module_utils._conda_state import (
    BASHRC,
    PROFILE,
    State,
    Wish,
    condarc_text,
    profile_text,
    with_bashrc_block,
)
from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._fetch import Artefact, Progress, cached_path, fetch
from ansible_collections.gpulab.workstation.plugins.module_utils._host import Completed, Host
from ansible_collections.gpulab.workstation.plugins.module_utils._job import log_path
from ansible_collections.gpulab.workstation.plugins.module_utils._plan import Plan, Step

_LIMIT_S = 3600.0
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_PREFIX = re.compile(r"/[^\s'\"\\]*[^\s'\"\\/]")


class CondaEnv:
    """Miniforge with an environment from an explicit lock."""

    name = "conda_env"

    def __init__(self, wish: Wish) -> None:
        self.wish = wish
        steps: dict[str, t.Callable[[Host, Step, Progress], None]] = {
            "fetch_installer": self._fetch_installer,
            "fetch_packages": self._fetch_packages,
            "remove_unfinished": self._remove_unfinished,
            "install_base": self._install_base,
            "write_condarc": self._write_condarc,
            "create_environment": self._create_environment,
            "remove_packages": self._remove_packages,
            "link_packages": self._link_packages,
            "open_permissions": self._open_permissions,
            "write_profile": self._write_profile,
            "write_bashrc": self._write_bashrc,
        }
        self._steps = steps

    @classmethod
    def from_params(cls, params: t.Mapping[str, t.Any]) -> CondaEnv:
        """Take the wanted state from the module's parameters."""
        prefix = str(params["prefix"]).rstrip("/")
        if not _PREFIX.fullmatch(prefix) or not _NAME.fullmatch(params["environment"]):
            raise OperatorError(
                found=f"the prefix {params['prefix']!r} and the environment name {params['environment']!r}.",
                expected="an absolute directory without spaces and quotes (Miniforge's installer refuses them), and a"
                " name of letters, digits, '_', '.' and '-'.",
                action="correct conda_env_prefix or conda_env_name.",
            )
        lock = params["lock"]
        return cls(
            Wish(
                prefix=prefix,
                installer=params["installer"],
                lock=parse_lock(lock["text"], lock.get("python") or ""),
                environment=params["environment"],
                mirror=params.get("mirror") or "",
                channel_alias=params.get("channel_alias") or "",
                cache_directory=params["cache_directory"],
                standin=bool(params["installer"].get("standin")),
            )
        )

    def read(self, host: Host) -> State:
        """Read everything from files; conda is not started."""
        return reader.read_state(host, self.wish)

    def plan(self, state: State) -> Plan:
        """Decide what to do; see :func:`make_plan`."""
        return make_plan(self.wish, state)

    def apply(self, host: Host, step: Step, progress: Progress) -> None:
        """Make one change."""
        self._steps[step.action](host, step, progress)

    def report(self, state: State) -> dict[str, t.Any]:
        """Return the environment as it is."""
        return {
            "prefix": self.wish.prefix,
            "miniforge": {"version": state.base.version, "owner": state.base.kind.value, "standin": self.wish.standin},
            "environment": self.wish.environment,
            "environment_prefix": self.wish.environment_prefix,
            "packages": {name: record.version for name, record in sorted(state.environment.records.items())},
        }

    def _fetch_installer(self, host: Host, _step: Step, progress: Progress) -> None:
        fetch(host, Artefact.from_release(self.wish.installer), self.wish.cache_directory, progress)

    def _fetch_packages(self, host: Host, step: Step, progress: Progress) -> None:
        cache.fetch_packages(host, self.wish, self._locked(step), progress)

    def _remove_unfinished(self, host: Host, _step: Step, _progress: Progress) -> None:
        host.remove(self.wish.prefix)

    def _install_base(self, host: Host, step: Step, _progress: Progress) -> None:
        artefact = Artefact.from_release(self.wish.installer)
        installer = cached_path(artefact, self.wish.cache_directory)
        if host.sha256(installer) != artefact.sha256:
            self._fetch_installer(host, step, _progress)
        update = bool(step.params["update"])
        with_started = {"what": "update" if update else "install"}
        reader.note_unfinished(host, self.wish.prefix, with_started)
        if not update and not host.listdir(self.wish.prefix):
            host.remove(self.wish.prefix)  # the installer refuses even an empty directory
        host.make_dirs(self.wish.prefix.rsplit("/", 1)[0] or "/")
        options = ["-b", "-u"] if update else ["-b"]
        done = self._run(host, ["bash", installer, *options, "-p", self.wish.prefix])
        conda = reader.base_record(host, self.wish.prefix, "conda")
        wanted = str(self.wish.installer["version"]).split("-", 1)[0]
        if not done.ok or conda is None or conda.version != wanted:
            found = f"conda {conda.version}" if conda else "no conda"
            raise self._failed(host, done, f"{found} in {self.wish.prefix} afterwards", f"conda {wanted} there")
        marker = {key: self.wish.installer[key] for key in ("version", "file", "sha256")}
        host.write_text(reader.marker_path(self.wish.prefix), json.dumps(marker, indent=2, sort_keys=True) + "\n")
        reader.forget_unfinished(host, self.wish.prefix)
        host.remove(installer.rsplit("/", 1)[0])

    def _write_condarc(self, host: Host, _step: Step, _progress: Progress) -> None:
        host.write_text(self.wish.condarc_path, condarc_text(self.wish))

    def _create_environment(self, host: Host, _step: Step, progress: Progress) -> None:
        environment = self.wish.environment_prefix
        cache.place(host, self.wish, self.wish.lock.packages, progress)
        reader.note_unfinished(host, environment, {"what": "create"})
        host.remove(environment)
        listing = self._write_list(host, self.wish.lock.packages)
        self._conda(host, "create", ["--file", listing])
        reader.forget_unfinished(host, environment)

    def _remove_packages(self, host: Host, step: Step, progress: Progress) -> None:
        """Place the files for the next step first: what is taken out to be linked anew must be at hand."""
        for path in reader.broken_records(host, self.wish.environment_prefix):
            host.remove(path)
        coming = [self.wish.lock.by_name[name] for name in step.params["link"]]
        cache.place(host, self.wish, coming, progress)
        names = {*step.params["names"], *step.params["link"]}
        reader.note_unfinished(host, self.wish.environment_prefix, {"what": "change", "names": sorted(names)})
        self._conda(host, "remove", ["--force-remove", *step.params["names"]])
        if not coming:
            reader.forget_unfinished(host, self.wish.environment_prefix)

    def _link_packages(self, host: Host, step: Step, progress: Progress) -> None:
        packages = self._locked(step)
        for path in reader.broken_records(host, self.wish.environment_prefix):
            host.remove(path)  # conda refuses an environment with a record that it cannot read
        cache.place(host, self.wish, packages, progress)
        change = {"what": "change", "names": sorted(step.params["names"])}
        reader.note_unfinished(host, self.wish.environment_prefix, change)
        self._conda(host, "install", ["--file", self._write_list(host, packages)])
        reader.forget_unfinished(host, self.wish.environment_prefix)

    def _open_permissions(self, host: Host, _step: Step, _progress: Progress) -> None:
        done = host.run(["chmod", "-R", "a+rX", self.wish.prefix], timeout_s=_LIMIT_S)
        if not done.ok:
            raise self._failed(host, done, "directories that other users cannot read", "a prefix open to every user")

    def _write_profile(self, host: Host, _step: Step, _progress: Progress) -> None:
        host.write_text(PROFILE, profile_text(self.wish))

    def _write_bashrc(self, host: Host, _step: Step, _progress: Progress) -> None:
        host.write_text(BASHRC, with_bashrc_block(host.read_text(BASHRC) or ""))

    def _locked(self, step: Step) -> list[LockedPackage]:
        return [self.wish.lock.by_name[name] for name in step.params["names"]]

    def _write_list(self, host: Host, packages: t.Iterable[LockedPackage]) -> str:
        path = f"{reader.STATE}/{self.wish.environment}.txt"
        host.write_text(path, explicit_list(packages))
        return path

    def _conda(self, host: Host, command: str, arguments: t.Sequence[str]) -> None:
        """Run conda without network, the settings of root or news from channels."""
        own = {
            "HOME": reader.STATE,
            "CONDA_PKGS_DIRS": f"{self.wish.prefix}/pkgs",
            "CONDA_NUMBER_CHANNEL_NOTICES": "0",
        }
        argv = [f"{self.wish.prefix}/bin/conda", command, "--yes", "--quiet", "--offline"]
        done = self._run(host, [*argv, "--prefix", self.wish.environment_prefix, *arguments], env=own)
        if not done.ok:
            raise self._failed(host, done, f"the environment {self.wish.environment} unfinished", "exit status 0")

    def _run(self, host: Host, argv: t.Sequence[str], env: t.Mapping[str, str] | None = None) -> Completed:
        """Run with a umask under which every user can read the result."""
        command = ["sh", "-c", 'umask 022; exec "$@"', "sh", *argv]
        return host.run(command, env=env, timeout_s=_LIMIT_S, log=log_path(self.name))

    def _failed(self, host: Host, done: Completed, found: str, expected: str) -> OperatorError:
        command = shlex.join(done.argv[4:] if done.argv[0] == "sh" else done.argv)
        words = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        filesystem = host.filesystem(self.wish.prefix)
        return OperatorError(
            found=f"'{command}' ended with {done.rc} and {found}; its last words: {' | '.join(words[-6:])[-1200:]}.",
            expected=f"{expected}.",
            action=f"read {log_path(self.name)} on the host ({filesystem.free_bytes // 1_000_000} MB are free on"
            f" {filesystem.mount_point}), then run again: it goes on from what it finds.",
        )


__all__ = ["CondaEnv"]
