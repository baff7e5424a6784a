# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A machine that comes back empty: what its shell tells, what is refused, and the stack that its record asks for."""

from __future__ import annotations

import subprocess
import typing as t

import pytest

from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._stack import resolve
from ansible_collections.gpulab.workstation.plugins.module_utils._stack_components import wishes
from ansible_collections.gpulab.workstation.plugins.plugin_utils import _rebuild
from ansible_collections.gpulab.workstation.plugins.plugin_utils._catalogue import load_catalogue
from records import record

NOW = 1_796_000_000.0
ANSWER = "gpulab-bare\n1000\n1796000001\ndebian 12\n{python}\n{sudo}\n{apt}\n"


def bare(python: str = "/usr/bin/python3", sudo: str = "/usr/bin/sudo", apt: str = "/usr/bin/apt-get") -> _rebuild.Bare:
    found = _rebuild.parse_probe("Welcome!\n" + ANSWER.format(python=python, sudo=sudo, apt=apt))
    assert found is not None
    return found


def test_the_probe_runs_in_a_plain_shell_and_is_read() -> None:
    done = subprocess.run(["sh", "-c", _rebuild.PROBE], capture_output=True, text=True, check=True)
    found = _rebuild.parse_probe(done.stdout)
    assert found is not None
    assert found.python.endswith("python3")
    assert found.clock > NOW - 1e9


@pytest.mark.parametrize(
    "answer", ["", "gpulab-bare\n0\n", "This account is not available.\n", ANSWER.replace("1796", "x")]
)
def test_half_an_answer_is_none(answer: str) -> None:
    assert _rebuild.parse_probe(answer) is None


@pytest.mark.parametrize(
    ("found", "become", "expected"),
    [
        (bare(), "sudo", False),
        (bare(python="none"), "sudo", True),
        (bare(sudo="none"), "", False),
        (bare(apt="none"), "sudo", False),
    ],
    ids=["everything", "no python3", "no sudo and none asked for", "python3 and no apt"],
)
def test_python_is_installed_only_where_it_is_missing(found: _rebuild.Bare, become: str, expected: bool) -> None:  # noqa: FBT001
    assert _rebuild.needs_python(found, become, NOW) is expected


@pytest.mark.parametrize(
    ("found", "words", "action"),
    [
        (
            bare(python="none", sudo="none"),
            "no sudo on this host.*no python3 either",
            "apt-get install -y sudo python3",
        ),
        (
            bare(sudo="none"),
            r"no sudo on this host, and the user of the connection is not root\.",
            "scripts/autoinstall",
        ),
        (
            bare(python="none", apt="none"),
            r"neither python3 nor apt-get on this host \(debian 12\)",
            "supported system",
        ),
    ],
    ids=["neither", "no sudo", "no apt"],
)
def test_a_host_that_nothing_can_be_done_on_is_refused(found: _rebuild.Bare, words: str, action: str) -> None:
    with pytest.raises(OperatorError, match=words) as refused:
        _rebuild.needs_python(found, "sudo", NOW)
    assert action in refused.value.action


@pytest.mark.parametrize(
    ("away", "words"),
    [(-3600.0 * 24 * 400, "400 days behind"), (-3600.0, "1.0 hours behind"), (3600.0 * 50, "2 days ahead of")],
    ids=["far in the past", "an hour", "the future"],
)
def test_a_wrong_clock_is_told_before_apt_fails_on_it(away: float, words: str) -> None:
    found = _rebuild.Bare("0", NOW + away, "debian 12", "", "", "/usr/bin/apt-get")
    with pytest.raises(OperatorError, match=f"the host's clock says .*{words} the controller's") as refused:
        _rebuild.needs_python(found, "", NOW)
    assert "TLS" in refused.value.expected
    assert "date -u -s @1796000000" in refused.value.action


def test_what_apt_said_is_told() -> None:
    words = "Err:1 http://deb.example bookworm InRelease\n  Could not connect\nE: Unable to locate package python3\n"
    told = _rebuild.no_python(words).found
    assert "E: Unable to locate package python3" in told
    assert "Err:1" in told
    assert "no words" in _rebuild.no_python("").found


def test_a_sudo_that_asks_is_told_with_the_option() -> None:
    told = _rebuild.no_root("Missing sudo password")
    assert "cannot become root on this host: Missing sudo password." in told.found
    assert "--ask-become-pass" in told.action


@pytest.mark.parametrize(
    "seen",
    [{"uuid": "u-2", "serial": "s-1"}, {"uuid": "u-1", "serial": "s-2"}, {}],
    ids=["uuid", "serial", "unreadable"],
)
def test_another_machine_is_refused(seen: dict[str, str]) -> None:
    with pytest.raises(OperatorError, match="this machine's board has the") as refused:
        _rebuild.check_machine(record(), {"board": seen}, "records/ws-01.json")
    assert "Nothing of its stack was installed" in refused.value.found
    assert "ansible_host" in refused.value.action


def test_the_same_machine_and_a_container_pass() -> None:
    _rebuild.check_machine(record(), {"board": record()["machine"]["board"]}, "r")
    nothing = dict.fromkeys(("uuid", "serial"))
    _rebuild.check_machine(record(machine__board=nothing), {"board": nothing}, "r")


def of_today(**parts: t.Any) -> dict[str, t.Any]:
    return record(stack=wishes(resolve(load_catalogue(), "cu128", {})), **parts)


def test_todays_stack_needs_no_override() -> None:
    assert _rebuild.chosen(of_today(), load_catalogue()) == {"stack": "cu128", "overrides": {}}


def test_what_has_moved_since_is_overridden_and_only_that() -> None:
    then = wishes(resolve(load_catalogue(), "cu128", {"driver.version": "580.173.02"}))
    found = _rebuild.chosen(record(stack={**then, "overrides": {}}), load_catalogue())
    assert found == {"stack": "cu128", "overrides": {"driver.version": "580.173.02"}}


def test_another_cuda_of_torch_comes_back_by_torchs_version() -> None:
    then = wishes(resolve(load_catalogue(), "cu128", {"torch.version": "2.9.1+cu130"}))
    found = _rebuild.chosen(record(stack={**then, "overrides": {}}), load_catalogue())
    assert found["overrides"] == {"torch.version": "2.9.1+cu130"}


def test_another_lock_comes_back_by_its_name() -> None:
    then = wishes(resolve(load_catalogue(), "cu128", {"locks.diffusion": "cu130-diffusion.txt"}))
    found = _rebuild.chosen(record(stack={**then, "overrides": {}}), load_catalogue())
    assert found["overrides"] == {"locks.diffusion": "cu130-diffusion.txt"}


def test_the_sites_own_overrides_of_then_stay() -> None:
    then = wishes(resolve(load_catalogue(), "cu128", {"driver.version": "580.173.02"}))
    assert _rebuild.chosen(record(stack=then), load_catalogue())["overrides"] == {"driver.version": "580.173.02"}


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("stack__values__driver.version", "570.10", "driver 570.10 is not in the catalogue"),
        ("stack__values__miniforge.version", "1.0.0-0", "miniforge 1.0.0-0 is not in the catalogue"),
        ("stack__values__locks.torch", "gone.txt", "the lock 'gone.txt'"),
        ("stack__name", "cu100", "the stack 'cu100' is not in the catalogue"),
    ],
    ids=["driver", "miniforge", "lock", "stack"],
)
def test_a_version_that_is_gone_from_the_catalogue_is_refused(key: str, value: str, words: str) -> None:
    then = of_today()
    *way, last = key.split("__")
    place = then
    for step in way:
        place = place[step]
    place[last] = value
    with pytest.raises(OperatorError, match="the catalogue does not have what the record says") as refused:
        _rebuild.chosen(then, load_catalogue())
    assert words in refused.value.found
    assert "git log -- catalogue" in refused.value.action


def test_a_file_of_the_same_name_with_another_hash_is_refused() -> None:
    then = of_today()
    then["stack"]["sha256"]["cu128-torch.txt"] = "0" * 64
    with pytest.raises(OperatorError, match=r"the catalogue's cu128-torch\.txt is no longer what the record has"):
        _rebuild.chosen(then, load_catalogue())


def test_a_host_that_never_comes_is_told_with_the_time_and_the_proxy() -> None:
    told = _rebuild.never_came("192.0.2.11", "22", 600, "")
    assert "for 600 s no ssh server has shown a host key at 192.0.2.11 port 22." in told.found
    assert "host_rebuild_wait_seconds" in told.action
    assert "ssh would go through gate" in _rebuild.never_came("192.0.2.11", "22", 600, "gate").found
