# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The depot's wheel index (PEP 503 simple repository, with hashes)."""

from __future__ import annotations

import functools
import hashlib
import html
import re
import typing as t
import urllib.parse

if t.TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path


def normalise(project: str) -> str:
    """Return a project's normalised name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", project).lower()


@functools.lru_cache(maxsize=4096)
def _sha256(path: Path, size: int, modified: int) -> str:
    del size, modified  # they are in the key so that a rewritten file is hashed again
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of(path: Path) -> str:
    """Return a wheel's sha256: from the note beside it where the wheel cache left one, else from its bytes."""
    note = path.with_name(path.name + ".sha256")
    if note.exists():
        return note.read_text().strip()
    status = path.stat()
    return _sha256(path, status.st_size, status.st_mtime_ns)


def wheels_by_project(directory: Path) -> dict[str, list[Path]]:
    """Return the wheels in a directory by normalised project name."""
    projects: dict[str, list[Path]] = {}
    for path in sorted(directory.glob("*.whl")):
        projects.setdefault(normalise(path.name.split("-", 1)[0]), []).append(path)
    return projects


def _page(title: str, links: Iterable[tuple[str, str]]) -> str:
    lines = [f'<a href="{html.escape(target)}">{html.escape(text)}</a><br>' for target, text in links]
    head = f'<head><meta name="pypi:repository-version" content="1.0"><title>{html.escape(title)}</title></head>'
    return "\n".join(["<!DOCTYPE html>", "<html>", head, "<body>", *lines, "</body>", "</html>", ""])


def index_page(projects: Mapping[str, list[Path]]) -> str:
    """Render /simple/."""
    return _page("Wheels of this lab", ((f"/simple/{project}/", project) for project in sorted(projects)))


def project_page(project: str, wheels: Iterable[Path]) -> str:
    """Render /simple/PROJECT/: each wheel with its sha256."""
    links = ((f"/wheels/{urllib.parse.quote(path.name)}#sha256={sha256_of(path)}", path.name) for path in wheels)
    return _page(project, links)


__all__ = ["index_page", "normalise", "project_page", "sha256_of", "wheels_by_project"]
