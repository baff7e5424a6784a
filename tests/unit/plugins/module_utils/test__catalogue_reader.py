# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Catalogue data is validated as a whole: one mistake in the shipped files is found and named with its place."""

from __future__ import annotations

import copy
import typing as t

import pytest

from ansible_collections.gpulab.workstation.plugins.module_utils._catalogue_reader import read_catalogue
from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.plugin_utils._catalogue import catalogue_data

DRIVER = ("drivers", "releases", "580.178.04")
CUDA = ("cuda", "releases", "12.9.1")


def with_change(path: tuple[str, ...], value: t.Any) -> dict[str, t.Any]:
    """Return the shipped data with one value replaced, or taken out where the new value is Ellipsis."""
    data = copy.deepcopy(catalogue_data())
    place = data
    for key in path[:-1]:
        place = place[key]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return data


@pytest.mark.parametrize(
    ("path", "value", "found"),
    [
        ((*DRIVER, "sha256"), "5975A86E" * 8, "drivers.yml: releases: 580.178.04: sha256 is '5975A86E"),
        ((*DRIVER, "sha256"), "59", "does not have the form [0-9a-f]{64}"),
        ((*DRIVER, "sha256"), ..., "580.178.04: sha256 is missing"),
        ((*DRIVER, "seen"), [], "580.178.04: no record of its sha256 is named under seen"),
        ((*DRIVER, "seen"), ["C", "Q"], "seen holds 'Q', which is not among the records"),
        ((*DRIVER, "seen"), ["C", "C"], "seen holds 'C' twice"),
        ((*DRIVER, "path"), "xfree", "path is 'xfree', not one of xfree86, tesla"),
        ((*DRIVER, "path"), ..., "580.178.04: it has no sources"),
        ((*DRIVER, "type"), ..., "580.178.04: type is missing"),
        ((*DRIVER, "sources"), ["ftp://mirror.example/x.run"], "sources holds 'ftp://mirror.example/x.run'"),
        ((*DRIVER, "sizes"), 3, "580.178.04: unknown key sizes (did you mean size?)"),
        (("drivers", "releases", "latest"), {}, "the name 'latest' does not have the form"),
        (("drivers", "releases", 580.2), {}, "key 580.2 is the number 580.2: write it in quotes"),
        (("drivers", "releases", "600.1"), {}, "branch 600 is not among the branches of the file"),
        (("drivers", "kernel_ceilings", "570.86.10"), ..., "no kernel ceiling of branch 570 holds for it"),
        (("drivers", "branches", "580", "state"), "alive", "state is 'alive'"),
        (("drivers", "sources", "tesla"), ["http://us.download.nvidia.com/{file}"], "does not have the form https://"),
        (("drivers", "releases", "570.195.03", "not_installable"), ..., "is disputed but not_installable does not say"),
        ((*CUDA, "minimum_driver"), "576", "minimum_driver is '576'"),
        ((*CUDA, "file"), ..., "12.9.1: file is missing"),
        (("cuda", "series", "12.9"), ..., "12.9.1: series 12.9 is not among the series of the file"),
        (("cuda", "series", "12.9", "gcc"), [14, 6], "gcc is [14, 6], not [first, last]"),
        (("devices", "devices", "10DE:2B85"), {}, "the name '10DE:2B85' does not have the form"),
        (("torch", "releases", "2.9.1", "torchvision"), 0.24, "torchvision is the number 0.24, not text"),
        (("xformers", "releases", "0.0.30", "broken_source"), ..., "broken_on needs a broken_source"),
        (("platforms", "supported", "Debian 12", "gcc"), "12", "gcc is text, not a whole number"),
        (("platforms", "supported"), {}, "catalogue: it holds no platforms"),
        (("miniforge",), ..., "miniforge.yml: is empty, not a mapping"),
        (("locks", "uv.txt"), "uv>=0.9\n", "lock uv.txt: the line 'uv>=0.9' does not pin a package by sha256"),
    ],
)
def test_a_mistake_is_named_with_its_place(path: tuple[str, ...], value: t.Any, found: str) -> None:
    with pytest.raises(OperatorError) as caught:
        read_catalogue(with_change(path, value))

    assert found in caught.value.found


def test_every_mistake_is_named_at_once() -> None:
    data = with_change((*DRIVER, "sha256"), "0")
    data["cuda"]["releases"]["12.9.1"]["seen"] = []

    with pytest.raises(OperatorError) as caught:
        read_catalogue(data)

    assert "580.178.04: sha256" in caught.value.found
    assert "12.9.1: no record" in caught.value.found


def test_a_standin_needs_no_record_and_no_date() -> None:
    sources = ["http://10.88.0.1:8080/driver.run", "/srv/mirror/driver.run"]
    release = {"file": "driver.run", "sha256": "0" * 64, "sources": sources, "standin": True}

    driver = read_catalogue(with_change(DRIVER, release)).drivers["580.178.04"]

    assert driver.artefact.sources == tuple(sources)
    assert driver.artefact.as_result()["standin"] is True
    assert driver.kind == "stand-in"


@pytest.mark.parametrize(
    ("version", "newest"),
    [("570.144", "6.14"), ("575.57.08", "6.15"), ("580.142", "6.18"), ("580.178.04", "7.1"), ("595.104.02", "7.2")],
)
def test_the_kernel_ceiling_of_a_driver_is_that_of_its_branch(version: str, newest: str) -> None:
    assert read_catalogue(catalogue_data()).drivers[version].kernel_max == newest
