# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's signing pair on a host: half a pair, wrong values, and the host's own back after removal."""

from __future__ import annotations

import pytest
from labhost import LabHost

from gpulab.commands.signing_key import make_pair

PAIR = "/var/lib/dkms/mok.key /var/lib/dkms/mok.pub"


def test_the_hosts_own_pair_comes_back(fresh_host: LabHost) -> None:
    key, certificate = make_pair("a lab of a test")
    pair = {"key": key, "certificate": certificate, "password": ""}
    fresh_host.sh("mkdir -p /var/lib/dkms && for f in " + PAIR + "; do echo own > $f; done")
    before = fresh_host.sh("ls -la --time-style=+ /var/lib/dkms; sha256sum " + PAIR).stdout
    first = fresh_host.apply("module_signing", gpulab_signing=pair)
    assert (first.rc, first.changed) == (0, 1), first.message
    assert key.splitlines()[1] not in first.stdout
    assert fresh_host.apply("module_signing", gpulab_signing=pair).changed == 0
    gone = fresh_host.apply("module_signing", gpulab_signing=pair, module_signing_state="absent")
    assert (gone.rc, gone.changed) == (0, 1), gone.message
    assert fresh_host.sh("ls -la --time-style=+ /var/lib/dkms; sha256sum " + PAIR).stdout == before


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"module_signing_key": "-----BEGIN PRIVATE KEY-----"}, "only the key of the lab's pair is given"),
        ({"module_signing_state": "perhaps"}, "value of module_signing_state must be one of: present, absent"),
    ],
    ids=["half-a-pair", "wrong-state"],
)
def test_wrong_values_are_refused(fresh_host: LabHost, variables: dict[str, str], words: str) -> None:
    result = fresh_host.apply("module_signing", **variables)
    assert result.rc == 2
    assert words in result.message
    assert fresh_host.sh("ls " + PAIR, check=False).returncode == 2
