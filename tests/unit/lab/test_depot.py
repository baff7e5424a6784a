# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The depot over real sockets: whole files, ranges, the index, and every fault it can play."""

from __future__ import annotations

import hashlib
import http.client
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gpulab.lab import faults
from gpulab.lab.depot import Depot, listen, locate, parse_range
from gpulab.lab.faults import Fault, FaultPlayer

CONTENT = bytes(range(256)) * 40
WHOLE = None


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        pytest.param(None, WHOLE, id="none"),
        pytest.param("bytes=0-", (0, 99), id="from-the-start"),
        pytest.param("bytes=40-", (40, 99), id="resume"),
        pytest.param("bytes=10-19", (10, 19), id="both-ends"),
        pytest.param("bytes=90-500", (90, 99), id="end-beyond-the-file"),
        pytest.param("bytes=-10", (90, 99), id="last-bytes"),
        pytest.param("bytes=-500", (0, 99), id="more-last-bytes-than-there-are"),
        pytest.param("bytes=0-1,5-6", WHOLE, id="several-ranges-are-not-understood"),
        pytest.param("lines=1-2", WHOLE, id="other-units-are-not-understood"),
        pytest.param("bytes=-", WHOLE, id="nonsense"),
    ],
)
def test_parse_range(header: str | None, expected: tuple[int, int] | None) -> None:
    assert parse_range(header, 100) == expected


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=100-200", "bytes=9-3", "bytes=-0"])
def test_a_range_without_a_byte_is_refused(header: str) -> None:
    with pytest.raises(ValueError, match="bytes"):
        parse_range(header, 100)


@pytest.mark.parametrize(
    "url_path", ["/../secret", "/%2e%2e/secret", "/files/../../secret", "/files", "/nothing", "/files/link"]
)
def test_only_files_of_the_depot_are_found(tmp_path: Path, url_path: str) -> None:
    (tmp_path / "depot/files").mkdir(parents=True)
    (tmp_path / "secret").write_text("x")
    (tmp_path / "depot/files/link").symlink_to(tmp_path / "secret")
    assert locate(tmp_path / "depot", url_path) is None


@dataclass
class Running:
    """A depot that serves in this process."""

    directory: Path
    port: int

    def get(self, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        try:
            body = response.read()
        except http.client.IncompleteRead as error:
            body = error.partial
        connection.close()
        return response.status, dict(response.getheaders()), body

    def play(self, *rules: Fault) -> None:
        faults.write(self.directory.parent / "faults.json", rules)

    def requests(self) -> list[dict[str, object]]:
        """Read the log; it is written after the answer, so the last line gets a moment."""
        time.sleep(0.05)
        return [json.loads(line) for line in (self.directory.parent / "requests.jsonl").read_text().splitlines()]


@pytest.fixture
def depot(tmp_path: Path) -> Iterator[Running]:
    directory = tmp_path / "depot"
    for part in ("files", "wheels"):
        (directory / part).mkdir(parents=True)
    (directory / "files/a.run").write_bytes(CONTENT)
    servers = listen(
        Depot(directory, FaultPlayer(tmp_path / "faults.json"), tmp_path / "requests.jsonl"), ["127.0.0.1"], 0
    )
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Running(directory, servers[0].server_address[1])
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_whole_file(depot: Running) -> None:
    status, headers, body = depot.get("/files/a.run")
    assert (status, body) == (200, CONTENT)
    assert headers["Accept-Ranges"] == "bytes"


def test_a_download_is_resumed(depot: Running) -> None:
    status, headers, body = depot.get("/files/a.run", Range="bytes=10000-")
    assert (status, body) == (206, CONTENT[10000:])
    assert headers["Content-Range"] == f"bytes 10000-{len(CONTENT) - 1}/{len(CONTENT)}"


def test_a_range_beyond_the_end(depot: Running) -> None:
    status, headers, _ = depot.get("/files/a.run", Range=f"bytes={len(CONTENT)}-")
    assert (status, headers["Content-Range"]) == (416, f"bytes */{len(CONTENT)}")


def test_head_has_the_size_and_no_body(depot: Running) -> None:
    status, headers, body = depot.get("/files/a.run", method="HEAD")
    assert (status, headers["Content-Length"], body) == (200, str(len(CONTENT)), b"")


def test_what_is_not_there(depot: Running) -> None:
    assert depot.get("/files/b.run")[0] == 404
    assert depot.get("/simple/nothing/")[0] == 404


def test_requests_are_recorded(depot: Running) -> None:
    depot.get("/files/a.run", Range="bytes=10000-")
    entry = depot.requests()[-1]
    assert (entry["path"], entry["range"], entry["status"]) == ("/files/a.run", "bytes=10000-", 206)
    assert (entry["client"], entry["sent"]) == ("127.0.0.1", len(CONTENT) - 10000)


def test_the_index_has_normalised_names_and_hashes(depot: Running) -> None:
    (depot.directory / "wheels/Some_Thing-1.0-py3-none-any.whl").write_bytes(b"wheel")
    digest = hashlib.sha256(b"wheel").hexdigest()
    assert b'href="/simple/some-thing/"' in depot.get("/simple/")[2]
    page = depot.get("/simple/some-thing/")[2].decode()
    assert f'href="/wheels/Some_Thing-1.0-py3-none-any.whl#sha256={digest}"' in page
    assert depot.get("/wheels/Some_Thing-1.0-py3-none-any.whl")[2] == b"wheel"


def test_a_rewritten_wheel_gets_a_new_hash(depot: Running) -> None:
    wheel = depot.directory / "wheels/a-1-py3-none-any.whl"
    for content in (b"one", b"two!"):
        wheel.write_bytes(content)
        assert hashlib.sha256(content).hexdigest() in depot.get("/simple/a/")[2].decode()


def test_fault_missing_with_a_count(depot: Running) -> None:
    depot.play(Fault("/files/*", "missing", times=2))
    assert [depot.get("/files/a.run")[0] for _ in range(3)] == [404, 404, 200]


def test_fault_html(depot: Running) -> None:
    depot.play(Fault("/files/a.run", "html"))
    status, headers, body = depot.get("/files/a.run")
    assert (status, headers["Content-Type"]) == (200, "text/html")
    assert body.startswith(b"<!DOCTYPE html>")


def test_fault_truncate_promises_everything(depot: Running) -> None:
    depot.play(Fault("/files/a.run", "truncate", bytes=1234, times=1))
    _, headers, body = depot.get("/files/a.run")
    assert (headers["Content-Length"], body) == (str(len(CONTENT)), CONTENT[:1234])
    assert depot.get("/files/a.run", Range="bytes=1234-")[2] == CONTENT[1234:]


def test_fault_corrupt_keeps_the_length(depot: Running) -> None:
    depot.play(Fault("/files/a.run", "corrupt", bytes=10))
    body = depot.get("/files/a.run")[2]
    assert (len(body), body[10:]) == (len(CONTENT), CONTENT[10:])
    assert all(there ^ here == 0xFF for there, here in zip(body[:10], CONTENT[:10], strict=True))
    assert depot.get("/files/a.run", Range="bytes=5-")[2][5:] == CONTENT[10:]


def test_fault_slow(depot: Running) -> None:
    depot.play(Fault("/files/a.run", "slow", bytes=20_000))
    started = time.monotonic()
    assert depot.get("/files/a.run")[2] == CONTENT
    assert 0.4 <= time.monotonic() - started < 3


def test_head_does_not_use_up_a_fault_of_the_body(depot: Running) -> None:
    depot.play(Fault("/files/a.run", "truncate", bytes=1, times=1))
    depot.get("/files/a.run", method="HEAD")
    assert depot.get("/files/a.run")[2] == CONTENT[:1]


def test_faults_end_when_the_rules_are_taken_away(depot: Running) -> None:
    depot.play(Fault("/*", "missing"))
    assert depot.get("/files/a.run")[0] == 404
    depot.play()
    assert depot.get("/files/a.run")[0] == 200


def test_an_unknown_fault_is_refused() -> None:
    with pytest.raises(ValueError, match="expected one of missing, html"):
        Fault("/*", "mising")


def test_two_addresses_share_a_port_and_a_taken_one_is_given_up(tmp_path: Path) -> None:
    depot = Depot(tmp_path, FaultPlayer(tmp_path / "f"), tmp_path / "l")
    first = listen(depot, ["127.0.0.1", "127.0.0.2"], 0)
    port = first[0].server_address[1]
    assert [server.server_address[1] for server in first] == [port, port]
    second = listen(depot, ["127.0.0.1"], port)
    assert second[0].server_address[1] != port
    for server in first + second:
        server.server_close()
