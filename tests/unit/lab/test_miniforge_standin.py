# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The parts of the Miniforge stand-in: packages, channel, the patched interpreter, the installer, activation."""

from __future__ import annotations

import hashlib
import io
import json
import os
import struct
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from gpulab.lab.standins import _conda_packages as packages
from gpulab.lab.standins import _debian_python as debian
from gpulab.lab.standins import miniforge
from gpulab.lab.standins._conda_packages import PLACEHOLDER, CondaPackage, Payload
from gpulab.lab.standins.miniforge_run.gpulab_standin_conda import activation, places
from gpulab.lab.standins.miniforge_run.gpulab_standin_conda.explicit import CondaError, parse_explicit

FILES = {
    "bin/tool": Payload(f"#!{PLACEHOLDER}/bin/python\n".encode(), executable=True),
    "lib/data": Payload(b"data"),
    "lib/link": Payload(link="data"),
}
PACKAGE = CondaPackage("some-tool", "1.2", "standin_0", FILES, depends=("python",), license="MIT", summary="a tool")


def test_a_package_is_the_same_every_time() -> None:
    other_order = CondaPackage(**{**PACKAGE.__dict__, "files": dict(reversed(FILES.items()))})
    assert packages.pack(PACKAGE).data == packages.pack(other_order).data


def test_a_package_has_what_conda_reads() -> None:
    packed = packages.pack(PACKAGE)
    assert packed.file == "some-tool-1.2-standin_0.tar.bz2"
    with tarfile.open(fileobj=io.BytesIO(packed.data)) as archive:
        names = archive.getnames()
        index, paths = (json.load(archive.extractfile(f"info/{name}.json")) for name in ("index", "paths"))  # type: ignore[arg-type]
        modes = {name: archive.getmember(name).mode for name in FILES}
    assert names[0].startswith("info/")
    assert (index["name"], index["version"], index["build"], index["subdir"]) == (
        "some-tool",
        "1.2",
        "standin_0",
        "linux-64",
    )
    found = {path["_path"]: path for path in paths["paths"]}
    assert found["bin/tool"]["prefix_placeholder"] == PLACEHOLDER
    assert found["lib/data"]["sha256"] == hashlib.sha256(b"data").hexdigest()
    assert "prefix_placeholder" not in found["lib/data"]
    assert found["lib/link"]["path_type"] == "softlink"
    assert modes == {"bin/tool": 0o755, "lib/data": 0o644, "lib/link": 0o777}


def test_a_channel_lists_each_package_with_its_digests(tmp_path: Path) -> None:
    noarch = CondaPackage("data", "1", "standin_0", {}, noarch="generic")
    packed = [packages.pack(PACKAGE), packages.pack(noarch)]
    packages.write_channel(tmp_path, packed)
    for subdir, one in (("linux-64", packed[0]), ("noarch", packed[1])):
        listed = json.loads((tmp_path / subdir / "repodata.json").read_text())["packages"]
        assert list(listed) == [one.file]
        assert listed[one.file]["sha256"] == hashlib.sha256((tmp_path / subdir / one.file).read_bytes()).hexdigest()
    line = packed[1].explicit_line("http://depot.example/conda/standin-forge")
    assert line == f"http://depot.example/conda/standin-forge/noarch/data-1-standin_0.tar.bz2#sha256:{packed[1].sha256}"
    assert parse_explicit(f"@EXPLICIT\n{line}\n")[0].name == "data"


def test_a_wheel_becomes_a_noarch_python_package(tmp_path: Path) -> None:
    wheel = tmp_path / "some_thing-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("some_thing/__init__.py", "")
        archive.writestr(
            "some_thing-1.0.dist-info/entry_points.txt", "[console_scripts]\nsome-thing = some_thing:main\n"
        )
    package = miniforge._wheel_package(wheel, ())
    assert (package.name, package.version, package.noarch, package.subdir) == ("some_thing", "1.0", "python", "noarch")
    assert package.entry_points == ("some-thing = some_thing:main",)
    assert package.files["site-packages/some_thing-1.0.dist-info/INSTALLER"].data == b"conda\n"


def interpreter(*names: bytes) -> bytes:
    """Return an ELF file with one loaded segment and a table of frozen modules of these names."""
    address, strings, table = 0x400000, b"\0", b""
    start = 64 + 56
    for name in names:
        table += struct.pack("<QQiiQ", address + start + len(strings), 0, 0, 0, 1)
        strings += name + b"\0"
    body = strings + table
    header = bytearray(64)
    struct.pack_into("<Q", header, 32, 64)
    struct.pack_into("<H", header, 56, 1)
    size = start + len(body)
    return bytes(header) + struct.pack("<IIQQQQQQ", 1, 0, 0, address, address, size, size, 0) + body


def test_the_frozen_site_is_taken_out_of_the_interpreter() -> None:
    before = interpreter(b"posixpath", b"os", b"site", b"stat", b"runpy")
    after = debian.without_frozen_site(before)
    changed = [place for place, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]
    assert len(changed) == 1
    assert after[changed[0]] == before[changed[0]] + 1  # the row's name is "ite" now
    with pytest.raises(debian.DebianPythonError, match="0 rows for 'site'"):
        debian.without_frozen_site(after)


@pytest.mark.parametrize(
    "names", [(b"os", b"stat"), (b"site", b"stat"), (b"os", b"site", b"stat", b"os", b"site", b"stat")]
)
def test_an_interpreter_of_another_kind_is_refused(names: tuple[bytes, ...]) -> None:
    with pytest.raises(debian.DebianPythonError, match="expected one"):
        debian.without_frozen_site(interpreter(*names))


@pytest.mark.parametrize(
    ("value", "moved"),
    [
        ("/usr/lib/python3.11", f"{PLACEHOLDER}/lib/python3.11"),
        ("/usr/lib/x86_64-linux-gnu", f"{PLACEHOLDER}/lib"),
        ("/usr", PLACEHOLDER),
        ("'--enable-shared' '--prefix=/usr' ", f"'--enable-shared' '--prefix={PLACEHOLDER}' "),
        ("/usr/bin/install -c", "/usr/bin/install -c"),
        ("-I/usr/include/tirpc", "-I/usr/include/tirpc"),
        (3, 3),
    ],
)
def test_build_variables_are_moved_to_the_prefix(value: object, moved: object) -> None:
    assert debian._moved(value) == moved


def test_a_library_that_is_not_cpythons_is_refused() -> None:
    with pytest.raises(debian.DebianPythonError, match=f"expected {debian.ORIG_SHA256}"):
        debian._library(b"something else")


@pytest.fixture
def installer(tmp_path: Path) -> Path:
    """Return an installer whose packages are no programs: what it does before it links the base environment is real."""
    path = tmp_path / "Miniforge3-26.3.2-3-Linux-x86_64.sh"
    named = [CondaPackage(**{**PACKAGE.__dict__, "name": name}) for name in ("python", "conda")]
    miniforge._write_installer(path, "26.3.2-3", [packages.pack(package) for package in named])
    return path


def run(*argv: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", *map(str, argv)], capture_output=True, text=True, check=False)


def test_the_installer_is_the_same_every_time(installer: Path) -> None:
    before = installer.read_bytes()
    named = [CondaPackage(**{**PACKAGE.__dict__, "name": name}) for name in ("python", "conda")]
    miniforge._write_installer(installer, "26.3.2-3", [packages.pack(package) for package in named])
    assert installer.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "rc", "words"),
    [
        pytest.param(["-h"], 2, "Installs Miniforge3 26.3.2-3 (gpulab stand-in)", id="help"),
        pytest.param(["-p", "{here}/m"], 1, "run it with -b", id="questions"),
        pytest.param(["-b", "-p", "{here}/a b"], 1, "Cannot install into directories with spaces.", id="space"),
        pytest.param(["-b", "-p", "{here}"], 1, "File or directory already exists: '{here}'", id="exists"),
        pytest.param(["-b", "-x"], 1, "did not recognize option", id="unknown option"),
    ],
)
def test_the_installer_answers_like_the_real_one(
    installer: Path, tmp_path: Path, arguments: list[str], rc: int, words: str
) -> None:
    done = run(installer, *(argument.replace("{here}", str(tmp_path)) for argument in arguments))
    assert done.returncode == rc
    assert words.replace("{here}", str(tmp_path)) in done.stdout + done.stderr


def test_a_cut_off_installer_is_noticed(installer: Path, tmp_path: Path) -> None:
    whole = installer.read_bytes()
    installer.write_bytes(whole[:-1])
    done = run(installer, "-b", "-p", tmp_path / "m")
    assert (done.returncode, f"should be {len(whole)} bytes" in done.stderr) == (1, True)
    assert not (tmp_path / "m").exists()


def test_the_installer_unpacks_every_base_package(installer: Path, tmp_path: Path) -> None:
    done = run(installer, "-b", "-p", tmp_path / "m")
    assert done.returncode != 0  # there is no Python in it to go on with
    unpacked = tmp_path / "m/pkgs/python-1.2-standin_0"
    assert (unpacked / "lib/data").read_text() == "data"
    record = json.loads((unpacked / "info/repodata_record.json").read_text())
    assert record["url"] == "https://gpulab.standin.invalid/base/linux-64/python-1.2-standin_0.tar.bz2"
    assert parse_explicit((tmp_path / "m/pkgs/base.txt").read_text())[0].sha256 == record["sha256"]


@pytest.mark.parametrize(
    "line", ["numpy=2.1", "http://x.example/noarch/a.zip", "http://x.example/noarch/a-1-0.conda#12"]
)
def test_lines_that_are_no_packages_are_refused(line: str) -> None:
    with pytest.raises(CondaError, match="Could not parse explicit URL"):
        parse_explicit(f"@EXPLICIT\n{line}\n")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a Miniforge with two environments; one sets a variable and has scripts."""
    for name in ("", "envs/one", "envs/two"):
        (tmp_path / "m" / name / "conda-meta").mkdir(parents=True)
    one = tmp_path / "m/envs/one"
    (one / "conda-meta/state").write_text(json.dumps({"env_vars": {"GREETING": "it's me"}}))
    for kind in ("activate", "deactivate"):
        folder = one / f"etc/conda/{kind}.d"
        folder.mkdir(parents=True)
        (folder / "say.sh").write_text(f"echo {kind}d $GREETING\n")
    return tmp_path / "m"


def shell(code: str, environ: dict[str, str]) -> tuple[list[str], dict[str, str]]:
    """Run code as the shell function does, and return what it printed and the environment it left."""
    script = f"{code}\necho ==\nenv -0"
    done = subprocess.run(["bash", "-c", script], env=environ, capture_output=True, text=True, check=True)
    said, _, left = done.stdout.partition("==\n")
    return said.splitlines(), dict(pair.split("=", 1) for pair in left.split("\0") if pair)


def test_environments_are_entered_stacked_and_left(root: Path) -> None:
    one, two = root / "envs/one", root / "envs/two"
    start = {"PATH": os.environ["PATH"], "CONDA_SHLVL": "0", "PS1": "$ "}
    said, first = shell(activation.activate(one, "one", start, root), start)
    assert said == ["activated it's me"]
    assert first["PATH"].split(":")[0] == f"{one}/bin"
    assert (first["CONDA_PREFIX"], first["CONDA_DEFAULT_ENV"], first["CONDA_SHLVL"]) == (str(one), "one", "1")
    said, second = shell(activation.activate(two, "two", first, root), first)
    assert said == ["deactivated it's me"]
    assert (second["CONDA_PREFIX"], second["CONDA_PREFIX_1"], second["CONDA_SHLVL"]) == (str(two), str(one), "2")
    assert "GREETING" not in second
    assert f"{one}/bin" not in second["PATH"].split(":")
    said, back = shell(activation.deactivate(second, root), second)
    assert said == ["activated it's me"]
    assert (back["CONDA_PREFIX"], back["GREETING"], back["CONDA_SHLVL"]) == (str(one), "it's me", "1")
    _said, end = shell(activation.deactivate(back, root), back)
    assert (end["PATH"], end["CONDA_SHLVL"]) == (start["PATH"], "0")
    assert "CONDA_PREFIX" not in end


def test_an_environment_that_is_not_there_cannot_be_entered(root: Path) -> None:
    with pytest.raises(CondaError, match="Not a conda environment"):
        activation.activate(root / "envs/three", "three", {}, root)
    with pytest.raises(CondaError, match="Could not find conda environment: three"):
        places.named_environment("three", root)


def test_settings_of_several_files_are_merged(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(root / "home"))
    (root / ".condarc").write_text("channels:\n  - conda-forge\n")
    (root / "condarc.d").mkdir()
    (root / "condarc.d/50-gpulab.yml").write_text("channels:\n  - bioconda\n  - conda-forge\nauto_activate: false\n")
    found, sources = places.settings(root)
    assert found == {"channels": ["bioconda", "conda-forge"], "auto_activate": False}
    assert sources == [str(root / ".condarc"), str(root / "condarc.d/50-gpulab.yml")]
