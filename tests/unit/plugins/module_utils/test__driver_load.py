# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Loading: every module is asked for, and what is loaded then is looked at."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.gpulab.workstation.plugins.module_utils._driver_load import load_module
from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from driver_states import OLD, VERSION
from fakehost import FakeHost

LOADED = f"NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  {VERSION}  Release Build\n"


def test_a_module_that_the_kernel_does_not_take_is_told(tmp_path: Path) -> None:
    words = "modprobe: ERROR: could not insert 'nvidia': Key was rejected by service\n"
    host = FakeHost(tmp_path, {"modprobe": (1, "", words)})
    with pytest.raises(OperatorError) as caught:
        load_module(host, VERSION, "/log")
    assert "Key was rejected by service" in caught.value.found


def test_all_modules_are_loaded_and_are_of_the_version_on_disk(tmp_path: Path) -> None:
    host = FakeHost(tmp_path, {"modprobe": (0, "", "")})
    host.add("/proc/driver/nvidia/version", LOADED)
    load_module(host, VERSION, "/log")
    assert [command[1] for command in host.ran] == ["nvidia", "nvidia-uvm", "nvidia-drm"]
    with pytest.raises(OperatorError, match=f"driver {VERSION} is loaded"):
        load_module(host, OLD, "/log")
