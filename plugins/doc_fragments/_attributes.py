# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation that every module of this collection shares."""

from __future__ import annotations


class ModuleDocFragment:
    """What a module promises about check mode, diff mode and repetition, and the options of its job."""

    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Whether the module tells in check mode what it would do, without doing it.
  diff_mode:
    description: Whether the module returns what is before and what will be after the change.
  idempotent:
    description: Whether a second call with the same options reports no change.
  platform:
    description: Systems the module supports.
    support: full
    platforms: debian, ubuntu
"""

    INFO = r"""
options: {}
attributes:
  check_mode:
    support: full
    details: The module only reads.
  diff_mode:
    support: N/A
    details: The module changes nothing.
  idempotent:
    support: full
    details: The module changes nothing.
"""

    JOB = r"""
options:
  job:
    description: Identifier of the job that this call waits for; set by the action plugin of the same name.
    type: str
  wait_seconds:
    description: >-
      Seconds that one call waits for the job before it answers that the job is still running. Where a call takes long
      by itself, the action plugin of the same name has the next one wait for up to three minutes.
    type: float
    default: 10.0
attributes:
  check_mode:
    support: full
    details: The plan of check mode is the plan of the real run.
  diff_mode:
    support: full
  idempotent:
    support: full
"""
