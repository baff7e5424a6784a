# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""uv as the installer: brought by hash with pip, told which index to use, and its failures in an operator's words.

uv unpacks every wheel once into its cache and links its files into each environment, so a second environment costs
no second copy. It does not read pip's configuration; what pip is told there is passed on as options.
"""

from __future__ import annotations

import concurrent.futures
import re
import typing as t
from dataclasses import dataclass
from urllib.parse import urlsplit

from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._host import Completed, Host
from ansible_collections.gpulab.workstation.plugins.module_utils._pip_lock import LockedWheel, render_lock, same_version
from ansible_collections.gpulab.workstation.plugins.module_utils._uv_output import (
    IndexOptions,
    describe_progress,
    explain_pip,
    explain_uv,
    translate_pip_configuration,
)
from ansible_collections.gpulab.workstation.plugins.module_utils._wheel_env import RECORDS, Cure, Finding

Progress = t.Callable[[str], None]

HOME = "/opt/gpulab/uv"
_INSTALL_LIMIT_S = 4 * 3600.0
_PIP_LIMIT_S = 900.0
_SYSTEM_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
# Constraints of an environment that happens to be active in root's shell are not meant for the roles themselves.
_UNCONSTRAINED = {"UV_CONSTRAINT": "", "UV_BUILD_CONSTRAINT": "", "UV_OVERRIDE": ""}
# What uv shares by hard links must be readable for everybody, whatever umask root has.
_WITH_UMASK = ("/bin/sh", "-c", 'umask 022; exec "$@"', "uv")


@dataclass(frozen=True)
class UvRun:
    """What every call of uv for an environment has in common."""

    env: str
    cache: str
    link_mode: str
    log: str


def installed_version(host: Host) -> str | None:
    """Return the version of uv in its place, None where its program or the note of its version is missing."""
    if not host.exists(f"{HOME}/bin/uv"):
        return None
    versions = [m[1] for name in host.listdir(HOME) if (m := re.fullmatch(r"uv-([^-]+)\.dist-info", name))]
    return versions[0] if len(versions) == 1 else None


def bring_uv(host: Host, env: str, wheel: LockedWheel, index_url: str, log: str) -> None:
    """Install uv beside its place with the environment's pip, which checks the hash, try it, and swap it in."""
    staged = f"{HOME}.new"
    host.remove(staged)
    host.write_text(f"{staged}/uv.txt", render_lock([wheel]))
    command = [f"{env}/bin/python", "-m", "pip", "install", "--require-hashes", "--no-deps", "--only-binary=:all:"]
    command += ["--no-compile", "--no-input", "--disable-pip-version-check", "--target", f"{staged}/uv"]
    if index_url:
        command += ["--index-url", index_url, *_trusted(index_url, "--trusted-host")]
    settings = _pip_settings(host)
    done = host.run([*command, "--requirement", f"{staged}/uv.txt"], env=settings, timeout_s=_PIP_LIMIT_S, log=log)
    if not done.ok:
        raise explain_pip(done.stdout, wheel)
    asked = host.run([f"{staged}/uv/bin/uv", "--version"])
    said = re.match(r"uv (\S+)", asked.stdout)
    if not (asked.ok and said and same_version(said[1], wheel.version)):
        raise OperatorError(
            found=f"the program in the wheel {wheel.title} says: {(asked.stdout + asked.stderr).strip() or 'nothing'}.",
            expected=f"a uv that runs on this host and calls itself {wheel.version}.",
            action="check that /opt is not mounted noexec and that the host is x86_64 with glibc.",
        )
    host.remove(HOME)
    host.rename(f"{staged}/uv", HOME)
    host.remove(staged)


def _pip_settings(host: Host) -> dict[str, str]:
    """Return what keeps a host's pip.conf from refusing --target, and has pip trust whom the system trusts.

    An environment's OpenSSL knows the certificates of its own ca-certificates alone, not those of an administrator.
    What pip's own setting `cert` names goes before them.
    """
    settings = {"PIP_ROOT_USER_ACTION": "ignore", "PIP_USER": "0", "PIP_REQUIRE_VIRTUALENV": "0"}
    if host.exists(_SYSTEM_CERTIFICATES) and not host.environ("SSL_CERT_FILE"):
        settings["SSL_CERT_FILE"] = _SYSTEM_CERTIFICATES
    return settings


def index_options(host: Host, env: str, index_url: str) -> IndexOptions:
    """Return uv's options for an index, or where none is named for what the host's own pip configuration says."""
    certificates = ("--system-certs",) if host.exists(_SYSTEM_CERTIFICATES) else ()
    if index_url:
        trusted = _trusted(index_url, "--allow-insecure-host")
        return IndexOptions(("--default-index", index_url, *trusted, *certificates))
    listed = host.run([f"{env}/bin/python", "-m", "pip", "config", "list"])
    found = translate_pip_configuration(listed.stdout)
    missing = {path for path in found.arguments if path.startswith("/") and not host.exists(path)}
    arguments: list[str] = []
    for option, value in zip(found.arguments[::2], found.arguments[1::2], strict=True):
        arguments += [] if value in missing else [option, value]
    return IndexOptions((*arguments, *certificates), found.environment)


def install(host: Host, run: UvRun, findings: t.Sequence[Finding], options: IndexOptions, progress: Progress) -> None:
    """Bring wheels in order: from the cache alone where it has them, else from the index; all of them or none.

    uv fetches everything before it changes the environment. Repeating an installation makes uv fetch again what it
    has, hence the first try without network; altered files are thrown out of the cache, for they are the same file.
    """
    distrusted = [f.wheel.name for f in findings if f.cure is Cure.DISTRUST]
    if distrusted and run.link_mode == "hardlink":
        _uv(host, run, ["cache", "clean", *distrusted])
    for cure in Cure:
        wheels = [f.wheel for f in findings if f.cure is cure]
        if wheels:
            _install(host, run, wheels, options, progress, again=cure is not Cure.INSTALL)


def _install(
    host: Host, run: UvRun, wheels: t.Sequence[LockedWheel], options: IndexOptions, progress: Progress, *, again: bool
) -> None:
    lock = f"{run.env}/{RECORDS}/installing.txt"
    host.write_text(lock, render_lock(wheels))
    command = ["pip", "install", "--python", f"{run.env}/bin/python", "--require-hashes", "--no-deps"]
    command += ["--only-binary", ":all:", "--link-mode", run.link_mode, "--break-system-packages", "--no-progress"]
    command += ["--requirement", lock, *(["--reinstall"] if again else [])]
    # Every file is checked by hash, so it does not matter which index has it.
    command += ["--index-strategy", "unsafe-best-match"]
    done = _uv(host, run, [*command, *options.arguments, "--offline"], options.environment)
    if not done.ok:
        _forget_index_pages(host, run)
        for arguments in options.attempts:
            done = _watched(host, run, [*command, *arguments], options.environment, len(wheels), progress)
            if done.ok:
                break
    host.remove(lock)
    if not done.ok:
        raise explain_uv(done.stdout, f"{run.cache} and {run.env}", run.log)


def _forget_index_pages(host: Host, run: UvRun) -> None:
    """Make uv ask the index: it believes a page for minutes, and a mirror may just have been completed."""
    for name in host.listdir(run.cache):
        if name.startswith("simple-"):
            host.remove(f"{run.cache}/{name}")


def _uv(
    host: Host, run: UvRun, arguments: t.Sequence[str], environment: t.Mapping[str, str] | None = None
) -> Completed:
    command = [*_WITH_UMASK, f"{HOME}/bin/uv", *arguments]
    command += ["--cache-dir", run.cache, "--no-config", "--no-python-downloads", "--color", "never"]
    return host.run(command, env={**_UNCONSTRAINED, **(environment or {})}, timeout_s=_INSTALL_LIMIT_S, log=run.log)


def _watched(
    host: Host,
    run: UvRun,
    arguments: t.Sequence[str],
    environment: t.Mapping[str, str],
    wheels: int,
    progress: Progress,
) -> Completed:
    """Run uv and say meanwhile what its output tells."""
    before = host.status(run.log)
    with concurrent.futures.ThreadPoolExecutor(max_workers=1) as pool:
        working = pool.submit(_uv, host, run, arguments, environment)
        while not concurrent.futures.wait([working], timeout=1.0).done:
            said = host.read_bytes(run.log, offset=before.size if before else 0) or b""
            progress(describe_progress(said.decode("utf-8", "replace"), wheels))
    return working.result()


def _trusted(url: str, option: str) -> tuple[str, ...]:
    """Allow plain http for the index that the operator named: the hashes decide, not the line."""
    parts = urlsplit(url)
    return (option, parts.netloc.rpartition("@")[2]) if parts.scheme == "http" else ()


__all__ = ["HOME", "Progress", "UvRun", "bring_uv", "index_options", "install", "installed_version"]
