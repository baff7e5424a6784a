# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The account of a change: what is written is read back, and nothing else is."""

from __future__ import annotations

import dataclasses
import json

import pytest

from ansible_collections.gpulab.workstation.plugins.module_utils import _driver_journal as journals
from ansible_collections.gpulab.workstation.plugins.module_utils._driver_journal import Journal, Phase
from driver_states import OLD, SHA, VERSION, described, wanted

OLD_SHA = "c" * 64
BEGUN = Journal(Phase.REPLACING, described(), described(OLD, OLD_SHA))


def test_an_account_survives_its_file() -> None:
    journal = BEGUN.moved(Phase.REPLACING, 1.26).moved(Phase.ROLLING_BACK, 2.0, "no space", why="no space")
    assert journals.parse_journal(journal.to_text()) == journal
    told = json.loads(journal.to_text())
    assert told["phase"] == "rolling_back"
    assert told["events"] == [
        {"time": 1.3, "phase": "replacing", "why": ""}, {"time": 2.0, "phase": "rolling_back", "why": "no space"},
    ]  # fmt: skip


@pytest.mark.parametrize("text", [None, "", "{", "[]", "{}", '{"phase": "else", "events": []}', '"x"'])
def test_what_is_no_account_is_none(text: str | None) -> None:
    assert journals.parse_journal(text) is None
    assert journals.parse_installed(text) is None


def test_a_long_account_keeps_its_end() -> None:
    journal = BEGUN
    for number in range(100):
        journal = journal.moved(Phase.REPLACING, float(number))
    assert len(journal.events) == 40
    assert journal.events[-1].time == 99.0


def test_there_is_no_way_back_to_the_driver_that_fails_itself() -> None:
    assert BEGUN.way_back == described(OLD, OLD_SHA)
    assert dataclasses.replace(BEGUN, origin=described()).way_back is None
    assert dataclasses.replace(BEGUN, origin=described(flavour="proprietary")).way_back is not None
    assert dataclasses.replace(BEGUN, origin=None).way_back is None


def test_an_installed_driver_can_be_wished_for_again_as_it_was() -> None:
    before = wanted(module_options={"nvidia": {"NVreg_X": 1}}, compat32=True, persistenced=False)
    noted = journals.parse_installed(journals.installed_text(before))
    assert noted is not None
    now = wanted(cache_directory="/srv/cache", ignored_kernels=["6.1.0-1"], replace_distro_driver=False)
    again = journals.wanted_again(noted, now, journals.KEPT)
    assert (again.version, again.flavour, again.compat32, again.persistenced) == (VERSION, "open", True, False)
    assert again.module_options == {"nvidia": {"NVreg_X": "1"}}
    assert again.ignored_kernels == ("6.1.0-1",)
    assert again.replace_distro_driver is False
    assert again.cache_directory == journals.KEPT
    assert again.artefact is not None
    assert again.artefact.sources == (f"/srv/cache/{SHA[:12]}/NVIDIA-Linux-x86_64-{VERSION}.run",)


def test_other_addresses_are_no_other_driver() -> None:
    assert journals.is_same(described(sources=["http://a"]), described())
    assert not journals.is_same(described(), described(sha256=OLD_SHA))
    assert not journals.is_same(described(), None)
