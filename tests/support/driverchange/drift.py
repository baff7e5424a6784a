# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print as JSON how gpu_verify's check of the driver's drift ends on this host."""

from __future__ import annotations

import json
import sys

from ansible_collections.gpulab.workstation.plugins.module_utils import _verify_drift_family
from ansible_collections.gpulab.workstation.plugins.module_utils._host import LocalHost
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_run import read_context
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_wish import Wish

WISH = Wish(arch="12.0", require=(), expect_gpu=False)

if __name__ == "__main__":
    (check,) = _verify_drift_family.checks(read_context(LocalHost(), WISH, lambda _: None))
    sys.stdout.write(json.dumps([check.outcome.value, check.why]))
