# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One look at a whole host, in the form that modules return."""

from __future__ import annotations

import dataclasses
import time
import typing as t

from ansible_collections.gpulab.workstation.plugins.module_utils._gpu_reader import read_gpu
from ansible_collections.gpulab.workstation.plugins.module_utils._host import Host
from ansible_collections.gpulab.workstation.plugins.module_utils._host_reader import read_host
from ansible_collections.gpulab.workstation.plugins.module_utils._preflight import Facts
from ansible_collections.gpulab.workstation.plugins.module_utils._reading import Reading

PLACES = ("/", "/boot", "/opt", "/tmp", "/usr", "/usr/local", "/var", "/var/cache/gpulab", "/var/lib/gpulab")  # noqa: S108 - only looked at


def survey(
    host: Host,
    places: t.Sequence[str] = PLACES,
    landmarks: t.Sequence[str] = (),
    certificates: t.Sequence[str] = (),
) -> Facts:
    """Read everything once."""
    reading = Reading(host)
    about_host = read_host(reading, places, landmarks, certificates)
    about_gpu = read_gpu(reading, [kernel.release for kernel in about_host.kernels])
    return Facts(about_host, about_gpu, tuple(reading.unreadable))


def to_json(facts: Facts) -> dict[str, t.Any]:
    """Return the facts as modules do; times as ISO 8601, everything else as it is."""
    host = dataclasses.asdict(facts.host)
    host["clock"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(facts.host.clock))
    unreadable = [dataclasses.asdict(item) for item in facts.unreadable]
    return {"host": host, "gpu": dataclasses.asdict(facts.gpu), "unreadable": unreadable}


__all__ = ["PLACES", "survey", "to_json"]
