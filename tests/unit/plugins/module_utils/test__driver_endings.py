# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The recorded runs of nvidia-installer, told by what it wrote."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import recorded
from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_endings as endings

CASES = Path(__file__).parents[3] / "fixtures/nvidia-installer"
NAMED = {
    "c-unknown-option": "usage",
    "c-bad-M-value": "usage",
    "c-missing-arg": "usage",
    "c-stray-arg": "usage",
    "c-M-other-cwd": "usage",
    "c-no-manifest": "no_package",
    "d1-headers-missing": "no_headers",
    "d2-headers-missing-k": "no_headers",
    "d3-build-link-dangling": "no_headers",
    "e1-gcc-missing": "no_tool",
    "e2-make-missing": "no_tool",
    "e3-libc-headers-missing": "no_libc_headers",
    "e4-cc-broken": "broken_compiler",
    "f1-compile-error": "build_failed",
    "f2-modpost-error": "build_failed",
    "f3-source-missing": "build_failed",
    "g2-dkms-fails": "dkms_refused",
    "g4-dkms-install-fails": "dkms_not_registered",
    "g5-dkms-stale-same-version": "dkms_already_added",
    "g6-dkms-stale-added": "dkms_already_added",
    "q3b-kill-at-dkms-import-3runs": "dkms_already_added",
    "r9-K-over-same": "dkms_already_added",
    "h1-root-full-fresh-1500k": "disk_full",
    "h2-root-full-upgrade-1500k": "disk_full",
    "h1-root-full-fresh-2200k": "sigbus",
    "h1-root-full-fresh-3m": "sigbus",
    "h2-root-full-upgrade-2500k": "sigbus",
    "i1-alternate-present": "alternate",
    "i2-alternate-present-over-old": "alternate",
    "n2-sign-missing-key-file": "not_signed",
    "n4-sign-no-sign-file": "not_signed",
    "o5-open-missing-in-package": "usage",
    "r1-x-lock": "x_running",
    "r2-nouveau-bound": "nouveau",
    "r4-test-load-fails-over-old": "load_failed",
    "r6-test-load-fails": "load_failed",
}
SILENT = ["a-fresh", "a-fresh-nogpu", "b-rerun", "b-upgrade", "d4-kernel-name-other", "g1-dkms-missing",
          "g3-tar-missing", "n3-sign-secret-only", "n5-secureboot-on-no-keys", "n7-dkms-mok-present-no-option",
          "o1-type-proprietary", "o3-no-type-nogpu", "q4-kill-in-file-copy-fresh"]  # fmt: skip


def written(case: str) -> tuple[int, str]:
    data = json.loads((CASES / f"{case}.json").read_text(encoding="utf-8"))
    return data["rc"], "\n".join([*data.get("stderr", []), *data.get("log", [])])


@pytest.mark.parametrize(("case", "name"), NAMED.items(), ids=NAMED)
def test_recorded_endings_have_names(case: str, name: str) -> None:
    ending = endings.recognise(*written(case))
    assert ending is not None
    assert ending.name == name
    assert "{" not in ending.found + ending.action


@pytest.mark.parametrize("case", SILENT)
def test_these_say_nothing_so_that_only_the_host_can_tell(case: str) -> None:
    rc, text = written(case)
    assert rc == 0
    assert endings.recognise(rc, text) is None


@pytest.mark.parametrize(
    ("rc", "name"),
    [(-7, "sigbus"), (135, "sigbus"), (-9, "killed"), (137, "killed"), (126, "not_executable"), (124, "timeout"),
     (127, "not_there")],
)  # fmt: skip
def test_a_signal_reads_alike_with_and_without_a_shell_between(rc: int, name: str) -> None:
    ending = endings.recognise(rc, "")
    assert ending is not None
    assert ending.name == name


def test_the_full_disk_is_told_before_the_failed_build_it_causes() -> None:
    ending = endings.recognise(1, recorded.text("nvidia-installer/590.48.01-debian12-package-directory-full.txt"))
    assert ending is not None
    assert ending.name == "disk_full"


def test_the_tool_and_the_reason_are_named() -> None:
    ending = endings.recognise(*written("e1-gcc-missing"))
    assert ending is not None
    assert "program cc" in ending.found
    ending = endings.recognise(*written("g2-dkms-fails"))
    assert ending is not None
    assert ending.found.endswith("dkms: some failure")


def test_an_unknown_failure_is_not_given_a_name() -> None:
    assert endings.recognise(1, "ERROR: something new\n") is None
    assert endings.complaints("-> x\nERROR: something new\nERROR: Installation has failed.  Please\n") == (
        "ERROR: something new"
    )


def test_success_is_only_claimed_in_the_last_line_for_this_version() -> None:
    log = recorded.text("nvidia-installer/590.48.01-debian12-end-of-log.txt")
    assert endings.claims_success(log, "595.45.04")
    assert not endings.claims_success(log, "595.45")
    assert not endings.claims_success("-> Post-install sanity check passed.\n", "595.45.04")


def test_half_a_libglvnd_is_told() -> None:
    """The words of files.c, check_libglvnd_files; no recorded run has them."""
    words = "An incomplete installation of libglvnd was found. Do you want to install a full copy of libglvnd?"
    ending = endings.recognise(1, f"-> {words} This will overwrite any existing libglvnd libraries. (Answer: Abort)\n")
    assert ending is not None
    assert ending.name == "libglvnd"
