# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: verify_report
short_description: Make the page and the JUnit file of kept results again
version_added: 0.1.0
author:
  - gpulab contributors (@gpulab)
description:
  - Reads the documents that M(gpulab.workstation.gpu_verify) left on the controller and writes C(index.html) and
    C(junit.xml) beside them. No host is touched; the action plugin of this name does it all on the controller.
  - A file that is no such document is named, and the others are shown.
extends_documentation_fragment:
  - gpulab.workstation._attributes
attributes:
  check_mode:
    support: none
    details: In check mode nothing is written and the task is skipped.
  diff_mode:
    support: N/A
    details: The page is made anew each time.
  idempotent:
    support: N/A
    details: The page carries the time at which it was made.
options:
  directory:
    description: Directory with the documents. Empty means C(results) of the repository.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Make the page again
  gpulab.workstation.verify_report:
    directory: results
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
page:
  description: The page.
  returned: success
  type: str
  sample: /srv/gpulab/results/index.html
junit:
  description: The JUnit file, with a suite for every host that has a document.
  returned: success
  type: str
  sample: /srv/gpulab/results/junit.xml
unreadable:
  description: Files among the results that are none, each with the reason.
  returned: success
  type: list
  elements: dict
  sample: [{"path": "/srv/gpulab/results/ws-05.json", "why": "it is no JSON"}]
"""
