# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's signing pair on a host: half a pair, wrong values, and the host's own back after removal."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from labhost import LabHost

from gpulab.commands.signing_key import make_pair
from gpulab.lab import Lab

PAIR = "/var/lib/dkms/mok.key /var/lib/dkms/mok.pub"


@pytest.fixture(scope="module")
def host(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabHost]:
    lab.add_host("signing")
    yield LabHost(lab, "signing", tmp_path_factory.mktemp("signing"))
    lab.remove_host("signing")


def test_the_hosts_own_pair_comes_back(host: LabHost) -> None:
    key, certificate = make_pair("a lab of a test")
    pair = {"key": key, "certificate": certificate, "password": ""}
    host.sh("mkdir -p /var/lib/dkms && for f in " + PAIR + "; do echo own > $f; done")
    before = host.sh("ls -la --time-style=+ /var/lib/dkms; sha256sum " + PAIR).stdout
    first = host.apply("module_signing", gpulab_signing=pair)
    assert (first.rc, first.changed) == (0, 1), first.message
    assert key.splitlines()[1] not in first.stdout
    assert host.apply("module_signing", gpulab_signing=pair).changed == 0
    gone = host.apply("module_signing", gpulab_signing=pair, module_signing_state="absent")
    assert (gone.rc, gone.changed) == (0, 1), gone.message
    assert host.sh("ls -la --time-style=+ /var/lib/dkms; sha256sum " + PAIR).stdout == before
    host.sh("rm -r /var/lib/dkms")


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"module_signing_key": "-----BEGIN PRIVATE KEY-----"}, "only the key of the lab's pair is given"),
        ({"module_signing_state": "perhaps"}, "value of module_signing_state must be one of: present, absent"),
    ],
    ids=["half-a-pair", "wrong-state"],
)
def test_wrong_values_are_refused(host: LabHost, variables: dict[str, str], words: str) -> None:
    result = host.apply("module_signing", **variables)
    assert result.rc == 2
    assert words in result.message
    assert host.sh("ls " + PAIR, check=False).returncode == 2
