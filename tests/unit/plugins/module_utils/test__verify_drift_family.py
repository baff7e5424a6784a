# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The drift of a host: compared with the note of gpu_driver, which is all that it takes."""

from __future__ import annotations

from pathlib import Path

import pytest

import driverhost
from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_journal as journals
from ansible_collections.gpulab.workstation.plugins.module_utils import _verify_drift_family as family
from ansible_collections.gpulab.workstation.plugins.module_utils._verify import Check, Outcome
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_run import read_context
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_wish import Wish
from driver_states import VERSION
from fakehost import FakeHost

SANITY = "/usr/bin/nvidia-installer --sanity"


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    host = FakeHost(tmp_path)
    driverhost.add_driver(host)
    return host


def made(host: FakeHost) -> Check:
    context = read_context(host, Wish(arch="12.0", require=(), expect_gpu=False), lambda _: None)
    (check,) = family.checks(context)
    return check


def test_the_driver_that_was_installed_is_there_and_reading_it_changes_nothing(host: FakeHost) -> None:
    before = driverhost.tree(host)
    assert made(host).outcome is Outcome.PASS
    assert driverhost.tree(host) == before
    assert driverhost.changes(host) == []
    asked = next(command for command in host.ran if " ".join(command).startswith(SANITY))
    assert "--log-file-name=/dev/null" in asked  # without it, it empties the log of the installation


def test_a_host_without_a_note_is_not_proven(host: FakeHost) -> None:
    host.remove(journals.INSTALLED)
    check = made(host)
    assert check.outcome is Outcome.NOT_PROVEN
    assert "gpu_driver has installed no driver here" in check.why


def test_the_package_that_has_overwritten_a_library_is_named(host: FakeHost) -> None:
    path = f"/usr/lib/x86_64-linux-gnu/libcuda.so.{VERSION}"
    altered = f"ERROR: The installed file '{path.replace('gnu/', 'gnu/./')}' has a different checksum (1) than (2).\n"
    host.commands[SANITY] = (1, "", altered)
    host.commands[f"dpkg-query --search {path}"] = (0, f"libcuda1: {path}\n", "")
    check = made(host)
    assert check.outcome is Outcome.FAIL
    assert "(the file belongs to the package libcuda1 now)" in check.why


def test_the_installer_is_asked_although_something_else_is_wrong_already(host: FakeHost) -> None:
    host.remove("/usr/bin/nvidia-smi")
    host.commands[SANITY] = (1, "", "ERROR: The installed file '/usr/bin/nvidia-smi' no longer exists.\n")
    check = made(host)
    assert "/usr/bin/nvidia-smi is missing or empty" in check.why
    assert "no longer exists" in check.why
