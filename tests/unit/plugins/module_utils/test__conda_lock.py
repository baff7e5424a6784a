# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Explicit locks, conda's records and settings: what is read from them and what is refused."""

from __future__ import annotations

import pytest

import condahost
import recorded
from ansible_collections.gpulab.workstation.plugins.module_utils._conda_lock import (
    LockedPackage,
    explicit_list,
    is_licensed,
    licensed_channels,
    parse_lock,
    parse_record,
)
from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError

DIGEST = "a" * 64
PIP_DIGEST = condahost.digest(condahost.package_bytes("pip-26.2-pyh0_0"))
PYTHON = f"https://c.example/conda-forge/linux-64/python-3.11.9-h1_0_cpython.conda#sha256:{DIGEST}"
BARE = PYTHON.split("#", maxsplit=1)[0]
PIP = f"https://c.example/conda-forge/noarch/pip-26.2-pyh0_0.tar.bz2#sha256:{DIGEST}"


def test_a_lock_is_read() -> None:
    lock = parse_lock(f"# comment\n@EXPLICIT\n{PYTHON}\n\n{PIP}\n", "3.11")
    pip = LockedPackage(
        "pip", "26.2", "pyh0_0", "noarch", "pip-26.2-pyh0_0.tar.bz2", "https://c.example/conda-forge", DIGEST
    )
    assert lock.packages[1] == pip
    assert (lock.python, pip.distribution) == ("3.11.9", "pip-26.2-pyh0_0")
    assert pip.url == "https://c.example/conda-forge/noarch/pip-26.2-pyh0_0.tar.bz2"


def test_names_with_hyphens_are_told_from_versions() -> None:
    line = f"https://c.example/conda-forge/linux-64/ld_impl_linux-64-2.46.1-default_hbd61a6d_102.conda#sha256:{DIGEST}"
    package = parse_lock(f"@EXPLICIT\n{PYTHON}\n{line}\n", "3.11").packages[1]
    assert (package.name, package.version, package.build) == ("ld_impl_linux-64", "2.46.1", "default_hbd61a6d_102")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param(PYTHON, "no line @EXPLICIT", id="not explicit"),
        pytest.param(f"@EXPLICIT\n{BARE}", "line 2 has no #sha256:", id="no digest"),
        pytest.param(f"@EXPLICIT\n{BARE}#{'b' * 32}", "line 2 is no address", id="md5 only"),
        pytest.param(f"@EXPLICIT\n{PYTHON}\nnumpy=2.1", "line 3 is no address", id="a spec"),
        pytest.param(
            f"@EXPLICIT\n{PYTHON.replace('linux-64', 'osx-arm64')}", "line 2 is no address", id="other platform"
        ),
        pytest.param(f"@EXPLICIT\n{PYTHON}\n{PYTHON}", "python is there more than once", id="twice"),
        pytest.param(f"@EXPLICIT\n{PIP}", "python is missing", id="no python"),
        pytest.param(f"@EXPLICIT\n{PYTHON.replace('3.11.9', '3.12.1')}", "it has Python 3.12.1", id="other series"),
        pytest.param(f"@EXPLICIT\n{PYTHON.replace('3.11.9', '3.1.9')}", "it has Python 3.1.9", id="3.1 is not 3.11"),
        pytest.param(
            f"@EXPLICIT\n{PYTHON.replace('c.example/conda-forge', 'repo.anaconda.com/pkgs/main')}",
            "packages come from https://repo.anaconda.com/pkgs/main",
            id="licensed channel",
        ),
    ],
)
def test_a_lock_that_cannot_be_used_is_refused(text: str, words: str) -> None:
    with pytest.raises(OperatorError) as refusal:
        parse_lock(text, "3.11")
    assert words in refusal.value.found
    assert "conda list --explicit --sha256" in refusal.value.action


def test_every_problem_of_a_lock_is_told_at_once() -> None:
    with pytest.raises(OperatorError, match=r"no line @EXPLICIT; line 1 .*; line 2 .*; python is missing"):
        parse_lock("numpy\nscipy\n", "3.11")


@pytest.mark.parametrize(
    ("mirror", "sources"),
    [
        pytest.param("", ["https://conda.example/conda-forge/noarch/pip-26.2-pyh0_0.conda"], id="none"),
        pytest.param(
            "http://m.example/conda/",
            [
                "http://m.example/conda/conda-forge/noarch/pip-26.2-pyh0_0.conda",
                "https://conda.example/conda-forge/noarch/pip-26.2-pyh0_0.conda",
            ],
            id="server first",
        ),
        pytest.param(
            "/srv/conda",
            [
                "/srv/conda/conda-forge/noarch/pip-26.2-pyh0_0.conda",
                "https://conda.example/conda-forge/noarch/pip-26.2-pyh0_0.conda",
            ],
            id="directory",
        ),
        pytest.param(
            "https://conda.example", ["https://conda.example/conda-forge/noarch/pip-26.2-pyh0_0.conda"], id="itself"
        ),
    ],
)
def test_the_mirror_is_tried_before_upstream(mirror: str, sources: list[str]) -> None:
    assert list(condahost.wish().lock.by_name["pip"].sources(mirror)) == sources


def test_the_list_for_conda_has_addresses_without_digests() -> None:
    lock = parse_lock(f"@EXPLICIT\n{PYTHON}\n", "3.11")
    assert explicit_list(lock.packages) == f"@EXPLICIT\n{BARE}\n"


def test_a_record_of_a_placed_file_has_no_sha256() -> None:
    found = parse_record(recorded.text("conda/26.3.2-debian12-placed.json.txt"))
    assert found is not None
    assert (found.distribution, found.sha256) == ("ca-certificates-2023.03.11-standin_0", "")
    assert found.files == ("ssl/cacert.pem", "ssl/cert.pem")


def test_a_record_counts_only_files_that_pip_leaves_alone() -> None:
    found = parse_record(recorded.text("conda/26.3.2-debian12-downloaded.json.txt"))
    assert found is not None
    assert (found.name, found.version, len(found.sha256)) == ("wheel", "0.45.1", 64)
    assert found.files == ()  # everything of wheel is in site-packages, or made on the host


@pytest.mark.parametrize("text", ["", "{", '{"name": "pip"}', "[]", "null"])
def test_a_record_that_was_cut_off_is_none(text: str) -> None:
    assert parse_record(text) is None


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        pytest.param({}, True, id="address"),
        pytest.param({"sha256": PIP_DIGEST, "url": "http://m.example/x"}, True, id="digest from a mirror"),
        pytest.param({"sha256": "0" * 64}, False, id="other digest"),
        pytest.param({"url": "https://c.example/other/noarch/pip-26.2-pyh0_0.conda"}, False, id="other origin"),
        pytest.param({"version": "26.1"}, False, id="other version"),
        pytest.param({"build": "pyh9_0"}, False, id="other build"),
    ],
)
def test_a_record_is_compared_with_the_lock(changes: dict[str, str], same: bool) -> None:  # noqa: FBT001
    found = parse_record(condahost.record("pip-26.2-pyh0_0", "noarch", **changes))
    assert found is not None
    assert found.is_as_locked(condahost.wish().lock.by_name["pip"]) is same


@pytest.mark.parametrize(
    ("channel", "licensed"),
    [
        ("defaults", True),
        ("https://repo.anaconda.com/pkgs/main", True),
        ("https://repo.anaconda.com/pkgs/r/linux-64", True),
        ("https://conda.anaconda.org/main", True),
        ("pkgs/main", True),
        ("http://mirror.example/pkgs/main/linux-64", True),
        ("conda-forge", False),
        ("https://conda.anaconda.org/conda-forge/linux-64", False),
        ("https://conda.anaconda.org/pytorch", False),
        ("https://mirror.example/maintained/conda-forge", False),
    ],
)
def test_licensed_channels_are_known(channel: str, licensed: bool) -> None:  # noqa: FBT001
    assert is_licensed(channel) is licensed


@pytest.mark.parametrize(
    ("text", "found"),
    [
        pytest.param("channels:\n  - conda-forge\n  - defaults\n", ("defaults",), id="block"),
        pytest.param("channels:\n- 'defaults'   # for old times\n", ("defaults",), id="quoted, comment"),
        pytest.param("channels: [conda-forge, defaults]\n", ("defaults",), id="flow"),
        pytest.param("channels:\n  - conda-forge\nssl_verify: true\n", (), id="clean"),
        pytest.param("# channels:\n#   - defaults\nchannels:\n  - conda-forge\n", (), id="commented out"),
        pytest.param("default_channels:\n  - https://repo.anaconda.com/pkgs/main\n", (), id="not the channels"),
        pytest.param("", (), id="empty"),
    ],
)
def test_licensed_channels_of_a_settings_file(text: str, found: tuple[str, ...]) -> None:
    assert licensed_channels(text) == found
