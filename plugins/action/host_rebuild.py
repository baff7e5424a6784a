# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's half of host_rebuild: nothing is sent to a host before its key is believed."""

from __future__ import annotations

import datetime as dt
import json
import shlex
import time
import typing as t
from pathlib import Path

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._record import parse
from ansible_collections.gpulab.workstation.plugins.module_utils._record_compare import compare
from ansible_collections.gpulab.workstation.plugins.plugin_utils import _host_keys, _known_hosts, _rebuild, _records
from ansible_collections.gpulab.workstation.plugins.plugin_utils._catalogue import load_catalogue
from ansible_collections.gpulab.workstation.plugins.plugin_utils._files import write_whole

_PAUSE_S = 3.0
_MODULE = "gpulab.workstation.host_rebuild"

display = Display()


class ActionModule(ActionBase):
    """Meet a reinstalled host, or compare it with its record."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Do one of the two stages; what an operator has to know comes as one message."""
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        self._host = str(variables.get("inventory_hostname", "host"))
        stage = self._compare if self._task.args.get("stage") == "compare" else self._meet
        wanted = str(self._task.args.get("records_directory") or "")
        try:
            result.update(stage(_records.records_directory(wanted, self._loader.get_basedir()), variables))
        except OperatorError as error:
            result.update(
                failed=True, msg=str(error), found=error.found, expected=error.expected, action=error.action
            )  # fmt: skip
        return result

    def _meet(self, directory: Path, variables: dict[str, t.Any]) -> dict[str, t.Any]:
        record, promise = self._record(directory)
        stack = _rebuild.chosen(record, load_catalogue(str(self._task.args.get("catalogue_overlay") or "") or None))
        way, keys_changed = self._believe(record)
        python_installed = self._have_python()
        answer: dict[str, t.Any] = self._execute_module(
            module_name=_MODULE, module_args={"stage": "meet"}, task_vars=variables
        )
        if answer.get("failed"):
            return answer
        _rebuild.check_machine(record, answer["machine"], str(promise))
        if not promise.exists() and not self._task.check_mode:
            now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            write_whole(promise, json.dumps({"begun": now, "record": record}, indent=2, sort_keys=True) + "\n")
        self._say(f"{_rebuild.words(way)}; bringing back the record of {record['time']}")
        changed = keys_changed or python_installed
        return {**stack, "way": way, "machine": answer["machine"], "changed": changed}

    def _record(self, directory: Path) -> tuple[dict[str, t.Any], Path]:
        """Return the record to bring back, which is that of an unfinished rebuild if there is one."""
        path = _records.promise_path(directory, self._host)
        unfinished = _records.load_json(path)
        if unfinished:
            self._say(f"taking up the rebuild of {unfinished.get('begun')} ({path}; remove it to begin anew)")
            return parse(json.dumps(unfinished.get("record")), self._host, str(path)), path
        return _records.load_record(_records.record_path(directory, self._host), self._host), path

    def _believe(self, record: t.Mapping[str, t.Any]) -> tuple[str, bool]:
        """Have the host's key in known_hosts if something speaks for it."""
        if self._connection.transport != "ssh":
            return "local", False
        option: t.Callable[[str], t.Any] = self._connection.get_option
        options: list[str] = []
        for name in ("ssh_args", "ssh_common_args", "ssh_extra_args"):
            options += shlex.split(str(option(name) or ""))
        if option("port"):
            options += ["-p", str(option("port"))]
        there = _known_hosts.target(str(option("host")), options)
        known, fingerprint = _known_hosts.look_up(there), str(self._task.args.get("fingerprint") or "")
        if there.proxy and known.keys and not fingerprint:
            return "known", False  # ssh-keyscan goes through no proxy; ssh itself looks whether it is that key
        acceptance = _host_keys.judge(
            self._wait(there),
            known,
            _host_keys.parse_public_keys(record["ssh_host_keys"]),
            fingerprint,
            there.principal,
            dt.datetime.now(),  # noqa: DTZ005 - ssh-keygen tells the controller's local time
        )
        stale = acceptance.way == "certificate" and bool(known.keys)
        if not acceptance.keys and not stale:
            return acceptance.way, False
        if self._task.check_mode:
            raise OperatorError(
                found=f"{self._host} has a new key: {_rebuild.words(acceptance.way)}. Check mode has not accepted it.",
                expected="a key that ssh knows already.",
                action="run the rebuild without --check; it looks at everything again before it changes the host.",
            )
        path = _known_hosts.replace(there, acceptance.keys)
        if path is None:
            return acceptance.way, False
        shown = ", ".join(key.words for key in acceptance.keys) or "no plain key beside the certificate"
        self._say(f"{_rebuild.words(acceptance.way)}: {path} now has {shown}")
        return acceptance.way, True

    def _wait(self, there: _known_hosts.Target) -> _host_keys.Offer:
        """Return what the host offers as soon as it answers; the wait has an end."""
        limit_s = float(self._task.args.get("wait_seconds") or 0)
        deadline = time.monotonic() + limit_s
        told = False
        while True:
            offer = _known_hosts.scan(there)
            if offer.keys:
                return offer
            if time.monotonic() >= deadline:
                raise _rebuild.never_came(there.address, there.port, limit_s, there.proxy)
            if not told:
                self._say(f"waiting up to {limit_s:.0f} s for an ssh server at {there.address} port {there.port}")
                told = True
            time.sleep(_PAUSE_S)

    def _have_python(self) -> bool:
        """Install python3 where there is none, with nothing but a shell."""
        bare = _rebuild.parse_probe(self._raw(_rebuild.PROBE, root=False)["stdout"])
        if bare is None:
            raise OperatorError(
                found="the host does not answer a shell command as a Debian or Ubuntu does.",
                expected="a login shell (sh, bash) for the user of the connection.",
                action="log in by hand and look at what the shell prints or refuses.",
            )
        become = str(getattr(self._connection.become, "name", "") or "").rpartition(".")[2]
        if not _rebuild.needs_python(bare, become, time.time()) or self._task.check_mode:
            return False
        self._say("there is no python3; installing it with apt")
        done = self._raw(_rebuild.PYTHON, root=True)
        after = _rebuild.parse_probe(self._raw(_rebuild.PROBE, root=False)["stdout"])
        if after is None or not after.python:
            raise _rebuild.no_python(f"{done['stdout']}\n{done['stderr']}")
        return True

    def _raw(self, command: str, *, root: bool) -> dict[str, str]:
        try:
            done = self._low_level_execute_command(command, sudoable=root)
        except AnsibleConnectionFailure as error:
            raise OperatorError(
                found=f"the host's key is known, and ssh still does not get in: {error}.",
                expected="a user of the new system that takes the key or password of this controller.",
                action="give the installer's user with -e ansible_user=NAME, its key (ansible_ssh_private_key_file) or"
                " --ask-pass; scripts/autoinstall writes an answer file that lets this controller in.",
            ) from error
        except AnsibleError as error:
            raise _rebuild.no_root(str(error)) from error
        return {name: str(done.get(name, "")) for name in ("stdout", "stderr")}

    def _compare(self, directory: Path, _variables: dict[str, t.Any]) -> dict[str, t.Any]:
        promise = _records.promise_path(directory, self._host)
        unfinished = _records.load_json(promise)
        if not unfinished and self._task.check_mode:
            words = "nothing has been rebuilt in check mode, so there is nothing to compare yet"
            return {"failed": False, "differences": [], "told": [], "msg": words, "changed": False}
        before = parse(json.dumps(unfinished.get("record")), self._host, str(promise))
        after = _records.load_record(_records.record_path(directory, self._host), self._host)
        if after["time"] < str(unfinished["begun"]):
            raise OperatorError(
                found=f"the last record of {self._host} is of {after['time']}, from before the rebuild.",
                expected="a record of the rebuilt host: the site play has not come to its end.",
                action="run the rebuild again, without leaving out host_record by --tags or --skip-tags.",
            )
        found = compare(before, after, float(self._task.args.get("tolerance_percent") or 0))
        if not found.differences and not self._task.check_mode:
            promise.unlink(missing_ok=True)
        message = found.message(self._host, before["time"], str(promise))
        if not found.differences:
            self._say(message)
        return {
            "failed": bool(found.differences),
            "differences": [difference.words for difference in found.differences],
            "told": [difference.words for difference in found.told],
            "msg": message,
            "changed": False,
        }

    def _say(self, words: str) -> None:
        display.display(f"{self._host} | host_rebuild | {words}")


__all__ = ["ActionModule"]
