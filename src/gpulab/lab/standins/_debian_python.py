# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A relocatable CPython 3.11 for the lab's conda packages: Debian 12's binaries, CPython's own library.

Debian changes site.py, sysconfig.py and distutils (dist-packages, posix_local), so the library comes from the
unchanged tarball that Debian builds from. The interpreter finds its prefix from its own place, as CPython's
getpath.py does everywhere; the shared libraries it needs are those that Debian's python3 brings to every lab host.
"""

from __future__ import annotations

import ast
import hashlib
import io
import pprint
import re
import struct
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

from gpulab.lab.standins._conda_packages import PLACEHOLDER, Payload

InRoot = Callable[[Sequence[str]], bytes]

# python3.11_3.11.2.orig.tar.gz as Debian 12 publishes it (read from its signed index, 2026-11-23).
ORIG_SHA256 = "2411c74bda5bbcfcddaf4531f66d1adc73f247f529aee981b029513aefdbf849"
_SOURCE = "Python-3.11.2"
_LEFT_OUT = ("test/", "idlelib/", "tkinter/", "turtledemo/", "lib2to3/tests/", "distutils/tests/", "unittest/test/",
             "ctypes/test/", "turtle.py")  # fmt: skip
_TEST_MODULES = re.compile(r"_test|_xx|^xx|_ctypes_test")
_MULTIARCH = "x86_64-linux-gnu"

_COLLECT = f"""set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
mkdir -p lists/partial cache/archives/partial sources.d debs out
for list in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
  [ -r "$list" ] || continue
  sed -n '/^deb /{{p;s/^deb /deb-src /p}}' "$list" > "sources.d/$(basename "$list" .list).list"
done
for list in /etc/apt/sources.list.d/*.sources; do
  [ -r "$list" ] || continue
  sed 's/^Types: deb$/Types: deb deb-src/' "$list" > "sources.d/$(basename "$list")"
done
set -- -q -o Dir::State::lists="$work/lists" -o Dir::Cache="$work/cache" -o Dir::Etc::sourcelist=/dev/null \\
  -o Dir::Etc::sourceparts="$work/sources.d" -o APT::Sandbox::User=root
apt-get "$@" update >&2
cd debs
apt-get "$@" download python3.11-minimal libpython3.11-minimal libpython3.11-stdlib libpython3.11-dev tzdata \\
  ca-certificates >&2
apt-get "$@" source --download-only --tar-only python3.11="$(dpkg-deb -f python3.11-minimal_*.deb Version)" >&2
for deb in *.deb; do
  dpkg-deb -x "$deb" ../out
  dpkg-deb -f "$deb" Package Version | sed -n 's/^[A-Z][a-z]*: //p' | paste -sd' ' - >> ../out/versions
done
cp python3.11_*.orig.tar.* ../out/orig.tar.gz
cd ../out
set -- usr/bin/python3.11 usr/lib/python3.11/lib-dynload usr/include/{_MULTIARCH}/python3.11 \\
  usr/lib/python3.11/_sysconfigdata__{_MULTIARCH}.py usr/share/zoneinfo usr/share/ca-certificates/mozilla \\
  orig.tar.gz versions
tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -cf - "$@"
"""  # noqa: S608 - a shell script, no SQL


class DebianPythonError(Exception):
    """What came from Debian is not what this module knows how to use."""


class DebianParts:
    """The files taken from Debian 12, as one tar stream."""

    def __init__(self, stream: bytes) -> None:
        self._files: dict[str, Payload] = {}
        with tarfile.open(fileobj=io.BytesIO(stream)) as archive:
            for info in archive:
                if info.issym():
                    self._files[info.name] = Payload(link=info.linkname)
                elif info.islnk():
                    self._files[info.name] = self._files[info.linkname]
                elif info.isfile():
                    opened = archive.extractfile(info)
                    data = opened.read() if opened else b""
                    self._files[info.name] = Payload(data, executable=bool(info.mode & 0o100))
        lines = self._files["versions"].data.decode().splitlines()
        self.versions = dict(line.split(" ", 1) for line in lines)

    def __getitem__(self, path: str) -> bytes:
        return self._files[path].data

    def below(self, folder: str) -> dict[str, Payload]:
        """Return the files below a folder, named from there."""
        return {path.removeprefix(folder): found for path, found in self._files.items() if path.startswith(folder)}


def debian_parts(in_root: InRoot, cache: Path) -> DebianParts:
    """Return Debian's files, from the cache where an earlier build has left them."""
    kept = cache / f"debian-python-{hashlib.sha256(_COLLECT.encode()).hexdigest()[:12]}.tar"
    if not kept.exists():
        cache.mkdir(parents=True, exist_ok=True)
        partial = kept.with_suffix(".part")
        partial.write_bytes(in_root(["sh", "-c", _COLLECT]))
        partial.replace(kept)
    return DebianParts(kept.read_bytes())


def python_files(parts: DebianParts) -> dict[str, Payload]:
    """Return the files of the python package, as conda-forge lays them out."""
    files = {f"lib/python3.11/{path}": payload for path, payload in _library(parts["orig.tar.gz"]).items()}
    files |= {f"include/python3.11/{path}": payload for path, payload in _headers(parts).items()}
    for name, payload in parts.below("usr/lib/python3.11/lib-dynload/").items():
        if not _TEST_MODULES.search(name):
            files[f"lib/python3.11/lib-dynload/{name}"] = Payload(payload.data, executable=True)
    data = _sysconfig_data(parts[f"usr/lib/python3.11/_sysconfigdata__{_MULTIARCH}.py"].decode())
    files[f"lib/python3.11/_sysconfigdata__linux_{_MULTIARCH}.py"] = Payload(data.encode())
    files[f"lib/python3.11/_sysconfigdata__{_MULTIARCH}.py"] = Payload(data.encode())
    files["bin/python3.11"] = Payload(without_frozen_site(parts["usr/bin/python3.11"]), executable=True)
    files |= {"bin/python3": Payload(link="python3.11"), "bin/python": Payload(link="python3.11")}
    pydoc = f"#!{PLACEHOLDER}/bin/python3.11\nimport pydoc\nif __name__ == '__main__':\n    pydoc.cli()\n"
    return {**files, "bin/pydoc3.11": Payload(pydoc.encode(), executable=True)}


def without_frozen_site(binary: bytes) -> bytes:
    """Take Debian's changed site.py out of the interpreter's frozen modules, so that CPython's own file is imported.

    The table is ``_PyImport_FrozenStdlib`` (CPython 3.11 Python/frozen.c): rows of name, code, size, is_package and
    get_code, 32 bytes each. The row of ``site`` stands between ``os`` and ``stat``; its name is moved on by one
    character, so that nothing finds it.
    """
    segments = _load_segments(binary)
    rows = [row for row in _references(binary, segments, b"site\0") if _is_frozen_row(binary, segments, row)]
    if len(rows) != 1:
        message = f"{len(rows)} rows for 'site' in the frozen modules of Debian's python3.11, expected one"
        raise DebianPythonError(message)
    address = struct.unpack_from("<Q", binary, rows[0])[0]
    return binary[: rows[0]] + struct.pack("<Q", address + 1) + binary[rows[0] + 8 :]


def _library(orig: bytes) -> dict[str, Payload]:
    if hashlib.sha256(orig).hexdigest() != ORIG_SHA256:
        message = f"CPython's source has sha256 {hashlib.sha256(orig).hexdigest()}, expected {ORIG_SHA256}"
        raise DebianPythonError(message)
    files = {}
    with tarfile.open(fileobj=io.BytesIO(orig)) as archive:
        for info in archive:
            path = info.name.removeprefix(f"{_SOURCE}/Lib/")
            if info.isfile() and path != info.name and not path.startswith(_LEFT_OUT):
                opened = archive.extractfile(info)
                files[path] = Payload(opened.read() if opened else b"")
    return files


def _headers(parts: DebianParts) -> dict[str, Payload]:
    files = {}
    with tarfile.open(fileobj=io.BytesIO(parts["orig.tar.gz"])) as archive:
        for info in archive:
            path = info.name.removeprefix(f"{_SOURCE}/Include/")
            if info.isfile() and path != info.name:
                opened = archive.extractfile(info)
                files[path] = Payload(opened.read() if opened else b"")
    pyconfig = f"usr/include/{_MULTIARCH}/python3.11/pyconfig.h"
    return {**files, "pyconfig.h": Payload(parts[pyconfig])}


def _sysconfig_data(text: str) -> str:
    """Turn Debian's build variables into those of an interpreter below the placeholder prefix."""
    tree = ast.parse(text)
    variables = next(ast.literal_eval(node.value) for node in tree.body if isinstance(node, ast.Assign))
    moved = {key: _moved(value) for key, value in variables.items() if key != "WHEEL_PKG_DIR"}
    return "# system configuration of the gpulab stand-in\nbuild_time_vars = " + pprint.pformat(moved) + "\n"


def _moved(value: object) -> object:
    if not isinstance(value, str):
        return value
    value = value.replace(f"/usr/lib/{_MULTIARCH}", "/usr/lib")
    return re.sub(r"(?<![\w.])/usr(?=/(?:bin|lib|include|share)(?:[/\s']|$)|$|\s|')(?!/bin/(?:install|dtrace))",
                  PLACEHOLDER, value)  # fmt: skip


def _load_segments(binary: bytes) -> list[tuple[int, int, int]]:
    """Return (file offset, address, size) of what is loaded (elf(5), PT_LOAD)."""
    start, count = struct.unpack_from("<Q", binary, 32)[0], struct.unpack_from("<H", binary, 56)[0]
    headers = (struct.unpack_from("<IIQQQQ", binary, start + 56 * number) for number in range(count))
    return [(offset, address, size) for kind, _flags, offset, address, _physical, size in headers if kind == 1]


def _references(binary: bytes, segments: list[tuple[int, int, int]], text: bytes) -> list[int]:
    found = []
    for place in re.finditer(re.escape(text), binary):
        for offset, address, size in segments:
            if offset <= place.start() < offset + size:
                pointer = struct.pack("<Q", address + place.start() - offset)
                found += [match.start() for match in re.finditer(re.escape(pointer), binary)]
    return found


def _is_frozen_row(binary: bytes, segments: list[tuple[int, int, int]], row: int) -> bool:
    def name(at: int) -> bytes:
        pointer = struct.unpack_from("<Q", binary, at)[0]
        for offset, address, size in segments:
            if address <= pointer < address + size:
                start = offset + pointer - address
                return binary[start : binary.index(b"\0", start)]
        return b""

    return name(row - 32) == b"os" and name(row + 32) == b"stat"


__all__ = [
    "DebianParts",
    "DebianPythonError",
    "InRoot",
    "debian_parts",
    "python_files",
    "without_frozen_site",
]
