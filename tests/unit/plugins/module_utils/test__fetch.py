# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a source may do wrong, and that only the digest decides."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._fetch import Artefact, cached_path, fetch
from ansible_collections.gpulab.workstation.plugins.module_utils._host import Filesystem, UrlAnswer
from fakehost import FakeHost, chunks

DATA = bytes(range(256)) * 400
GOOD = "http://mirror.example/driver.run"
OTHER = "http://upstream.example/driver.run"
CACHE = "/var/cache/gpulab"


def artefact(*sources: str, size: int | None = len(DATA)) -> Artefact:
    return Artefact("driver.run", hashlib.sha256(DATA).hexdigest(), sources or (GOOD,), size)


def serve(data: bytes, *, content_type: str = "application/octet-stream") -> Callable[[int], UrlAnswer]:
    """Answer like a server that knows ranges."""

    def answer(offset: int) -> UrlAnswer:
        body = data[offset:]
        return UrlAnswer(206 if offset else 200, content_type, len(body), chunks(body))

    return answer


def status(code: int) -> Callable[[int], UrlAnswer]:
    return lambda _offset: UrlAnswer(code, "text/html", None, iter(()))


class Breaking:
    """A source whose connection breaks after some bytes, each time it is asked."""

    def __init__(self, data: bytes, after: int) -> None:
        self.data, self.after, self.offsets = data, after, list[int]()

    def __call__(self, offset: int) -> UrlAnswer:
        self.offsets.append(offset)
        return UrlAnswer(206 if offset else 200, "application/octet-stream", len(self.data) - offset, self.part(offset))

    def part(self, offset: int) -> Iterator[bytes]:
        end = offset + self.after
        yield self.data[offset:end]
        if end < len(self.data):
            message = "connection reset"
            raise OSError(errno.ECONNRESET, message)


def quiet(_detail: str) -> None:
    return None


def test_brings_the_file_and_leaves_no_part(tmp_path: Path) -> None:
    host = FakeHost(tmp_path, urls={GOOD: serve(DATA)})
    path = fetch(host, artefact(), CACHE, quiet)
    assert host.read_bytes(path) == DATA
    assert host.listdir(path.rsplit("/", 1)[0]) == ["driver.run"]


def test_a_verified_file_is_not_asked_for_again(tmp_path: Path) -> None:
    host = FakeHost(tmp_path, urls={GOOD: serve(DATA)})
    fetch(host, artefact(), CACHE, quiet)
    host.urls.clear()
    assert fetch(host, artefact(), CACHE, quiet) == cached_path(artefact(), CACHE)


def test_a_file_that_changed_in_the_cache_is_brought_again(tmp_path: Path) -> None:
    host = FakeHost(tmp_path, urls={GOOD: serve(DATA)})
    path = fetch(host, artefact(), CACHE, quiet)
    host.write_text(path, "somebody wrote here")
    assert host.read_bytes(fetch(host, artefact(), CACHE, quiet)) == DATA


@pytest.mark.parametrize("size", [len(DATA), None], ids=["size known", "size unknown"])
def test_a_broken_download_goes_on_where_it_ended(tmp_path: Path, size: int | None) -> None:
    source = Breaking(DATA, 40_000)
    host = FakeHost(tmp_path, urls={GOOD: source})
    fetch(host, artefact(size=size), CACHE, quiet)
    assert source.offsets == [0, 40_000, 80_000]


def test_a_download_cut_off_without_an_error_goes_on_too(tmp_path: Path) -> None:
    asked = list[int]()

    def short(offset: int) -> UrlAnswer:
        asked.append(offset)
        body = DATA[offset:]
        return UrlAnswer(206 if offset else 200, "application/octet-stream", len(body), chunks(body[:60_000]))

    host = FakeHost(tmp_path, urls={GOOD: short})
    fetch(host, artefact(), CACHE, quiet)
    assert asked == [0, 60_000]


def test_the_next_run_goes_on_with_what_a_killed_one_left(tmp_path: Path) -> None:
    source = Breaking(DATA, len(DATA))
    host = FakeHost(tmp_path, urls={GOOD: source})
    host.add(cached_path(artefact(), CACHE) + ".part", DATA[:70_000])
    fetch(host, artefact(), CACHE, quiet)
    assert source.offsets == [70_000]


def test_a_wrong_rest_from_another_file_is_thrown_away_and_brought_whole(tmp_path: Path) -> None:
    source = Breaking(DATA, len(DATA))
    host = FakeHost(tmp_path, urls={GOOD: source})
    host.add(cached_path(artefact(), CACHE) + ".part", b"x" * 70_000)
    fetch(host, artefact(), CACHE, quiet)
    assert source.offsets == [70_000, 0]


def test_a_server_without_ranges_starts_over(tmp_path: Path) -> None:
    host = FakeHost(
        tmp_path, urls={GOOD: lambda _o: UrlAnswer(200, "application/octet-stream", len(DATA), chunks(DATA))}
    )
    host.add(cached_path(artefact(), CACHE) + ".part", DATA[:70_000])
    assert host.read_bytes(fetch(host, artefact(), CACHE, quiet)) == DATA


@pytest.mark.parametrize(
    "first",
    [
        status(404),
        status(503),
        serve(b"<!DOCTYPE html><html><title>Log in to the network</title>", content_type="application/octet-stream"),
        serve(b"anything", content_type="text/html"),
        serve(b"not the driver at all"),
    ],
    ids=["404", "503", "html by content", "html by type", "wrong bytes"],
)
def test_the_second_source_helps_where_the_first_fails(tmp_path: Path, first: Callable[[int], UrlAnswer]) -> None:
    host = FakeHost(tmp_path, urls={GOOD: first, OTHER: serve(DATA)})
    assert host.read_bytes(fetch(host, artefact(GOOD, OTHER, size=None), CACHE, quiet)) == DATA


def test_every_source_is_named_when_none_has_the_file(tmp_path: Path) -> None:
    page = serve(b"<html><body>Sign in please</body></html>", content_type="text/html")
    wrong = serve(b"an older file")
    host = FakeHost(tmp_path, urls={GOOD: page, OTHER: wrong, "http://third.example/x": status(404)})
    with pytest.raises(OperatorError) as caught:
        fetch(host, artefact(GOOD, OTHER, "http://third.example/x"), CACHE, quiet)
    assert "Sign in please" in caught.value.found
    assert f"sha256 {hashlib.sha256(b'an older file').hexdigest()}" in caught.value.found
    assert "status 404" in caught.value.found
    assert artefact().sha256 in caught.value.expected
    assert host.listdir(f"{CACHE}/{artefact().sha256[:12]}") == [], "a wrong file must not stay in the cache"


def test_refuses_before_writing_where_there_is_no_room(tmp_path: Path) -> None:
    host = FakeHost(tmp_path, urls={GOOD: serve(DATA)})
    host.filesystems["/var"] = Filesystem("/var", "ext4", ("rw",), 1_000_000, 10**9)
    with pytest.raises(OperatorError, match="1 MB free on /var"):
        fetch(host, artefact(), CACHE, quiet)
    assert host.status(cached_path(artefact(), CACHE) + ".part") is None


def test_says_so_when_the_disk_fills_up_on_the_way(tmp_path: Path) -> None:
    def filling(_offset: int) -> UrlAnswer:
        def body() -> Iterator[bytes]:
            yield DATA[:100]
            message = "No space left on device"
            raise OSError(errno.ENOSPC, message)

        return UrlAnswer(200, "application/octet-stream", len(DATA), body())

    host = FakeHost(tmp_path, urls={GOOD: filling})
    with pytest.raises(OperatorError, match="disk is full"):
        fetch(host, artefact(), CACHE, quiet)


def test_progress_tells_how_much_is_there(tmp_path: Path) -> None:
    said = list[str]()
    fetch(FakeHost(tmp_path, urls={GOOD: serve(DATA)}), artefact(), CACHE, said.append)
    assert said[-1].endswith("(100 %)")
