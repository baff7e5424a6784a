# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Constraints: layers that do not undo each other, pip's configuration kept, and scripts that real shells source."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from ansible_collections.gpulab.workstation.plugins.module_utils._constraints import (
    activation,
    deactivation,
    pip_conf_with,
    read_constraints,
    refuse_contradictions,
    wanted_files,
)
from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._pip_lock import LockedWheel, parse_lock
from fakehost import FakeHost
from wheelhost import ENV, lock_line

RECORDS = f"{ENV}/etc/gpulab"
LOWER, UPPER = "10-torch_stack", "20-diffusion_stack"


def lock(*pins: str) -> tuple[LockedWheel, ...]:
    return parse_lock("".join(lock_line(*pin.split("==")) for pin in pins), "lock")


def write(host: FakeHost, layer: str, *pins: str) -> None:
    for path, text in wanted_files(ENV, layer, lock(*pins), read_constraints(host, ENV)).items():
        host.write_text(path, text)


def pins(host: FakeHost, name: str = "constraints.txt") -> list[str]:
    lines = (host.read_text(f"{RECORDS}/{name}") or "").splitlines()
    return [line for line in lines if not line.startswith("#")]


def settled(host: FakeHost, layer: str, *wanted: str) -> bool:
    found = read_constraints(host, ENV)
    files = wanted_files(ENV, layer, lock(*wanted), found)
    return all(found.files.get(path) == text for path, text in files.items())


def test_both_layers_stand_in_one_file_and_neither_disturbs_the_other(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    write(host, LOWER, "torch==2.9.1", "numpy==2.4.6")
    write(host, UPPER, "diffusers==0.40.0")
    assert pins(host) == ["diffusers==0.40.0", "numpy==2.4.6", "torch==2.9.1"]
    assert settled(host, LOWER, "torch==2.9.1", "numpy==2.4.6")
    assert settled(host, UPPER, "diffusers==0.40.0")


def test_the_torch_family_alone_binds_the_building_of_packages(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    write(host, LOWER, "torch==2.9.1", "triton==3.5.1", "numpy==2.4.6")
    assert pins(host, "build-constraints.txt") == ["torch==2.9.1", "triton==3.5.1"]


def test_an_upper_lock_that_contradicts_the_lower_is_refused(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    write(host, LOWER, "torch==2.9.1", "numpy==2.4.6")
    with pytest.raises(OperatorError, match=r"numpy 1\.26\.4 \(below: 2\.4\.6\)\.") as caught:
        refuse_contradictions(UPPER, lock("numpy==1.26.4", "torch==2.9.1"), read_constraints(host, ENV))
    assert "torch" not in caught.value.found


def test_a_new_lower_lock_wins_over_what_the_upper_layer_said_before(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    write(host, LOWER, "torch==2.9.1", "numpy==2.4.6")
    write(host, UPPER, "numpy==2.4.6", "diffusers==0.40.0")
    new = lock("torch==2.10.0", "numpy==2.5.0")
    refuse_contradictions(LOWER, new, read_constraints(host, ENV))
    write(host, LOWER, "torch==2.10.0", "numpy==2.5.0")
    assert pins(host) == ["diffusers==0.40.0", "numpy==2.5.0", "torch==2.10.0"]


def test_pip_conf_comes_after_the_file_that_it_names() -> None:
    paths = list(wanted_files(ENV, LOWER, lock("torch==2.9.1"), read_constraints(FakeHost(Path("/nowhere")), ENV)))
    assert paths.index(f"{RECORDS}/constraints.txt") < paths.index(f"{ENV}/pip.conf")


SETTINGS = {"constraint": "/c.txt", "build-constraint": "/b.txt"}
OURS = "[install]\nconstraint = /c.txt\nbuild-constraint = /b.txt\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param("", OURS, id="no file"),
        pytest.param(OURS, OURS, id="as it should be"),
        pytest.param(
            "[global]\nindex-url = http://10.0.0.1/\n", f"[global]\nindex-url = http://10.0.0.1/\n{OURS}", id="others"
        ),
        pytest.param("[global]\ntimeout = 5", f"[global]\ntimeout = 5\n{OURS}", id="no newline at its end"),
        pytest.param(
            "[install]\nuser = no\n[list]\nformat = json\n",
            f"{OURS}user = no\n[list]\nformat = json\n",
            id="same section",
        ),
        pytest.param(
            "[install]\nconstraint =\n    /old.txt\n    /older.txt\nuser = no\n", f"{OURS}user = no\n", id="a list"
        ),
        pytest.param("[install]\nconstraint: /old.txt\n", OURS, id="with a colon"),
    ],
)
def test_pips_configuration_keeps_what_it_had(before: str, after: str) -> None:
    assert pip_conf_with(before, SETTINGS) == after
    assert pip_conf_with(after, SETTINGS) == after


@pytest.mark.parametrize("shell", ["bash", "dash"])
def test_a_shell_gets_the_variables_and_gives_them_back(shell: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    on, off = tmp_path / "on.sh", tmp_path / "off.sh"
    on.write_text(activation("/opt/env/etc/gpulab"))
    off.write_text(deactivation())
    script = f'. "{on}"; env; echo ==; . "{off}"; env'
    environment = {"PATH": "/usr/bin:/bin", "UV_CONSTRAINT": "/mine.txt"}
    done = subprocess.run([shell, "-euc", script], env=environment, capture_output=True, text=True, check=True)
    active, after = (set(part.splitlines()) for part in done.stdout.split("==\n"))
    assert "PIP_CONSTRAINT=/opt/env/etc/gpulab/constraints.txt" in active
    assert "UV_CONSTRAINT=/mine.txt /opt/env/etc/gpulab/constraints.txt" in active
    assert "PIP_BUILD_CONSTRAINT=/opt/env/etc/gpulab/build-constraints.txt" in active
    assert "UV_BUILD_CONSTRAINT=/opt/env/etc/gpulab/build-constraints.txt" in active
    assert {line for line in after if "CONSTRAINT" in line} == {"UV_CONSTRAINT=/mine.txt"}
