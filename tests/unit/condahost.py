# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A conda environment on a fake host: Miniforge's files, records as conda writes them, and the wish for it."""

from __future__ import annotations

import hashlib
import json
import typing as t

from ansible_collections.gpulab.workstation.plugins.module_utils._conda_lock import parse_lock
from ansible_collections.gpulab.workstation.plugins.module_utils._conda_reader import marker_path
from ansible_collections.gpulab.workstation.plugins.module_utils._conda_state import (
    BASHRC,
    PROFILE,
    Wish,
    condarc_text,
    profile_text,
    with_bashrc_block,
)
from fakehost import FakeHost

CHANNEL = "https://conda.example/conda-forge"
PREFIX = "/opt/miniforge3"
ENVIRONMENT = f"{PREFIX}/envs/rtx5090"
INSTALLER_BYTES = b"#!/bin/sh\n# an installer\n"
PACKAGES = {  # distribution -> (platform, files that only conda writes)
    "python-3.11.9-h1_0_cpython": ("linux-64", ("bin/python3.11", "lib/python3.11/os.py")),
    "pip-26.2-pyh0_0": ("noarch", ()),
    "tzdata-2026c-h0_0": ("noarch", ("share/zoneinfo/UTC",)),
}


def package_bytes(distribution: str) -> bytes:
    return f"the file of {distribution}".encode()


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def url(distribution: str, subdir: str) -> str:
    return f"{CHANNEL}/{subdir}/{distribution}.conda"


def lock_text(packages: t.Mapping[str, tuple[str, tuple[str, ...]]] = PACKAGES) -> str:
    lines = [f"{url(d, subdir)}#sha256:{digest(package_bytes(d))}\n" for d, (subdir, _files) in packages.items()]
    return "# a lock\n@EXPLICIT\n" + "".join(lines)


def installer(**changes: t.Any) -> dict[str, t.Any]:
    release = {
        "version": "26.3.2-3",
        "file": "Miniforge3-26.3.2-3-Linux-x86_64.sh",
        "sha256": digest(INSTALLER_BYTES),
        "size": len(INSTALLER_BYTES),
        "sources": ["https://one.example/m.sh", "https://two.example/m.sh"],
        "standin": False,
    }
    return {**release, **changes}


def params(**changes: t.Any) -> dict[str, t.Any]:
    wanted = {
        "prefix": PREFIX,
        "installer": installer(),
        "lock": {"text": lock_text(), "python": "3.11"},
        "environment": "rtx5090",
        "mirror": "",
        "channel_alias": "",
        "cache_directory": "/var/cache/gpulab",
    }
    return {**wanted, **changes}


def wish(**changes: t.Any) -> Wish:
    wanted = {
        "prefix": PREFIX,
        "installer": installer(),
        "lock": parse_lock(lock_text(), "3.11"),
        "environment": "rtx5090",
    }
    return Wish(**{**wanted, **changes})


def record(distribution: str, subdir: str, files: tuple[str, ...] = (), **changes: t.Any) -> str:
    name, version, build = distribution.rsplit("-", 2)
    paths = [{"_path": path, "path_type": "hardlink"} for path in files]
    data = {"name": name, "version": version, "build": build, "url": url(distribution, subdir), "channel": CHANNEL}
    return json.dumps({**data, "paths_data": {"paths": paths}, **changes})


def add_package(host: FakeHost, distribution: str, prefix: str = ENVIRONMENT, **changes: t.Any) -> None:
    subdir, files = PACKAGES.get(distribution, ("noarch", ()))
    host.add(f"{prefix}/conda-meta/{distribution}.json", record(distribution, subdir, files, **changes))
    for path in files:
        host.add(f"{prefix}/{path}", "x")


def add_miniforge(host: FakeHost, *, ours: str = "26.3.2-3", conda: str = "26.3.2", **changes: t.Any) -> None:
    for path in ("bin/conda", "bin/python", "etc/profile.d/conda.sh", "conda-meta/history"):
        host.add(f"{PREFIX}/{path}")
    host.make_dirs(f"{PREFIX}/envs")
    host.add(f"{PREFIX}/.condarc", "channels:\n  - conda-forge\n")
    add_package(host, f"conda-{conda}-py313_0", PREFIX, **changes)
    if ours:
        host.add(marker_path(PREFIX), json.dumps({"version": ours}))


def add_environment(host: FakeHost) -> None:
    host.add(f"{ENVIRONMENT}/conda-meta/history")
    for distribution in PACKAGES:
        add_package(host, distribution)


def add_everything(host: FakeHost) -> None:
    """Make the host what the wish says."""
    add_miniforge(host)
    add_environment(host)
    host.add(wish().condarc_path, condarc_text(wish()))
    host.add(PROFILE, profile_text(wish()))
    host.add(BASHRC, with_bashrc_block("# bash\n"))
