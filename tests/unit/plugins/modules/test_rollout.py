# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module rollout on a host, where it must never run: it says so."""

from __future__ import annotations

import json

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.gpulab.workstation.plugins.modules import rollout


def test_a_host_cannot_decide(capsys: pytest.CaptureFixture[str]) -> None:
    with patch_module_args({"batches": ["1"], "stack": {}}), pytest.raises(SystemExit):
        rollout.main()
    answer = json.loads(capsys.readouterr().out)
    assert answer["failed"] is True
    assert "Expected: its action plugin on the controller" in answer["msg"]
