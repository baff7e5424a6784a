# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an operator may ask for."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from driver_states import RELEASE, wanted


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"signing_key": "/k"}, "only the signing key is given"),
        ({"signing_certificate": "/c"}, "only the signing certificate is given"),
        ({"module_options": {"nvidia": "x"}}, "has nvidia: 'x'"),
        ({"module_options": {"nvidia": {"NVreg_X": "a b"}}}, "has nvidia.NVreg_X: 'a b'"),
        ({"module_options": {"nvidia\ninstall x": {"a": 1}}}, "gpu_driver_module_options has"),
    ],
    ids=["key-alone", "certificate-alone", "no-options", "two-words", "two-lines"],
)
def test_contradictions_are_refused(changes: dict[str, t.Any], words: str) -> None:
    with pytest.raises(OperatorError) as caught:
        wanted(**changes)
    assert words in caught.value.found


def test_values_become_modprobes_words() -> None:
    asked = wanted(module_options={"nvidia-drm": {"modeset": True, "fbdev": 0}})
    assert asked.module_options == {"nvidia-drm": {"modeset": "1", "fbdev": "0"}}


@pytest.mark.parametrize(
    ("size", "work", "system"),
    [(400_000_000, 3_200_000_000, 2_000_000_000), (None, 3_600_000_000, 2_250_000_000), (956_193, 64 << 20, 64 << 20)],
    ids=["known", "unknown", "stand-in"],
)
def test_room_is_asked_for_by_the_size_of_the_run(size: int | None, work: int, system: int) -> None:
    asked = wanted(release={**RELEASE, "size": size})
    assert (asked.work_bytes, asked.system_bytes) == (work, system)


def test_a_removal_needs_no_release() -> None:
    assert wanted(state="absent", release=None).present is False


def test_the_releases_flavour_is_taken_unless_another_is_asked_for() -> None:
    assert wanted().flavour == "open"
    assert wanted(flavour="proprietary").flavour == "proprietary"
