# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests need, by their directory."""

from __future__ import annotations

import pytest

NEEDS = {"installer": "lab", "faults": "lab", "site": "lab", "vm": "vm"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that need root and a Debian root file system, container hosts or virtual machines."""
    for item in items:
        if need := NEEDS.get(item.path.parent.name):
            item.add_marker(need)
