# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of the machine: whole or not at all, and nothing left beside them."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.gpulab.workstation.plugins.module_utils._host import LocalHost


def test_what_a_killed_run_left_of_a_file_goes_with_the_next_writing(tmp_path: Path) -> None:
    host, path = LocalHost(), tmp_path / "50-gpulab.conf"
    (tmp_path / ".50-gpulab.conf.gpulab-new").write_text("half a fi")
    host.write_text(str(path), "whole\n", mode=0o640)
    assert [found.name for found in tmp_path.iterdir()] == ["50-gpulab.conf"]
    assert path.read_text() == "whole\n"
    assert path.stat().st_mode & 0o777 == 0o640
