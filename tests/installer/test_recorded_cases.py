# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in's installer does what nvidia-installer 590.48.01 did: the same texts, status and kind of host after it.

Each file in tests/fixtures/nvidia-installer is one recorded run of the original. The case here says how to bring a
host into the condition that the recording describes; the failure itself then has to arise by itself.
"""

from __future__ import annotations

import json
import re
import typing as t
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from installerhost import OPTIONS, REAL_MAKE, TOOLS, DriverHost, Outcome

from gpulab.lab.standins.nvidia_driver import build_driver_run

FIXTURES = Path(__file__).parents[1] / "fixtures/nvidia-installer"
RECORDED_KERNEL = "6.1.0-50-cloud-amd64"
KEYS = (
    "openssl req -x509 -newkey rsa:2048 -nodes -subj '/CN=throwaway inst test' -days 2 -keyout /opt/k.key -outform DER"
    " -out /opt/k.der 2>/dev/null"
)
DKMS_ADD = "dkms add -m nvidia -v {0} >/dev/null; "


@dataclass(frozen=True)
class Case:
    """How to bring about a recorded run: a script before it, the hardware, and limits of the file systems."""

    prepare: str = ""
    hardware: dict[str, t.Any] = field(default_factory=dict)
    limits: dict[str, t.Any] = field(default_factory=dict)
    command: str = ""  # where the recorded one was of the recording's own machinery
    log: str = "/var/log/nvidia-installer.log"
    inexact: tuple[str, ...] = ()  # what of the recording depends on its machinery: "stderr", "log"


UNINSTALL = "/var/log/nvidia-uninstall.log"
NO_GPU = {"gpu": False}
NOUVEAU = {"driver": "nouveau"}
SECURE_BOOT = {"secure_boot": True}
SIGNED = f"./nvidia-installer {OPTIONS} --module-signing-secret-key=/opt/k.key --module-signing-public-key=/opt/k.der"
# The recorded uninstallers were started by name on the PATH; a script sees its full path there.
CASES = {
    "a-fresh": Case(),
    "a-fresh-nogpu": Case(hardware=NO_GPU),
    "a-old": Case(limits={"package": "old"}),
    # Without the variable systemctl sees the chroot and keeps quiet.
    "a-real-systemctl": Case("export SYSTEMD_IGNORE_CHROOT=1", limits={"real_systemctl": True}),
    "b-rerun": Case(),
    "b-upgrade": Case(),
    "c-M-other-cwd": Case(),
    "c-bad-M-value": Case(),
    "c-missing-arg": Case(),
    "c-no-manifest": Case(),
    "c-stray-arg": Case(),
    "c-unknown-option": Case(),
    "d1-headers-missing": Case(limits={"kernel": "6.18.44-other"}),
    "d2-headers-missing-k": Case(limits={"kernel": "6.18.44-other"}),
    "d3-build-link-dangling": Case("rm -rf /usr/src/linux-headers-KERNEL"),
    "d4-kernel-name-other": Case(limits={"kernel": "6.18.44-other"}),
    "e1-gcc-missing": Case("rm /usr/bin/cc /usr/bin/gcc"),
    "e2-make-missing": Case("rm /usr/bin/make"),
    "e3-libc-headers-missing": Case("rm /usr/include/stdio.h"),
    "e4-cc-broken": Case("rm /usr/bin/cc; printf '#!/bin/sh\nexit 1\n' > /usr/bin/cc; chmod 755 /usr/bin/cc"),
    "f1-compile-error": Case("echo 'int broken = ;' >> /opt/pkg/kernel-open/nvidia/nvidia-main.c"),
    "f2-modpost-error": Case(
        "echo 'extern int nope(void); int nope2(void); int nope2(void){return nope();}'"
        " >> /opt/pkg/kernel-open/nvidia-uvm/nvidia_uvm-main.c"
    ),
    "f3-source-missing": Case("rm /opt/pkg/kernel-open/nvidia-drm/*.c"),
    "g1-dkms-missing": Case("rm /usr/sbin/dkms"),
    "g2-dkms-fails": Case("printf '#!/bin/sh\necho dkms: some failure >&2\nexit 1\n' > /usr/sbin/dkms"),
    "g3-tar-missing": Case("rm /usr/bin/tar"),
    "g4-dkms-install-fails": Case(
        "mv /usr/sbin/dkms /usr/sbin/dkms.real; printf '#!/bin/sh\n"
        'case " $* " in *" install "*) echo Error! install refused >&2; exit 10;; esac\n'
        'exec /usr/sbin/dkms.real "$@"\n\' > /usr/sbin/dkms; chmod 755 /usr/sbin/dkms'
    ),
    "g5-dkms-stale-same-version": Case("rm -rf /var/lib/nvidia"),
    "g6-dkms-stale-added": Case(f"cp -a /{TOOLS}/out/nvidia-595.45.04 /usr/src/; {DKMS_ADD.format('595.45.04')}"),
    "g7-dkms-other-version-left": Case(
        f"cp -a /{TOOLS}/out/nvidia-580.95.05 /usr/src/; {DKMS_ADD.format('580.95.05')}"
        "dkms install -m nvidia -v 580.95.05 -k KERNEL >/dev/null 2>&1"
    ),
    "g8-no-dkms": Case(),
    "h3-package-dir-full": Case(REAL_MAKE, limits={"package_size": "40k"}),
    "h4-tmp-full": Case(REAL_MAKE, limits={"temporary_size": "200k"}),
    "i1-alternate-present": Case("mkdir -p /usr/lib/nvidia; touch /usr/lib/nvidia/alternate-install-present"),
    "i2-alternate-present-over-old": Case(
        "mkdir -p /usr/lib/nvidia; echo 'Installed by Debian, use apt.' > /usr/lib/nvidia/alternate-install-present"
    ),
    "i3-alternate-present-no-check": Case("mkdir -p /usr/lib/nvidia; touch /usr/lib/nvidia/alternate-install-present"),
    "i4-alternate-available": Case("mkdir -p /usr/lib/nvidia; touch /usr/lib/nvidia/alternate-install-available"),
    "i5-hook-preinstall-fails": Case(
        "mkdir -p /usr/lib/nvidia; printf '#!/bin/sh\necho hook ran\nexit 1\n' > /usr/lib/nvidia/pre-install;"
        " chmod 755 /usr/lib/nvidia/pre-install"
    ),
    "j1-ui-none-stdin-null": Case(),
    "j2-ui-none-no-questions": Case(),
    "j3-no-options-stdin-null": Case(),
    "j4-ui-none-over-old": Case(),
    "k1-sanity-clean": Case(),
    "k1b-sanity-clean-silent": Case(),
    "k2-sanity-file-altered": Case("echo x >> /usr/lib/x86_64-linux-gnu/libcuda.so.595.45.04"),
    "k3-sanity-file-removed": Case("rm /usr/lib/x86_64-linux-gnu/libcuda.so.595.45.04"),
    "k4-sanity-symlink-altered": Case("ln -sfn libcuda.so.580.1 /usr/lib/x86_64-linux-gnu/libcuda.so.1"),
    "k5-sanity-dkms-modules-removed": Case("rm -rf /usr/lib/modules/KERNEL/updates"),
    "k6-sanity-nodkms-module-removed": Case("rm /usr/lib/modules/KERNEL/kernel/drivers/video/nvidia.ko"),
    "k7-sanity-no-driver": Case(),
    "k8-sanity-mode-mtime-changed": Case("chmod 600 /usr/bin/nvidia-smi; touch /usr/bin/nvidia-smi"),
    "l1-driver-info": Case(),
    "l2-driver-info-silent": Case(),
    "l3-driver-info-none": Case(),
    "l4-driver-info-after-nolog": Case(),
    "l5-driver-info-as-user": Case(),
    "l6-version": Case(inexact=("stdout",)),
    "l7-print-recommended": Case(),
    "l8-print-recommended-nogpu": Case(hardware=NO_GPU),
    "l9-as-user": Case(),
    "m1-uninstall-silent": Case(log=UNINSTALL),
    "m2-nvidia-uninstall-stdin-null": Case(log=UNINSTALL),
    "m3-uninstall-none": Case(log=UNINSTALL),
    "m4-uninstall-altered": Case(
        "echo x >> /usr/lib/x86_64-linux-gnu/libcuda.so.595.45.04; rm /usr/bin/nvidia-smi", log=UNINSTALL
    ),
    "m5-uninstall-dkms-gone": Case("rm /usr/sbin/dkms", log=UNINSTALL),
    "m6-uninstall-dkms-remove-fails": Case(
        'printf \'#!/bin/sh\ncase " $* " in *remove*) echo Error! no >&2; exit 5;; esac\n'
        "echo nvidia/595.45.04, KERNEL, x86_64: installed\n' > /usr/sbin/dkms",
        log=UNINSTALL,
    ),
    "m7-uninstall-nodkms": Case(log=UNINSTALL),
    "n1-sign-with-keys": Case(KEYS, command=SIGNED),
    "n2-sign-missing-key-file": Case(KEYS),
    "n3-sign-secret-only": Case(KEYS),
    "n4-sign-no-sign-file": Case(f"rm -f /usr/lib/linux-kbuild-6.1/scripts/sign-file; {KEYS}"),
    "n5-secureboot-on-no-keys": Case(hardware=SECURE_BOOT),
    "n6-secureboot-on-keys": Case(KEYS, hardware=SECURE_BOOT, command=SIGNED),
    "n7-dkms-mok-present-no-option": Case(
        f"{KEYS}; mv /opt/k.key /var/lib/dkms/mok.key; mv /opt/k.der /var/lib/dkms/mok.pub",
        command=f"./nvidia-installer {OPTIONS}",
    ),
    "o1-type-proprietary": Case(),
    "o2-type-proprietary-nogpu": Case(hardware=NO_GPU),
    "o3-no-type-nogpu": Case(hardware=NO_GPU),
    "o4-no-type-5090": Case(),
    "o5-open-missing-in-package": Case("rm -rf /opt/pkg/kernel-open"),
    "o6-proprietary-missing-in-package": Case("rm -rf /opt/pkg/kernel"),
    "r1-x-lock": Case("sleep 60 & printf '%10d\n' $! > /tmp/.X0-lock"),
    "r10-K-over-older": Case(),
    "r2-nouveau-bound": Case(hardware=NOUVEAU),
    "r3-nouveau-bound-allow-running": Case(hardware=NOUVEAU),
    "r4-test-load-fails-over-old": Case(),
    "r6-test-load-fails": Case(),
    "r8-tmp-noexec": Case("mount -o remount,noexec /tmp"),
    "r9-K-over-same": Case(),
}
# They end as another case does, with an option or a piece of hardware more or less: not in every run of the suite.
TWINS = {
    "a-fresh-nogpu", "i4-alternate-available", "j1-ui-none-stdin-null", "j2-ui-none-no-questions",
    "j3-no-options-stdin-null", "k1b-sanity-clean-silent", "l2-driver-info-silent", "l3-driver-info-none",
    "m2-nvidia-uninstall-stdin-null", "m3-uninstall-none", "n5-secureboot-on-no-keys", "o2-type-proprietary-nogpu",
    "o3-no-type-nogpu", "o4-no-type-5090", "r3-nouveau-bound-allow-running", "r9-K-over-same",
}  # fmt: skip
# A script that kills the installer at a moment: the condition to wait for, and what may go on after the kill.
LIB = "/usr/lib/x86_64-linux-gnu/libcuda.so"
KILLED = {
    "q1-kill-during-build-fresh": "grep -qs 'Building kernel modules' /var/log/nvidia-installer.log",
    "q2-kill-during-build-over-old": "grep -qs 'Building kernel modules' /var/log/nvidia-installer.log",
    "q3b-kill-at-dkms-import-3runs": "[ -e /var/lib/dkms/nvidia/595.45.04/source ]",
    "q4-kill-in-file-copy-fresh": f"[ -e {LIB}.595.45.04 ]",
    "q5-kill-in-file-copy-over-old": f"[ -e {LIB}.595.45.04 ]",
    "q6-kill-after-old-uninstalled": f"[ ! -e {LIB}.580.95.05 ]",
}
# Sizes of a small root file system: in the first all space is used up when the files are copied, in the others midway.
# Which write comes first when the space ends depends on the size of the kernel modules, so that there are several.
FULL_DISK = {
    "h1-root-full-fresh-1500k": ("1300k",),
    "h1-root-full-fresh-2200k": ("2200k", "2150k", "2250k"),
    "h1-root-full-fresh-3m": ("2300k", "2350k", "2250k"),
    "h2-root-full-upgrade-1500k": ("1300k",),
    "h2-root-full-upgrade-2500k": ("3100k", "3150k", "3050k"),
}


def recorded(name: str) -> dict[str, t.Any]:
    """Return the recording of a case."""
    result: dict[str, t.Any] = json.loads((FIXTURES / f"{name}.json").read_text())
    return result


def test_every_recording_is_replayed() -> None:
    assert {path.stem for path in FIXTURES.glob("*.json")} == {*CASES, *KILLED, *FULL_DISK}


# The scan of the initramfs runs beside the other steps, the estimate only moves a progress bar.
UNORDERED = (
    "-> Initramfs scan complete",
    "-> Detected N CPUs",
    "-> Kernel messages",
    "-> Failed to estimate output lines",
)


def plain(text: str) -> str:
    """Return a text without what differs from run to run: checksums, process ids, the bars of progress."""
    text = re.sub(
        r"checksum \(\d+\) than when it was installed \(\d+\)", "checksum (N) than when it was installed (N)", text
    )
    text = re.sub(r"process ID '\d+'", "process ID 'N'", text)
    text = re.sub(r"(\r?  \[[# ]+\](?: +\d+%| {5}\x08+))+", "<bar>", text)
    return re.sub(
        r"Detected \d+ CPUs online; setting concurrency level to \d+", "Detected N CPUs online; level N", text
    )


def steps(log: str) -> list[str]:
    """Return the steps, warnings and errors of a log, each by its beginning."""
    lines = [plain(line)[:75] for line in log.splitlines() if line.startswith(("-> ", "ERROR: ", "WARNING: "))]
    return [line for line in lines if not line.startswith(UNORDERED)]


def comparable(state: dict[str, t.Any]) -> dict[str, t.Any]:
    """Return the state of a host, as far as recordings have it."""
    known = ("dkms", "modinfo", "signer", "libraries", "sources", "firmware", "modules", "nouveau_files")
    # The package of the first recordings had no nvidia-modprobe yet.
    programs = [name for name in state["programs"] if name != "nvidia-modprobe"]
    return {**{key: state[key] for key in known}, "programs": programs}


def localized(value: t.Any, kernel: str) -> t.Any:
    """Return the recording with the name of the kernel that this suite's hosts have."""
    return json.loads(json.dumps(value).replace(RECORDED_KERNEL, kernel))


def replay(
    name: str, case: Case, stock: t.Any, driver_host: Callable[..., DriverHost]
) -> tuple[dict[str, t.Any], Outcome]:
    """Prepare a host and run what was recorded."""
    kernel = stock.workshop.kernel
    expected = localized(recorded(name), kernel)
    host = driver_host(expected["on"], **case.hardware)
    for version, start in (("595.45.04", "a-fresh"), ("580.95.05", "a-old")):
        if f"out/nvidia-{version}" in case.prepare:
            source = stock.below(start)[0] / f"usr/src/nvidia-{version}"
            target = host.out / source.name
            target.mkdir()
            for path in source.rglob("*"):
                (target / path.relative_to(source)).parent.mkdir(parents=True, exist_ok=True)
                if path.is_file():
                    (target / path.relative_to(source)).write_bytes(path.read_bytes())
    command = case.command or expected["command"]
    script = f"{case.prepare}\n{command}".replace("KERNEL", kernel)
    limits = dict(case.limits)
    package = stock.old if limits.pop("package", "") == "old" else stock.new
    return expected, host.run(script, package=package, log=case.log, **limits)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.whole] if name in TWINS else []) for name in CASES]
)
def test_recorded_case(name: str, stock: t.Any, driver_host: Callable[..., DriverHost]) -> None:
    case = CASES[name]
    expected, outcome = replay(name, case, stock, driver_host)
    assert outcome.rc == expected["rc"], outcome.stderr + outcome.log
    assert plain(outcome.stderr).rstrip("\n").splitlines() == plain("\n".join(expected["stderr"])).splitlines()
    if "stdout" in expected and not case.command and "stdout" not in case.inexact:
        assert plain(outcome.stdout).rstrip("\n").splitlines() == plain("\n".join(expected["stdout"])).splitlines()
    if "log" in expected:
        assert steps(outcome.log) == steps("\n".join(expected["log"]))
    if "state" in expected:
        assert comparable(outcome.state) == comparable(expected["state"])


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name.startswith("q3b") else [pytest.mark.whole]) for name in KILLED]
)
def test_killed_installation(name: str, stock: t.Any, driver_host: Callable[..., DriverHost]) -> None:
    """A run is killed, and the next runs, of the same package, end as they were seen to end."""
    expected = localized(recorded(name), stock.workshop.kernel)
    run = f"./nvidia-installer {OPTIONS}"
    quiet = "--silent --log-file-name=/tmp/x.log"
    script = f"""
        {REAL_MAKE if "Building" in KILLED[name] else ""}
        {run} & p=$!
        until {KILLED[name]} || ! kill -0 $p 2>/dev/null; do sleep 0.01; done
        kill -9 $p; wait $p; echo "killed run: status $?"
        while pgrep -f 'dkms|make -k|nvidia-uninstall' >/dev/null; do sleep 0.1; done
        dkms status | grep nvidia/
        ./nvidia-installer --sanity {quiet}; echo "sanity rc=$?"
        ./nvidia-installer --driver-info {quiet}; echo "driver-info rc=$?"
        {run}; echo "second run: status $?"
    """
    if "third run: status 0" in expected["stdout"]:
        script += f'dkms status | grep nvidia/; {run}; echo "third run: status $?"'
    seen = driver_host(expected["on"]).run(script, package=stock.new)
    lines = [line.replace("driverinfo", "driver-info") for line in expected["stdout"]]
    assert seen.stdout.splitlines() == lines, seen.stderr
    assert comparable(seen.state) == comparable(expected["state"])
    for text in complaints(expected["stderr"]):
        assert text in seen.stderr


def complaints(stderr: list[str]) -> list[str]:
    """Return the installer's own lines of a recorded stderr; others are of the shell and of the tools that looked."""
    return [line for line in stderr if line.startswith(("ERROR: ", "WARNING: "))]


@pytest.mark.parametrize("name", FULL_DISK)
def test_full_disk(name: str, stock: t.Any, driver_host: Callable[..., DriverHost]) -> None:
    """Exit status 0 with a truncated driver, or death by SIGBUS; an old driver is gone either way."""
    expected = recorded(name)
    for size in FULL_DISK[name]:
        seen = driver_host(expected["on"]).run(f"./nvidia-installer {OPTIONS}", package=stock.new, root_size=size)
        if seen.rc == expected["rc"]:
            break
    assert seen.rc == expected["rc"]
    kinds = {re.split("['`]", line)[0] for line in complaints(expected["stderr"])}
    assert {re.split("['`]", line)[0] for line in complaints(seen.stderr.splitlines())} == kinds
    if expected["rc"] == 0:
        assert "Diff between built and installed module" in seen.state["dkms"][0]
    else:
        own = [line for line in seen.stderr.splitlines() if line != "Bus error"]  # the shell's word for the status
        assert own == expected["stderr"]
        assert "is now complete." not in seen.log
    assert not [library for library in seen.state["libraries"] if "580.95.05" in library]


def test_other_version(stock: t.Any, driver_host: Callable[..., DriverHost]) -> None:
    """Texts and files follow the version of the package; a rebuild by DKMS alone works too."""
    version = "580.178.04"
    package = stock.workshop.package(build_driver_run(version, stock.workshop.directory))
    kernel = stock.workshop.kernel
    rebuild = f"dkms remove nvidia/{version} -k {kernel} && dkms install nvidia/{version} -k {kernel} >/dev/null"
    seen = driver_host().run(f"./nvidia-installer {OPTIONS} && {rebuild}", package=package)
    assert seen.rc == 0, seen.stderr
    product = "NVIDIA Accelerated Graphics Driver for Linux-x86_64"
    assert seen.log.splitlines()[-1] == f"-> Installation of the {product} (version: {version}) is now complete."
    assert seen.state["modinfo"] == [version, f"/lib/modules/{kernel}/updates/dkms/nvidia.ko", "Dual MIT/GPL"]
    assert seen.state["dkms"] == [f"nvidia/{version}, {kernel}, x86_64: installed"]


def test_says_what_it_is(driver_host: Callable[..., DriverHost]) -> None:
    """No program of the stand-in passes for NVIDIA's, and none reports a GPU."""
    script = (
        "nvidia-smi; echo $?; nvidia-smi --version; nvidia-persistenced --user x; echo $?; nvidia-modprobe; echo $?"
    )
    seen = driver_host("a-fresh").run(script, package=None, log="/var/log/nvidia-installer.log")
    assert "couldn't communicate with the NVIDIA driver" in seen.stdout
    assert seen.stdout.splitlines()[2] == "9"
    assert "gpulab stand-in, not NVIDIA software" in seen.stdout
    assert seen.stdout.splitlines()[-2:] == ["1", "1"]
    assert "gpulab stand-in, not NVIDIA software" in "\n".join(seen.log.splitlines()[:6])
