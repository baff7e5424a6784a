# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeping a way back, going it, and what the account of it says; the whole of it runs on hosts in tests/faults."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

import driverhost
import recorded
from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_files as files
from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_findings as findings
from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_journal as journals
from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_rollback as rollback
from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_state as states
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_journal import Journal, Phase
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_reader import read_driver
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_wanted import Wanted
from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._plan import Step
from driver_states import RELEASE, SHA, VERSION, described, wanted
from fakehost import FakeHost

NEW = "590.48.01"
FILE = f"/var/cache/gpulab/{SHA[:12]}/{RELEASE['file']}"


def new(host: FakeHost, text: str = "new") -> Wanted:
    """Return the wish for another driver, whose .run is in the cache."""
    host.add("/srv/new.run", text)
    digest = host.sha256("/srv/new.run") or ""
    host.add(f"/var/cache/gpulab/{digest[:12]}/new.run", text)
    return wanted(release={"version": NEW, "file": "new.run", "sha256": digest, "sources": []})


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    """Return a host on which a driver is installed, proven, and kept."""
    host = FakeHost(tmp_path)
    driverhost.add_driver(host)
    host.commands["cp"] = lambda command: copy(host, command)
    return host


def copy(host: FakeHost, command: tuple[str, ...]) -> tuple[int, str, str]:
    host.write_chunks(command[-1], [host.read_bytes(command[-2]) or b""])
    return 0, "", ""


def loaded(host: FakeHost, version: str) -> None:
    """Have a machine's own kernel run with the module of a driver."""
    host.commands["systemd-detect-virt"] = (1, "none\n", "")
    host.remove("/run/systemd/container")
    host.add("/proc/sys/kernel/osrelease", f"{driverhost.KERNEL}\n")
    words = f"NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  {version}  Release Build\n"
    host.add("/proc/driver/nvidia/version", words)


def account(host: FakeHost) -> Journal:
    journal = rollback.read_journal(host)
    assert journal is not None
    return journal


def fail(host: FakeHost, ask: Wanted, action: str, applied: list[str] | None = None) -> str:
    """Let a step fail and return what the operator reads."""
    error = OperatorError(found="the disk is full.", expected="room.", action="free some.")
    applied = [] if applied is None else applied
    with pytest.raises(OperatorError) as caught:
        rollback.after_failure(host, ask, Step(action, ""), error, lambda _, step: applied.append(step.action))
    return str(caught.value)


def test_a_commit_keeps_the_run_and_drops_what_no_way_back_leads_to(host: FakeHost) -> None:
    ask = new(host)
    host.add(f"{journals.KEPT}/dddddddddddd/older.run", "x")
    rollback.begin(host, ask, described())
    rollback.commit(host, ask, lambda _: None, awaits_restart=False)
    assert ask.artefact is not None
    assert host.listdir(journals.KEPT) == sorted([ask.artefact.sha256[:12], SHA[:12]])
    assert account(host).phase is Phase.DONE
    assert journals.parse_installed(host.read_text(journals.INSTALLED)) == {**journals.describe(ask), "sources": []}
    before = driverhost.tree(host)
    rollback.commit(host, ask, lambda _: None, awaits_restart=False)
    assert driverhost.tree(host) == before


def test_a_driver_that_waits_for_its_restart_is_noted_with_the_boot(host: FakeHost) -> None:
    host.add("/proc/sys/kernel/random/boot_id", "8ffc94db-e9f7-4eb4-8699-ebb6c3e39429\n")
    host.add("/proc/1/stat", "1 (systemd) S " + " ".join(map(str, range(4, 30))))
    ask = new(host)
    rollback.begin(host, ask, described())
    rollback.commit(host, ask, lambda _: None, awaits_restart=True)
    assert account(host).phase is Phase.INSTALLED
    assert account(host).boot.startswith("8ffc94db-e9f7-4eb4-8699-ebb6c3e39429/")
    rollback.commit(host, ask, lambda _: None, awaits_restart=False)
    assert [event.phase for event in account(host).events] == ["replacing", "installed", "done"]


def test_a_change_that_was_killed_goes_on_in_its_account(host: FakeHost) -> None:
    ask = new(host)
    for _ in range(2):
        rollback.begin(host, ask, described())
    assert [event.why for event in account(host).events] == ["", "continued"]


def services(host: FakeHost) -> list[str]:
    """Have the driver's own services answer, of which the second runs; return those that run, as they change."""
    running = ["nvidia-powerd.service"]
    host.make_dirs("/run/systemd/system")
    host.commands["systemctl is-active"] = lambda command: (0 if command[-1] in running else 3, "", "")
    host.commands["systemctl start"] = lambda command: running.append(command[-1]) or (0, "", "")
    return running


def test_services_that_a_killed_run_has_stopped_run_again_in_the_end(host: FakeHost) -> None:
    ask, running = new(host), services(host)
    rollback.begin(host, ask, described())
    running.clear()
    rollback.begin(host, ask, described())
    rollback.commit(host, ask, lambda _: None, awaits_restart=False)
    assert running == ["nvidia-powerd.service"]
    assert account(host).services == ()


def test_so_they_do_where_the_run_that_goes_on_wants_another_driver(host: FakeHost) -> None:
    running, other = services(host), new(host, "other")
    rollback.begin(host, new(host), described())
    running.clear()
    rollback.begin(host, other, described())
    rollback.commit(host, other, lambda _: None, awaits_restart=False)
    assert running == ["nvidia-powerd.service"]


@pytest.mark.parametrize("origin", [described(), None], ids=["put-back", "no-way-back"])
def test_so_they_do_after_a_failure(host: FakeHost, origin: dict[str, t.Any] | None) -> None:
    ask, running = new(host), services(host)
    rollback.begin(host, ask, origin)
    running.clear()
    fail(host, ask, "install")
    assert running == ["nvidia-powerd.service"]
    assert account(host).services == ()


def test_a_service_that_comes_during_a_change_is_not_left_stopped_by_the_way_back(host: FakeHost) -> None:
    ask, running = new(host), services(host)
    begun = running.copy()
    running.clear()
    rollback.begin(host, ask, described())
    running.extend(begun)
    loaded(host, VERSION)
    fail(host, ask, "prove")
    assert ("systemctl", "start", *begun) in host.ran


def test_nothing_is_started_for_a_change_that_was_over(host: FakeHost) -> None:
    """Somebody may have stopped a service since; a later commit only keeps the .run again."""
    ask, running = new(host), services(host)
    rollback.begin(host, ask, described())
    rollback.commit(host, ask, lambda _: None, awaits_restart=False)
    running.clear()
    rollback.commit(host, ask, lambda _: None, awaits_restart=False)
    assert running == []


def test_what_killed_tools_have_left_goes_and_nothing_else(host: FakeHost) -> None:
    directory = "/lib/modules/6.1.0-56-amd64"
    kept = [f"{directory}/{name}" for name in ("modules.symbols.bin", "modules.dep.bin.77.5.1795698809", "build.1.2.3")]
    torn = [f"{directory}/{name}" for name in ("modules.symbols.bin.1565.202980.1795698809", "modules.dep.9.1.2")]
    torn.append("/var/lib/gpulab/initramfs/mkinitramfs_h2XbEb/init")
    for path in (*kept, *torn, "/proc/77/comm"):
        host.add(path)
    rollback.begin(host, wanted(), described())
    assert [path for path in kept if not host.exists(path)] == []
    assert [path for path in torn if host.exists(path)] == []


def test_a_failure_before_the_old_driver_was_touched_is_told_as_it_is(host: FakeHost) -> None:
    assert "put back" not in fail(host, new(host), "try_build")
    assert not host.exists(journals.JOURNAL)


@pytest.mark.parametrize("action", ["file", "purge", "install", "build", "prove", "load"])
def test_a_failure_after_it_puts_the_old_driver_back(host: FakeHost, action: str) -> None:
    ask = new(host)
    rollback.begin(host, ask, described())
    host.remove(files.MODPROBE)
    applied: list[str] = []

    def apply(_: Wanted, step: Step) -> None:
        applied.append(step.action)
        host.add(step.params["path"], step.params["text"])

    error = OperatorError(found="the disk is full.", expected="room.", action="free some.")
    with pytest.raises(OperatorError) as caught:
        rollback.after_failure(host, ask, Step(action, ""), error, apply)
    assert applied == ["file"]
    assert caught.value.found == (
        f"the disk is full. Driver {VERSION} (open) was put back; the host works as before."
    )  # fmt: skip
    told = account(host)
    assert (told.phase, told.put_back, told.why) == (Phase.ROLLED_BACK, VERSION, "the disk is full.")
    assert told.after_restart is False


def test_a_driver_that_waits_for_its_restart_is_only_given_up_where_it_cannot_be_loaded(host: FakeHost) -> None:
    ask = new(host)
    rollback.begin(host, ask, described())
    rollback.commit(host, ask, lambda _: None, awaits_restart=True)
    host.add(journals.INSTALLED, journals.installed_text(wanted()))
    assert "put back" not in fail(host, ask, "service")
    assert f"Driver {VERSION} (open) was put back" in fail(host, ask, "load")
    assert account(host).after_restart is True


def test_a_driver_that_was_loaded_once_and_cannot_be_now_stays(host: FakeHost) -> None:
    """Its change is over; a card that does not answer any more is no reason to take it back."""
    ask = new(host)
    rollback.begin(host, ask, described())
    rollback.commit(host, ask, lambda _: None, awaits_restart=False)
    assert "put back" not in fail(host, ask, "load")
    assert account(host).phase is Phase.DONE


def beside_on_the_way_back(host: FakeHost) -> list[bool]:
    """Let a proof fail, and return of each step of the way back whether it is made beside the loaded module."""
    ask, seen = new(host), list[bool]()
    rollback.begin(host, ask, described())
    host.remove(files.MODPROBE)

    def apply(old: Wanted, step: Step) -> None:
        seen.append(old.allow_running)
        host.add(step.params["path"], step.params["text"])

    with pytest.raises(OperatorError, match="was put back"):
        rollback.after_failure(host, ask, Step("prove", ""), OperatorError(found="x.", expected="", action=""), apply)
    return seen


@pytest.mark.parametrize("job", [False, True], ids=["somebody-is-logged-in", "a-job-as-well"])
def test_on_the_way_back_only_who_holds_the_card_is_in_the_way(host: FakeHost, job: bool) -> None:  # noqa: FBT001
    """The job that goes back cannot tell the session of the run that has started it."""
    loaded(host, NEW)
    host.commands["loginctl list-sessions"] = (0, "8 0 root pts/1\n9 1000 alice\n", "")
    host.commands["loginctl show-session 8 9"] = (0, recorded.text("logind/252-debian12-two-sessions.txt"), "")
    if job:
        host.add("/dev/nvidia0")
        host.add("/proc/77/comm", "python3\n")
        host.add("/proc/77/status", "Uid:\t1000\t1000\t1000\t1000\n")
        host.symlink("/dev/nvidia0", "/proc/77/fd/3")
    kinds = {blocker.kind for blocker in findings.users_in_the_way(read_driver(host, wanted()))}
    assert kinds == ({"user", "gpu_process"} if job else {"user"})
    assert beside_on_the_way_back(host) == [job]


def test_the_way_back_is_not_refused_for_the_session_of_its_own_run(host: FakeHost) -> None:
    """The new module is loaded, the old driver has to be installed again, and the job cannot tell who is logged in."""
    loaded(host, NEW)
    host.commands["loginctl list-sessions"] = (0, "9 1000 alice\n", "")
    host.commands["loginctl show-session 9"] = (0, recorded.text("logind/252-debian12-two-sessions.txt"), "")
    ask, applied = new(host), list[str]()
    rollback.begin(host, ask, described())
    smi = host.read_text("/usr/bin/nvidia-smi") or ""
    host.remove("/usr/bin/nvidia-smi")

    def apply(_: Wanted, step: Step) -> None:
        applied.append(step.action)
        if step.action == "install":
            host.add("/usr/bin/nvidia-smi", smi, mode=0o755)

    with pytest.raises(OperatorError, match="was put back; a restart is requested"):  # no card that could be loaded for
        rollback.after_failure(host, ask, Step("prove", ""), OperatorError(found="x.", expected="", action=""), apply)
    assert "install" in applied


def test_a_way_back_that_was_killed_between_two_modules_tries_the_others_and_ends(host: FakeHost) -> None:
    """Also one whose modules are all loaded: loading them once more is no work that is left."""
    loaded(host, VERSION)
    origin = {**described(), "standin": True}  # its modules load without a card
    ask, applied = new(host), list[str]()
    rollback.begin(host, ask, origin)

    def killed(_: Wanted, step: Step) -> None:
        applied.append(step.action)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rollback.roll_back(host, ask, "x.", killed)
    with pytest.raises(OperatorError, match=f"Driver {VERSION} .open. was put back; the host works as before"):
        rollback.roll_back(host, ask, "x.", lambda _, step: applied.append(step.action))
    assert applied == ["load", "load"]


def test_nobody_is_in_the_way_of_a_module_where_none_is_loaded(host: FakeHost) -> None:
    """A desktop after a restart whose new module did not load: the old one is loaded at once, and proven by that."""
    loaded(host, NEW)
    host.remove("/proc/driver/nvidia/version")
    host.symlink("/lib/systemd/system/gdm3.service", "/etc/systemd/system/display-manager.service")
    host.commands["systemctl is-active display-manager.service"] = (0, "active\n", "")
    assert [blocker.kind for blocker in findings.users_in_the_way(read_driver(host, wanted()))] == ["desktop"]
    assert beside_on_the_way_back(host) == [False]


def test_a_kernel_that_came_since_does_not_keep_the_way_back_open(host: FakeHost) -> None:
    """By unattended-upgrades, while the new driver waited for its restart; the old one may be too old for it."""
    ask, kernel = new(host), "6.1.0-99-amd64"
    rollback.begin(host, ask, described(), [driverhost.KERNEL])
    host.add(f"/boot/vmlinuz-{kernel}", "x")
    host.make_dirs(f"/lib/modules/{kernel}/kernel")
    host.commands[f"modinfo -k {kernel}"] = (1, "", "modinfo: ERROR: Module nvidia not found.\n")
    assert f"Driver {VERSION} (open) was put back; the host works as before" in fail(host, ask, "prove")
    rollback.begin(host, ask, described(), [driverhost.KERNEL, kernel])
    assert "could not be put back" in fail(host, ask, "prove"), "it was there before, and had a module then"


def test_packages_that_are_missing_do_not_keep_the_way_back_open(host: FakeHost) -> None:
    """A kernel that came while the new driver waited for its restart wants a compiler; that is for the next run."""
    host.add(f"/lib/modules/{driverhost.KERNEL}/build/.config", 'CONFIG_CC_VERSION_TEXT="gcc-99 (Debian 99) 99.1.0"\n')
    state = read_driver(host, wanted())
    assert "gcc-99" in findings.missing_packages(state, wanted())
    ask = new(host)
    rollback.begin(host, ask, described())
    assert "was put back; the host works as before" in fail(host, ask, "prove")


def test_without_a_way_back_the_account_says_so(host: FakeHost) -> None:
    ask = new(host)
    rollback.begin(host, ask, None)
    assert "put back" not in fail(host, ask, "install")
    assert account(host).phase is Phase.FAILED
    assert account(host).why == "the disk is full."


def test_a_way_back_that_fails_is_told_with_both_reasons_and_left_to_the_next_run(host: FakeHost) -> None:
    ask = new(host)
    rollback.begin(host, ask, described())
    host.remove("/usr/bin/nvidia-smi")
    applied: list[str] = []
    message = fail(host, ask, "install", applied)
    assert "try_build" not in applied
    assert "packages" not in applied
    assert f"the disk is full. And driver {VERSION} (open modules) could not be put back: " in message
    assert "the next run first goes on with putting it back" in message
    assert account(host).phase is Phase.ROLLING_BACK


def test_an_error_of_the_file_system_counts_as_well(host: FakeHost) -> None:
    ask = new(host)
    rollback.begin(host, ask, described())
    with pytest.raises(OperatorError, match="No space left on device. Driver"):
        rollback.after_failure(host, ask, Step("file", ""), OSError(28, "No space left on device"), lambda *_: None)


def test_a_restart_is_asked_for_where_the_old_module_is_not_the_loaded_one(host: FakeHost) -> None:
    ask = new(host)
    rollback.begin(host, ask, described())
    reasons = (f"driver {NEW} (open) is loaded, {VERSION} is installed",)
    loaded(host, NEW)
    message = fail(host, ask, "load")
    assert f"a restart is requested ({reasons[0]})" in message
    assert host.read_text("/run/gpulab/restart-required.d/gpu_driver") == f"{reasons[0]}\n"


def test_the_account_of_another_driver_is_not_touched(host: FakeHost) -> None:
    rollback.begin(host, new(host), described())
    assert "put back" not in fail(host, wanted(), "install")
    assert account(host).phase is Phase.REPLACING


def test_nothing_is_put_back_without_an_account(host: FakeHost) -> None:
    with pytest.raises(OperatorError, match="does not say which driver was there before"):
        rollback.roll_back(host, wanted(), "x.", t.cast("t.Any", None))


def test_a_marker_is_no_part_of_the_account() -> None:
    assert states.parse_marker(journals.installed_text(wanted())) is None
