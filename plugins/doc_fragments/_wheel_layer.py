# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of what torch_stack and diffusion_stack share."""

from __future__ import annotations


class ModuleDocFragment:
    """Options that say which wheels go where, and how they are brought."""

    DOCUMENTATION = r"""
options:
  env:
    description:
      - Directory of the Python environment; a conda environment or a venv with pip, with the Python of the lock.
      - In check mode it may still be missing.
    type: str
    required: true
  lock:
    description:
      - The wheels as the text of a requirements file, each C(name==version) with C(--hash=sha256), without addresses,
        options and conditions. Nothing else is installed, dependencies must be in it.
    type: str
    required: true
  uv_lock:
    description: One such line for uv. It is installed in C(/opt/gpulab/uv) by the environment's pip.
    type: str
    required: true
  index_url:
    description:
      - Address of the package index (PEP 503). Plain http is allowed, the hashes decide.
      - Empty means what the host's own pip configuration says; it is translated for uv, which does not read it.
    type: str
    default: ""
  cache:
    description:
      - Directory of uv's cache. On the file system of the environments its files are shared with them by hard links;
        on another one the module warns, and every environment holds a copy.
    type: str
    default: /var/cache/gpulab/uv
  space_gb:
    description: Free space in units of 10^9 bytes without which a first installation is not begun.
    type: float
    default: 0.0
"""
