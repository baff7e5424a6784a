# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings that an admin's own ansible-playbook has, where the tests' runs have others beside them."""

from __future__ import annotations

import configparser

from labhost import CALLBACKS, ROOT


def test_an_admins_run_has_every_callback_that_the_tests_look_at() -> None:
    settings = configparser.ConfigParser()
    settings.read(ROOT / "ansible.cfg")
    enabled = [name.strip() for name in settings["defaults"]["callbacks_enabled"].split(",")]
    assert set(CALLBACKS) - set(enabled) == {"record"}
