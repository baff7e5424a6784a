# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""known_hosts files as OpenSSH's own programs read and change them: nothing but the one host's lines moves."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path

import pytest

import recorded
from ansible_collections.gpulab.workstation.plugins.plugin_utils._host_keys import HostKey, Known, parse_keyscan
from ansible_collections.gpulab.workstation.plugins.plugin_utils._known_hosts import (
    Target,
    look_up,
    replace,
    scan,
    target,
)

NEW, OLD = parse_keyscan(recorded.text("ssh/9.2p1-debian12-keyscan.txt"))
CA = f"@cert-authority *.lab.example,192.0.2.* {NEW.kind} {NEW.body}"


def line(name: str, key: HostKey) -> str:
    return f"{name} {key.kind} {key.body}"


def there(path: Path, name: str = "192.0.2.11") -> Target:
    return Target("192.0.2.11", "22", name, (str(path),))


@pytest.mark.parametrize("hashed", [False, True], ids=["plain", "hashed"])
def test_only_this_hosts_lines_are_replaced(tmp_path: Path, hashed: bool) -> None:  # noqa: FBT001
    path = tmp_path / "known hosts"
    others = [CA, "# a comment", line("192.0.2.12", OLD), line("[192.0.2.11]:2222", OLD)]
    path.write_text(line("192.0.2.11", OLD) + "\n")
    if hashed:
        subprocess.run(["ssh-keygen", "-q", "-H", "-f", path], check=True, capture_output=True)
        path.with_name("known hosts.old").unlink()
    path.write_text(path.read_text() + "\n".join(others))
    path.chmod(0o640)
    assert replace(there(path), (NEW,)) == path
    assert path.read_text().splitlines() == [*others, line("192.0.2.11", NEW)]
    assert path.stat().st_mode & 0o777 == 0o640
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [".known hosts.lock", "known hosts"]
    assert replace(there(path), (NEW,)) is None, "what is there already is no change"


def test_a_stale_key_goes_where_a_certificate_takes_its_place(tmp_path: Path) -> None:
    path = tmp_path / "known_hosts"
    path.write_text(f"{CA}\n{line('192.0.2.11', OLD)}\n")
    replace(there(path), ())
    assert path.read_text() == f"{CA}\n"


def test_a_file_that_is_not_there_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "known_hosts"
    replace(there(path), (NEW,))
    assert path.read_text() == line("192.0.2.11", NEW) + "\n"
    assert path.stat().st_mode & 0o777 == 0o600


def test_many_hosts_at_once_lose_nobodys_key(tmp_path: Path) -> None:
    path = tmp_path / "known_hosts"
    names = [f"192.0.2.{number}" for number in range(20, 32)]
    threads = [threading.Thread(target=replace, args=(there(path, name), (NEW,))) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(path.read_text().splitlines()) == sorted(line(name, NEW) for name in names)


def test_every_file_of_ssh_is_looked_up(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_text(line("192.0.2.11", OLD) + "\n")
    second.write_text(CA + "\n")
    known = look_up(Target("192.0.2.11", "22", "192.0.2.11", (str(first), str(second), "/nowhere")))
    assert known.keys == (OLD,)
    assert len(known.authorities) == 1
    assert look_up(there(tmp_path / "none")) == Known()


@pytest.mark.parametrize(
    ("options", "name", "first"),
    [
        ([], "192.0.2.11", None),
        (["-p", "2222"], "[192.0.2.11]:2222", None),
        (["-o", 'UserKnownHostsFile="/a b/known_hosts" /c'], "192.0.2.11", "/a b/known_hosts"),
        (["-o", "HostKeyAlias=ws-01", "-p", "2222"], "ws-01", None),
    ],
    ids=["plain", "port", "file with a blank", "alias"],
)
def test_ssh_itself_is_asked_where_it_looks(options: list[str], name: str, first: str | None) -> None:
    found = target("192.0.2.11", ["-F", "/dev/null", *options])
    assert found.name == name
    assert found.address == "192.0.2.11"
    assert "/etc/ssh/ssh_known_hosts" in found.files
    if first:
        assert found.files[:2] == (first, "/c")
    assert not found.proxy


def test_a_name_for_certificates_has_no_port() -> None:
    assert Target("a", "2222", "[192.0.2.11]:2222", ()).principal == "192.0.2.11"
    assert Target("a", "22", "ws-01", ()).principal == "ws-01"


def test_a_jump_host_is_noticed() -> None:
    assert target("192.0.2.11", ["-F", "/dev/null", "-o", "ProxyJump=gate"]).proxy == "gate"


def test_nothing_that_answers_offers_nothing() -> None:
    assert scan(Target("127.0.0.1", "1", "127.0.0.1", ())).keys == ()
