# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packages by exact name."""

from __future__ import annotations

from pathlib import Path

import pytest

import recorded
from ansible_collections.gpulab.workstation.plugins.module_utils import _apt
from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from fakehost import FakeHost

LOG = "/var/log/gpulab/x.log"


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    """Return a host whose apt knows gcc, headers and a mail server."""
    policy = (0, recorded.text("apt/2.6.1-debian12-policy.txt"), "")
    return FakeHost(tmp_path, {"apt-cache policy": policy, "apt-get": (0, "", "")})


def test_unknown_and_virtual_packages_have_no_candidate(host: FakeHost) -> None:
    names = ["gcc", "nothing-there", "linux-headers-amd64", "exim4-daemon-light", "default-mta"]
    assert _apt.without_candidate(host, names) == ["nothing-there", "default-mta"]


def test_the_lists_are_left_alone_where_they_know_everything(host: FakeHost) -> None:
    _apt.install(host, ["gcc"], LOG)
    assert [command[-1] for command in host.ran if command[0] == "apt-get"] == ["gcc"]
    assert all("--no-install-recommends" in command for command in host.ran if command[0] == "apt-get")


def test_the_lists_are_brought_up_to_date_before_a_refusal(host: FakeHost) -> None:
    with pytest.raises(OperatorError) as caught:
        _apt.install(host, ["gcc", "linux-headers-9.9.9-own"], LOG)
    assert caught.value.found == "apt knows no package linux-headers-9.9.9-own."
    assert "gpu_driver_ignored_kernels" in caught.value.action
    assert [command[-1] for command in host.ran if command[0] == "apt-get"] == ["update"]


@pytest.mark.parametrize(
    ("output", "words", "action"),
    [
        ("E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 812 (unattended-upgr)\n",
         "held by process 812", "cure what apt says"),
        ("E: dpkg was interrupted, you must manually run 'dpkg --configure -a' to correct the problem.\n",
         "dpkg was interrupted", "run 'dpkg --configure -a' on the host"),
        ("", "it says nothing more", "cure"),
    ],
    ids=["locked", "interrupted", "silent"],
)  # fmt: skip
def test_a_failure_is_told_in_apts_words(host: FakeHost, output: str, words: str, action: str) -> None:
    host.commands["apt-get"] = (100, output, "")
    with pytest.raises(OperatorError) as caught:
        _apt.purge(host, ["nvidia-driver-535"], LOG)
    assert words in caught.value.found
    assert action in caught.value.action


def test_an_interrupted_dpkg_is_finished_and_the_packages_are_installed(host: FakeHost) -> None:
    """As a run leaves it that was killed in the middle of its packages."""
    configured: list[tuple[str, ...]] = []

    def apt_get(_command: tuple[str, ...]) -> tuple[int, str, str]:
        words = "E: dpkg was interrupted, you must manually run 'dpkg --configure -a' to correct the problem.\n"
        return (0, "", "") if configured else (100, "", words)

    def dpkg(command: tuple[str, ...]) -> tuple[int, str, str]:
        configured.append(command)
        return 0, "", ""

    host.commands.update({"apt-get": apt_get, "dpkg": dpkg})
    _apt.install(host, ["gcc"], LOG)
    assert configured == [("dpkg", "--force-confold", "--configure", "-a")]
    assert [command[-1] for command in host.ran if command[0] == "apt-get"] == ["gcc", "gcc"]


def test_lists_that_name_a_version_that_is_gone_are_brought_up_to_date(host: FakeHost) -> None:
    """Archives keep one version of a package; where no timer renews the lists, they name an older one for ever."""
    words = "E: Failed to fetch http://archive/gcc_1_amd64.deb  404  Not Found\n"
    asked: list[str] = []

    def apt_get(command: tuple[str, ...]) -> tuple[int, str, str]:
        asked.append(command[-1])
        return (0, "", "") if "update" in asked else (100, "", words)

    host.commands["apt-get"] = apt_get
    _apt.install(host, ["gcc"], LOG)
    assert asked == ["gcc", "update", "gcc"]


def test_the_daily_timer_that_renews_the_lists_is_waited_for(host: FakeHost) -> None:
    words = "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 812 (apt-get)\n"
    answers = iter([(100, "", words), (100, "", words), (0, "", "")])
    host.commands["apt-get"] = lambda _: next(answers)
    before = host.now()
    with pytest.raises(OperatorError, match="apt knows no package linux-headers-9"):
        _apt.install(host, ["linux-headers-9.9.9-own"], LOG)
    assert (next(answers, None), host.now() - before) == (None, 10)


QUERY = "dpkg-query -W -f=${db:Status-Eflag}\\t${binary:Package}\\n"
INCONSISTENT = (
    "E: Sub-process /usr/bin/dpkg returned an error code (1)\n",
    (
        "dpkg: error processing package dkms (--configure):\n package is in a very bad inconsistent state; you should\n"
        " reinstall it before attempting configuration\nErrors were encountered while processing:\n dkms\n"
    ),
)


@pytest.mark.parametrize(
    "first", [(100, *INCONSISTENT), (0, "dkms is already the newest version.\n", "")], ids=["refused", "content"]
)
def test_a_package_that_a_kill_has_left_half_unpacked_is_installed_anew(
    host: FakeHost, first: tuple[int, str, str]
) -> None:
    """As a run leaves it that was killed while dpkg unpacked; apt takes it for installed, and dpkg refuses it."""
    flags = {"dkms": "reinstreq", "gcc": "ok"}

    def apt_get(command: tuple[str, ...]) -> tuple[int, str, str]:
        if "--reinstall" in command:
            flags["dkms"] = "ok"
        return first if flags["dkms"] == "reinstreq" else (0, "", "")

    host.commands["apt-get"] = apt_get
    host.commands[QUERY] = lambda _: (0, "".join(f"{flag}\t{name}\n" for name, flag in flags.items()), "")
    host.commands["apt-cache policy"] = (0, "dkms:\n  Installed: 3\n  Candidate: 3\n", "")
    _apt.install(host, ["dkms"], LOG)
    asked = [command[-2:] for command in host.ran if command[0] == "apt-get"]
    assert asked == [("install", "dkms"), ("--reinstall", "dkms"), ("install", "dkms")]


def test_one_that_cannot_be_had_again_is_told_in_apts_words(host: FakeHost) -> None:
    host.commands["apt-get"] = (100, *INCONSISTENT)
    host.commands[QUERY] = (0, "reinstreq\tdkms\n", "")
    with pytest.raises(OperatorError, match="inconsistent state; you should reinstall it before attempting conf"):
        _apt.purge(host, ["nvidia-driver-535"], LOG)


def test_one_that_nobody_has_asked_for_is_left_alone_where_apt_is_content(host: FakeHost) -> None:
    host.commands[QUERY] = (0, "reinstreq\tsomething\n", "")
    _apt.install(host, ["gcc"], LOG)
    assert not any("--reinstall" in command for command in host.ran)


def test_what_dpkg_could_not_configure_is_told_in_its_words(host: FakeHost) -> None:
    host.commands["dpkg"] = (0, "", "")
    _apt.configure(host, LOG)
    assert host.ran[-1] == ("dpkg", "--force-confold", "--configure", "-a")
    error = "dpkg: error processing package linux-image-6.1.0-56-amd64 (--configure):\n"
    host.commands["dpkg"] = (1, "Setting up linux-image-6.1.0-56-amd64 ...\n", error)
    with pytest.raises(OperatorError) as caught:
        _apt.configure(host, LOG)
    assert "dpkg: error processing package linux-image-6.1.0-56-amd64" in caught.value.found


def test_what_a_purge_takes_along_is_known_without_asking_for_nothing(host: FakeHost) -> None:
    simulated = "Reading package lists...\nPurg nvidia-driver-535 [535.183]\nRemv cuda-demo:amd64 [12.9]\n"
    simulated += "Purg libnvidia-gl-535:i386 [535.183]\n"
    host.commands["apt-get --simulate -q purge"] = (0, simulated, "")
    assert _apt.removed_beside(host, ["nvidia-driver-535", "libnvidia-gl-535:i386"]) == ("cuda-demo",)
    host.ran.clear()
    assert _apt.removed_beside(host, []) == ()
    assert host.ran == []
