# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts that must be refused, with every reason at once, and that nothing is changed on them."""

from __future__ import annotations

import contextlib
import typing as t
from collections.abc import Iterator

import pytest
from labhost import LabHost, PlayResult

from gpulab.lab import Lab

DEBIAN_13 = 'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nID=debian\nVERSION_ID="13"\n'
# What ssh, journald and cron write by themselves is no change by the role.
CHANGED = (
    "find / -xdev -newer /root/mark -type f -not -path '/root/mark' -not -path '/proc/*' -not -path '/var/log/*'"
    " -not -path '/run/*' -not -path '/etc/mtab' -not -path '/var/lib/systemd/*'"
)
REAL = {"gpulab_stack": "cu128", "gpulab_catalogue_overlay": ""}  # the stack without stand-ins


def refusals(result: PlayResult) -> list[dict[str, str]]:
    """Return the reasons of the role's own task, which must have failed alone."""
    (failed,) = [task for task in result.tasks if task["status"] == "failed"]
    assert failed["action"] == "gpulab.workstation.host_preflight", failed
    assert result.changed == 0
    reasons: list[dict[str, str]] = failed["result"]["refusals"]
    assert all(reason["found"] and reason["expected"] and reason["action"] for reason in reasons)
    return reasons


def look(host: LabHost, *, check: bool = False, **variables: t.Any) -> PlayResult:
    """Apply the role and make sure that no file was written."""
    host.sh("touch /root/mark; sleep 0.01")
    result = host.apply("host_preflight", check=check, **variables)
    assert host.sh(CHANGED).stdout == ""
    return result


@pytest.fixture(scope="module")
def host(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabHost]:
    """Share one host: the role changes nothing, and every fault below is put right after its test."""
    lab.add_host("preflight")
    yield LabHost(lab, "preflight", tmp_path_factory.mktemp("preflight"))
    lab.remove_host("preflight")


@contextlib.contextmanager
def debian_13(host: LabHost) -> Iterator[None]:
    host.sh(f"cp /usr/lib/os-release /root/os-release && printf '{DEBIAN_13}' > /usr/lib/os-release")
    yield
    host.sh("cp /root/os-release /usr/lib/os-release")


@contextlib.contextmanager
def mounted(host: LabHost, path: str, options: str) -> Iterator[None]:
    done = host.lab.exec(host.name, f"mkdir -p {path} && mount -t tmpfs -o {options} tmpfs {path}", privileged=True)
    assert done.returncode == 0, done.stderr
    yield
    assert host.lab.exec(host.name, f"umount {path}", privileged=True).returncode == 0


@contextlib.contextmanager
def without(host: LabHost, *paths: str) -> Iterator[None]:
    names = " ".join(paths)
    host.sh(f"for p in {names}; do if test -e $p; then mv $p $p.away; fi; done")
    yield
    host.sh(f"for p in {names}; do if test -e $p.away; then mv $p.away $p; fi; done")


def test_a_bare_host_passes_and_check_mode_says_the_same(host: LabHost) -> None:
    real, check = look(host), look(host, check=True)
    assert (real.rc, check.rc, real.changed, check.changed) == (0, 0, 0, 0)
    for run in (real, check):
        facts = run.tasks[-1]["result"]
        assert facts["host"]["os"]["id"] == "debian"
        assert facts["host"]["machine"]["kind"] == "container"
        assert facts["gpu"]["driver_loaded"] is None
        assert facts["unreadable"] == []
    assert len(real.tasks) == 2  # the check of the arguments, which runs on the controller, and one module


def test_an_unsupported_system(host: LabHost) -> None:
    with debian_13(host):
        (reason,) = refusals(look(host))
    assert reason["found"].startswith("Debian 13: it has glibc 2.41")
    assert "Debian 12" in reason["expected"]
    assert "Debian 12" in reason["action"]


def test_every_reason_at_once(host: LabHost) -> None:
    with debian_13(host), mounted(host, "/var/lib/gpulab", "noexec,size=10M"):
        result = look(
            host, gpulab_has_gpu=True, cuda_toolkit_keep_runfile="maybe", gpu_driver_flavor="open", **REAL
        )  # fmt: skip
    found = [reason["found"] for reason in refusals(result)]
    for words in (
        "cuda_toolkit_keep_runfile is 'maybe'",
        "the variable gpu_driver_flavor is set, and nothing reads it",
        "no NVIDIA GPU on the PCI bus",
        "/var/lib/gpulab/cuda_toolkit/work is on /var/lib/gpulab, mounted noexec",
        "Debian 13",
    ):
        assert [words in text for text in found].count(True) == 1, (words, found)
    assert max(map(len, result.message.splitlines())) < 80
    assert f"{host.name} is refused for {len(found)} reasons; nothing was changed." in result.message


def test_a_small_file_system(host: LabHost) -> None:
    with mounted(host, "/opt", "size=100M"):
        (reason,) = refusals(look(host))
    assert reason["found"] == "0.1 GB free on /opt (tmpfs)."
    assert "/opt/miniforge3 for torch" in reason["expected"]
    assert "GB on /opt" in reason["action"]


@pytest.mark.whole
def test_a_noexec_directory_is_no_reason_while_an_alternative_will_do(host: LabHost) -> None:
    with mounted(host, "/var/cache/gpulab", "noexec,size=1G"):
        assert look(host, host_preflight_space=[UNPACKING]).rc == 0
        (reason,) = refusals(look(host, host_preflight_space=[{**UNPACKING, "alternatives": []}]))
    assert reason["found"] == "/var/cache/gpulab is on /var/cache/gpulab, mounted noexec."


UNPACKING = {
    "purpose": "unpacking the driver",
    "path": "/var/cache/gpulab",
    "alternatives": ["/opt"],
    "gigabytes": 0.1,
    "executable": True,
}


def test_a_driver_of_the_distribution_is_told_and_left_to_its_role(host: LabHost) -> None:
    control = "Package: nvidia-driver\\nVersion: 535.1-1\\nArchitecture: all\\nMaintainer: a <a@example.invalid>\\n"
    host.sh(
        "mkdir -p /root/d/DEBIAN && "
        f"printf '{control}Description: stands in for the package of that name\\n' > /root/d/DEBIAN/control && "
        "dpkg-deb --build /root/d /root/d.deb >/dev/null && dpkg --install /root/d.deb"
    )
    result = look(host)
    host.sh("dpkg --purge nvidia-driver")
    assert result.rc == 0
    assert result.tasks[-1]["result"]["gpu"]["packages"] == [{"name": "nvidia-driver", "version": "535.1-1"}]
    assert "The distribution's own NVIDIA driver is installed (nvidia-driver 535.1-1)" in result.stdout


def test_a_process_that_holds_a_device_is_seen(host: LabHost) -> None:
    """A plain file stands in for the device node: the lab has no GPU, and none is reported."""
    host.sh("touch /dev/nvidia0; setsid --fork sleep 60 3</dev/nvidia0")
    facts = look(host).tasks[-1]["result"]
    host.sh("rm /dev/nvidia0")
    (process,) = facts["gpu"]["processes"]
    assert (process["command"], process["user"], process["kind"]) == ("sleep", "root", "job")
    assert facts["gpu"]["devices"] == []


@pytest.mark.parametrize("check", [False, pytest.param(True, marks=pytest.mark.whole)], ids=["real", "check"])
def test_a_host_without_python(host: LabHost, *, check: bool) -> None:
    with without(host, "/usr/bin/python3"):
        (reason,) = refusals(look(host, check=check))
    assert reason["found"] == "Debian GNU/Linux 12 (bookworm) without /usr/bin/python3."
    assert "apt-get update && apt-get install -y python3" in reason["action"]
    assert host.name in reason["action"]


def test_a_host_without_systemds_tools_lspci_and_sudo(host: LabHost) -> None:
    tools = ("/usr/bin/systemd-detect-virt", "/usr/bin/loginctl", "/usr/bin/sudo", "/usr/bin/lspci", "/run/utmp")
    with without(host, *tools):
        result = look(host)
    assert result.rc == 0
    facts = result.tasks[-1]["result"]
    assert facts["host"]["machine"] == {"kind": "container", "name": "podman"}
    assert [item["what"] for item in facts["unreadable"]] == ["logged-in users"]
