# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in for NVIDIA's driver package: a .run that installs real, small kernel modules and no GPU driver.

Its installer repeats the recorded behaviour of nvidia-installer 590.48.01, the broken hosts it leaves with exit
status 0 included, by doing the same things to the host. Two builds of one version give the same bytes.
"""

from __future__ import annotations

import bz2
import hashlib
import io
import re
import tarfile
import typing as t
import zipfile
from dataclasses import dataclass
from pathlib import Path

from gpulab.lab.standins.elf_library import shared_library

Flavour = t.Literal["open", "proprietary"]

NOTICE = "gpulab stand-in, not NVIDIA software"
MODULES = ("nvidia", "nvidia-uvm", "nvidia-modeset", "nvidia-drm", "nvidia-peermem")

_RUN = Path(__file__).parent / "nvidia_driver_run"
_DESCRIPTION = "NVIDIA Accelerated Graphics Driver for Linux-x86_64"
_VERSION = re.compile(r"\d{3}\.\d{2,3}(\.\d{2})?")
_TIME = 1767225600  # 2026-01-01, the time of every file in the package
_LIBRARY_SIZE = 13568
_HEADERS = 64  # as in the original, the log of what is installed is longer than a page: a full disk ends it midway
_COMPAT32_DIRECTORY = "@COMPAT32@"  # the installer puts the host's directory in its place
_LIBRARIES = "/usr/lib/x86_64-linux-gnu"
_DOCUMENTATION = "/usr/share/doc/NVIDIA_GLX-1.0"

_LICENSES: t.Final[dict[Flavour, str]] = {"open": "Dual MIT/GPL", "proprietary": "NVIDIA"}
_DIRECTORIES: t.Final[dict[Flavour, str]] = {"open": "kernel-open", "proprietary": "kernel"}
_MODULE_NAMES: t.Final[dict[Flavour, str]] = {
    "open": "NVIDIA UNIX Open Kernel Module for x86_64",
    "proprietary": "NVIDIA UNIX x86_64 Kernel Module",
}

_PARAMETERS = {"nvidia-drm": "static bool modeset;\nmodule_param(modeset, bool, 0400);\n\n"}

# What the libraries answer: CUDA_ERROR_NO_DEVICE and NVML_ERROR_DRIVER_NOT_LOADED, and nothing else is there.
_CUDA_FUNCTIONS = {"cuInit": 100}
_NVML_FUNCTIONS = {"nvmlInit": 9, "nvmlInit_v2": 9, "nvmlInitWithFlags": 9}


@dataclass(frozen=True)
class _File:
    """A file of the package; with a group it is also installed."""

    source: str
    content: bytes
    mode: int = 0o644
    group: str = ""
    destination: str = ""

    def row(self) -> str:
        return f"{self.group}\tfile\t{self.destination}\t{self.mode:04o}\t{self.source}"


@dataclass(frozen=True)
class _Link:
    """A symbolic link that is installed."""

    group: str
    destination: str
    target: str

    def row(self) -> str:
        return f"{self.group}\tlink\t{self.destination}\t{self.target}"


def build_driver_run(version: str, directory: Path, *, flavours: t.Sequence[Flavour] = ("open", "proprietary")) -> Path:
    """Write ``NVIDIA-Linux-x86_64-<version>.run`` into a directory and return its path."""
    if not _VERSION.fullmatch(version):
        raise ValueError(f"'{version}' is no driver version; expected two or three numbers with points")
    if not flavours:
        raise ValueError("a driver package needs at least one kernel module flavour")
    archive, unpacked = _archive(_contents(version, flavours))
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"NVIDIA-Linux-x86_64-{version}.run"
    path.write_bytes(_wrapper(version, archive, unpacked) + archive)
    path.chmod(0o755)
    return path


def _wrapper(version: str, archive: bytes, unpacked: int) -> bytes:
    text = _template(
        "wrapper.sh",
        VERSION=version,
        CHECKSUM=hashlib.sha256(archive).hexdigest(),
        ARCHIVE_SIZE=str(len(archive)),
        UNPACKED_KILOBYTES=str(unpacked // 1024),
    )
    size = len(text)
    while (filled := text.replace("@HEADER_SIZE@", str(size))) and len(filled.encode()) != size:
        size = len(filled.encode())
    return filled.encode()


def _template(name: str, **values: str) -> str:
    """Return a text file of the stand-in with its ``@NAME@`` words replaced."""
    text = (_RUN / name).read_text(encoding="utf-8")
    for word, value in values.items():
        text = text.replace(f"@{word}@", value)
    return text


def _archive(files: t.Iterable[_File]) -> tuple[bytes, int]:
    """Return a tar archive whose bytes depend on nothing but the files, and the size of its contents."""
    buffer, unpacked = io.BytesIO(), 0
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for file in files:
            _add(tar, f"./{file.source}", file.content, file.mode)
            unpacked += len(file.content)
    return buffer.getvalue(), unpacked


def _add(tar: tarfile.TarFile, name: str, content: bytes, mode: int) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = len(content), mode, _TIME
    member.uname = member.gname = "root"
    tar.addfile(member, io.BytesIO(content))


def _contents(version: str, flavours: t.Sequence[Flavour]) -> list[_File]:
    """All files of the package, the manifest first."""
    sources = [file for flavour in flavours for file in _module_sources(version, flavour)]
    installed = [
        *_utilities(version),
        *_libraries(version),
        *_compat32(version),
        *_glvnd(),
        *_firmware(version),
        *_system_files(version),
        *_documentation(version),
    ]
    relative = [file.source.partition("/")[2] for file in _module_sources(version, flavours[0])]
    rows = [f"source\tfile\t-\t0644\t{path}" for path in relative] + [entry.row() for entry in installed]
    manifest = "\n".join([_DESCRIPTION, version, " ".join(MODULES), *rows]) + "\n"
    files = [entry for entry in installed if isinstance(entry, _File)]
    return [_File(".manifest", manifest.encode()), *files, *sources]


def _module_sources(version: str, flavour: Flavour) -> list[_File]:
    """Return the source tree of the kernel modules in one flavour."""
    values = {
        "VERSION": version,
        "LICENSE": _LICENSES[flavour],
        "KERNEL_MODULE_NAME": _MODULE_NAMES[flavour],
    }
    top = _DIRECTORIES[flavour]
    files = [_File(f"{top}/{name}", _template(f"kernel/{name}").encode()) for name in ("Kbuild", "Makefile")]
    for module in MODULES:
        template = "kernel/nvidia-main.c" if module == "nvidia" else "kernel/dependent-main.c"
        text = _template(template, MODULE=module, PARAMETERS=_PARAMETERS.get(module, ""), **values)
        stem = "nvidia" if module == "nvidia" else module.replace("-", "_")
        files.append(_File(f"{top}/{module}/{stem}-main.c", text.encode()))
    header = f"/* {NOTICE} */\n".encode()
    files += [_File(f"{top}/common/inc/gpulab-standin-{number:02}.h", header) for number in range(_HEADERS)]
    return [*files, _File(f"{top}/dkms.conf", _template("kernel/dkms.conf").encode())]


def _installer(version: str) -> bytes:
    """Return the installer as one executable file: a zip application, nothing in it compressed."""
    buffer = io.BytesIO(b"#!/usr/bin/python3 -I\n")
    buffer.seek(0, io.SEEK_END)
    package = _RUN / "nvidia_installer"
    start = "import sys\n\nfrom nvidia_installer.cli import main\n\nsys.exit(main(sys.argv[0], sys.argv[1:]))\n"
    members = {"__main__.py": f"# {NOTICE}\n{start}", "nvidia_installer/version.txt": f"{version}\n"}
    for path in sorted(package.glob("*.py")):
        members[f"nvidia_installer/{path.name}"] = path.read_text(encoding="utf-8")
    with zipfile.ZipFile(buffer, "a", compression=zipfile.ZIP_STORED) as archive:
        for name, text in sorted(members.items()):
            archive.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), text)
    return buffer.getvalue()


def _utilities(version: str) -> list[_File | _Link]:
    values = {"VERSION": version, "NVML_VERSION": version[:6]}
    names = ("nvidia-smi", "nvidia-bug-report.sh", "nvidia-persistenced", "nvidia-xconfig")
    scripts = [
        _File(name, _template(f"user/{name}", **values).encode(), 0o755, "utility", f"/usr/bin/{name}")
        for name in names
    ]
    modprobe = _template("user/nvidia-modprobe", **values).encode()
    return [
        _File("nvidia-installer", _installer(version), 0o755, "utility", "/usr/bin/nvidia-installer"),
        *scripts,
        _File("nvidia-modprobe", modprobe, 0o4755, "modprobe", "/usr/bin/nvidia-modprobe"),
        _Link("utility", "/usr/bin/nvidia-uninstall", "nvidia-installer"),
    ]


def _library(file: str, soname: str, functions: t.Mapping[str, int], group: str, directory: str = _LIBRARIES) -> _File:
    content = shared_library(soname, functions, f"{file}: {NOTICE}", size=_LIBRARY_SIZE)
    return _File(file, content, 0o755, group, f"{directory}/{file}")


def _libraries(version: str) -> list[_File | _Link]:
    """Return the driver's own libraries; that of libcuda has "./" in its path, which shows in messages, as recorded."""
    cuda, nvml = f"libcuda.so.{version}", f"libnvidia-ml.so.{version}"
    ptx, glx = f"libnvidia-ptxjitcompiler.so.{version}", f"libGLX_nvidia.so.{version}"
    return [
        _library(nvml, "libnvidia-ml.so.1", _NVML_FUNCTIONS, "library"),
        _library(cuda, "libcuda.so.1", _CUDA_FUNCTIONS, "library", f"{_LIBRARIES}/."),
        _library(ptx, "libnvidia-ptxjitcompiler.so.1", {}, "library"),
        _library(glx, "libGLX_nvidia.so.0", {}, "library"),
        _library(f"libnvidia-glcore.so.{version}", f"libnvidia-glcore.so.{version}", {}, "library"),
        _Link("library", f"{_LIBRARIES}/libnvidia-ml.so.1", nvml),
        _Link("library", f"{_LIBRARIES}/libnvidia-ml.so", "libnvidia-ml.so.1"),
        _Link("library", f"{_LIBRARIES}/./libcuda.so.1", cuda),
        _Link("library", f"{_LIBRARIES}/./libcuda.so", "libcuda.so.1"),
        _Link("library", f"{_LIBRARIES}/libnvidia-ptxjitcompiler.so.1", ptx),
        _Link("library", f"{_LIBRARIES}/libGLX_nvidia.so.0", glx),
    ]


def _compat32(version: str) -> list[_File | _Link]:
    entries: list[_File | _Link] = []
    for stem in ("libcuda", "libnvidia-ml"):
        name, soname = f"{stem}.so.{version}", f"{stem}.so.1"
        content = shared_library(soname, {}, f"{name}: {NOTICE}", bits=32, size=_LIBRARY_SIZE)
        entries.append(_File(f"32/{name}", content, 0o755, "compat32", f"{_COMPAT32_DIRECTORY}/{name}"))
        entries.append(_Link("compat32", f"{_COMPAT32_DIRECTORY}/{soname}", name))
    return entries


def _glvnd() -> list[_File | _Link]:
    entries: list[_File | _Link] = []
    for stem, soversion in (("GL", 1), ("EGL", 1), ("GLX", 0), ("OpenGL", 0), ("GLdispatch", 0), ("GLESv2", 2)):
        soname = f"lib{stem}.so.{soversion}"
        entries.append(_library(f"{soname}.7.0", soname, {}, "glvnd"))
        entries.append(_Link("glvnd", f"{_LIBRARIES}/{soname}", f"{soname}.7.0"))
        entries.append(_Link("glvnd", f"{_LIBRARIES}/lib{stem}.so", soname))
    return [*entries, _Link("glvnd", "/usr/lib/libGL.so.1", f"{_LIBRARIES}/libGL.so.1")]


def _firmware(version: str) -> list[_File]:
    line = f"{NOTICE}\n".encode()
    sizes = {"gsp_ga10x.bin": 400_000, "gsp_tu10x.bin": 200_000}
    return [
        _File(
            f"firmware/{name}",
            (line * (size // len(line) + 1))[:size],
            0o444,
            "firmware",
            f"/lib/firmware/nvidia/{version}/{name}",
        )
        for name, size in sizes.items()
    ]


def _system_files(version: str) -> list[_File | _Link]:
    """Units for sleep and resume, and the files by which the loaders of Vulkan and OpenCL find a driver."""
    units, requires = "/usr/lib/systemd/system", "/etc/systemd/system/systemd-{0}.service.requires/nvidia-{0}.service"
    entries: list[_File | _Link] = []
    for name in ("suspend", "resume", "hibernate"):
        unit = f"nvidia-{name}.service"
        content = _template(f"user/{unit}").encode()
        entries.append(_File(f"systemd/system/{unit}", content, 0o644, "systemd", f"{units}/{unit}"))
        entries.append(_Link("systemd", requires.format(name), f"{units}/{unit}"))
    others = (
        ("systemd/system-sleep/nvidia", "system-sleep", 0o755, "systemd", "/usr/lib/systemd/system-sleep/nvidia"),
        ("systemd/nvidia-sleep.sh", "nvidia-sleep.sh", 0o755, "systemd", "/usr/bin/nvidia-sleep.sh"),
        ("nvidia_icd.json", "nvidia_icd.json", 0o644, "vulkan", "/etc/vulkan/./nvidia_icd.json"),
        ("nvidia.icd", "nvidia.icd", 0o644, "opencl", "/etc/OpenCL/vendors/nvidia.icd"),
    )
    for source, name, mode, group, destination in others:
        content = _template(f"user/{name}", VERSION=version).encode()
        entries.append(_File(source, content, mode, group, destination))
    return entries


def _documentation(version: str) -> list[_File]:
    notice = _template("user/notice.txt", VERSION=version).encode()
    texts = [
        _File(name, notice, 0o644, "doc", f"{_DOCUMENTATION}/{name}")
        for name in ("LICENSE", "README.txt", "NVIDIA_Changelog")
    ]
    sample = "nvidia-persistenced-init.tar.bz2"
    return [*texts, _File(sample, _persistenced_sample(), 0o644, "doc", f"{_DOCUMENTATION}/samples/{sample}")]


def _persistenced_sample() -> bytes:
    """Return the sample units for nvidia-persistenced, which the package does not install as units."""
    buffer, top = io.BytesIO(), "nvidia-persistenced-init"
    template = "nvidia-persistenced.service.template"
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        _add(tar, f"{top}/install.sh", _template("user/persistenced-install.sh").encode(), 0o755)
        _add(tar, f"{top}/systemd/{template}", _template(f"user/{template}").encode(), 0o644)
    return bz2.compress(buffer.getvalue())
