# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Minutes of full load on every card at once, watched once a second."""

from __future__ import annotations

from ansible_collections.gpulab.workstation.plugins.module_utils._verify import Check
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_context import Context, Family
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_endurance import FIELDS, judge_endurance
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_python import ask_python, why_no_python

PROGRAM = "verify_load.py"
_SPARE_S = 180.0  # for loading torch, the first look at the results, and the end


def checks(context: Context) -> list[Check]:
    """Load all cards together, as they will be, and judge each."""
    if why := why_no_python(context):
        return context.on_every_card("endurance", why)
    seconds = context.wish.endurance_minutes * 60
    context.progress(f"{context.wish.endurance_minutes:g} minutes of full load on {len(context.cards)} card(s)")
    arguments = ("--seconds", seconds, "--seed", context.seed, "--fields", ",".join(FIELDS))
    answer = ask_python(context, PROGRAM, arguments, seconds + _SPARE_S)
    return [judge_endurance(answer, card.key, seconds, context.limits(card, "endurance")) for card in context.cards]


FAMILY = Family("endurance", ("endurance",), checks)

__all__ = ["FAMILY", "PROGRAM"]
