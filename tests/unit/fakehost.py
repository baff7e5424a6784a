# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host for unit tests: real files under a directory, commands answered from a table, a clock that only sleeps."""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.gpulab.workstation.plugins.module_utils._host import (
    Completed,
    FileStatus,
    Filesystem,
    LocalHost,
    UrlAnswer,
)

Answer = Completed | tuple[int, str, str] | Callable[[tuple[str, ...]], tuple[int, str, str]]


@dataclass
class FakeHost:
    """Files live under ``root``; ``commands`` maps the start of a command line to (rc, stdout, stderr) or a function.

    The longest matching start wins; a command that nobody listed is "not found" (rc 127) and is recorded in ``ran``
    like every other, so that a test can say what must not have been run.
    """

    root: Path
    commands: dict[str, Answer] = field(default_factory=dict)
    urls: dict[str, Callable[[int], UrlAnswer]] = field(default_factory=dict)
    filesystems: dict[str, Filesystem] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    ran: list[tuple[str, ...]] = field(default_factory=list)
    environments: list[dict[str, str]] = field(default_factory=list)  # what each of them got beside the host's own
    clock: float = 1_800_000_000.0
    _real: LocalHost = field(default_factory=LocalHost)

    def path(self, path: str) -> str:
        """Return where an absolute path of the host lies in the test's directory."""
        return str(self.root / path.lstrip("/"))

    def add(self, path: str, text: str | bytes = "", *, mode: int = 0o644) -> None:
        """Put a file on the host."""
        target = Path(self.path(path))
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(text.encode() if isinstance(text, str) else text)
        target.chmod(mode)

    def run(
        self,
        argv: t.Sequence[str],
        *,
        cwd: str | None = None,  # noqa: ARG002
        env: t.Mapping[str, str] | None = None,
        stdin: str = "",  # noqa: ARG002
        timeout_s: float = 600.0,  # noqa: ARG002
        log: str | None = None,  # noqa: ARG002
    ) -> Completed:
        command = tuple(argv)
        self.ran.append(command)
        self.environments.append(dict(env or {}))
        line = " ".join(command)
        for start in sorted(self.commands, key=len, reverse=True):
            if line == start or line.startswith(start + " "):
                answer = self.commands[start]
                if isinstance(answer, Completed):
                    return answer
                rc, stdout, stderr = answer(command) if callable(answer) else answer
                return Completed(command, rc, stdout, stderr)
        return Completed(command, 127, "", f"{command[0]}: not found")

    def which(self, program: str) -> str | None:
        known = any(start.split()[0].rsplit("/", 1)[-1] == program for start in self.commands)
        return f"/usr/bin/{program}" if known else None

    def read_text(self, path: str) -> str | None:
        return self._real.read_text(self.path(path))

    def read_bytes(self, path: str, size: int = -1, offset: int = 0) -> bytes | None:
        return self._real.read_bytes(self.path(path), size, offset)

    def sha256(self, path: str) -> str | None:
        return self._real.sha256(self.path(path))

    def listdir(self, path: str) -> list[str]:
        return self._real.listdir(self.path(path))

    def status(self, path: str) -> FileStatus | None:
        return self._real.status(self.path(path))

    def exists(self, path: str) -> bool:
        return Path(self.path(self.realpath(path))).exists()

    def readlink(self, path: str) -> str | None:
        return self._real.readlink(self.path(path))

    def realpath(self, path: str) -> str:
        for _ in range(40):
            parts = path.strip("/").split("/")
            for end in range(1, len(parts) + 1):
                head = "/" + "/".join(parts[:end])
                target = self._real.readlink(self.path(head))
                if target is not None:
                    base = target if target.startswith("/") else f"{head.rsplit('/', 1)[0]}/{target}"
                    path = _normal("/".join([base, *parts[end:]]))
                    break
            else:
                return _normal(path)
        return path

    def filesystem(self, path: str) -> Filesystem:
        for point in sorted(self.filesystems, key=len, reverse=True):
            if path == point or path.startswith(point.rstrip("/") + "/"):
                return self.filesystems[point]
        return Filesystem("/", "ext4", ("rw", "relatime"), 500 * 10**9, 900 * 10**9)

    def write_text(self, path: str, text: str, *, mode: int = 0o644) -> None:
        self._real.write_text(self.path(path), text, mode=mode)

    def append_text(self, path: str, text: str) -> None:
        self._real.append_text(self.path(path), text)

    def write_chunks(self, path: str, chunks: t.Iterable[bytes], *, append: bool = False) -> int:
        return self._real.write_chunks(self.path(path), chunks, append=append)

    def make_dirs(self, path: str, *, mode: int = 0o755) -> None:
        self._real.make_dirs(self.path(path), mode=mode)

    def symlink(self, target: str, path: str) -> None:
        self._real.symlink(target, self.path(path))

    def rename(self, source: str, path: str) -> None:
        self._real.rename(self.path(source), self.path(path))

    def chmod(self, path: str, mode: int) -> None:
        self._real.chmod(self.path(path), mode)

    def remove(self, path: str) -> None:
        self._real.remove(self.path(path))

    def hold_lock(self, path: str) -> Callable[[], None] | None:
        return self._real.hold_lock(self.path(path))

    def open_url(self, url: str, *, offset: int = 0, timeout_s: float = 30.0) -> UrlAnswer:  # noqa: ARG002
        if url not in self.urls:
            message = f"nothing answers at {url}"
            raise OSError(message)
        return self.urls[url](offset)

    def environ(self, name: str) -> str | None:
        return self.environment.get(name)

    def now(self) -> float:
        return self.clock

    def sleep(self, seconds: float) -> None:
        self.clock += seconds


def _normal(path: str) -> str:
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            parts[-1:] = []
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts)


def chunks(data: bytes, size: int = 4096) -> Iterator[bytes]:
    """Yield data in pieces, as a source would send it."""
    for start in range(0, len(data), size):
        yield data[start : start + size]
