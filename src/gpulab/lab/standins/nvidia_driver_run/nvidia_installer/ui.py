# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
r"""What the operator sees and what the log file gets: the stream user interface of the original.

The formats are those of the recorded runs: the log has ``-> text`` and ``   command output``, stderr has
``\nERROR: text\n\n``, stdout stays empty with ``--silent``.
"""

from __future__ import annotations

import math
import os
import sys
import time
import typing as t

from .identity import NOTICE, VERSION

_BAR_WIDTH = 30


class LogFile:
    """The installation log; that it cannot be written (a full disk) never stops the run."""

    def __init__(self, path: str, program: str) -> None:
        self.path = path
        self._program = program
        self._descriptor: int | None = None

    def open(self, arguments: t.Sequence[str]) -> None:
        """Truncate the file and write its head."""
        try:
            self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o644)
        except OSError as error:
            reason = f"Error opening log file '{self.path}' for writing ({error.strerror}); disabling logging."
            print(f"nvidia-installer: {reason}", file=sys.stderr)
            return
        self.write(f"nvidia-installer log file '{self.path}'")
        self.write(f"creation time: {time.asctime()}")
        self.write(f"installer version: {VERSION}")
        self.write(f"({NOTICE})")
        self.write(f"\nPATH: {os.environ.get('PATH', '')}\n")
        self.write("nvidia-installer command line:")
        for word in (self._program, *arguments):
            self.write(f"    {word}")
        self.write("")

    def write(self, text: str) -> None:
        """Append text and a line end."""
        if self._descriptor is None:
            return
        try:
            os.write(self._descriptor, (text + "\n").encode())
        except OSError:
            return


def _bar(fraction: float) -> str:
    filled = math.ceil(max(0.0, min(fraction, 1.0)) * _BAR_WIDTH)
    return f"  [{'#' * filled:<{_BAR_WIDTH}}] {int(fraction * 100):3d}%"


class Ui:
    """Messages, questions and progress; every answer lands in the log."""

    def __init__(self, log: LogFile, *, silent: bool, asks: bool) -> None:
        self.log_file = log
        self.silent = silent
        self.asks = asks
        self._bar_shown = False
        self.poll: t.Callable[[], None] = lambda: None  # looks after the background scan of the initramfs

    def _show(self, text: str) -> None:
        if not self.silent:
            sys.stdout.write(text)
            sys.stdout.flush()

    def welcome(self) -> None:
        """Show the first line that the operator sees."""
        self._show("\nWelcome to the NVIDIA Software Installer for Unix/Linux\n\n")

    def note(self, text: str) -> None:
        """Write a line for the log alone, without an arrow."""
        self.log_file.write(text)

    def log(self, text: str, *, poll: bool = True, gap: bool = False) -> None:
        """Log a step of the work; some are shown with a gap behind them."""
        if poll:
            self.poll()
        self.log_file.write(f"-> {text}")
        if not self._bar_shown:
            self._show(f"{text}\n\n" if gap else f"{text}\n")

    def log_only(self, text: str) -> None:
        """Log a step that the operator is not shown."""
        self.poll()
        self.log_file.write(f"-> {text}")

    def output(self, line: str) -> None:
        """Log a line that a command printed."""
        self.poll()
        self.log_file.write(f"   {line}")

    def message(self, text: str) -> None:
        """Something the operator should read."""
        self.log_file.write(f"-> {text}")
        self._show(f"\n{text}\n\n")

    def warn(self, text: str) -> None:
        """Show a warning; the run goes on."""
        self._complain("WARNING", text)

    def error(self, text: str) -> None:
        """Show an error; whether the run goes on is the caller's business, and often it does."""
        self._complain("ERROR", text)

    def _complain(self, word: str, text: str) -> None:
        self.log_file.write(f"{word}: {text}")
        sys.stdout.flush()
        sys.stderr.write(f"\n{word}: {text}\n\n")
        sys.stderr.flush()

    def yes_no(self, question: str, *, default: bool) -> bool:
        """Ask; no answer, or an end of stdin, is the default."""
        answer = default
        if self.asks:
            self._show(f"\n{question}\n  [default: {'(Y)es' if default else '(N)o'}]: ")
            given = sys.stdin.readline().strip().lower()
            answer = given.startswith("y") if given[:1] in ("y", "n") else default
        shown = f"{question} (Answer: {'Yes' if answer else 'No'})"
        self.log_file.write(f"-> {shown}")
        if not self.asks:
            self._show(f"{shown}\n")
        return answer

    def choose(self, question: str, answers: t.Sequence[str], *, default: int) -> int:
        """Ask for one of several answers, by number or name; no answer is the default."""
        chosen = default
        if self.asks:
            marks = [" [ default ]" if number == default else "" for number in range(len(answers))]
            rows = [
                f' ({i})\t"{answer}"{mark}\n' for i, (answer, mark) in enumerate(zip(answers, marks, strict=True), 1)
            ]
            self._show(f"\n{question}\nValid responses are: \n{''.join(rows)}")
            self._show("Please select your response by number or name:\n")
            given = sys.stdin.readline().strip().lower()
            names = [answer.lower() for answer in answers]
            if given.isdigit() and 1 <= int(given) <= len(answers):
                chosen = int(given) - 1
            elif given in names:
                chosen = names.index(given)
        gap = "" if question.endswith("\n") else " "
        shown = f"{question}{gap}(Answer: {answers[chosen]})"
        self.log_file.write(f"-> {shown}")
        self._show(f"{shown}\n")
        return chosen

    def begin(self, title: str, doing: str = "") -> None:
        """Start a step with a progress bar."""
        self.poll()
        self.log_file.write(f"-> {title}")
        self._show(f"{title}: {doing}\n\n{_bar(0)}")
        self._bar_shown = True

    def progress(self, fraction: float) -> None:
        """Move the bar."""
        self._show(f"\r{_bar(fraction)}")

    def end(self, word: str = "done.") -> None:
        """End a step that has a bar."""
        self.poll()
        self.log_file.write(f"-> {word}")
        self._show(f"\r{_bar(1)}\n")
        self._bar_shown = False

    def begin_plain(self, title: str) -> None:
        """Start a step without a bar."""
        self.log_file.write(f"-> {title}")
        self._show(f"{title}\n")

    def end_plain(self, word: str = "done.") -> None:
        """End a step without a bar."""
        self.log_file.write(f"-> {word}")
        self._show(f"{word}\n")
