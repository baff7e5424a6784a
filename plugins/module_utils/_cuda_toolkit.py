# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""CUDA toolkits under /usr/local: what is there, what is wrong with it, and what an installer's failure means."""

from __future__ import annotations

import json
import re
import typing as t
from dataclasses import dataclass

from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._fetch import Artefact

PREFIX = "/usr/local"
LINK = f"{PREFIX}/cuda"
MARKERS = "/var/lib/gpulab/cuda_toolkit"
LINKER_FILE = "/etc/ld.so.conf.d/00-gpulab-cuda.conf"
PROFILE_FILE = "/etc/profile.d/gpulab-cuda.sh"
STALE_LOGS = ("/tmp/cuda-installer.log", "/var/log/cuda-installer.log")  # noqa: S108 - where the installer writes them
# Without any of these nvcc cannot compile and link a program.
ESSENTIAL = (
    "bin/nvcc",
    "bin/ptxas",
    "bin/cudafe++",
    "bin/fatbinary",
    "bin/nvlink",
    "bin/cuobjdump",
    "nvvm/bin/cicc",
    "nvvm/libdevice/libdevice.10.bc",
    "include/cuda.h",
    "include/cuda_runtime.h",
    "include/crt/host_config.h",
    "lib64/libcudart_static.a",
    "lib64/libcudadevrt.a",
    "lib64/libcudart.so",
)
PROFILE = """# Managed by gpulab (role cuda_toolkit).
case ":$PATH:" in
  *:/usr/local/cuda/bin:*) ;;
  *) PATH="/usr/local/cuda/bin:$PATH" ;;
esac
export PATH CUDA_HOME="${CUDA_HOME:-/usr/local/cuda}"
"""

_GB = 10**9
_TMP_BYTES, _TARGET_BYTES = 8 * _GB, 10 * _GB  # NVIDIA names no number: the file has 4 to 6 GB, a toolkit 6 to 8 GB
_STANDIN_GROWTH = 8  # a stand-in's files, copied twice, for each byte of its archive
_NAMED_FILES = 3  # of those that are missing; a message is for reading
_VERSION = re.compile(r"\d+\.\d+\.\d+")
# What a runfile's version.json calls its release: the series and the day of the build. NVIDIA's packages write 12.9.1.
_BUILD = re.compile(r"(?P<series>\d+\.\d+)\.20\d{6}")


@dataclass(frozen=True)
class Wanted:
    """A release that should be there (with its file) or should not (version alone)."""

    version: str
    present: bool
    artefact: Artefact | None = None
    standin: bool = False
    carries: str | None = None
    build: str | None = None  # what version.json calls it, where that is known
    tmp_bytes: int = _TMP_BYTES
    target_bytes: int = _TARGET_BYTES

    @property
    def series(self) -> str:
        """Return 12.9 of 12.9.1: one release of each series can be installed."""
        return self.version.rsplit(".", 1)[0]

    @property
    def path(self) -> str:
        """Return where the release goes."""
        return toolkit_path(self.series)

    @classmethod
    def from_release(cls, release: t.Mapping[str, t.Any], state: str) -> Wanted:
        """Take a catalogue release; its own ``state`` goes before the one given."""
        version = str(release.get("version", ""))
        state = release.get("state") or state
        if not _VERSION.fullmatch(version) or state not in ("present", "absent"):
            raise OperatorError(
                found=f"a toolkit release with version {version!r} and state {state!r}.",
                expected="a version of three numbers as in cuda.yml of the catalogue, and state present or absent.",
                action="correct cuda_toolkit_releases and cuda_toolkit_state.",
            )
        if state == "absent":
            return cls(version, present=False)
        missing = [key for key in ("file", "sha256", "sources") if not release.get(key)]
        if missing:
            raise OperatorError(
                found=f"the release {version} without {', '.join(missing)}.",
                expected="file, sha256 and sources, as the lookup gpulab.workstation.stack gives them.",
                action="correct cuda_toolkit_releases, or give the release state absent.",
            )
        standin = bool(release.get("standin"))
        grown = _STANDIN_GROWTH * int(release.get("size") or 0)
        return cls(
            version,
            present=True,
            artefact=Artefact.from_release(release),
            standin=standin,
            carries=release.get("carries"),
            build=release.get("build"),
            tmp_bytes=release.get("tmp_bytes") or (grown if standin else _TMP_BYTES),
            target_bytes=release.get("target_bytes") or (grown if standin else _TARGET_BYTES),
        )


@dataclass(frozen=True)
class Marker:
    """What this role remembers of a toolkit: it is at work on it (installing), made it, or found it (adopted)."""

    version: str
    state: str  # installing, installed, adopted
    former: str = ""  # while it is at work, the release that was set aside


@dataclass(frozen=True)
class Toolkit:
    """A directory /usr/local/cuda-X.Y as it was found."""

    series: str
    version: str | None  # what version.json says, and this role's note where that only says when it was built
    nvcc: str | None  # what nvcc --version says, None where it cannot be run
    ptxas: str | None
    missing: tuple[str, ...] = ()
    standin_claims: str | None = None
    standin_carries: str | None = None
    marker: Marker | None = None
    build: str | None = None  # what version.json says

    @property
    def path(self) -> str:
        """Return its directory."""
        return toolkit_path(self.series)

    @property
    def owned(self) -> bool:
        """Whether this role made it and may remove it."""
        return self.marker is not None and self.marker.state != "adopted"


def toolkit_path(series: str) -> str:
    """Return where NVIDIA's installer puts a series."""
    return f"{PREFIX}/cuda-{series}"


def parse_tool_version(text: str) -> str | None:
    """Return 12.9.86 from what ``nvcc --version`` or ``ptxas --version`` prints."""
    found = re.search(r"release \d+\.\d+, V(\d+\.\d+\.\d+)", text)
    return found[1] if found else None


def parse_version_json(text: str | None) -> str | None:
    """Return the toolkit's version from its version.json; None where it is not there or not whole."""
    data = _json(text).get("cuda")
    version = data.get("version") if isinstance(data, dict) else None
    return version if isinstance(version, str) else None


def release_of(said: str | None, marker: Marker | None) -> str | None:
    """Return the release that a version.json is of: a build of a series is the one that this role has noted."""
    found = _BUILD.fullmatch(said or "")
    if found and marker and marker.state != "installing" and marker.version.startswith(f"{found['series']}."):
        return marker.version
    return said


def parse_standin_json(text: str | None) -> tuple[str | None, str | None]:
    """Return what a stand-in claims to be and what it carries; both None for NVIDIA's own."""
    data = _json(text)
    return data.get("claims"), data.get("carries")


def parse_marker(text: str | None) -> Marker | None:
    """Read this role's note about a toolkit; one that was cut off counts as work that was not finished."""
    if text is None:
        return None
    data = _json(text)
    return Marker(str(data.get("version", "")), str(data.get("state", "installing")), str(data.get("former", "")))


def _json(text: str | None) -> dict[str, t.Any]:
    try:
        data = json.loads(text or "{}")
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}


def problems(toolkit: Toolkit | None, wanted: Wanted) -> list[str]:
    """Say in what a toolkit differs from the wanted release; no exit status has a part in this."""
    if toolkit is None:
        return [f"{wanted.path} is not there"]
    found = []
    if not _is_of(toolkit, wanted):
        said = toolkit.version if toolkit.version != wanted.version else toolkit.build
        found.append(f"version.json says {said or 'nothing'}")
    if toolkit.standin_claims is not None and not wanted.standin:
        found.append("it is a stand-in of the lab")
    if wanted.standin and toolkit.standin_claims is None:
        found.append("it is not the lab's stand-in, which the catalogue names")
    if toolkit.missing:
        more = len(toolkit.missing) - _NAMED_FILES
        found.append(f"{', '.join(toolkit.missing[:_NAMED_FILES])}{f' and {more} more' if more > 0 else ''} missing")
    for name, version in (("nvcc", toolkit.nvcc), ("ptxas", toolkit.ptxas)):
        found += _tool_problem(name, version, toolkit, wanted)
    return found


def _is_of(toolkit: Toolkit, wanted: Wanted) -> bool:
    """Whether version.json is that of the release: by its number, or by the day of its build where that is known."""
    build = _BUILD.fullmatch(toolkit.build or "")
    if build and wanted.build:
        return toolkit.build == wanted.build
    dated = _BUILD.fullmatch(toolkit.version or "")
    return dated["series"] == wanted.series if dated else toolkit.version == wanted.version


def _tool_problem(name: str, version: str | None, toolkit: Toolkit, wanted: Wanted) -> list[str]:
    if version is None:
        return [f"{name} cannot be run"]
    if wanted.standin:
        expected = wanted.carries or toolkit.standin_carries
        return [] if version == expected == toolkit.standin_carries else [f"{name} is {version}, not {expected}"]
    same = version.rsplit(".", 1)[0] == wanted.series
    return [] if same else [f"{name} is {version}, not of {wanted.series}"]


def explain_failure(rc: int, output: str) -> str:
    """Return what to do about a run of the runfile that failed, by the marks that its causes leave.

    The causes are those of NVIDIA's install guide ("Advanced options", --tmpdir, --override), of spack's cuda package
    (libxml2, crash by a leftover log) and of makeself (checksum, extraction).
    """
    for pattern, advice in _CAUSES:
        if re.search(pattern, output, re.IGNORECASE):
            return advice
    if rc in (139, -11):
        return "the installer crashed; remove /tmp/cuda-installer.log, which another user's run leaves, and run again."
    return "read the lines above and /var/log/cuda-installer.log on the host, cure that, then run again."


_CAUSES = (
    (r"libxml2\.so", "install the package libxml2 (cuda_toolkit_packages), then run again."),
    (r"MD5 checksums?:", "the runfile is damaged; remove it from the cache and run again."),
    (r"No space left|not enough (?:disk )?space", "free space in the work directory and under /usr/local; run again."),
    (r"Permission denied", "choose a cuda_toolkit_work_directory on a file system without noexec, then run again."),
    (r"Missing gcc", "install gcc and g++ (cuda_toolkit_packages), then run again."),
    (r"unsupported compiler", "make plain gcc one that this toolkit accepts (catalogue/cuda.yml), then run again."),
    (r"Unknown option", "this runfile does not know an option that it was given; compare it with the catalogue."),
    (r"Extraction failed", "free space in the work directory, then run again."),
)


__all__ = [
    "ESSENTIAL",
    "LINK",
    "LINKER_FILE",
    "MARKERS",
    "PREFIX",
    "PROFILE",
    "PROFILE_FILE",
    "STALE_LOGS",
    "Marker",
    "Toolkit",
    "Wanted",
    "explain_failure",
    "parse_marker",
    "parse_standin_json",
    "parse_tool_version",
    "parse_version_json",
    "problems",
    "release_of",
    "toolkit_path",
]
