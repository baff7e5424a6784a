# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What pip and uv say, understood: pip's configuration, uv's progress, and why they failed."""

from __future__ import annotations

import ast
import re
import typing as t
from dataclasses import dataclass, field

from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._pip_lock import LockedWheel

_KEPT = "; what has arrived is kept, and running again goes on from there."


@dataclass(frozen=True)
class IndexOptions:
    """Where wheels come from, as options and variables for uv."""

    arguments: tuple[str, ...] = ()
    environment: t.Mapping[str, str] = field(default_factory=dict)

    @property
    def attempts(self) -> tuple[tuple[str, ...], ...]:
        """Return the options to be tried one after the other: without the extra indexes, then with them.

        PyTorch's has 2.9.1+cu128, which uv takes for a better match of 2.9.1 than the file that the lock means.
        """
        pairs = zip(self.arguments[::2], self.arguments[1::2], strict=False)
        plain = tuple(word for pair in pairs if pair[0] != "--index" for word in pair)
        plain += self.arguments[len(self.arguments) // 2 * 2 :]
        return (plain, self.arguments) if len(plain) < len(self.arguments) else (self.arguments,)


def translate_pip_configuration(listed: str) -> IndexOptions:
    """Turn the output of 'pip config list' into uv's options, in pairs of option and value.

    As for 'pip install', the section [install] wins over [global], and a PIP_ variable over both.
    """
    settings = _pip_settings(listed)
    arguments: list[str] = []
    if settings.get("index-url"):
        arguments += ["--default-index", settings["index-url"].strip()]
    for setting, option in (
        ("extra-index-url", "--index"),
        ("find-links", "--find-links"),
        ("trusted-host", "--allow-insecure-host"),
    ):
        for value in settings.get(setting, "").split():
            arguments += [option, value]
    environment = {"SSL_CERT_FILE": settings["cert"]} if settings.get("cert") else {}
    if settings.get("proxy"):
        environment |= dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), settings["proxy"])
    if settings.get("no-index", "").lower() in ("1", "true", "yes", "on"):
        environment["UV_NO_INDEX"] = "1"
    return IndexOptions(tuple(arguments), environment)


def _pip_settings(listed: str) -> dict[str, str]:
    by_section: dict[str, dict[str, str]] = {}
    for line in listed.splitlines():
        match = re.fullmatch(r"(global|install|:env:)\.([a-z-]+)=(.*)", line)
        if match:
            by_section.setdefault(match[1], {})[match[2]] = str(ast.literal_eval(match[3]))
    return {**by_section.get("global", {}), **by_section.get("install", {}), **by_section.get(":env:", {})}


def describe_progress(output: str, wheels: int) -> str:
    """Say in a few words how far uv is: it names every larger wheel when its download starts and when it ends."""
    if re.search(r"^Prepared ", output, re.MULTILINE):
        return f"{wheels} wheels are here, linking them"
    started = dict(re.findall(r"^Downloading (\S+) \(([^)]*)\)", output, re.MULTILINE))
    ended = re.findall(r"^ Downloaded (\S+)", output, re.MULTILINE)
    open_ones = [f"{name} ({size})" for name, size in started.items() if name not in ended]
    if not started:
        return "asking the index"
    return f"{len(ended)} of {len(started)} large wheels are here" + (
        f", fetching {', '.join(open_ones[-3:])}" if open_ones else ""
    )


def explain_uv(output: str, places: str, log: str) -> OperatorError:
    """Turn what uv printed into an account of the failure; ``places`` are the directories that it fills."""
    wrong = re.search(r"Hash mismatch for `([^`]+)`(.*?)Computed:\s+sha256:(\w+)", output, re.DOTALL)
    if wrong:
        return _wrong_hash(wrong[1], wrong[3], re.findall(r"sha256:(\w+)", wrong[2]))
    cause = _last_cause(output)
    absent = re.search(r"Because (?:there is no version of )?(\S+) (?:was not found|has no wheels|and you)", output)
    if absent:
        return OperatorError(
            found=f"the index has no {absent[1]} that fits this environment: {cause}.",
            expected="every wheel of the lock, for this environment's Python and platform.",
            action="look whether the mirror is complete and the environment has the Python of the lock.",
        )
    for signs, found, expected, action in (
        (
            r"os error 28\b|os error 122\b",  # ENOSPC, EDQUOT
            f"the disk became full while uv worked with {places}: {cause}.",
            "room for the unpacked wheels (about 7 GB for torch with CUDA).",
            f"free space on that file system{_KEPT}",
        ),
        (
            r"Failed to extract archive",
            f"the index gave something that is no wheel: {cause}.",
            "the wheels of the lock.",
            "look at the address with a browser: a portal or a proxy may answer in the index's place.",
        ),
        (
            r"Failed to fetch|error sending request",
            f"the index does not give what the lock needs: {cause}.",
            "an index that answers and has every wheel of the lock.",
            f"check the network, the proxy and the index address on this host{_KEPT}",
        ),
    ):
        if re.search(signs, output):
            return OperatorError(found=found, expected=expected, action=action)
    return OperatorError(
        found=f"uv ended with: {cause}.",
        expected="all wheels of the lock in the environment.",
        action=f"read {log} on the host; if it is not the host's fault, please report it.",
    )


def explain_pip(output: str, wheel: LockedWheel) -> OperatorError:
    """Turn what pip printed when it was to bring one wheel into an account of the failure."""
    got = re.search(r"Expected sha256 \w+.*?Got\s+(\w+)", output, re.DOTALL)
    if got:
        return _wrong_hash(wheel.title, got[1], wheel.hashes)
    lines = [line for line in output.splitlines() if line.strip()]
    words = [line for line in lines if line.startswith("ERROR:")] or lines[-1:]
    return OperatorError(
        found=f"pip could not bring {wheel.title}: {' '.join(words[-2:]) or 'it said nothing'}.",
        expected="pip in the environment, and an index that has the wheel for this host's platform.",
        action="check the network, the proxy and the index address on this host, then run again.",
    )


def _wrong_hash(wheel: str, got: str, wanted: t.Iterable[str]) -> OperatorError:
    return OperatorError(
        found=f"the index gave a file for {wheel} with sha256 {got}.",
        expected=f"sha256 {' or '.join(wanted)}, as the lock says; nothing was installed.",
        action="find out who changed the file: compare the index (a mirror?) with upstream; never edit the lock to"
        " match without knowing why.",
    )


def _last_cause(output: str) -> str:
    """Return uv's error with its innermost causes, or pip's last words."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    causes = [line.removeprefix("cause: ").rstrip(".") for line in lines if line.startswith("cause: ")]
    errors = [line.removeprefix("error: ").rstrip(".") for line in lines if line.startswith("error: ")]
    return ": ".join([*errors[-1:], *causes[-2:]]) or " ".join(lines[-2:]) or "nothing said"


__all__ = ["IndexOptions", "describe_progress", "explain_pip", "explain_uv", "translate_pip_configuration"]
