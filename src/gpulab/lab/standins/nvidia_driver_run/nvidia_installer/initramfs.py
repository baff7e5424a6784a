# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The initramfs: a scan in the background, and a rebuild by the host's own tool."""

from __future__ import annotations

import subprocess
import tempfile
import typing as t
from pathlib import Path

from . import commands, texts
from .ui import Ui

_SCANNER = "lsinitramfs"
_BUILDER = "update-initramfs"


class Initramfs:
    """What is known of the initramfs of one kernel."""

    def __init__(self, ui: Ui, kernel: str, *, kernel_was_named: bool) -> None:
        self._ui = ui
        self._kernel = kernel
        self._kernel_was_named = kernel_was_named
        self._process: subprocess.Popen[bytes] | None = None
        self._output: t.IO[bytes] | None = None
        self.listing: str | None = None  # None: not known

    @property
    def _image(self) -> str:
        return f"/boot/initrd.img-{self._kernel}"

    def start_scan(self) -> None:
        """Begin to list the image; :meth:`poll` sees the end."""
        scanner = commands.find(_SCANNER)
        if scanner is None or not Path(self._image).exists():
            self._ui.log("Unable to scan initramfs: no tool found", poll=False)
            return
        self._ui.log(f"Scanning the initramfs with {_SCANNER}...", poll=False)
        if self._kernel_was_named:
            self._ui.log(f"{scanner} does not take a kernel argument.", poll=False)
            self._ui.log("Initramfs scan failed.", poll=False)
            return
        self._ui.log(f"Executing: {scanner}   -l {self._image}", poll=False)
        self._output = tempfile.TemporaryFile()  # noqa: SIM115  # read when the scan has ended
        self._process = subprocess.Popen(
            [scanner, "-l", self._image], stdin=subprocess.DEVNULL, stdout=self._output, stderr=subprocess.DEVNULL
        )
        self._ui.poll = self.poll

    def poll(self) -> None:
        """Take the result of a scan that has ended."""
        if self._process is not None and self._process.poll() is not None:
            self.wait()

    def wait(self) -> None:
        """Wait for the end of the scan, and take its result."""
        if self._process is None or self._output is None:
            return
        status, self._process = self._process.wait(), None
        self._output.seek(0)
        listing = self._output.read().decode(errors="replace")
        self._output.close()
        if status == 0:
            self.listing = listing
        self._ui.log("Initramfs scan complete." if status == 0 else "Initramfs scan failed.", poll=False)

    def abandon(self) -> None:
        """End a scan whose result nobody needs any more."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def holds_nvidia(self) -> bool | None:
        """Whether NVIDIA modules are in the image; None if it could not be listed."""
        if self.listing is None:
            return None
        return any(Path(line).name.startswith("nvidia") and ".ko" in line for line in self.listing.splitlines())

    def refresh(self, *, forced: bool | None, nouveau_disabled: bool) -> None:
        """Rebuild the image if there is a reason to, or if told to (``--rebuild-initramfs`` and its opposite)."""
        self.wait()
        if self.listing is None and not nouveau_disabled:
            self.start_scan()
            self.wait()
        wanted = forced if forced is not None else self._is_wanted(nouveau_disabled=nouveau_disabled)
        if wanted:
            self._rebuild()
        else:
            self._ui.log("The initramfs will not be rebuild.")

    def _is_wanted(self, *, nouveau_disabled: bool) -> bool:
        answers = ["Do not rebuild initramfs", "Rebuild initramfs"]
        reasons = ["  * nvidia-installer attempted to disable Nouveau."] if nouveau_disabled else []
        if self.holds_nvidia():
            reasons.append("  * NVIDIA kernel modules are present in the initramfs.")
        if reasons:
            return self._ui.choose(texts.INITRAMFS_REASONS.format(reasons="\n".join(reasons)), answers, default=1) == 1
        if self.holds_nvidia() is None:
            return self._ui.choose(texts.INITRAMFS_UNKNOWN, answers, default=0) == 1
        self._ui.log("No NVIDIA modules detected in the initramfs.")
        return False

    def _rebuild(self) -> None:
        builder = commands.find(_BUILDER)
        if builder is None:
            self._ui.log("Unable to rebuild initramfs: no tool found")
            return
        command = [builder, "-u", *(["-k", self._kernel] if self._kernel_was_named else [])]
        self._ui.log(f"{builder} requires a file path argument, but none was given.")
        self._ui.begin("Processing the initramfs:")
        self._ui.log(f"Executing: {' '.join(command)}  ")
        status, output = commands.capture(command)
        if status != 0:
            self._ui.end("Error.")
            self._ui.error(f"Failed to execute `{' '.join(command)}`: {output}")
            return
        self._ui.end("done")
