# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a job gets of the environment that Ansible has set up; the rest of jobs is in test__converge.py."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.gpulab.workstation.plugins.module_utils import _job
from fakehost import FakeHost


def test_a_password_in_an_address_is_in_no_command_line_and_in_no_file_afterwards(tmp_path: Path) -> None:
    host = FakeHost(tmp_path, {"systemd-run": (0, "", ""), "systemctl": (0, "inactive\n", "")})
    host.make_dirs("/run/systemd/system")
    host.environment.update(PIP_INDEX_URL='http://ada:a"b\\c@mirror/', NO_PROXY="10.0.0.1", HOME="/root")
    seen = []

    def start(command: tuple[str, ...]) -> tuple[int, str, str]:
        [file] = [word.rpartition("=")[2] for word in command if word.startswith("--property=EnvironmentFile=")]
        found = host.status(file)
        seen.append((host.read_text(file), oct(found.mode & 0o777) if found else "", " ".join(command)))
        return 0, "", ""

    host.commands["systemd-run"] = start
    _job._spawn(host, "x", ["true"])
    [(text, mode, line)] = seen
    assert text == 'NO_PROXY="10.0.0.1"\nPIP_INDEX_URL="http://ada:a\\"b\\\\c@mirror/"\n'
    assert mode == "0o600"
    assert "ada" not in line
    assert not host.exists("/var/lib/gpulab/jobs/x/environment")
