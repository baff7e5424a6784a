# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Ansible and ssh are given to read."""

from __future__ import annotations

import configparser
import shlex
from pathlib import Path

import pytest
import yaml

from gpulab._errors import OperatorError
from gpulab.lab import hosts, inventory, ssh

LAB = Path("/some where/.lab/default")


def test_the_inventory_has_the_hosts_in_the_group() -> None:
    shared = inventory.variables(LAB)
    document = yaml.safe_load(inventory.render({"lab-2": 4002, "lab-1": 4001}, shared))
    group = document["all"]["children"]["gpu-lab"]
    assert group["hosts"] == {"lab-1": {"ansible_port": 4001}, "lab-2": {"ansible_port": 4002}}
    assert group["vars"]["gpulab_stack"] == "lab"
    assert group["vars"]["gpulab_has_gpu"] is False
    assert group["vars"]["gpulab_catalogue_overlay"] == "/some where/.lab/default/overlay"


def test_host_keys_are_checked_and_blanks_in_a_path_survive() -> None:
    options = shlex.split(inventory.variables(LAB)["ansible_ssh_common_args"])
    assert "StrictHostKeyChecking=yes" in options
    assert 'UserKnownHostsFile="/some where/.lab/default/known_hosts"' in options


def test_an_empty_lab_is_an_empty_group() -> None:
    document = yaml.safe_load(inventory.render({}, {}))
    assert document["all"]["children"]["gpu-lab"]["hosts"] == {}


def test_known_hosts_there_and_back() -> None:
    keys = {4001: ["ssh-ed25519 AAAA", "ssh-rsa BBBB"], 4002: ["ssh-ed25519 CCCC"]}
    text = ssh.known_hosts(keys)
    assert text.splitlines()[0] == "[127.0.0.1]:4001 ssh-ed25519 AAAA"
    assert ssh.parse_known_hosts(text) == keys


@pytest.mark.parametrize("name", ["lab-1", "a", "gpu-driver", "fault-12345678"])
def test_names(name: str) -> None:
    assert hosts.check_name(name) == name


@pytest.mark.parametrize("name", ["", "-a", "a-", "Lab", "a_b", "a.b", "../x", "a" * 60])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(OperatorError, match="small letters, digits and hyphens"):
        hosts.check_name(name)


def test_labs_of_the_same_name_in_two_checkouts_do_not_meet() -> None:
    one, other = Path("/a/.lab/default"), Path("/b/.lab/default")
    assert hosts.container_name(one, "lab-1") != hosts.container_name(other, "lab-1")


def test_the_depot_is_the_only_index_of_a_host() -> None:
    configuration = configparser.ConfigParser()
    configuration.read_string(hosts.pip_configuration("http://10.88.0.1:4000"))
    assert dict(configuration["global"]) == {
        "index-url": "http://10.88.0.1:4000/simple/",
        "trusted-host": "10.88.0.1",
    }
