# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which attention becomes the default, and that the file which says so does it."""

from __future__ import annotations

import json
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

from ansible_collections.gpulab.workstation.plugins.module_utils._attention import measured_environment, render_defaults

NAME = "TORCH_CUDNN_SDPA_DEPRIORITIZED"
CHOSEN = {NAME: "1"}


def document(*environments: t.Any) -> str:
    checks = [{"name": "attention_backends", "figures": {"environment": each}} for each in environments]
    return json.dumps({"checks": [{"name": "cards", "figures": {}}, *checks]})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(document(CHOSEN), CHOSEN, id="one-card"),
        pytest.param(document(CHOSEN, CHOSEN), CHOSEN, id="two-cards"),
        pytest.param(document(CHOSEN, {}), {}, id="cards-that-disagree"),
        pytest.param(document({}), {}, id="nothing-to-gain"),
        pytest.param(document({**CHOSEN, "LD_PRELOAD": "x"}), CHOSEN, id="a-variable-of-another-kind"),
        pytest.param(document(None), {}, id="not-measured"),
        pytest.param(document(), {}, id="a-quick-run"),
        pytest.param(None, {}, id="never-verified"),
        pytest.param('{"checks": [{"na', {}, id="cut-off"),
        pytest.param("[]", {}, id="no-document"),
        pytest.param('{"checks": [7]}', {}, id="no-checks"),
    ],
)
def test_what_a_document_says(text: str | None, expected: dict[str, str]) -> None:
    assert measured_environment(text) == expected


@pytest.mark.parametrize(("own", "expected"), [({}, "1"), ({NAME: "0"}, "0")], ids=["default", "the-users-own"])
def test_the_file_sets_what_is_not_set(tmp_path: Path, own: dict[str, str], expected: str) -> None:
    (tmp_path / "a.pth").write_text(render_defaults(CHOSEN))
    program = f"import os, site; site.addsitedir({str(tmp_path)!r}); print(os.environ[{NAME!r}])"
    done = subprocess.run([sys.executable, "-c", program], env=own, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == expected


def test_nothing_to_set_is_no_file() -> None:
    assert render_defaults({}) == ""
