# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m gpulab` is the command `gpulab`."""

from __future__ import annotations

import sys

from gpulab.cli import main

sys.exit(main())
