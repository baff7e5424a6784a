# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the installer starts from its unpacked payload: link the base environment."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from .explicit import CondaError
from .packages import install_explicit


def main(prefix: str, listing: str) -> None:
    """Link the listed packages, all of them in the cache already, and end the process."""
    status = 0
    try:
        text, cache = Path(listing).read_text(), Path(prefix, "pkgs")
        install_explicit(text, prefix=Path(prefix), cache=cache, offline=True, stage="base")
    except CondaError as error:
        print(f"ERROR: {error}", file=sys.stderr)
        status = 1
    sys.stderr.flush()
    os._exit(status)  # as in bin/conda: py-rattler's threads may crash the interpreter's shutdown


__all__ = ["main"]
