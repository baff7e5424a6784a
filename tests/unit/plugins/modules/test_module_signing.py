# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module's account: nothing to do, check mode, and the words of a failure; the key is in none of them."""

from __future__ import annotations

import json
import typing as t
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.gpulab.workstation.plugins.module_utils import _converge
from ansible_collections.gpulab.workstation.plugins.modules import module_signing
from fakehost import FakeHost
from gpulab.commands.signing_key import make_pair

KEY, CERTIFICATE = make_pair("a lab of a test")
PAIR = "/var/lib/dkms/mok.key"
Run = Callable[..., dict[str, t.Any]]


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    host = FakeHost(tmp_path)
    host.add("/etc/os-release", "ID=debian\n")
    host.commands["systemd-detect-virt"] = (0, "none\n", "")
    return host


@pytest.fixture
def run(host: FakeHost, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs the module against the host and returns its result."""

    def run_module(*, check: bool = False, **arguments: t.Any) -> dict[str, t.Any]:
        monkeypatch.setattr(_converge, "LocalHost", lambda: host)
        full = {"key": KEY, "certificate": CERTIFICATE, "_ansible_check_mode": check, **arguments}
        with patch_module_args(full), pytest.raises(SystemExit):
            module_signing.main()
        text = capsys.readouterr().out
        assert KEY.splitlines()[1] not in text
        result: dict[str, t.Any] = json.loads(text)
        return result

    return run_module


def test_the_second_call_changes_nothing(run: Run, host: FakeHost) -> None:
    first = run()
    assert (first["changed"], first["outcome"], first["certificate"]) == (True, "off", "/var/lib/dkms/mok.pub")
    assert host.read_text(PAIR) == KEY
    second = run()
    assert (second["changed"], second["steps"]) == (False, [])


def test_check_mode_tells_the_plan_and_does_nothing(run: Run, host: FakeHost) -> None:
    result = run(check=True)
    assert result["changed"] is True
    assert result["steps"] == [f"Write the lab's key to {PAIR}", "Write the lab's certificate to /var/lib/dkms/mok.pub"]
    assert not host.exists(PAIR)


def test_a_refusal_says_what_was_found_expected_and_to_do(run: Run, host: FakeHost) -> None:
    result = run(certificate="")
    assert result["failed"] is True
    assert result["msg"].startswith("Found: only the key of the lab's pair is given.")
    assert " Expected: both or neither." in result["msg"]
    assert "Nothing has been changed." in result["msg"]
    assert not host.exists(PAIR)
