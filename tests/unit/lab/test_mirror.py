# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which archive the hosts are made from, read from apt's configuration in both of its styles."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpulab.lab.mirror import (
    Source,
    backports,
    parse_deb822,
    parse_one_line,
    parse_os_release,
    read_machine_sources,
    sources_for_hosts,
    sources_list,
)

BOOKWORM = {"ID": "debian", "VERSION_CODENAME": "bookworm"}
TRIXIE = {"ID": "debian", "VERSION_CODENAME": "trixie"}

ONE_LINE = """\
# deb http://off.example.invalid/debian bookworm main
deb http://mirror.example.invalid/debian bookworm main contrib # close by
deb [arch=amd64 signed-by=/k.gpg] https://mirror.example.invalid/debian bookworm-updates main
deb-src http://mirror.example.invalid/debian bookworm main
deb http://other.example.invalid/apt stable tools
"""

DEB822 = """\
Types: deb deb-src
# a comment inside
URIs: http://mirror.example.invalid/debian
 http://second.example.invalid/debian
Suites: bookworm
  bookworm-updates
Components: main non-free-firmware

Types: deb
Enabled: no
URIs: http://off.example.invalid/debian
Suites: bookworm
Components: main

Types: deb-src
URIs: http://sources.example.invalid/debian
Suites: bookworm
Components: main
"""


def test_one_line_style() -> None:
    assert parse_one_line(ONE_LINE) == [
        Source("http://mirror.example.invalid/debian", "bookworm", ("main", "contrib")),
        Source("https://mirror.example.invalid/debian", "bookworm-updates", ("main",)),
        Source("http://other.example.invalid/apt", "stable", ("tools",)),
    ]


def test_deb822_style() -> None:
    components = ("main", "non-free-firmware")
    assert parse_deb822(DEB822) == [
        Source("http://mirror.example.invalid/debian", "bookworm", components),
        Source("http://mirror.example.invalid/debian", "bookworm-updates", components),
        Source("http://second.example.invalid/debian", "bookworm", components),
        Source("http://second.example.invalid/debian", "bookworm-updates", components),
    ]


MIRROR = "http://mirror.example.invalid/debian"
SECURITY = "http://security.example.invalid/debian-security"


@pytest.mark.parametrize(
    ("sources", "os_release", "expected"),
    [
        pytest.param(
            [Source(SECURITY, "bookworm-security", ("main",)), Source(MIRROR, "bookworm", ("main", "contrib"))],
            BOOKWORM,
            [Source(MIRROR, "bookworm", ("main",)), Source(SECURITY, "bookworm-security", ("main",))],
            id="main-only-and-in-order",
        ),
        pytest.param(
            [Source(MIRROR, "trixie", ("main",)), Source(SECURITY, "trixie-security", ("main",))],
            TRIXIE,
            [Source(MIRROR, "bookworm", ("main",)), Source(SECURITY, "bookworm-security", ("main",))],
            id="a-newer-debian-has-the-older-suite-too",
        ),
        pytest.param(
            [Source(MIRROR, "bookworm-backports", ("main",)), Source(MIRROR, "bookworm", ("main",))],
            BOOKWORM,
            [Source(MIRROR, "bookworm", ("main",))],
            id="no-backports",
        ),
        pytest.param([Source(MIRROR, "bookworm-updates", ("main",))], BOOKWORM, [], id="updates-alone-are-no-debian"),
        pytest.param([Source(MIRROR, "bookworm", ("contrib",))], BOOKWORM, [], id="no-main"),
        pytest.param(
            [Source(MIRROR, "noble", ("main",))], {"ID": "ubuntu", "VERSION_CODENAME": "noble"}, [], id="ubuntu"
        ),
        pytest.param([Source(MIRROR, "sid", ("main",))], {"ID": "debian"}, [], id="no-codename"),
    ],
)
def test_sources_for_hosts(sources: list[Source], os_release: dict[str, str], expected: list[Source]) -> None:
    assert sources_for_hosts(sources, os_release) == expected


@pytest.mark.parametrize(
    ("sources", "os_release", "expected"),
    [
        pytest.param(
            [
                Source(SECURITY, "bookworm-security", ("main",)),
                Source(MIRROR, "bookworm", ("main", "contrib")),
                Source(MIRROR, "bookworm-updates", ("main",)),
            ],
            BOOKWORM,
            Source(MIRROR, "bookworm-backports", ("main",)),
            id="where-the-release-is-from",
        ),
        pytest.param([Source(MIRROR, "bookworm", ("contrib",))], BOOKWORM, None, id="no-main"),
        pytest.param([Source(MIRROR, "stable", ("main",))], BOOKWORM, None, id="by-another-name"),
        pytest.param([Source(MIRROR, "sid", ("main",))], {"ID": "debian"}, None, id="no-codename"),
        pytest.param(
            [Source(MIRROR, "noble", ("main",))], {"ID": "ubuntu", "VERSION_CODENAME": "noble"}, None, id="ubuntu"
        ),
    ],
)
def test_backports(sources: list[Source], os_release: dict[str, str], expected: Source | None) -> None:
    assert backports(sources, os_release) == expected


def test_a_machine_is_read_from_all_of_its_files(tmp_path: Path) -> None:
    parts = tmp_path / "etc/apt/sources.list.d"
    parts.mkdir(parents=True)
    (tmp_path / "etc/apt/sources.list").write_text(f"deb {MIRROR} bookworm main\n")
    (parts / "a.list").write_text(f"deb {MIRROR} bookworm-updates main\n")
    (parts / "b.sources").write_text(f"Types: deb\nURIs: {SECURITY}\nSuites: bookworm-security\nComponents: main\n")
    (parts / "c.list.disabled").write_text("deb http://off.example.invalid/ bookworm main\n")
    assert [source.suite for source in read_machine_sources(tmp_path)] == [
        "bookworm",
        "bookworm-updates",
        "bookworm-security",
    ]


def test_os_release_and_sources_list() -> None:
    text = '# comment\nID=debian\nVERSION_CODENAME="bookworm"\n'
    assert parse_os_release(text) == {"ID": "debian", "VERSION_CODENAME": "bookworm"}
    assert sources_list([Source(MIRROR, "bookworm", ("main", "contrib"))]) == f"deb {MIRROR} bookworm main contrib\n"
