# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The depot: an http server of the lab for stand-ins, wheels and conda packages.

What it serves, below its directory:
  /files/NAME                      stand-ins (driver, toolkit, Miniforge)
  /conda/CHANNEL/SUBDIR/NAME       conda channels
  /wheels/NAME                     wheels
  /simple/, /simple/PROJECT/       their index (PEP 503, with hashes)
  /health                          the word "ok"
Single ranges are answered (RFC 9110 section 14), so that downloads can be resumed. Faults: see faults.py. Every request
is a line of JSON in requests.jsonl: client, path, range, status, sent (bytes of the body).
Started by the lab as `python -m gpulab.lab.depot DIRECTORY ADDRESS ...`; it notes its process and its port in
DIRECTORY/../state.json.
"""

from __future__ import annotations

import argparse
import http
import http.server
import json
import re
import signal
import socket
import socketserver
import threading
import time
import typing as t
import urllib.parse
from dataclasses import dataclass, field
from pathlib import Path

from gpulab.lab import depot_process
from gpulab.lab.faults import Fault, FaultPlayer
from gpulab.lab.index import index_page, project_page, wheels_by_project

if t.TYPE_CHECKING:
    from collections.abc import Iterator

CHUNK = 1 << 18
IP_FREEBIND = 15  # linux/in.h; Python 3.12 has no name for it
ERROR_PAGE = b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>Please sign in to go on.</body></html>\n"
_RANGE = re.compile(r"^bytes=(\d*)-(\d*)$")


def parse_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Return first and last byte of a single byte range, None for the whole file; ValueError where none of it exists.

    RFC 9110 section 14.2: a range that is not understood is ignored, one beyond the end is answered with 416.
    """
    match = _RANGE.match(header or "")
    if not match or match.group(1) == match.group(2) == "":
        return None
    if match.group(1) == "":
        length = int(match.group(2))
        if length == 0 or size == 0:
            raise ValueError(header)
        return max(0, size - length), size - 1
    first = int(match.group(1))
    last = min(int(match.group(2)), size - 1) if match.group(2) else size - 1
    if first >= size or first > last:
        raise ValueError(header)
    return first, last


def locate(directory: Path, url_path: str) -> Path | None:
    """Return the file for a URL's path, never one outside the depot."""
    path = (directory / urllib.parse.unquote(url_path).lstrip("/")).resolve()
    inside = path.is_relative_to(directory.resolve())
    return path if inside and path.is_file() else None


@dataclass(slots=True)
class Depot:
    """What the handlers of all listeners share."""

    directory: Path
    faults: FaultPlayer
    log: Path
    lock: threading.Lock = field(default_factory=threading.Lock)

    def record(self, **entry: t.Any) -> None:
        """Append one request to the log."""
        with self.lock, self.log.open("a") as file:
            file.write(json.dumps({"time": round(time.time(), 3), **entry}) + "\n")

    def page(self, url_path: str) -> bytes | None:
        """Return a generated page, if the path names one."""
        if url_path == "/health":
            return b"ok\n"
        parts = url_path.strip("/").split("/")
        if parts[0] != "simple" or len(parts) > len(("simple", "project")):
            return None
        projects = wheels_by_project(self.directory / "wheels")
        if len(parts) == 1:
            return index_page(projects).encode()
        return project_page(parts[1], projects[parts[1]]).encode() if parts[1] in projects else None


class Server(socketserver.ThreadingTCPServer):
    """A listener with a thread for each connection (http.server's own asks the resolver for a name when it binds)."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64

    def server_bind(self) -> None:
        """Bind also to an address that is not there yet: podman's bridge comes with the first container (ip(7))."""
        self.socket.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
        super().server_bind()


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers GET and HEAD."""

    protocol_version = "HTTP/1.1"
    server_version = "gpulab-depot"
    timeout = 60
    depot: t.ClassVar[Depot]

    def do_GET(self) -> None:
        """Answer with a page, a file, a part of it, or what a fault asks for."""
        self._answer(body=True)

    def do_HEAD(self) -> None:
        """Answer as GET without the body."""
        self._answer(body=False)

    def log_message(self, format: str, *args: t.Any) -> None:  # noqa: A002  # the name is the base class's
        """Say nothing on stderr: requests.jsonl has it."""

    def _answer(self, *, body: bool) -> None:
        url_path = urllib.parse.urlsplit(self.path).path
        fault = self.depot.faults.match(url_path, body=body)
        if fault and fault.kind == "missing":
            return self._text(http.HTTPStatus.NOT_FOUND, b"not found (fault)\n", "text/plain", body=body)
        if fault and fault.kind == "html":
            return self._text(http.HTTPStatus.OK, ERROR_PAGE, "text/html", body=body)
        page = self.depot.page(url_path)
        if page is not None:
            return self._text(http.HTTPStatus.OK, page, "text/html", body=body)
        file = locate(self.depot.directory, url_path)
        if file is None:
            return self._text(http.HTTPStatus.NOT_FOUND, b"not found\n", "text/plain", body=body)
        return self._file(file, fault, body=body)

    def _text(self, status: http.HTTPStatus, text: bytes, kind: str, *, body: bool) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if body:
            self.wfile.write(text)
        self._record(status, len(text) if body else 0)

    def _file(self, file: Path, fault: Fault | None, *, body: bool) -> None:
        size = file.stat().st_size
        try:
            wanted = parse_range(self.headers.get("Range"), size)
        except ValueError:
            self.send_response(http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
            self.send_header("Content-Range", f"bytes */{size}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return self._record(http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, 0)
        first, last = wanted or (0, size - 1)
        status = http.HTTPStatus.PARTIAL_CONTENT if wanted else http.HTTPStatus.OK
        self.send_response(status)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(last - first + 1))
        if wanted:
            self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        self.end_headers()
        sent = self._send(file, fault, first, last) if body else 0
        if body and sent != last - first + 1:
            self.close_connection = True
        return self._record(status, sent)

    def _send(self, file: Path, fault: Fault | None, first: int, last: int) -> int:
        """Send the bytes from first to last, and return how many went out before the client hung up."""
        sent = 0
        try:
            if fault is None and last >= first:
                with file.open("rb") as stream:
                    return int(self.connection.sendfile(stream, first, last - first + 1))
            for chunk in faulty(read(file, first, last), fault, first):
                self.wfile.write(chunk)
                sent += len(chunk)
        except OSError:
            self.close_connection = True
        return sent

    def _record(self, status: http.HTTPStatus, sent: int) -> None:
        client, wanted = self.client_address[0], self.headers.get("Range")
        self.depot.record(client=client, path=self.path, range=wanted, status=int(status), sent=sent)


def read(file: Path, first: int, last: int) -> Iterator[bytes]:
    """Yield the bytes from first to last, both included."""
    left = last - first + 1
    with file.open("rb") as stream:
        stream.seek(first)
        while left > 0:
            chunk = stream.read(min(CHUNK, left))
            if not chunk:
                return
            left -= len(chunk)
            yield chunk


def faulty(chunks: Iterator[bytes], fault: Fault | None, first: int) -> Iterator[bytes]:
    """Pass the body on as the fault wants it; `first` is the body's place in the file."""
    if fault is None:
        yield from chunks
    elif fault.kind == "truncate":
        left = fault.bytes
        for chunk in chunks:
            yield chunk[:left]
            left -= len(chunk[:left])
            if left <= 0:
                return
    elif fault.kind == "slow":
        piece = max(1, fault.bytes // 4)
        for chunk in chunks:
            for start in range(0, len(chunk), piece):
                yield chunk[start : start + piece]
                time.sleep(0.25)
    else:
        place = first
        for chunk in chunks:
            end = max(0, min(len(chunk), fault.bytes - place))
            yield bytes(byte ^ 0xFF for byte in chunk[:end]) + chunk[end:]
            place += len(chunk)


def listen(depot: Depot, addresses: list[str], port: int) -> list[Server]:
    """Bind the same port on every address: the asked one, or a free one when it is 0 or taken."""
    handler = type("BoundHandler", (Handler,), {"depot": depot})
    for wanted in (port, 0) if port else (0,):
        servers: list[Server] = []
        try:
            for address in addresses:
                taken = servers[0].server_address[1] if servers else wanted
                servers.append(Server((address, taken), handler))
        except OSError:
            for server in servers:
                server.server_close()
            if wanted == 0:
                raise
        else:
            return servers
    raise AssertionError


def main(argv: list[str] | None = None) -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m gpulab.lab.depot")
    parser.add_argument("directory", type=Path)
    parser.add_argument("addresses", nargs="+")
    parser.add_argument("--port", type=int, default=0)
    arguments = parser.parse_args(argv)
    beside = arguments.directory.parent
    depot = Depot(arguments.directory, FaultPlayer(beside / "faults.json"), beside / "requests.jsonl")
    servers = listen(depot, arguments.addresses, arguments.port)
    # Blocked before the threads start, so that the signal waits for sigwait below.
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    depot_process.note(beside, servers[0].server_address[1], arguments.addresses)
    signal.sigwait(signals)


if __name__ == "__main__":
    main()


__all__ = ["Depot", "Handler", "faulty", "listen", "locate", "main", "parse_range", "read"]
