# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in driver package as a file: how it is built, what its wrapper answers, what it refuses.

What it does to a host is tested in tests/installer. Nothing here writes outside of pytest's directory.
"""

from __future__ import annotations

import ast
import ctypes
import hashlib
import os
import shutil
import subprocess
import typing as t
from pathlib import Path

import pytest

from gpulab.lab.standins import nvidia_driver
from gpulab.lab.standins.nvidia_driver import NOTICE, build_driver_run

VERSION = "580.178.04"
COMPLAINT = "Invalid commandline, please run `{} --help` for usage information."


@pytest.fixture(scope="module")
def run_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a built package."""
    return build_driver_run(VERSION, tmp_path_factory.mktemp("depot"))


@pytest.fixture(scope="module")
def package(run_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the package's directory after an extraction."""
    target = tmp_path_factory.mktemp("work") / "package"
    assert sh(run_file, "-x", "--target", str(target)).returncode == 0
    return target


def sh(path: Path, *arguments: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a file with sh, as it is done after a download without the execute bit."""
    command = ["sh", str(path), *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=cwd or path.parent, env={**os.environ, **environment}
    )


def start(
    package: Path, *arguments: str, cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the installer of an extracted package."""
    program = "./nvidia-installer" if cwd is None else str(package / "nvidia-installer")
    return subprocess.run(
        [program, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd or package,
        env={**os.environ, **environment},
    )


def altered(run_file: Path, tmp_path: Path, change: t.Callable[[bytes], bytes]) -> Path:
    """Return a copy of the package with other bytes."""
    path = tmp_path / run_file.name
    path.write_bytes(change(run_file.read_bytes()))
    return path


def test_two_builds_give_the_same_bytes(run_file: Path, tmp_path: Path) -> None:
    again = build_driver_run(VERSION, tmp_path)
    assert again.name == f"NVIDIA-Linux-x86_64-{VERSION}.run"
    assert hashlib.sha256(again.read_bytes()).digest() == hashlib.sha256(run_file.read_bytes()).digest()


def test_versions_differ(run_file: Path, tmp_path: Path) -> None:
    assert build_driver_run("575.64", tmp_path).read_bytes() != run_file.read_bytes()


@pytest.mark.parametrize("version", ["", "572", "580.1.2.3", "580.178.04/../x", "v580.178.04"])
def test_only_driver_versions(version: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is no driver version; expected"):
        build_driver_run(version, tmp_path)
    assert not list(tmp_path.iterdir())


def test_flavours(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one"):
        build_driver_run(VERSION, tmp_path, flavours=())
    listing = sh(build_driver_run(VERSION, tmp_path, flavours=("open",)), "--list").stdout.splitlines()
    assert "./kernel-open/nvidia/nvidia-main.c" in listing
    assert not [name for name in listing if name.startswith("./kernel/")]


def test_check_accepts_the_whole_file(run_file: Path) -> None:
    done = sh(run_file, "--check")
    assert (done.returncode, done.stdout) == (
        0,
        "Verifying archive integrity... SHA256 checksums are OK. All good.\n",
    )


def test_check_refuses_a_truncated_file(run_file: Path, tmp_path: Path) -> None:
    for size in (-1, -200_000):
        done = sh(altered(run_file, tmp_path, lambda content, size=size: content[:size]), "--check")
        assert (done.returncode, done.stderr) == (2, "Unexpected archive size.\n")


def test_check_refuses_altered_bytes(run_file: Path, tmp_path: Path) -> None:
    done = sh(altered(run_file, tmp_path, lambda content: content[:-5000] + b"x" + content[-4999:]), "--check")
    assert done.returncode == 2
    assert done.stderr.startswith("Error in SHA256 checksums: ")
    assert " is different from " in done.stderr


def test_a_file_cut_in_its_header_is_a_syntax_error(run_file: Path, tmp_path: Path) -> None:
    def cut(content: bytes) -> bytes:
        return content[: content.index(b"info() {") + 40]

    done = sh(altered(run_file, tmp_path, cut), "--check")
    assert done.returncode == 2
    assert "ntax error" in done.stderr or "unterminated" in done.stderr


def test_an_empty_file_passes_its_own_check(tmp_path: Path) -> None:
    """Recorded (p-makeself): an empty script ends with 0, so that --check alone proves nothing."""
    path = tmp_path / "empty.run"
    path.write_bytes(b"")
    assert sh(path, "--check").returncode == 0


def test_an_error_page_is_refused_by_the_shell(tmp_path: Path) -> None:
    path = tmp_path / "page.run"
    path.write_text("<html>403</html>\n")
    assert sh(path, "--check").returncode == 2


def test_extraction_of_a_broken_file_leaves_an_empty_directory(run_file: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    done = sh(altered(run_file, tmp_path, lambda content: content[:-1]), "-x", "--target", str(target))
    assert done.returncode == 2
    assert list(target.iterdir()) == []


def test_second_extraction_overwrites(run_file: Path, tmp_path: Path) -> None:
    target = tmp_path / "with space"
    assert sh(run_file, "--extract-only", "--target", str(target)).returncode == 0
    (target / "LICENSE").write_text("changed")
    assert sh(run_file, "--extract-only", "--target", str(target)).returncode == 0
    assert "changed" not in (target / "LICENSE").read_text()


def test_extraction_without_target(run_file: Path, tmp_path: Path) -> None:
    shutil.copy(run_file, tmp_path)
    assert sh(tmp_path / run_file.name, "-x").returncode == 0
    assert (tmp_path / f"NVIDIA-Linux-x86_64-{VERSION}/nvidia-installer").is_file()


@pytest.mark.parametrize("option", ["--info", "--help", "--pkg-history"])
def test_wrapper_says_what_it_is(run_file: Path, option: str) -> None:
    done = sh(run_file, option)
    assert done.returncode == 0
    assert NOTICE in done.stdout


@pytest.mark.parametrize("option", ["--add-this-kernel", "--apply-patch"])
def test_wrapper_names_what_it_lacks(run_file: Path, option: str) -> None:
    done = sh(run_file, option, "x.patch")
    assert done.returncode == 1
    assert f"{option} is not part of this gpulab stand-in" in done.stderr


def test_target_needs_a_directory(run_file: Path) -> None:
    done = sh(run_file, "-x", "--target")
    assert done.returncode == 1
    assert "--target requires a directory" in done.stderr


def test_other_options_go_to_the_installer(run_file: Path, tmp_path: Path) -> None:
    done = sh(run_file, "--silent", "--no such", "-M", TMPDIR=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith('./nvidia-installer: unrecognized option: "--no such"\n')
    assert list(tmp_path.iterdir()) == []


def test_keep(run_file: Path, tmp_path: Path) -> None:
    done = sh(run_file, "--keep", "--target", str(tmp_path / "kept"), "--version")
    assert done.returncode == 0
    assert f"nvidia-installer:  version {VERSION}" in done.stdout
    assert NOTICE in done.stdout
    assert (tmp_path / "kept/nvidia-installer").is_file()


def test_noexec_directory_status(run_file: Path, tmp_path: Path) -> None:
    """A directory that forbids execution ends with the shell's 126 (recorded: r7)."""
    target = tmp_path / "package"
    assert sh(run_file, "-x", "--target", str(target)).returncode == 0
    (target / "nvidia-installer").chmod(0o644)
    done = subprocess.run(["sh", "-c", "./nvidia-installer --version"], cwd=target, capture_output=True, check=False)
    assert done.returncode == 126


@pytest.mark.parametrize(
    ("arguments", "first_line"),
    [
        (["--silent", "--no-such-option"], './nvidia-installer: unrecognized option: "--no-such-option"'),
        (["--no-such=1"], './nvidia-installer: unrecognized option: "--no-such"'),
        (["stray"], './nvidia-installer: invalid option: "stray"'),
        (["--dkms", "--kernel-name"], './nvidia-installer: option "--kernel-name" requires an argument.'),
        (["-k"], './nvidia-installer: option "-k" requires an argument.'),
        (["--kernel-name="], './nvidia-installer: option "--kernel-name" requires an argument.'),
        (["-j", "x"], './nvidia-installer: "x" is not a valid argument for option "-j".'),
        (
            ["--silent=yes"],
            './nvidia-installer: option "--silent" does not take an argument, but was given an argument of "yes".',
        ),
        (["--no-silent"], './nvidia-installer: unrecognized option: "--no-silent"'),
        (["-sk"], './nvidia-installer: unrecognized option: "-sk"'),
    ],
)
def test_wrong_options(package: Path, arguments: list[str], first_line: str) -> None:
    done = start(package, *arguments)
    assert done.returncode == 1
    assert done.stderr == f"{first_line}\n\nERROR: {COMPLAINT.format('./nvidia-installer')}\n\n"
    assert done.stdout == ""


@pytest.mark.parametrize(
    "arguments",
    [["-sqMo"], ["-sz", "--no-dkms"], ["-silent"], ["-j8"], ["--ui=none"], ["--ui", "none"], ["--kernel-name=x", "-a"]],
)
def test_right_options(package: Path, arguments: list[str]) -> None:
    if "-sqMo" in arguments:  # letters are taken together only if none has an argument
        assert "unrecognized" in start(package, *arguments, "--version").stderr
        return
    done = start(package, *arguments, "--version")
    assert (done.returncode, done.stderr) == (0, "")


def test_unknown_module_type(package: Path) -> None:
    done = start(package, "--silent", "-M", "foo")
    assert done.returncode == 1
    assert done.stderr.startswith("\nERROR: 'foo' is not a valid kernel module type.\n\n\nERROR: Invalid commandline")


@pytest.mark.parametrize("kind", ["open", "o", "Oops", "proprietary", "p"])
def test_first_letter_of_the_module_type_decides(package: Path, kind: str) -> None:
    assert start(package, "-M", kind, "--version").returncode == 0


def test_module_type_is_looked_up_where_it_was_started(package: Path, tmp_path: Path) -> None:
    """Recorded (c-M-other-cwd): -M fails unless the package's directory is the working directory."""
    done = start(package, "--silent", "-M", "open", cwd=tmp_path)
    expected = "The kernel module build directory 'kernel-open' is not present in this installer package."
    assert done.returncode == 1
    assert done.stderr.startswith(f"\nERROR: {expected}\n\n")


@pytest.mark.parametrize(
    ("gpus", "recommended"),
    [([], "proprietary"), (["0x2b85"], "open"), (["0x2b85", "0x1b80"], "proprietary")],
    ids=["none", "rtx-5090", "with a pascal"],
)
def test_recommended_module_type(package: Path, tmp_path: Path, gpus: list[str], recommended: str) -> None:
    for number, device in enumerate(gpus):
        directory = tmp_path / f"bus/pci/devices/0000:0{number}:00.0"
        directory.mkdir(parents=True)
        for name, value in (("vendor", "0x10de"), ("device", device), ("class", "0x030000")):
            (directory / name).write_text(f"{value}\n")
    done = start(package, "--print-recommended-kernel-module-type", GPULAB_STANDIN_SYSFS=str(tmp_path))
    assert (done.returncode, done.stdout) == (0, f"{recommended}\n")
    assert done.stderr == f"gpulab stand-in: GPULAB_STANDIN_SYSFS is set, devices are read from {tmp_path}\n"


def test_manifest_names_files_of_the_package(package: Path) -> None:
    description, version, modules, *rows = (package / ".manifest").read_text().splitlines()
    assert (description, version) == ("NVIDIA Accelerated Graphics Driver for Linux-x86_64", VERSION)
    assert modules.split() == list(nvidia_driver.MODULES)
    for row in rows:
        group, kind, _, *rest = row.split("\t")
        if kind == "file":
            assert (package / ("kernel-open" if group == "source" else ".") / rest[1]).is_file()


@pytest.mark.parametrize(
    ("library", "function", "answer"),
    [("libcuda.so", "cuInit", 100), ("libnvidia-ml.so", "nvmlInit_v2", 9)],
    ids=["CUDA_ERROR_NO_DEVICE", "NVML_ERROR_DRIVER_NOT_LOADED"],
)
def test_libraries_load_and_report_no_gpu(package: Path, library: str, function: str, answer: int) -> None:
    loaded = ctypes.CDLL(str(package / f"{library}.{VERSION}"))
    assert getattr(loaded, function)(0) == answer
    assert not hasattr(loaded, "cuDeviceGetCount")


def test_modules_say_what_they_are(package: Path) -> None:
    for directory, license_name in (("kernel-open", "Dual MIT/GPL"), ("kernel", "NVIDIA")):
        sources = sorted((package / directory).glob("*/*.c"))
        assert len(sources) == len(nvidia_driver.MODULES)
        for source in sources:
            text = source.read_text()
            assert f'MODULE_VERSION("{VERSION}")' in text
            assert f'MODULE_LICENSE("{license_name}")' in text
            assert "not NVIDIA software" in text.partition("MODULE_DESCRIPTION(")[2]
            assert "@" not in text


def test_installer_runs_on_the_oldest_python_of_a_host() -> None:
    directory = Path(nvidia_driver.__file__).parent / "nvidia_driver_run/nvidia_installer"
    for path in directory.glob("*.py"):
        ast.parse(path.read_text(), feature_version=(3, 10))
