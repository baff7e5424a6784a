# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's inventory: ordinary Ansible inventory, so that every playbook works against the lab as against a fleet."""

from __future__ import annotations

import shlex
import typing as t

import yaml

from gpulab.lab import ssh

if t.TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

GROUP = "gpu-lab"


def variables(directory: Path) -> dict[str, t.Any]:
    """Return what is the same for every host of a lab."""
    return {
        "ansible_host": ssh.ADDRESS,
        "ansible_user": "root",
        "ansible_ssh_private_key_file": str(directory / "id_ed25519"),
        "ansible_ssh_common_args": shlex.join(ssh.options(directory)),
        "gpulab_stack": "lab",
        "gpulab_catalogue_overlay": str(directory / "overlay"),
        "gpulab_has_gpu": False,
    }


def render(ports: Mapping[str, int], shared: Mapping[str, t.Any]) -> str:
    """Render hosts.yml: every host with its published ssh port, in the group that site.yml is run for."""
    hosts = {name: {"ansible_port": port} for name, port in sorted(ports.items())}
    document = {"all": {"children": {GROUP: {"hosts": hosts, "vars": dict(shared)}}}}
    return "# Written by 'gpulab lab up'.\n---\n" + yaml.safe_dump(document, sort_keys=False, width=1000)


__all__ = ["GROUP", "render", "variables"]
