# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line of nvidia-installer 590.48.01: its options, and how it reads and refuses them."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field
from pathlib import Path

# name[:letter], as of 545.23.06 to 590.48.01.
_FLAGS = """
version:v help:h advanced-options:A accept-license:a driver-info:i uninstall skip-module-unload skip-module-load
sanity expert:e no-questions:q silent:s no-ncurses-color:c no-nvidia-modprobe no-precompiled-interface:n no-abi-note
no-rpms no-backup:b no-recursion:r kernel-module-only:K kernel-modules-only:K no-kernel-module no-kernel-modules
no-x-check no-nouveau-check:z run-nvidia-xconfig:X no-sigwinch-workaround no-distro-scripts no-opengl-files
no-wine-files no-kernel-module-source no-check-for-alternate-installs no-unified-memory no-drm no-peermem
force-libglx-indirect no-libglx-indirect skip-depmod print-recommended-kernel-module-type debug:d help-args-only
add-this-kernel advanced-options-args-only no-runlevel-check no-network:N no-cc-version-check
"""
_BOOLEANS = """
install-compat32-libs disable-nouveau:Z dkms install-libglvnd systemd allow-installation-with-running-driver
rebuild-initramfs install-vdpau-wrapper glvnd-glx-client glvnd-egl-client
"""
_STRINGS = """
x-prefix xfree86-prefix x-module-path x-library-path x-sysconfig-path opengl-prefix opengl-libdir wine-prefix
wine-libdir compat32-chroot compat32-prefix compat32-libdir installer-prefix utility-prefix utility-libdir
xdg-data-dir gbm-backend-dir gbm-backend-dir32 documentation-prefix application-profile-path kernel-include-path
kernel-source-path kernel-output-path kernel-install-path proc-mount-point log-file-name tmpdir ui kernel-name:k
precompiled-kernel-interfaces-path force-selinux selinux-chcon-type kernel-module-source-prefix
kernel-module-source-dir module-signing-secret-key module-signing-public-key module-signing-script
module-signing-key-path module-signing-hash module-signing-x509-hash glvnd-egl-config-path
egl-external-platform-config-path override-file-type-destination systemd-unit-prefix systemd-sleep-prefix
systemd-sysconf-prefix kernel-module-type:M kernel-module-build-directory:m rpm-file-list force-tls
force-tls-compat32
"""
_INTEGERS = "concurrency-level:j"

Kind = t.Literal["flag", "boolean", "string", "integer"]
Value = bool | str | int


class UsageError(Exception):
    """A command line that is refused: plain lines for stderr first, then texts that the program prints as errors."""

    def __init__(self, *, lines: t.Sequence[str] = (), errors: t.Sequence[str] = ()) -> None:
        super().__init__(*lines, *errors)
        self.lines = tuple(lines)
        self.errors = tuple(errors)


@dataclass(frozen=True)
class Option:
    """One row of the option table."""

    name: str
    letter: str
    kind: Kind


def _rows(text: str, kind: Kind) -> t.Iterator[Option]:
    for word in text.split():
        name, _, letter = word.partition(":")
        yield Option(name, letter, kind)


OPTIONS: t.Final = (
    *_rows(_FLAGS, "flag"),
    *_rows(_BOOLEANS, "boolean"),
    *_rows(_STRINGS, "string"),
    *_rows(_INTEGERS, "integer"),
)
_BY_NAME = {option.name: option for option in OPTIONS}
_BY_LETTER = {option.letter: option for option in reversed(OPTIONS) if option.letter}

BUILD_DIRECTORIES: t.Final = {"open": "kernel-open", "proprietary": "kernel"}


@dataclass
class Options:
    """The values given on the command line, by option name."""

    values: dict[str, Value] = field(default_factory=dict)

    def flag(self, name: str, *, default: bool = False) -> bool:
        """Whether a flag was given, or which way a boolean was set."""
        return bool(self.values.get(name, default))

    def text(self, name: str) -> str | None:
        """Return the argument of a string option."""
        value = self.values.get(name)
        return None if value is None else str(value)

    @property
    def silent(self) -> bool:
        """``--silent`` implies ``--ui=none --no-questions``."""
        return self.flag("silent")

    @property
    def asks(self) -> bool:
        """Whether questions are put to the operator at all."""
        return not (self.silent or self.flag("no-questions"))

    @property
    def modules_only(self) -> bool:
        """``-K``: only the kernel modules, on top of the same driver version."""
        return self.flag("kernel-modules-only") or self.flag("kernel-module-only")

    @property
    def no_kernel_modules(self) -> bool:
        """User space only."""
        return self.flag("no-kernel-modules") or self.flag("no-kernel-module")


def _split(argument: str) -> tuple[str, str | None]:
    """``--name=value`` into name and value; one dash and two mean the same."""
    name = argument[2:] if argument.startswith("--") else argument[1:]
    name, equals, value = name.partition("=")
    return name, (value if equals else None)


def _find(name: str) -> tuple[Option, bool] | None:
    """Return the option of that name or letter, and the value it gets if it is a boolean."""
    if len(name) == 1 and name in _BY_LETTER:
        return _BY_LETTER[name], True
    if name in _BY_NAME:
        return _BY_NAME[name], True
    positive = name.removeprefix("no-")
    if positive != name and positive in _BY_NAME and _BY_NAME[positive].kind == "boolean":
        return _BY_NAME[positive], False
    return None


def _is_letters(name: str) -> bool:
    """Whether a word is several short options in one, none of which takes an argument."""
    kinds = [_BY_LETTER[letter].kind for letter in name if letter in _BY_LETTER]
    return len(kinds) == len(name) > 1 and not {"string", "integer"} & set(kinds)


def parse(arguments: t.Sequence[str], program: str) -> Options:
    """Read the words after the program's name; the first wrong one ends it."""
    options = Options()
    words = list(arguments)
    while words:
        word = words.pop(0)
        if word == "--":
            break
        if not word.startswith("-"):
            raise UsageError(lines=[f'{program}: invalid option: "{word}"'])
        name, given = _split(word)
        found = _find(name)
        if found is None and given is None and _is_letters(name):
            words[:0] = [f"-{letter}" for letter in name]
            continue
        if found is None and name[:1] == "j" and name[1:].isdigit():
            found, given = (_BY_LETTER["j"], True), name[1:]
        if found is None:
            raise UsageError(lines=[f'{program}: unrecognized option: "{word.partition("=")[0]}"'])
        option, positive = found
        shown = word.partition("=")[0]
        options.values[option.name] = _value(option, given, words, shown, program) if _takes(option) else positive
        if given is not None and not _takes(option):
            complaint = (
                f'{program}: option "{shown}" does not take an argument, but was given an argument of "{given}".'
            )
            raise UsageError(lines=[complaint])
        _check_build_directory(option, options)
    return options


def _takes(option: Option) -> bool:
    return option.kind in ("string", "integer")


def _value(option: Option, given: str | None, words: list[str], shown: str, program: str) -> Value:
    """Return the argument of an option: behind its equals sign, else the next word."""
    if given is None and words:
        given = words.pop(0)
    if not given:
        raise UsageError(lines=[f'{program}: option "{shown}" requires an argument.'])
    if option.kind == "integer":
        try:
            return int(given, 0)
        except ValueError:
            line = f'{program}: "{given}" is not a valid argument for option "{shown}".'
            raise UsageError(lines=[line]) from None
    return given


def _check_build_directory(option: Option, options: Options) -> None:
    """``-M`` and ``-m`` are looked up at once, in the directory the program was started from.

    installer.md, c-M-other-cwd: the change to the package's directory comes later, so ``-M`` fails from elsewhere.
    """
    if option.name == "kernel-module-type":
        given = str(options.values[option.name])
        kinds = [kind for kind in BUILD_DIRECTORIES if kind[0] == given[0].lower()]
        if not kinds:
            raise UsageError(errors=[f"'{given}' is not a valid kernel module type."])
        directory = BUILD_DIRECTORIES[kinds[0]]
        options.values["kernel-module-build-directory"] = directory
    elif option.name == "kernel-module-build-directory":
        directory = str(options.values[option.name])
    else:
        return
    if not Path(directory).is_dir():
        message = f"The kernel module build directory '{directory}' is not present in this installer package."
        raise UsageError(errors=[message])
