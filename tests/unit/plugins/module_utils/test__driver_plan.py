# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""States in, steps and refusals out."""

from __future__ import annotations

import dataclasses
import typing as t

import pytest

import driver_states
from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_files as files
from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_journal as journals
from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_state as states
from ansible_collections.gpulab.workstation.plugins.module_utils import _gpu_facts as gpu
from ansible_collections.gpulab.workstation.plugins.module_utils import _host_facts as hosts
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_change import installer_arguments
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_files import UNIT_NAME
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_journal import Journal, Phase
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_plan import plan_driver
from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._in_the_way import Blocker, RefusalError
from driver_states import (
    CARD,
    GB,
    KERNEL,
    OLD,
    VERSION,
    bare,
    described,
    good,
    gpu_facts,
    host_facts,
    kernel,
    module,
    wanted,
)

NEXT = "6.17.0-5-generic"
OLD_SHA = "c" * 64
CONTAINER = hosts.Machine("container", "podman")
JOB = gpu.Holder(4711, "python3", "ada", "job", ("/dev/nvidia0",))
XORG = gpu.Holder(901, "Xorg", "root", "display", ("/dev/nvidia0",))
DAEMON = gpu.Holder(812, "nvidia-persiste", "root", "service", ("/dev/nvidia0",))
MONITOR = gpu.Holder(700, "nv-hostengine", "root", "service", ("/dev/nvidiactl",))
LOGIN = hosts.Session("ada", "ssh from 10.0.0.7", 900)


def actions(found: states.DriverState, /, **ask: t.Any) -> list[str]:
    return [step.action for step in plan_driver(found, wanted(**ask)).steps]


def upgraded(**changes: t.Any) -> states.DriverState:
    """Return a host that another version of the driver serves well."""
    record, marker = states.Record(OLD, "d0"), states.Marker(OLD, "open", OLD_SHA, "d0")
    entry = states.DkmsEntry(OLD, KERNEL, "installed")
    state = good(
        record=record, marker=marker, dkms=(entry,), kernels=(kernel(module=module(OLD)),), firmware=(OLD,),
        gpu=gpu_facts(driver_loaded=module(OLD, kernel="")), strays=(),
        installed=described(OLD, OLD_SHA), kept=frozenset({OLD_SHA}),
    )  # fmt: skip
    return dataclasses.replace(state, **changes)


def in_the_way(found: states.DriverState, /, **ask: t.Any) -> list[Blocker]:
    with pytest.raises(RefusalError) as caught:
        plan_driver(found, wanted(**ask))
    return list(caught.value.blockers)


def refusal(found: states.DriverState, /, **ask: t.Any) -> str:
    with pytest.raises(OperatorError) as caught:
        plan_driver(found, wanted(**ask))
    assert "Nothing has been changed" in caught.value.action
    return str(caught.value)


def test_a_host_that_is_as_wanted_needs_nothing() -> None:
    plan = plan_driver(good(), wanted())
    assert plan.steps == ()
    assert plan.before == plan.after
    assert plan.reboot_reasons == ()


def test_a_fresh_host_with_nouveau_is_installed_beside_it_and_restarted_once() -> None:
    plan = plan_driver(bare(), wanted())
    assert [step.action for step in plan.steps] == [
        "fetch", "packages", "extract", "begin", "file", "file", "file", "file", "install", "tidy", "prove", "service",
        "commit",
    ]  # fmt: skip
    install = next(step for step in plan.steps if step.action == "install")
    assert "--allow-installation-with-running-driver" in install.params["arguments"]
    assert "--skip-module-load" in install.params["arguments"]
    assert plan.reboot_reasons == (f"nouveau is loaded and holds {CARD.address}",)
    assert plan.steps[1].params["names"] == [
        "dkms", "gcc", "gcc-13", "libc6-dev", f"linux-headers-{KERNEL}", "linux-headers-generic", "make",
    ]  # fmt: skip


def test_a_display_manager_on_nouveau_is_not_disturbed_and_does_not_stop_the_installation() -> None:
    state = bare(host=host_facts(desktop_running=True, display_manager="gdm3", sessions=(LOGIN,)))
    assert "install" in actions(state)


def test_an_idle_driver_is_replaced_and_loaded_without_a_restart() -> None:
    plan = plan_driver(upgraded(gpu=gpu_facts(driver_loaded=module(OLD, kernel=""), processes=(DAEMON,))), wanted())
    assert [step.action for step in plan.steps] == [
        "fetch", "extract", "try_build", "begin", "install", "tidy", "prove", "load", "service", "commit",
    ]  # fmt: skip
    install = next(step for step in plan.steps if step.action == "install")
    assert install.params["services"] == [UNIT_NAME]
    assert "--skip-module-load" not in install.params["arguments"]
    assert plan.reboot_reasons == ()


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"gpu": gpu_facts(driver_loaded=module(OLD, kernel=""), processes=(DAEMON, JOB))}, "gpu_process",
         "python3 (pid 4711, ada)"),
        ({"gpu": gpu_facts(driver_loaded=module(OLD, kernel=""), processes=(XORG,))}, "desktop",
         "Xorg (pid 901, root)"),
        ({"host": host_facts(desktop_running=True, display_manager="gdm3")}, "desktop", "the desktop (gdm3)"),
        ({"host": host_facts(sessions=(LOGIN,))}, "user", "ada (ssh from 10.0.0.7)"),
        ({"gpu": gpu_facts(driver_loaded=module(OLD, kernel=""), processes=(DAEMON, MONITOR))}, "gpu_process",
         "nv-hostengine (pid 700, root)"),
        ({"gpu": gpu_facts(driver_loaded=module(OLD, kernel=""), dependents=("nvidia_drm", "nvidia_fs"))}, "host",
         "the kernel module nvidia_fs, which uses it"),
    ],
    ids=["job", "x-server", "desktop", "user", "monitor", "module"],
)  # fmt: skip
def test_people_come_before_a_driver_change(changes: dict[str, t.Any], kind: str, words: str) -> None:
    state = upgraded(**changes)
    assert words in refusal(state)
    assert in_the_way(state) == [Blocker(kind, words, yields_to_force=True)]
    plan = plan_driver(state, wanted(allow_running=True))
    install = next(step for step in plan.steps if step.action == "install")
    assert "--allow-installation-with-running-driver" in install.params["arguments"]
    assert "--skip-module-load" in install.params["arguments"]
    assert not {"load", "service"} & {step.action for step in plan.steps}
    assert install.params["services"] == []  # a daemon of the new version could not talk to the loaded module
    assert plan.reboot_reasons == (f"driver {OLD} (open) is loaded, {VERSION} is installed",)


def test_a_refusal_that_has_another_reason_too_says_so_for_whoever_waits() -> None:
    state = upgraded(host=host_facts(sessions=(LOGIN,), places=SYSTEM))
    found = in_the_way(state)
    assert [blocker.kind for blocker in found] == ["user", "host"]
    assert found[1].words.startswith("no directory to unpack the driver in")
    assert not found[1].yields_to_force


def test_the_drivers_own_services_are_stopped_where_its_module_goes_and_nothing_else_is() -> None:
    both = (UNIT_NAME, "nvidia-powerd.service")
    steps = {step.action: step.params for step in plan_driver(upgraded(services=both, marker=None), wanted()).steps}
    assert steps["uninstall"] == {"busy": False, "services": list(both)}
    assert steps["install"]["services"] == list(both)
    state = upgraded(services=both, marker=None, host=host_facts(desktop_running=True))
    steps = {step.action: step.params for step in plan_driver(state, wanted(allow_running=True)).steps}
    assert steps["uninstall"] == {"busy": True, "services": []}
    assert steps["install"]["services"] == []


def test_where_nobody_is_in_the_way_no_restart_is_forced_upon_the_host() -> None:
    assert actions(upgraded(), allow_running=True) == actions(upgraded())
    assert plan_driver(upgraded(), wanted(allow_running=True)).reboot_reasons == ()


@pytest.mark.parametrize("force", [False, True], ids=["by-itself", "forced"])
def test_where_no_module_is_loaded_nobody_keeps_the_new_one_from_being_tried(force: bool) -> None:  # noqa: FBT001
    """After a power cut in the middle, with a desktop: it is loaded and noted in one run, and nobody is refused."""
    half = Journal(Phase.REPLACING, journals.describe(wanted()), None)
    state = bare(
        gpu=gpu_facts(driver_loaded=None), host=host_facts(desktop_running=True), journal=half,
        kernels=(kernel(module=None),),
    )  # fmt: skip
    order = actions(state, allow_running=force)
    assert order.index("install") < order.index("load") < order.index("commit")


def test_the_session_that_provisions_is_nobody() -> None:
    own = dataclasses.replace(LOGIN, own=True)
    assert "install" in actions(upgraded(host=host_facts(sessions=(own,))))


def test_a_missing_module_for_the_next_kernel_disturbs_nobody() -> None:
    state = good(
        kernels=(kernel(), kernel(NEXT, module=None, headers=None)),
        gpu=gpu_facts(processes=(JOB,)),
        host=host_facts(sessions=(LOGIN,)),
    )
    plan = plan_driver(state, wanted())
    assert [(step.action, step.params) for step in plan.steps] == [
        ("packages", {"names": [f"linux-headers-{NEXT}"]}),
        ("build", {"kernel": NEXT}),
    ]


def test_a_kernel_that_waits_for_its_module_half_installed_is_finished_by_dpkg() -> None:
    """Apt is not asked for its headers again: DKMS would have to build the old driver for it, and fail once more."""
    waiting = (f"linux-headers-{NEXT}", f"linux-image-{NEXT}")
    installed = good().installed_packages | set(waiting)
    state = good(kernels=(kernel(), kernel(NEXT, module=None)), installed_packages=installed, unconfigured=waiting)
    assert actions(state) == ["build", "configure"]
    newer = actions(upgraded(kernels=state.kernels, installed_packages=installed, unconfigured=waiting))
    assert newer[-2:] == ["commit", "configure"]  # what dpkg says against it takes no driver back
    assert "packages" not in newer


def test_an_excepted_kernel_that_waits_is_left_to_wait() -> None:
    waiting, metapackage = (f"linux-headers-{NEXT}", f"linux-image-{NEXT}"), "linux-image-generic"
    state = good(kernels=(kernel(), kernel(NEXT, module=None)), unconfigured=(metapackage, *waiting),
                 installed=described(ignored_kernels=[NEXT]))  # fmt: skip
    assert actions(state, ignored_kernels=[NEXT]) == []
    other = dataclasses.replace(state, unconfigured=(*state.unconfigured, f"linux-image-{KERNEL}"))
    assert actions(other, ignored_kernels=[NEXT]) == ["configure"]
    assert actions(good(unconfigured=(metapackage,))) == ["configure"]


def test_every_kernel_gets_its_module_and_all_are_tried_before_the_old_driver_is_touched() -> None:
    state = upgraded(kernels=(kernel(module=module(OLD)), kernel(NEXT, module=module(OLD, kernel=NEXT))))
    plan = plan_driver(state, wanted())
    tried = next(step for step in plan.steps if step.action == "try_build")
    assert tried.params["kernels"] == [KERNEL, NEXT]
    order = [step.action for step in plan.steps]
    assert order.index("try_build") < order.index("begin") < order.index("install") < order.index("build")
    assert next(step for step in plan.steps if step.action == "build").params == {"kernel": NEXT}


@pytest.mark.parametrize(
    ("changes", "forgotten", "tried"),
    [
        ({"record": None, "marker": None}, True, True),
        ({"record": states.Record(None, "d"), "marker": None}, True, True),
        ({"record": states.Record(OLD, "d"), "marker": None}, True, True),
        ({"marker": None}, False, True),
    ],
    ids=["record-lost", "killed-at-dkms-import", "of-another-version", "its-own"],
)
def test_dkms_entries_that_the_record_does_not_claim_go_first(
    changes: dict[str, t.Any],
    forgotten: bool,  # noqa: FBT001
    tried: bool,  # noqa: FBT001
) -> None:
    """Cases g5, g6 and q3: else `dkms ldtarball` fails and nvidia-installer ends with 0 and no module."""
    order = actions(good(**changes))
    assert ("forget" in order) is forgotten
    assert ("try_build" in order) is tried
    if forgotten:
        assert order.index("try_build") < order.index("forget") < order.index("install")


@pytest.mark.parametrize(
    ("state", "cleared"),
    [
        (good(marker=None), ["uninstall", "sweep"]),
        (good(sanity="x differs"), ["uninstall", "sweep"]),
        (good(record=None, leftovers=("/usr/bin/nvidia-smi",)), ["sweep"]),
        (upgraded(marker=None), ["uninstall", "sweep"]),
        (upgraded(), []),
        (bare(), []),
    ],
    ids=["killed-while-copying", "altered", "record-lost", "unproven-other", "proven-other", "fresh"],
)
def test_what_the_installer_would_keep_goes_before_it(state: states.DriverState, cleared: list[str]) -> None:
    """Cases q4, q5 and k2: it makes backups of files that it finds and puts them back at its uninstallation."""
    order = actions(state)
    assert [step for step in order if step in ("uninstall", "sweep")] == cleared
    if cleared:
        assert order.index("try_build") < order.index(cleared[0]) < order.index("install")


def test_the_distributions_driver_is_purged_by_name_after_the_build_was_tried() -> None:
    packages = (gpu.Package("libnvidia-compute-535", "535.183"), gpu.Package("nvidia-driver-535", "535.183"))
    state = bare(
        gpu=gpu_facts(driver_loaded=None, libraries=(), packages=packages),
        kernels=(kernel(module=module("535.183.01")),),
    )
    plan = plan_driver(state, wanted())
    purge = next(step for step in plan.steps if step.action == "purge")
    assert purge.params == {"names": ["libnvidia-compute-535", "nvidia-driver-535"]}
    order = [step.action for step in plan.steps]
    assert order.index("try_build") < order.index("purge") < order.index("install")
    assert "libnvidia-compute-535, nvidia-driver-535" in refusal(state, replace_distro_driver=False)
    assert "would also remove cuda-demo" in refusal(dataclasses.replace(state, collateral=("cuda-demo",)))


def test_debians_driver_is_kept_until_the_build_was_tried_though_its_modules_have_other_names() -> None:
    packages = (gpu.Package("nvidia-kernel-dkms", "535.309"),)
    state = bare(gpu=gpu_facts(driver_loaded=None, libraries=(), packages=packages), kernels=(kernel(module=None),))
    order = [step.action for step in plan_driver(state, wanted()).steps]
    assert order.index("try_build") < order.index("begin") < order.index("purge")


def test_what_is_nothing_without_a_driver_goes_with_it_and_the_toolkit_stays() -> None:
    packages = (gpu.Package("cuda-drivers", "575.57"), gpu.Package("nvidia-open", "575.57"))
    names = (
        "cuda",
        "cuda-12-9",
        "cuda-demo-suite-12-9",
        "cuda-runtime-12-9",
        "glx-alternative-nvidia",
        "glx-diversions",
    )
    state = bare(gpu=gpu_facts(driver_loaded=None, libraries=(), packages=packages), collateral=names)
    purge = next(step for step in plan_driver(state, wanted()).steps if step.action == "purge")
    assert purge.params == {"names": ["cuda-drivers", "nvidia-open", *names]}
    with_more = dataclasses.replace(state, collateral=(*names, "cuda-toolkit-12-9", "hashcat-nvidia"))
    assert "would also remove cuda-toolkit-12-9, hashcat-nvidia." in refusal(with_more)


def boot(free: int, **changes: bool) -> hosts.HostFacts:
    """Return a host with a /boot of its own."""
    place = hosts.Place("/boot", "/boot", "ext4", free, 10**9, **{"noexec": False, "read_only": False, **changes})
    return host_facts(places=(*host_facts().places, place))


@pytest.mark.parametrize(
    ("host", "words"),
    [
        (boot(129_000_000), "/boot has 129 MB free"),
        (boot(10**9, read_only=True), "/boot is read-only"),
        (boot(131_000_000), ""),
    ],
    ids=["full", "read-only", "enough"],
)
def test_a_boot_that_cannot_take_another_initramfs_is_refused_before_the_driver_is_touched(
    host: hosts.HostFacts, words: str
) -> None:
    image = states.Initramfs("/boot/initrd.img", 20.0, ("nouveau",), has_our_settings=True, size=100_000_000)
    state = bare(host=host, kernels=(kernel(module=None, initramfs=image),))
    if words:
        found = refusal(state)
        assert words in found
        assert "130 MB" in found
        without = dataclasses.replace(image, modules=())
        state = dataclasses.replace(state, kernels=(kernel(module=None, initramfs=without),))
    assert plan_driver(state, wanted()).steps, "an image without graphics drivers is not written anew"


def test_a_change_that_is_under_way_is_not_refused_for_boot() -> None:
    """The old driver has gone; a killed update-initramfs has left half an image there, which it overwrites."""
    image = states.Initramfs("/boot/initrd.img", 20.0, ("nouveau",), has_our_settings=True, size=100_000_000)
    half = Journal(Phase.REPLACING, journals.describe(wanted()), None)
    state = bare(host=boot(100_000_000), kernels=(kernel(module=None, initramfs=image),), journal=half)
    assert "initramfs" in actions(state)


def test_an_alternate_mark_without_a_package_is_refused() -> None:
    assert "alternate-install-present" in refusal(bare(alternate_mark=True))


def test_other_versions_in_dkms_go_when_they_are_found() -> None:
    entries = (states.DkmsEntry(VERSION, KERNEL, "installed"), states.DkmsEntry(OLD, KERNEL, "built"))
    plan = plan_driver(good(dkms=entries), wanted())
    assert [(step.action, step.params) for step in plan.steps] == [("forget", {"version": OLD})]


def test_libraries_of_other_versions_go_when_they_are_found() -> None:
    stray = (f"/usr/lib/x86_64-linux-gnu/libcuda.so.{OLD}", OLD)
    plan = plan_driver(good(strays=(stray, (f"/usr/lib/x86_64-linux-gnu/libcuda.so.{VERSION}", VERSION))), wanted())
    assert [(step.action, step.params) for step in plan.steps] == [("strays", {"paths": [stray[0]]})]


def place(path: str, **changes: t.Any) -> hosts.Place:
    known = hosts.Place(
        path, changes.pop("mount_point", "/"), "ext4", 500 * GB, 900 * GB, noexec=False, read_only=False
    )
    return dataclasses.replace(known, **changes)


SYSTEM = (place("/usr"), place("/lib/modules"), place("/var/lib"))


@pytest.mark.parametrize(
    ("places", "words"),
    [
        ((*SYSTEM, place("/var/cache/gpulab", noexec=True, mount_point="/var"), place("/opt", free_bytes=GB)),
         ["/var/cache/gpulab on /var (noexec, 500,000 MB free)", "/opt on / (1,000 MB free)", "3,200 MB free"]),
        ((*SYSTEM, place("/var/cache/gpulab", read_only=True), place("/opt", noexec=True)), ["read-only"]),
        ((place("/usr", free_bytes=GB), *SYSTEM[1:], place("/opt")), ["1,000 MB free on /", "2,000 MB for the driver"]),
        ((place("/usr", mount_point="/usr", read_only=True), *SYSTEM[1:], place("/opt")), ["/usr is read-only"]),
        (SYSTEM, ["no candidate could be read"]),
    ],
    ids=["noexec-and-full", "read-only-work", "full-system", "read-only-system", "unreadable"],
)  # fmt: skip
def test_a_disk_that_cannot_take_the_driver_is_refused_with_figures(
    places: tuple[hosts.Place, ...], words: list[str]
) -> None:
    found = refusal(bare(host=host_facts(places=places)))
    assert all(word in found for word in words)


def test_the_first_directory_that_will_do_is_taken() -> None:
    places = (*SYSTEM, place("/var/cache/gpulab", noexec=True), place("/opt"))
    plan = plan_driver(bare(host=host_facts(places=places)), wanted())
    assert next(s for s in plan.steps if s.action == "extract").params == {"directory": "/opt/gpulab-driver"}


def secure(*keys: hosts.SigningKey) -> hosts.HostFacts:
    return host_facts(secure_boot=hosts.SecureBoot("on", "EFI variable", keys))


@pytest.mark.parametrize(
    ("state", "ask", "words"),
    [
        (bare(host=secure()), {}, "Secure Boot is on"),
        (bare(host=secure(hosts.SigningKey("/var/lib/dkms/mok.pub", enrolled=False))), {}, "Secure Boot is on"),
        (bare(host=secure(), signing=(False, True, True)), {"signing_key": "/k", "signing_certificate": "/c"},
         "/c is not enrolled"),
        (bare(signing=(None, False, True)), {"signing_key": "/k", "signing_certificate": "/c"},
         "/k are not on this host"),
        (bare(host=host_facts(root=False, user="ada")), {}, "this runs as ada"),
        (bare(kernels=()), {}, "no kernel is installed"),
        (bare(installers=(states.Process(99, "/root/Downloads"),)), {}, "pid 99 in /root/Downloads"),
    ],
    ids=["no-key", "key-not-enrolled", "given-not-enrolled", "key-missing", "not-root", "no-kernel",
         "foreign-installer"],
)  # fmt: skip
def test_refusals(state: states.DriverState, ask: dict[str, t.Any], words: str) -> None:
    assert words in refusal(state, **ask)


def test_a_whole_module_that_another_key_has_signed_is_built_again_and_no_more() -> None:
    ours = hosts.SigningKey("/var/lib/dkms/mok.pub", enrolled=True, serial=1)
    kernels = (
        kernel(module=module(signer="lab", key=1)),
        kernel(NEXT, module=module(kernel=NEXT, signer="DKMS", key=2)),
    )
    dkms = tuple(states.DkmsEntry(VERSION, each.release, "installed") for each in kernels)
    packages = good().installed_packages | {f"linux-headers-{NEXT}"}
    state = good(host=secure(ours), kernels=kernels, dkms=dkms, installed_packages=packages)
    [step] = plan_driver(state, wanted()).steps
    assert (step.action, step.params) == ("build", {"kernel": NEXT, "again": True})


def test_a_module_that_any_enrolled_key_has_signed_is_as_it_should_be() -> None:
    """Also with that of another pair than DKMS's own, which a pair of the system's before may have been."""
    own = hosts.SigningKey("/var/lib/shim-signed/mok/MOK.der", enrolled=True, serial=1)
    dkms = hosts.SigningKey("/var/lib/dkms/mok.pub", enrolled=True, serial=2)
    host = dataclasses.replace(secure(own, dkms), dkms_pair=hosts.UBUNTU_PAIR)
    state = good(host=host, kernels=(kernel(module=module(signer="DKMS", key=2)),))
    assert plan_driver(state, wanted()).steps == ()
    stranger = dataclasses.replace(secure(own, dataclasses.replace(dkms, enrolled=False)), dkms_pair=hosts.UBUNTU_PAIR)
    assert [step.action for step in plan_driver(dataclasses.replace(state, host=stranger), wanted()).steps] == ["build"]


@pytest.mark.parametrize(
    ("state", "ask"),
    [
        (bare(host=secure(), signing=(True, True, True)), {"signing_key": "/k", "signing_certificate": "/c"}),
        (bare(host=secure(hosts.SigningKey("/var/lib/dkms/mok.pub", enrolled=True))), {}),
        (bare(host=dataclasses.replace(secure(), machine=CONTAINER)), {}),
        (bare(installers=(states.Process(99, "/var/cache/gpulab/gpulab-driver/package"),)), {}),
    ],
    ids=["given-enrolled", "dkms-key-enrolled", "container", "our-own-orphan"],
)
def test_what_is_no_reason_to_refuse(state: states.DriverState, ask: dict[str, t.Any]) -> None:
    assert "install" in actions(state, **ask)


def test_all_reasons_are_told_at_once() -> None:
    found = refusal(bare(host=dataclasses.replace(secure(), places=SYSTEM), alternate_mark=True))
    assert "Secure Boot" in found
    assert "unpack" in found
    assert "alternate" in found


@pytest.mark.parametrize(
    ("state", "ask", "present", "absent"),
    [
        (bare(host=host_facts(running_kernel="5.10.1", machine=CONTAINER)), {},
         [f"--kernel-name={KERNEL}", "--skip-module-load"], []),
        (bare(host=host_facts(running_kernel="6.8.0-49-generic")), {},
         [f"--kernel-name={KERNEL}", "--skip-module-load"], []),
        (bare(gpu=gpu_facts(driver_loaded=None, libraries=())), {}, ["--silent", "--dkms", "--no-x-check"],
         ["--skip-module-load", f"--kernel-name={KERNEL}", "--allow-installation-with-running-driver"]),
        (bare(), {"flavour": "proprietary"}, ["proprietary"], ["open"]),
        (bare(), {"compat32": True}, [], ["--no-install-compat32-libs"]),
        (bare(signing=(True, True, True)), {"signing_key": "/k", "signing_certificate": "/c"},
         ["--module-signing-secret-key=/k", "--module-signing-public-key=/c"], []),
    ],
    ids=["container", "kernel-upgraded-yesterday", "idle-host", "proprietary", "32-bit", "signed"],
)  # fmt: skip
def test_the_installers_command_line(
    state: states.DriverState, ask: dict[str, t.Any], present: list[str], absent: list[str]
) -> None:
    arguments = installer_arguments(state, wanted(**ask))
    assert set(present) <= set(arguments)
    assert not set(absent) & set(arguments)


def test_the_newest_kernel_is_served_where_the_running_one_is_not_installed() -> None:
    state = bare(
        kernels=(kernel("6.8.0-9-generic"), kernel("6.8.0-51-generic")), host=host_facts(running_kernel="6.8.0-1-x")
    )
    assert state.target is not None
    assert state.target.release == "6.8.0-51-generic"


def test_a_container_is_never_told_to_restart() -> None:
    state = bare(host=host_facts(running_kernel="5.10.1", machine=CONTAINER))
    assert plan_driver(state, wanted()).reboot_reasons == ()


def test_a_card_without_its_module_gets_it_loaded() -> None:
    assert actions(good(gpu=gpu_facts(driver_loaded=None), services=())) == ["load", "service"]
    assert actions(good(gpu=gpu_facts(driver_loaded=None, devices=()), services=())) == []


def test_a_stand_in_is_loaded_without_a_card_where_it_can_be() -> None:
    standin = wanted(release={**driver_states.RELEASE, "standin": True})
    gone = good(gpu=gpu_facts(driver_loaded=None, devices=()), services=(), installed=journals.describe(standin))
    assert [step.action for step in plan_driver(gone, standin).steps][:1] == ["load"]
    assert "service" not in [step.action for step in plan_driver(gone, standin).steps]  # the daemon waits for a card
    container = dataclasses.replace(gone, host=host_facts(machine=CONTAINER, running_kernel="5.10.1"))
    assert "load" not in [step.action for step in plan_driver(container, standin).steps]


@pytest.mark.parametrize(
    ("state", "ask", "start"),
    [
        (upgraded(), {}, True),
        (good(services=()), {}, True),
        (bare(), {}, False),
        (upgraded(account=False, gpu=gpu_facts(driver_loaded=module(OLD, kernel=""), processes=(JOB,))),
         {"allow_running": True}, False),
    ],
    ids=["loaded-anew", "loaded", "nouveau", "beside-another"],
)  # fmt: skip
def test_the_daemon_is_only_started_for_the_module_of_its_version(
    state: states.DriverState,
    ask: dict[str, t.Any],
    start: bool,  # noqa: FBT001
) -> None:
    steps = {step.action: step.params for step in plan_driver(state, wanted(**ask)).steps}
    assert steps["service"] == {"start": start}


def test_a_service_that_is_down_is_started() -> None:
    assert actions(good(services=())) == ["service"]
    beside = good(services=(), gpu=gpu_facts(driver_loaded=module(OLD, kernel="")))
    assert actions(beside) == []  # it would not start before the restart
    assert actions(good(unit_enabled=False)) == ["service"]
    systemless = good(
        host=host_facts(tools=()),
        unit_enabled=False,
        files={k: v for k, v in good().files.items() if "systemd" not in k},
    )
    assert actions(systemless) == []


def test_settings_that_change_reach_the_initramfs() -> None:
    image = states.Initramfs("/boot/initrd.img", 20.0, ("nouveau",), has_our_settings=True)
    state = good(kernels=(kernel(initramfs=image),))
    assert actions(state, module_options={"nvidia-drm": {"modeset": 0}}) == ["file", "initramfs", "commit"]


def test_removal_leaves_nothing_and_says_so_the_second_time() -> None:
    leftovers = ("/var/lib/nvidia", f"/usr/src/nvidia-{VERSION}")
    mine = ("/usr/lib/modprobe.d/nvidia-installer-disable-nouveau.conf",)
    state = good(leftovers=leftovers, installer_files=mine)
    assert actions(state, state="absent") == [
        "disable", "uninstall", "forget", "sweep", "file", "account", "file", "file", "file", "file",
    ]  # fmt: skip
    assert plan_driver(state, wanted(state="absent")).reboot_reasons == (
        f"driver {VERSION} is removed but still loaded",
    )
    gone = bare(installed_packages=good().installed_packages)
    assert actions(gone, state="absent") == []


def test_a_removal_that_was_killed_among_its_last_steps_is_finished() -> None:
    """The account goes before our files, by which it is known to be ours; directories may be empty already."""
    left = {files.MODPROBE: "x"}
    half = bare(files=left, account=True, kernels=(), installed_packages=good().installed_packages)
    assert actions(half, state="absent") == ["account", "file"]
    assert actions(bare(account=True, kernels=()), state="absent") == []
    assert actions(bare(cached=("/var/cache/gpulab",), kernels=()), state="absent") == ["caches"]


def test_removal_leaves_the_distributions_driver_alone() -> None:
    packages = (gpu.Package("nvidia-driver-535", "535.183"),)
    state = bare(gpu=gpu_facts(packages=packages), leftovers=("/usr/src/nvidia-535.183.01",), account=True,
                 dkms=(states.DkmsEntry("535.183.01", KERNEL, "installed"),))  # fmt: skip
    assert actions(state, state="absent") == []


def test_removal_waits_for_people() -> None:
    assert "python3 (pid 4711, ada)" in refusal(good(gpu=gpu_facts(processes=(JOB,))), state="absent")
