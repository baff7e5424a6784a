# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""uv's command lines: what is tried without network first, what is thrown out of the cache, what is swapped in."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.gpulab.workstation.plugins.module_utils import _uv
from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._pip_lock import LockedWheel, parse_lock
from ansible_collections.gpulab.workstation.plugins.module_utils._uv_output import IndexOptions
from ansible_collections.gpulab.workstation.plugins.module_utils._wheel_env import Cure, Finding
from fakehost import FakeHost
from wheelhost import ENV, FakeUv, add_env, add_uv, lock_line

UV = LockedWheel("uv", "0.13.9", ("0" * 64,))
RUN = _uv.UvRun(ENV, "/var/cache/gpulab/uv", "hardlink", "/var/log/gpulab/torch_stack.log")
PIP = f"{ENV}/bin/python -m pip install"


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    made = FakeHost(tmp_path)
    add_env(made)
    return made


def finding(name: str, cure: Cure) -> Finding:
    return Finding(parse_lock(lock_line(name, "1.0"), "lock")[0], cure, "")


def install(host: FakeHost, uv: FakeUv, *findings: Finding) -> list[tuple[str, ...]]:
    uv.install()
    _uv.install(host, RUN, findings, IndexOptions(("--default-index", "http://10.0.0.1/")), lambda _detail: None)
    return uv.calls


def test_the_cache_alone_is_tried_first(host: FakeHost) -> None:
    (call,) = install(host, FakeUv(host, {}, cached=True), finding("tool", Cure.INSTALL))
    assert "--offline" in call
    assert "--require-hashes" in call
    assert "--no-deps" in call
    assert "--reinstall" not in call


def test_what_the_cache_lacks_is_fetched(host: FakeHost) -> None:
    host.add(f"{RUN.cache}/simple-v28/index/page")
    host.add(f"{RUN.cache}/archive-v0/wheel")
    first, second = install(host, FakeUv(host, {}), finding("tool", Cure.INSTALL))
    assert "--offline" in first
    assert "--offline" not in second
    assert second[second.index("--default-index") + 1] == "http://10.0.0.1/"
    assert host.listdir(RUN.cache) == ["archive-v0"], "an index page of some minutes ago would be believed"


def test_an_extra_index_is_asked_only_where_the_first_one_lacks_something(host: FakeHost) -> None:
    options = IndexOptions(("--index", "http://pytorch/cu128", "--allow-insecure-host", "x", "--system-certs"))
    assert options.attempts == (("--allow-insecure-host", "x", "--system-certs"), options.arguments)
    assert IndexOptions(("--default-index", "http://10.0.0.1/")).attempts == (("--default-index", "http://10.0.0.1/"),)
    assert IndexOptions().attempts == ((),)
    uv = FakeUv(host, {}, failure="error: no such wheel")
    uv.install()
    with pytest.raises(OperatorError):
        _uv.install(host, RUN, [finding("tool", Cure.INSTALL)], options, lambda _detail: None)
    offline, plain, both = uv.calls
    assert ("--offline" in offline, "--index" in offline) == (True, True)
    assert ("--offline" in plain, "--index" in plain) == (False, False)
    assert ("--offline" in both, "--index" in both) == (False, True)


def test_wheels_of_the_right_version_are_repeated_and_others_are_not(host: FakeHost) -> None:
    uv = FakeUv(host, {}, cached=True)
    fresh, again = install(host, uv, finding("new", Cure.INSTALL), finding("torn", Cure.REPEAT))
    assert "--reinstall" not in fresh
    assert "--reinstall" in again


def test_altered_files_are_thrown_out_of_the_cache(host: FakeHost) -> None:
    clean, again = install(host, FakeUv(host, {}, cached=True), finding("edited", Cure.DISTRUST))
    assert clean[:3] == ("cache", "clean", "edited")
    assert "--reinstall" in again


def test_a_failure_is_explained_and_leaves_no_lock_behind(host: FakeHost) -> None:
    uv = FakeUv(host, {}, failure="error: Failed\n  cause: No space left on device (os error 28)\n")
    with pytest.raises(OperatorError, match="the disk became full"):
        install(host, uv, finding("tool", Cure.INSTALL))
    assert host.listdir(f"{ENV}/etc/gpulab") == []


CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"


def pip_brings(host: FakeHost, version: str) -> None:
    def answer(command: tuple[str, ...]) -> tuple[int, str, str]:
        target = command[command.index("--target") + 1]
        host.add(f"{target}/bin/uv", mode=0o755)
        host.add(f"{target}/uv-{version}.dist-info/METADATA")
        return 0, f"Successfully installed uv-{version}\n", ""

    host.commands[PIP] = answer
    host.commands[f"{_uv.HOME}.new/uv/bin/uv --version"] = (0, f"uv {version} (x86_64-unknown-linux-gnu)\n", "")


def test_uv_is_brought_by_hash_and_swapped_in(host: FakeHost) -> None:
    add_uv(host, "0.12.0")
    pip_brings(host, "0.13.9")
    _uv.bring_uv(host, ENV, UV, "", "/log")
    assert _uv.installed_version(host) == "0.13.9"
    assert "--require-hashes" in host.ran[0]
    assert "--index-url" not in host.ran[0]
    assert host.listdir("/opt/gpulab") == ["uv"]


@pytest.mark.parametrize(
    ("system", "own", "expected"),
    [(True, "", CERTIFICATES), (True, "/etc/own.pem", None), (False, "", None)],
    ids=["the-system's", "one-that-is-set", "none"],
)
def test_pip_trusts_whom_the_system_trusts(host: FakeHost, system: bool, own: str, expected: str | None) -> None:  # noqa: FBT001
    """An environment's OpenSSL has certificates of its own; a proxy of the site is signed by another authority."""
    host.environment["SSL_CERT_FILE"] = own
    if system:
        host.add(CERTIFICATES)
    pip_brings(host, "0.13.9")
    _uv.bring_uv(host, ENV, UV, "", "/log")
    assert host.environments[0].get("SSL_CERT_FILE") == expected
    assert (host.environments[0]["PIP_USER"], host.environments[0]["PIP_REQUIRE_VIRTUALENV"]) == ("0", "0")


def test_uv_comes_from_the_named_index_over_plain_http_too(host: FakeHost) -> None:
    pip_brings(host, "0.13.9")
    _uv.bring_uv(host, ENV, UV, "http://user:word@10.0.0.1:8080/simple/", "/log")
    assert " ".join(host.ran[0]).count("--index-url http://user:word@10.0.0.1:8080/simple/") == 1
    assert host.ran[0][host.ran[0].index("--trusted-host") + 1] == "10.0.0.1:8080"


@pytest.mark.parametrize(
    "answer",
    [(0, "uv 0.1.0\n", ""), (126, "", "Permission denied"), (0, "", "")],
    ids=["another version", "noexec", "silent"],
)
def test_a_uv_that_does_not_work_is_not_swapped_in(host: FakeHost, answer: tuple[int, str, str]) -> None:
    add_uv(host, "0.12.0")
    pip_brings(host, "0.13.9")
    host.commands[f"{_uv.HOME}.new/uv/bin/uv --version"] = answer
    with pytest.raises(OperatorError, match=r"a uv that runs on this host and calls itself 0\.13\.9"):
        _uv.bring_uv(host, ENV, UV, "", "/log")
    assert _uv.installed_version(host) == "0.12.0"


def test_a_swap_that_was_killed_is_seen(host: FakeHost) -> None:
    add_uv(host)
    host.remove(f"{_uv.HOME}/bin/uv")
    assert _uv.installed_version(host) is None


def test_the_hosts_own_pip_configuration_is_used_without_an_address(host: FakeHost) -> None:
    listed = "global.index-url='http://10.0.0.1/simple/'\nglobal.find-links='/srv/wheels /srv/gone'\n"
    host.commands[f"{ENV}/bin/python -m pip config list"] = (0, listed, "")
    host.make_dirs("/srv/wheels")
    host.add("/etc/ssl/certs/ca-certificates.crt")
    options = _uv.index_options(host, ENV, "")
    expected = ("--default-index", "http://10.0.0.1/simple/", "--find-links", "/srv/wheels", "--system-certs")
    assert options.arguments == expected, "a directory that is not there would end uv, pip overlooks it"


@pytest.mark.parametrize(
    ("url", "more"),
    [
        ("https://packages.example/simple/", ()),
        ("http://10.0.0.1:8080/simple/", ("--allow-insecure-host", "10.0.0.1:8080")),
    ],
)
def test_a_named_index_replaces_pips_configuration(host: FakeHost, url: str, more: tuple[str, ...]) -> None:
    assert _uv.index_options(host, ENV, url).arguments == ("--default-index", url, *more)
    assert host.ran == []
