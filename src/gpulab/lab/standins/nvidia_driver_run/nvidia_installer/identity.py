# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the stand-in says about itself."""

from __future__ import annotations

import pkgutil

NOTICE = "gpulab stand-in, not NVIDIA software"
DESCRIPTION = "NVIDIA Accelerated Graphics Driver for Linux-x86_64"

# Read while the archive is certainly there: an uninstallation deletes the file this program runs from.
_version_file = pkgutil.get_data(__package__, "version.txt")
VERSION = _version_file.decode("ascii").strip() if _version_file else ""


def digits_version(version: str) -> str:
    """Return the old spelling that the uninstall log uses: ``595.45.04`` is ``1.0-5954504 (595.45.04)``."""
    return f"1.0-{version.replace('.', '')} ({version})"
