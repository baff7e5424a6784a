# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in of nvidia-installer: the recorded behaviour of the original, none of its code, and no GPU driver.

It runs as a zip application on a managed host (Python 3.10, standard library only).
"""

from __future__ import annotations
