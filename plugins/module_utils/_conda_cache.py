# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Package files for conda: fetched and verified here, placed where conda looks before it downloads."""

from __future__ import annotations

import typing as t

from ansible_collections.gpulab.workstation.plugins.module_utils._conda_lock import LockedPackage
from ansible_collections.gpulab.workstation.plugins.module_utils._conda_state import Wish
from ansible_collections.gpulab.workstation.plugins.module_utils._fetch import Artefact, Progress, fetch
from ansible_collections.gpulab.workstation.plugins.module_utils._host import Host

_CHUNK = 1 << 20


def fetch_packages(host: Host, wish: Wish, packages: t.Sequence[LockedPackage], progress: Progress) -> None:
    """Have every package file on the host; one in conda's cache counts where its digest is right."""
    for number, package in enumerate(packages, start=1):
        if host.sha256(f"{_cache(wish)}/{package.file}") != package.sha256:

            def numbered(detail: str, number: int = number) -> None:
                progress(f"{number} of {len(packages)}: {detail}")

            _fetch(host, wish, package, numbered)


def place(host: Host, wish: Wish, packages: t.Sequence[LockedPackage], progress: Progress) -> None:
    """Put the files into conda's cache and their addresses into its urls.txt, as Miniforge's own installer does.

    conda takes a file there for the one it would download from the last address of that name in urls.txt; unpacked
    copies go, so that it unpacks the verified file (conda 26.3 conda/core/package_cache_data.py).
    """
    host.make_dirs(_cache(wish))
    noted = (host.read_text(f"{_cache(wish)}/urls.txt") or "").split()
    for package in packages:
        target = f"{_cache(wish)}/{package.file}"
        if host.sha256(target) != package.sha256:
            _move(host, _fetch(host, wish, package, progress), target)
        for suffix in ("", ".conda", ".tar.bz2"):
            other = f"{_cache(wish)}/{package.distribution}{suffix}"
            if other != target:
                host.remove(other)
        if [url for url in noted if url.rsplit("/", 1)[-1] == package.file][-1:] != [package.url]:
            noted.append(package.url)
    host.write_text(f"{_cache(wish)}/urls.txt", "".join(f"{url}\n" for url in noted))


def _cache(wish: Wish) -> str:
    return f"{wish.prefix}/pkgs"


def _fetch(host: Host, wish: Wish, package: LockedPackage, progress: Progress) -> str:
    artefact = Artefact(package.file, package.sha256, package.sources(wish.mirror))
    return fetch(host, artefact, f"{wish.cache_directory}/conda", progress)


def _move(host: Host, source: str, target: str) -> None:
    """Move a file, also to another file system."""
    try:
        host.rename(source, target)
    except OSError:
        host.write_chunks(f"{target}.part", _chunks(host, source))
        host.rename(f"{target}.part", target)
    host.remove(source.rsplit("/", 1)[0])


def _chunks(host: Host, path: str) -> t.Iterator[bytes]:
    offset = 0
    while chunk := host.read_bytes(path, _CHUNK, offset):
        offset += len(chunk)
        yield chunk


__all__ = ["fetch_packages", "place"]
