# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restarts that must not happen, and restarts after which the host is not what it was."""

from __future__ import annotations

import subprocess
import time
import typing as t
from collections.abc import Iterator

import pytest
from labhost import LabHost, PlayResult

from gpulab.lab import Lab

REQUESTS = "/run/gpulab/restart-required.d"
# field 22 of /proc/1/stat: when PID 1 started
INIT = "sed 's/.*) //' /proc/1/stat | cut -d ' ' -f 20"
ALLOWED: dict[str, t.Any] = {"host_restart_in_container": True, "host_restart_timeout_seconds": 180}


def ask(host: LabHost, reason: str = "the test wants to see one") -> str:
    """Ask for a restart as a role would, and return which PID 1 is running."""
    host.sh(f"mkdir -p {REQUESTS} && echo '{reason}' > {REQUESTS}/gpu_driver")
    return host.sh(INIT).stdout


def own(result: PlayResult) -> dict[str, t.Any]:
    """Return the result of the role's own task."""
    task = next(task for task in reversed(result.tasks) if task["action"] == "gpulab.workstation.host_restart")
    found: dict[str, t.Any] = task["result"]
    return found


@pytest.fixture(scope="module")
def busy_host(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabHost]:
    """Share one host among the tests in which nothing may happen or which it survives."""
    lab.add_host("busy")
    yield LabHost(lab, "busy", tmp_path_factory.mktemp("busy"))
    lab.remove_host("busy")


@pytest.fixture
def asked(busy_host: LabHost) -> Iterator[LabHost]:
    """Ask for a restart, and make sure afterwards that none has happened and the wish is still there."""
    before = ask(busy_host)
    yield busy_host
    assert busy_host.sh(INIT).stdout == before
    assert busy_host.sh(f"ls {REQUESTS}").stdout == "gpu_driver\n"


def test_nothing_is_asked_for(busy_host: LabHost) -> None:
    busy_host.sh(f"rm -rf {REQUESTS}")
    for check in (False, True):
        result = busy_host.apply("host_restart", check=check)
        assert (result.rc, result.changed, len(result.tasks)) == (0, 0, 3)
        assert result.tasks[-1]["status"] == "skipped"  # nothing has waited for a restart
        assert own(result)["required"] is False


def test_a_container_is_refused(asked: LabHost) -> None:
    found = own(asked.apply("host_restart"))
    assert "gpu_driver: the test wants to see one" in found["found"]
    assert "this host is a container (podman)" in found["found"]
    assert "host_restart_in_container" in found["action"]


@pytest.mark.parametrize("check", [False, pytest.param(True, marks=pytest.mark.whole)], ids=["real", "check"])
def test_a_gpu_process_refuses(asked: LabHost, *, check: bool) -> None:
    """A plain file stands in for the device node: the lab has no GPU."""
    asked.sh("touch /dev/nvidia0; setsid --fork sleep 60 3</dev/nvidia0")
    found = own(asked.apply("host_restart", check=check, **ALLOWED))
    asked.sh("rm /dev/nvidia0")
    assert "(sleep) of root is using a GPU" in found["found"]
    assert "host_restart_force" in found["action"]


def test_a_logged_in_user_refuses(asked: LabHost) -> None:
    """A session on a terminal; Ansible's own, which has none, is not counted."""
    command = asked.lab.ssh_command(asked.name, "-tt", "sleep 60")
    command = [command[0], "-tt", *(word for word in command[1:] if word != "-tt")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as user:
        deadline = time.monotonic() + 60
        while "pts/" not in asked.sh("who").stdout and time.monotonic() < deadline:
            time.sleep(0.2)
        found = own(asked.apply("host_restart", **ALLOWED))
        user.terminate()
    assert "root is logged in (login on pts/0 from" in found["found"]
    assert found["found"].count("is logged in") == 1
    assert "host_restart_force" in found["action"]


def test_a_package_installation_is_not_cut_off_even_by_force(asked: LabHost) -> None:
    asked.sh("cp /bin/sleep /root/dpkg; setsid --fork /root/dpkg 60")
    found = own(asked.apply("host_restart", host_restart_force=True, **ALLOWED))
    asked.sh("kill $(grep -lsx dpkg /proc/[0-9]*/comm | cut -d / -f 3)")
    assert "dpkg is changing the system" in found["found"]


def test_a_site_that_restarts_by_itself_is_told(asked: LabHost) -> None:
    result = asked.apply("host_restart", host_restart_enabled=False)
    assert (result.rc, result.changed) == (0, 0)
    assert own(result)["required"] is True
    assert "A restart is due" in result.stdout


def test_check_mode_says_that_it_would(asked: LabHost) -> None:
    result = asked.apply("host_restart", check=True, **ALLOWED)
    assert (result.rc, result.changed) == (0, 1)
    assert own(result)["restarted"] is False


@pytest.mark.whole
def test_a_gpu_process_is_waited_for(busy_host: LabHost) -> None:
    """It ends within the minutes it was given, and only then the host restarts; nobody has to run anything again."""
    before = ask(busy_host)
    busy_host.sh("touch /dev/nvidia0; setsid --fork sleep 20 3</dev/nvidia0")
    result = busy_host.apply("host_restart", host_restart_wait_minutes=5, **ALLOWED)
    assert "waiting up to 5 min: process" in result.stdout
    assert (result.rc, own(result)["restarted"]) == (0, True), result.stdout
    assert busy_host.sh(INIT).stdout != before


def test_a_host_that_goes_down_slowly_is_not_taken_for_back(busy_host: LabHost) -> None:
    """A unit that takes its time to stop, while sshd still answers (ansible#78007, ansible#83018)."""
    busy_host.sh(
        "printf '[Unit]\\nAfter=ssh.service\\n[Service]\\nType=oneshot\\nRemainAfterExit=yes\\nExecStart=/bin/true\\n"
        "ExecStop=/bin/sleep 8\\n' > /etc/systemd/system/slow.service && systemctl start slow"
    )
    before = ask(busy_host)
    result = busy_host.apply("host_restart", host_restart_force=True, **ALLOWED)
    found = own(result)
    assert (result.rc, result.changed) == (0, 1), result.stdout
    assert (found["restarted"], found["required"]) == (True, False)
    assert found["elapsed_seconds"] > 8
    assert "it answers, but it has not gone down yet" in result.stdout
    assert busy_host.sh(INIT).stdout != before
    again = busy_host.apply("host_restart")
    assert (again.rc, again.changed) == (0, 0)


def test_a_changed_host_key_ends_the_wait_at_once(fresh_host: LabHost) -> None:
    """As after a reinstallation from the network (ansible#77353)."""
    fresh_host.sh(
        "printf '[Unit]\\nBefore=ssh.service\\n[Service]\\nType=oneshot\\n"
        'ExecStart=/bin/sh -c "rm /etc/ssh/ssh_host_*; ssh-keygen -A"\\n[Install]\\nWantedBy=multi-user.target\\n\''
        " > /etc/systemd/system/newkeys.service && systemctl enable newkeys"
    )
    ask(fresh_host)
    result = fresh_host.apply("host_restart", **{**ALLOWED, "host_restart_timeout_seconds": 600})
    found = own(result)
    assert result.rc != 0
    assert result.seconds < 120
    assert "the host shows another host key, SHA256:" in found["found"]
    assert "known_hosts" in found["expected"]
    assert "ssh-keygen" in found["action"]


def test_a_host_that_does_not_come_back_is_given_up(fresh_host: LabHost) -> None:
    fresh_host.sh("systemctl mask ssh.service ssh.socket; systemctl is-active ssh.service")
    ask(fresh_host)
    result = fresh_host.apply("host_restart", **{**ALLOWED, "host_restart_timeout_seconds": 15})
    found = own(result)
    assert result.rc != 0
    assert found["found"].startswith("15 s after the restart was asked for, it does not answer (")
    assert "console" in found["action"]
