# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The shipped catalogue, entry by entry, and how an overlay is laid over it."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import pytest

from ansible_collections.gpulab.workstation.plugins.module_utils._catalogue_reader import read_catalogue
from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._rules import judge
from ansible_collections.gpulab.workstation.plugins.module_utils._versions import DriverVersion
from ansible_collections.gpulab.workstation.plugins.plugin_utils._catalogue import (
    DIRECTORY,
    catalogue_data,
    load_catalogue,
)

DATA = catalogue_data()
CATALOGUE = load_catalogue()
CONDA = CATALOGUE.locks["conda/rtx5090-py311-linux-64.txt"]
PIP_LOCKS = [lock for lock in CATALOGUE.locks.values() if lock is not CONDA]
# What `conda create python=3.11 pip` brings on linux-64, by the depends of python 3.11.15 and of what it depends on.
PYTHON_CLOSURE = [
    "_openmp_mutex", "bzip2", "ca-certificates", "icu", "ld_impl_linux-64", "libexpat", "libffi", "libgcc",
    "libgcc-ng", "libgomp", "liblzma", "libnsl", "libsqlite", "libstdcxx", "libuuid", "libxcrypt", "libzlib",
    "ncurses", "openssl", "packaging", "pip", "python", "readline", "setuptools", "tk", "tzdata", "wheel", "zstd",
]  # fmt: skip


def artefacts() -> dict[str, t.Any]:
    releases = {f"driver {v}": r.artefact for v, r in CATALOGUE.drivers.items()}
    releases |= {f"cuda {v}": r.artefact for v, r in CATALOGUE.cuda.items()}
    return releases | {f"miniforge {v}": r for v, r in CATALOGUE.miniforge.items()}


def test_the_catalogue_is_read_once_per_process() -> None:
    assert load_catalogue() is CATALOGUE


@pytest.mark.parametrize("name", artefacts())
def test_a_shipped_file_has_a_record_and_safe_sources(name: str) -> None:
    release = artefacts()[name]

    assert release.seen
    assert not release.standin
    assert all(source.startswith("https://") and source.endswith(f"/{release.file}") for source in release.sources)
    assert bool(release.sources) or release.not_installable


def test_no_two_files_share_a_sha256() -> None:
    digests = [release.sha256 for release in artefacts().values()]

    assert len(set(digests)) == len(digests) == 65


def test_drivers_stand_in_order_and_the_ceilings_are_those_of_releases() -> None:
    versions = [DriverVersion.parse(version) for version in DATA["drivers"]["releases"]]

    assert versions == sorted(versions)
    assert DATA["drivers"]["kernel_ceilings"].keys() <= DATA["drivers"]["releases"].keys()


def test_a_driver_whose_records_differ_carries_both_and_cannot_be_installed() -> None:
    release = DATA["drivers"]["releases"]["570.195.03"]

    assert release["sha256"].startswith("d47de81d")
    assert [digest[:8] for digest in release["disputed"]] == ["ab6f39c6"]
    assert CATALOGUE.drivers["570.195.03"].artefact.not_installable


def test_a_driver_that_only_a_runfile_carries_cannot_be_installed() -> None:
    bundled = [v for v, release in DATA["drivers"]["releases"].items() if release["path"] == "cuda-bundle"]

    assert bundled == ["570.86.10", "575.51.03"]
    assert all(CATALOGUE.drivers[version].artefact.not_installable for version in bundled)


def test_the_driver_in_a_runfile_is_in_its_name_and_in_the_catalogue() -> None:
    for version, cuda in CATALOGUE.cuda.items():
        assert cuda.artefact.file == f"cuda_{version}_{cuda.bundled_driver}_linux.run"
        assert str(cuda.bundled_driver) in CATALOGUE.drivers
        assert cuda.minimum_driver <= cuda.bundled_driver


def test_the_rtx_5090_needs_open_modules_from_its_first_driver_on() -> None:
    device = CATALOGUE.devices["10de:2b85"]

    assert (device.name, device.arch, device.open_only) == ("GeForce RTX 5090", "12.0", True)
    assert device.first_driver == DriverVersion.parse("570.86.16")


def test_the_last_torch_with_cuda_12_8_is_2_11() -> None:
    having = [v for v, torch in CATALOGUE.torch.items() if any("12.8" in cudas for cudas in torch.builds.values())]

    assert having[-1] == "2.11.0"
    assert "12.0" not in CATALOGUE.torch_arches[CATALOGUE.torch["2.7.1"].builds["pypi"][0]]


@pytest.mark.parametrize("stack", ["cu128", "cu130"])
def test_both_shipped_stacks_keep_every_rule(stack: str) -> None:
    assert judge(CATALOGUE, stack).findings == ()


@pytest.mark.parametrize("lock", PIP_LOCKS, ids=lambda lock: lock.path)
def test_a_pip_lock_holds_hashes_and_no_address_and_says_how_it_is_made(lock: t.Any) -> None:
    source = re.search(r"made by scripts/renew-locks from (\S+\.in)$", lock.text.splitlines()[0])

    assert "//" not in lock.text
    assert "--index" not in lock.text
    assert source
    assert (DIRECTORY / "locks" / source[1]).is_file()


def test_every_lock_is_used_by_a_stack() -> None:
    used = {path for name in CATALOGUE.stacks for path in DATA["stacks"][name]["locks"].values()}

    assert used == CATALOGUE.locks.keys()


@pytest.mark.parametrize("stack", ["cu128", "cu130"])
def test_the_locks_of_a_stack_hold_each_package_once(stack: str) -> None:
    pins = [CATALOGUE.locks[f"{stack}-{kind}.txt"].pins.keys() for kind in ("torch", "diffusion")]

    assert not pins[0] & pins[1]


def test_the_locks_pin_what_the_catalogue_says_of_torch() -> None:
    for stack, version in (("cu128", "2.9.1"), ("cu130", "2.14.1")):
        pins = CATALOGUE.locks[f"{stack}-torch.txt"].pins
        assert pins["torch"] == version
        assert pins["triton"] == CATALOGUE.torch[version].triton


def test_the_verified_torch_wheel_is_the_locked_one() -> None:
    digest = "d033ff0ac3f5400df862a51bdde9bad83561f3739ea0046e68f5401ebfa67c1b"

    assert f"torch==2.9.1 \\\n    --hash=sha256:{digest}\n" in CATALOGUE.locks["cu128-torch.txt"].text


def test_the_conda_lock_is_complete_and_only_from_conda_forge() -> None:
    addresses = [line for line in CONDA.text.splitlines() if line.startswith("http")]
    channel = "https://conda.anaconda.org/conda-forge/"
    form = re.compile(r"(linux-64|noarch)/[^/#]+\.(conda|tar\.bz2)#sha256:[0-9a-f]{64}")

    assert sorted(CONDA.pins) == PYTHON_CLOSURE
    assert CONDA.pins["python"].startswith("3.11.")
    assert all(form.fullmatch(address.removeprefix(channel)) for address in addresses)
    assert len(addresses) == len(PYTHON_CLOSURE)


def test_the_conda_lock_names_its_records_and_its_renewal() -> None:
    head = CONDA.text.partition("@EXPLICIT")[0]

    assert re.search(r"Taken from \S+/\S+ pixi\.lock, [0-9a-f]{40} of \d{4}-\d\d-\d\d", head)
    assert "conda list --name lock --explicit --sha256" in head


def write(directory: Path, name: str, text: str) -> Path:
    path = directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_an_overlay_replaces_entries_and_adds_stacks_and_locks(tmp_path: Path) -> None:
    release = f'{{file: d.run, sha256: "{"0" * 64}", sources: [http://10.0.0.1/d.run], standin: true}}'
    write(tmp_path, "drivers.yml", f'releases:\n  "580.178.04": {release}\n')
    write(tmp_path, "stacks/lab.yml", "extends: cu128\nlocks: {conda: conda/lab.txt}\nstandins: [conda_lock]\n")
    write(
        tmp_path,
        "locks/conda/lab.txt",
        f"@EXPLICIT\nhttp://10.0.0.1/linux-64/python-3.11.2-0.conda#sha256:{'1' * 64}\n",
    )

    catalogue = load_catalogue(str(tmp_path))

    assert catalogue.drivers["580.178.04"].artefact.standin
    assert catalogue.drivers["580.142"] == CATALOGUE.drivers["580.142"]
    assert judge(catalogue, "lab").findings == ()
    assert not CATALOGUE.drivers["580.178.04"].artefact.standin


def test_an_overlay_amends_an_entry_that_brings_no_sha256(tmp_path: Path) -> None:
    write(tmp_path, "drivers.yml", 'releases:\n  "580.178.04": {sources: [/srv/mirror/driver.run]}\n')

    shipped, amended = (
        catalogue.drivers["580.178.04"].artefact for catalogue in (CATALOGUE, load_catalogue(str(tmp_path)))
    )

    assert amended.sources == ("/srv/mirror/driver.run",)
    assert (amended.sha256, amended.seen) == (shipped.sha256, shipped.seen)


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("driver.yml", "releases: {}\n", "has the file driver.yml, which the catalogue does not know"),
        ("drivers.yml", "releases:\n  a: {}\n  a: {}\n", "the key a stands twice"),
        ("drivers.yml", "releases: [\n", "cannot be read as YAML"),
        ("drivers.yml", "- releases\n", "drivers.yml: is a list, not a mapping"),
        ("drivers.yml", "relaeses: {}\n", "drivers.yml: unknown key relaeses (did you mean releases?)"),
        ("stacks/lab.yml", "", "stacks/lab.yml: is empty, not a mapping"),
    ],
)
def test_a_mistake_in_an_overlay_is_named(tmp_path: Path, name: str, text: str, found: str) -> None:
    write(tmp_path, name, text)

    with pytest.raises(OperatorError) as caught:
        judge(read_catalogue(catalogue_data(str(tmp_path))), "lab")

    assert found in caught.value.found


def test_an_overlay_that_is_not_there_is_named() -> None:
    with pytest.raises(OperatorError, match="the catalogue overlay /nowhere is not a directory"):
        catalogue_data("/nowhere")
