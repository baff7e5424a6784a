# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The only file that touches the machine: commands, files, disks. Everything else is given a :class:`Host`."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import http.client
import os
import pathlib
import shutil
import stat as stat_bits
import subprocess
import tempfile
import time
import typing as t
import urllib.error
import urllib.request
from dataclasses import dataclass

_RC_NOT_FOUND = 127
_RC_NOT_EXECUTABLE = 126
_RC_TIMED_OUT = 124


@dataclass(frozen=True)
class Completed:
    """How a command ended; ``rc`` is 127 where there is no such program, 126 where it is none, 124 out of time."""

    argv: tuple[str, ...]
    rc: int
    stdout: str
    stderr: str

    @property
    def ok(self) -> bool:
        """Whether the exit status was 0 (which for some installers proves nothing)."""
        return self.rc == 0

    @property
    def answered(self) -> bool:
        """Whether the program itself came to an end: not out of time, not killed, and one that can be started."""
        return self.rc >= 0 and self.rc != _RC_NOT_EXECUTABLE and not self.timed_out

    @property
    def timed_out(self) -> bool:
        """Whether it was ended because its time was over."""
        return self.rc == _RC_TIMED_OUT


@dataclass(frozen=True)
class FileStatus:
    """The part of lstat(2) that components compare."""

    kind: str  # file, directory, link, other
    mode: int  # permission bits
    uid: int
    gid: int
    size: int
    mtime: float


@dataclass(frozen=True)
class UrlAnswer:
    """What a source answered: HTTP status (200 for local files), type, bytes to come and the bytes themselves."""

    status: int
    content_type: str
    length: int | None
    chunks: t.Iterator[bytes]


@dataclass(frozen=True)
class Filesystem:
    """The file system that holds a path: statvfs(3) and its line in /proc/mounts."""

    mount_point: str
    fstype: str
    options: tuple[str, ...]
    free_bytes: int
    total_bytes: int

    @property
    def noexec(self) -> bool:
        """Whether programs on it cannot be started."""
        return "noexec" in self.options


class Host(t.Protocol):
    """What a component may ask of a machine; paths are absolute, text is UTF-8 with undecodable bytes replaced."""

    def run(
        self,
        argv: t.Sequence[str],
        *,
        cwd: str | None = None,
        env: t.Mapping[str, str] | None = None,
        stdin: str = "",
        timeout_s: float = 600.0,
        log: str | None = None,
    ) -> Completed:
        """Run a program in the C locale; with ``log`` its output is also appended to that file as it comes."""

    def which(self, program: str) -> str | None:
        """Return where the program is on root's PATH."""

    def read_text(self, path: str) -> str | None:
        """Return a file's text, None where there is no such file; OSError where it cannot be read."""

    def read_bytes(self, path: str, size: int = -1, offset: int = 0) -> bytes | None:
        """Return (part of) a file's bytes, None where there is no such file."""

    def sha256(self, path: str) -> str | None:
        """Return a file's digest in hex, None where there is no such file."""

    def listdir(self, path: str) -> list[str]:
        """Return the sorted names in a directory; empty where there is none."""

    def status(self, path: str) -> FileStatus | None:
        """Return lstat of a path, None where there is nothing."""

    def exists(self, path: str) -> bool:
        """Say whether the path leads to something (links are followed)."""

    def readlink(self, path: str) -> str | None:
        """Return where a symbolic link points, None where there is no link."""

    def realpath(self, path: str) -> str:
        """Return the path with every symbolic link resolved."""

    def filesystem(self, path: str) -> Filesystem:
        """Return the file system that holds the path, or would hold it if it were created."""

    def write_text(self, path: str, text: str, *, mode: int = 0o644) -> None:
        """Write a file whole or not at all (temporary name, fsync, rename)."""

    def append_text(self, path: str, text: str) -> None:
        """Append to a file, for logs."""

    def write_chunks(self, path: str, chunks: t.Iterable[bytes], *, append: bool = False) -> int:
        """Write bytes as they come and return how many; what was written stays after an interruption."""

    def make_dirs(self, path: str, *, mode: int = 0o755) -> None:
        """Make a directory and its parents."""

    def symlink(self, target: str, path: str) -> None:
        """Point a symbolic link at the target, replacing an older link in one step."""

    def rename(self, source: str, path: str) -> None:
        """Move a file or directory within a file system."""

    def chmod(self, path: str, mode: int) -> None:
        """Set the permission bits."""

    def remove(self, path: str) -> None:
        """Remove a file, link or whole directory; nothing there is fine."""

    def hold_lock(self, path: str) -> t.Callable[[], None] | None:
        """Take flock(2) on a file and return what lets it go; None where another process holds it."""

    def open_url(self, url: str, *, offset: int = 0, timeout_s: float = 30.0) -> UrlAnswer:
        """Start reading a http(s) or file address or an absolute path at an offset; OSError where nothing answers."""

    def environ(self, name: str) -> str | None:
        """Return a variable of the process environment."""

    def now(self) -> float:
        """Return seconds since the epoch."""

    def sleep(self, seconds: float) -> None:
        """Wait."""


class LocalHost:
    """The machine this code runs on."""

    def run(
        self,
        argv: t.Sequence[str],
        *,
        cwd: str | None = None,
        env: t.Mapping[str, str] | None = None,
        stdin: str = "",
        timeout_s: float = 600.0,
        log: str | None = None,
    ) -> Completed:
        """Run a program; see :meth:`Host.run`."""
        full_env = {k: v for k, v in os.environ.items() if k not in {"DISPLAY", "LANGUAGE"}}
        full_env.update({"LC_ALL": "C", "LANG": "C", "PATH": _root_path()})
        full_env.update(env or {})
        with contextlib.ExitStack() as stack:
            out_file = stack.enter_context(tempfile.TemporaryFile()) if log is None else _open_log(stack, log)
            err_file = stack.enter_context(tempfile.TemporaryFile()) if log is None else out_file
            start = out_file.tell()
            try:
                done = subprocess.run(
                    list(argv),
                    cwd=cwd,
                    env=full_env,
                    input=stdin.encode(),
                    stdout=out_file,
                    stderr=err_file,
                    timeout=timeout_s,
                    check=False,
                )
                rc = done.returncode
            except (FileNotFoundError, NotADirectoryError) as error:
                return Completed(tuple(argv), _RC_NOT_FOUND, "", str(error))
            except OSError as error:  # not executable: no permission, or no program (half-written, another machine's)
                return Completed(tuple(argv), _RC_NOT_EXECUTABLE, "", str(error))
            except subprocess.TimeoutExpired:
                rc = _RC_TIMED_OUT
            stdout = _tail(out_file, start)
            stderr = "" if log is not None else _tail(err_file, 0)
        return Completed(tuple(argv), rc, stdout, stderr)

    def which(self, program: str) -> str | None:
        """Return where the program is on root's PATH."""
        return shutil.which(program, path=_root_path())

    def read_text(self, path: str) -> str | None:
        """Return a file's text, None where there is no such file."""
        data = self.read_bytes(path)
        return None if data is None else data.decode("utf-8", "replace")

    def read_bytes(self, path: str, size: int = -1, offset: int = 0) -> bytes | None:
        """Return (part of) a file's bytes, None where there is no such file."""
        try:
            with pathlib.Path(path).open("rb") as stream:
                if offset:
                    stream.seek(offset)
                return stream.read(size)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def sha256(self, path: str) -> str | None:
        """Return a file's digest in hex, None where there is no such file."""
        digest = hashlib.sha256()
        try:
            with pathlib.Path(path).open("rb") as stream:
                while chunk := stream.read(1 << 20):
                    digest.update(chunk)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return digest.hexdigest()

    def listdir(self, path: str) -> list[str]:
        """Return the sorted names in a directory; empty where there is none."""
        try:
            return sorted(os.listdir(path))  # noqa: PTH208 - names, not Path objects
        except (FileNotFoundError, NotADirectoryError):
            return []

    def status(self, path: str) -> FileStatus | None:
        """Return lstat of a path, None where there is nothing."""
        try:
            found = pathlib.Path(path).lstat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        kinds = {stat_bits.S_IFREG: "file", stat_bits.S_IFDIR: "directory", stat_bits.S_IFLNK: "link"}
        kind = kinds.get(stat_bits.S_IFMT(found.st_mode), "other")
        mode = stat_bits.S_IMODE(found.st_mode)
        return FileStatus(kind, mode, found.st_uid, found.st_gid, found.st_size, found.st_mtime)

    def exists(self, path: str) -> bool:
        """Say whether the path leads to something (links are followed)."""
        return pathlib.Path(path).exists()

    def readlink(self, path: str) -> str | None:
        """Return where a symbolic link points, None where there is no link."""
        try:
            return os.readlink(path)  # noqa: PTH115 - the text of the link, unresolved
        except OSError:
            return None

    def realpath(self, path: str) -> str:
        """Return the path with every symbolic link resolved."""
        return os.path.realpath(path)

    def filesystem(self, path: str) -> Filesystem:
        """Return the file system that holds the path, or would hold it if it were created."""
        existing = pathlib.Path(path)
        while not existing.exists():
            existing = existing.parent
        resolved = os.path.realpath(existing)
        mount_point, fstype = "/", "unknown"
        options: tuple[str, ...] = ("rw",)
        for line in (self.read_text("/proc/mounts") or "").splitlines():
            _device, point, kind, opts = line.split()[:4]
            point = point.replace("\\040", " ")
            inside = resolved == point or resolved.startswith(point.rstrip("/") + "/")
            if inside and len(point) >= len(mount_point):
                mount_point, fstype, options = point, kind, tuple(opts.split(","))
        space = os.statvfs(resolved)
        return Filesystem(
            mount_point, fstype, options, space.f_bavail * space.f_frsize, space.f_blocks * space.f_frsize
        )

    def write_text(self, path: str, text: str, *, mode: int = 0o644) -> None:
        """Write a file whole or not at all (temporary name, fsync, rename).

        The temporary name is always the same: what a killed run has left of it, the next one takes away.
        """
        target = pathlib.Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        name = target.with_name(f".{target.name}.gpulab-new")
        name.unlink(missing_ok=True)
        handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            name.chmod(mode)
            name.replace(target)
        except BaseException:
            name.unlink(missing_ok=True)
            raise

    def append_text(self, path: str, text: str) -> None:
        """Append to a file, for logs."""
        target = pathlib.Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("a", encoding="utf-8") as stream:
            stream.write(text)

    def write_chunks(self, path: str, chunks: t.Iterable[bytes], *, append: bool = False) -> int:
        """Write bytes as they come and return how many; what was written stays after an interruption."""
        written = 0
        with pathlib.Path(path).open("ab" if append else "wb") as stream:
            for chunk in chunks:
                stream.write(chunk)
                written += len(chunk)
            stream.flush()
            os.fsync(stream.fileno())
        return written

    def make_dirs(self, path: str, *, mode: int = 0o755) -> None:
        """Make a directory and its parents."""
        pathlib.Path(path).mkdir(mode=mode, parents=True, exist_ok=True)

    def symlink(self, target: str, path: str) -> None:
        """Point a symbolic link at the target, replacing an older link in one step."""
        temporary = f"{path}.gpulab-new"
        with contextlib.suppress(FileNotFoundError):
            pathlib.Path(temporary).unlink()
        pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
        pathlib.Path(temporary).symlink_to(target)
        pathlib.Path(temporary).replace(path)

    def rename(self, source: str, path: str) -> None:
        """Move a file or directory within a file system."""
        pathlib.Path(source).replace(path)

    def chmod(self, path: str, mode: int) -> None:
        """Set the permission bits."""
        pathlib.Path(path).chmod(mode)

    def remove(self, path: str) -> None:
        """Remove a file, link or whole directory; nothing there is fine."""
        found = self.status(path)
        if found is None:
            return
        if found.kind == "directory":
            shutil.rmtree(path)
        else:
            pathlib.Path(path).unlink(missing_ok=True)

    def hold_lock(self, path: str) -> t.Callable[[], None] | None:
        """Take flock(2) on a file; see :meth:`Host.hold_lock`."""
        pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        return lambda: os.close(handle)

    def open_url(self, url: str, *, offset: int = 0, timeout_s: float = 30.0) -> UrlAnswer:
        """Start reading a source; see :meth:`Host.open_url`."""
        address = pathlib.Path(url).as_uri() if url.startswith("/") else url
        headers = {"User-Agent": "gpulab", "Accept-Encoding": "identity"}
        if offset and not address.startswith("file:"):
            headers["Range"] = f"bytes={offset}-"
        request = urllib.request.Request(address, headers=headers)  # noqa: S310 - sha256 decides, not the scheme
        try:
            answer = urllib.request.urlopen(request, timeout=timeout_s)  # noqa: S310
        except urllib.error.HTTPError as error:
            return UrlAnswer(error.code, error.headers.get_content_type(), None, iter(()))
        except http.client.HTTPException as error:
            message = f"{type(error).__name__}: {error}"
            raise OSError(message) from error
        status = answer.status or 200
        if offset and address.startswith("file:"):
            answer.read(offset)
            status = 206
        length = answer.headers.get("Content-Length")
        return UrlAnswer(status, answer.headers.get_content_type(), int(length) if length else None, _chunks(answer))

    def environ(self, name: str) -> str | None:
        """Return a variable of the process environment."""
        return os.environ.get(name)

    def now(self) -> float:
        """Return seconds since the epoch."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


def _root_path() -> str:
    """Return PATH with the system directories that a non-login ssh session leaves out."""
    parts = os.environ.get("PATH", "").split(":")
    system = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]
    return ":".join([*(p for p in parts if p), *(p for p in system if p not in parts)])


def _chunks(stream: t.Any) -> t.Iterator[bytes]:
    """Yield what a response brings; a connection that breaks ends in OSError, whatever the library calls it."""
    with contextlib.closing(stream):
        while True:
            try:
                chunk = stream.read(1 << 18)
            except http.client.HTTPException as error:
                message = f"{type(error).__name__}: {error}"
                raise OSError(message) from error
            if not chunk:
                return
            yield chunk


def _open_log(stack: contextlib.ExitStack, log: str) -> t.IO[bytes]:
    pathlib.Path(log).parent.mkdir(parents=True, exist_ok=True)
    stream: t.IO[bytes] = stack.enter_context(open(log, "a+b"))  # noqa: PTH123, SIM115
    stream.seek(0, os.SEEK_END)
    return stream


def _tail(stream: t.IO[bytes], start: int) -> str:
    stream.seek(start)
    return stream.read().decode("utf-8", "replace")


__all__ = ["Completed", "FileStatus", "Filesystem", "Host", "LocalHost", "UrlAnswer"]
