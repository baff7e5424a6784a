# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What pip and uv say, understood from recorded outputs."""

from __future__ import annotations

import pytest

import recorded
from ansible_collections.gpulab.workstation.plugins.module_utils._pip_lock import LockedWheel
from ansible_collections.gpulab.workstation.plugins.module_utils._uv_output import (
    describe_progress,
    explain_pip,
    explain_uv,
    translate_pip_configuration,
)

IDNA = "ab7ae7122974553370f0bdb919e1a960b2cd1bc1ef0276416d896db81c14582c"


@pytest.mark.parametrize(
    ("case", "found", "action"),
    [
        ("wrong-hash", f"the index gave a file for idna==3.20 with sha256 {IDNA}.", "find out who changed the file"),
        ("no-such-version", "the index has no idna==3.19 that fits", "look whether the mirror is complete"),
        ("no-such-package", "the index has no idnaa that fits", "look whether the mirror is complete"),
        ("wheel-for-other-python", "the index has no numpy==2.4.6 that fits", "the Python of the lock"),
        ("wheel-404", "the index does not give what the lock needs: Failed to download", "check the network"),
        ("wheel-is-html", "the index gave something that is no wheel: Failed to download", "a portal or a proxy"),
        (
            "no-server",
            "the index does not give what the lock needs: Request failed after 3 retries",
            "check the network",
        ),
        ("full-disk-cache", "the disk became full while uv worked with /c and /e: Failed to download", "free space"),
        ("full-disk-environment", "the disk became full while uv worked with /c and /e: Failed to", "free space"),
    ],
)
def test_a_failure_of_uv_is_explained(case: str, found: str, action: str) -> None:
    error = explain_uv(recorded.text(f"uv/0.13.9-debian12-{case}.txt"), "/c and /e", "/var/log/gpulab/torch_stack.log")
    assert error.found.startswith(found)
    assert action in error.action


def test_a_wrong_hash_says_what_was_expected_and_that_nothing_happened() -> None:
    error = explain_uv(recorded.text("uv/0.13.9-debian12-wrong-hash.txt"), "", "")
    assert error.expected.startswith("sha256 000000002974553370f0bdb919e1a960b2cd1bc1ef0276416d896db81c14582c, as the")
    assert "nothing was installed" in error.expected


def test_an_unknown_failure_gives_uvs_own_words_and_the_log() -> None:
    error = explain_uv("Using Python\nerror: Something new\n  cause: deep inside\n", "", "/var/log/gpulab/x.log")
    assert error.found == "uv ended with: Something new: deep inside."
    assert "/var/log/gpulab/x.log" in error.action


def test_silence_is_a_failure_too() -> None:
    assert explain_uv("", "", "").found == "uv ended with: nothing said."


UV = LockedWheel("uv", "0.13.9", ("0" * 64,))


@pytest.mark.parametrize(
    ("case", "found"),
    [
        ("wrong-hash", "the index gave a file for uv 0.13.9 with sha256 d7f459fe4fd247d8"),
        ("no-such-version", "pip could not bring uv 0.13.9: ERROR: Could not find a version that satisfies"),
    ],
)
def test_a_failure_of_pip_is_explained(case: str, found: str) -> None:
    assert explain_pip(recorded.text(f"pip/23.2.1-debian12-{case}.txt"), UV).found.startswith(found)


def test_an_environment_without_pip_is_explained() -> None:
    error = explain_pip("/opt/env/bin/python: No module named pip\n", UV)
    assert "No module named pip" in error.found


def test_pips_configuration_becomes_uvs_options() -> None:
    found = translate_pip_configuration(recorded.text("pip/23.2.1-debian12-config-list.txt"))
    assert found.arguments == (
        *("--default-index", "http://10.0.0.9/simple/"),  # [install] wins over [global]
        *("--index", "http://10.0.0.2/simple", "--index", "http://10.0.0.3/simple"),
        *("--find-links", "/srv/wheels"),
        *("--allow-insecure-host", "10.0.0.1"),
    )
    assert found.environment["SSL_CERT_FILE"] == "/etc/ssl/certs/ca-certificates.crt"
    assert found.environment["HTTPS_PROXY"] == found.environment["HTTP_PROXY"] == "http://10.0.0.4:3128"
    assert "UV_NO_INDEX" not in found.environment


@pytest.mark.parametrize(
    ("listed", "arguments", "environment"),
    [
        ("", (), {}),
        ("global.timeout='60'\nlist.format='json'\nwarning: something\n", (), {}),
        (
            "global.no-index='true'\n:env:.find-links='/a /b'\n",
            ("--find-links", "/a", "--find-links", "/b"),
            {"UV_NO_INDEX": "1"},
        ),
        ("global.index-url='http://a/'\n:env:.index-url='http://b/'\n", ("--default-index", "http://b/"), {}),
    ],
    ids=["nothing", "nothing for uv", "no index", "a variable wins"],
)
def test_single_settings(listed: str, arguments: tuple[str, ...], environment: dict[str, str]) -> None:
    found = translate_pip_configuration(listed)
    assert (found.arguments, dict(found.environment)) == (arguments, environment)


WHOLE = recorded.text("uv/0.13.9-debian12-torch.txt")


@pytest.mark.parametrize(
    ("until", "words"),
    [
        ("Resolved", "asking the index"),
        ("Downloading nvidia-cufft-cu12 (184.2MiB)\n", "0 of 3 large wheels are here, fetching sympy (6.0MiB), "),
        (" Downloaded pydantic-core\n", "1 of 22 large wheels are here, fetching "),
        ("Prepared ", "67 wheels are here, linking them"),
    ],
    ids=["start", "first downloads", "first one here", "all here"],
)
def test_progress_is_read_from_what_uv_has_said_so_far(until: str, words: str) -> None:
    assert describe_progress(WHOLE[: WHOLE.index(until) + len(until)], 67).startswith(words)
