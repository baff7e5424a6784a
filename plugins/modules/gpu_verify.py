# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gpu_verify
short_description: Prove that a workstation runs native GPU code and computes right numbers
version_added: 0.1.0
author:
  - gpulab contributors (@gpulab)
description:
  - Compiles test kernels with the installed nvcc for one architecture, lists the machine code that came out, and runs
    it on every card with PTX JIT disabled against a double-precision reference.
  - Compares the driver's version on all its layers, the cards on PCI with those of NVML, the toolkit with the wanted
    release, and torch with the stack.
  - Each check has an outcome of its own, one of C(pass), C(warn), C(fail) and C(not_proven). What was not run is never
    passed. docs/verification.md describes each check, docs/schema/gpu_verify-2.json the document.
  - The task fails when a check failed, or when a required one is not proven; a host of which the inventory says that it
    has no GPU is excused from the checks that need one, and still does not count as verified.
  - The action plugin of the same name also writes the document on the controller.
extends_documentation_fragment:
  - gpulab.workstation._attributes
  - gpulab.workstation._attributes.job
attributes:
  check_mode:
    support: full
    details:
      - Everything is checked as the host is now, and no result file is written.
      - What would fail is a warning, because the roles before this one have not made their changes either.
  diff_mode:
    support: N/A
    details: The module changes nothing but its result file. The job that makes the checks cleans up after itself.
  idempotent:
    support: full
    details: The module always reports that nothing was changed.
options:
  arch:
    description: Compute capability to prove, such as V(12.0) for RTX 50 or V(9.0) for H100.
    type: str
    required: true
  programs:
    description: Sources of the test programs, by file name.
    type: dict
    default: {}
  programs_directory:
    description: Directory on the controller with the sources; the action plugin makes O(programs) of it.
    type: str
    default: ""
  require:
    description: Names of the checks that must be proven, where the run makes them.
    type: list
    elements: str
    required: true
  expect_gpu:
    description: Whether the host has a GPU. If not, the checks that need one may stay unproven.
    type: bool
    default: true
  level:
    description: V(quick) takes under a minute; V(full) adds what takes minutes.
    type: str
    choices: [quick, full]
    default: quick
  endurance_minutes:
    description: Minutes of full load. With V(0) there are none.
    type: float
    default: 0
  force:
    description: Whether to verify although a card is in use. Otherwise that is refused before anything is run, with who
      it is.
    type: bool
    default: false
  limits:
    description: Rows of C(catalogue/limits.yml), one per model of card. A card without one is measured, and not proven.
    type: list
    elements: dict
    default: []
  stack:
    description: Name of the stack, for the document.
    type: str
    default: ""
  host_name:
    description: Name of the host in the document.
    type: str
    default: ""
  driver:
    description: Driver version that should be loaded. Empty asks for none.
    type: str
    default: ""
  toolkit:
    description: Release of the catalogue that should be installed, as for M(gpulab.workstation.cuda_toolkit). Empty
      asks for none.
    type: dict
    default: {}
  toolkit_path:
    description: Directory or link of the toolkit to compile with.
    type: path
    default: /usr/local/cuda
  python:
    description: Python of the environment with torch. Empty leaves out the checks of torch.
    type: str
    default: ""
  torch_version:
    description: Version that torch should have. Empty asks for none.
    type: str
    default: ""
  torch_cuda:
    description: CUDA version that torch should be built with. Empty asks for none.
    type: str
    default: ""
  nvcc_flags:
    description: Further options for nvcc; C(-DGPU_VERIFY_PLANT=1) and others break the programs on purpose.
    type: list
    elements: str
    default: []
  time_limit_seconds:
    description: Seconds that the program may take on one card.
    type: int
    default: 60
  work_directory:
    description: Where the program is built and started; must not be mounted noexec. It is removed afterwards.
    type: path
    default: /var/lib/gpulab/verify.work
  results_directory:
    description: Directory on the controller for the documents of all hosts; used by the action plugin only. Empty means
      C(results) of the repository.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Prove the workstation
  gpulab.workstation.gpu_verify:
    arch: "12.0"
    programs_directory: "{{ role_path }}/files"
    require: [driver_loaded, cards, toolkit, native_code, negative_control, kernel_results]
"""

RETURN = r"""
verified:
  description: Whether every required check was made and went well.
  returned: always
  type: bool
  sample: true
document:
  description: The result, as docs/schema/gpu_verify-2.json describes it.
  returned: always
  type: dict
  sample:
    schema: gpu_verify-2
    host: ws-01
    verified: true
result_path:
  description: Where the document was written on the host, null in check mode.
  returned: always
  type: str
  sample: /var/lib/gpulab/verify.json
results_path:
  description: Where the document was written on the controller, null in check mode.
  returned: always
  type: str
  sample: results/ws-01.json
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.gpulab.workstation.plugins.module_utils._converge import JOB_ARGUMENTS
from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._host import LocalHost
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_document import (
    expected_checks,
    message,
    render,
)
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_job import verify
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_run import RESULT
from ansible_collections.gpulab.workstation.plugins.module_utils._verify_usage import InUseError

ARGUMENTS = {
    "arch": {"type": "str", "required": True},
    "programs": {"type": "dict", "default": {}},
    "programs_directory": {"type": "str", "default": ""},
    "require": {"type": "list", "elements": "str", "required": True},
    "expect_gpu": {"type": "bool", "default": True},
    "level": {"type": "str", "choices": ["quick", "full"], "default": "quick"},
    "endurance_minutes": {"type": "float", "default": 0},
    "force": {"type": "bool", "default": False},
    "limits": {"type": "list", "elements": "dict", "default": []},
    "stack": {"type": "str", "default": ""},
    "host_name": {"type": "str", "default": ""},
    "driver": {"type": "str", "default": ""},
    "toolkit": {"type": "dict", "default": {}},
    "toolkit_path": {"type": "path", "default": "/usr/local/cuda"},
    "python": {"type": "str", "default": ""},
    "torch_version": {"type": "str", "default": ""},
    "torch_cuda": {"type": "str", "default": ""},
    "nvcc_flags": {"type": "list", "elements": "str", "default": []},
    "time_limit_seconds": {"type": "int", "default": 60},
    "work_directory": {"type": "path", "default": "/var/lib/gpulab/verify.work"},
    "results_directory": {"type": "str", "default": ""},
    **JOB_ARGUMENTS,
}


def main() -> None:
    """Verify the host and leave the document there; while the job runs, tell what it is at."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    host = LocalHost()
    params = {key: value for key, value in module.params.items() if key not in JOB_ARGUMENTS}
    try:
        document, running = verify(host, params, job=module.params["job"], wait_s=module.params["wait_seconds"])
        if document is None:
            module.exit_json(changed=False, job_running=True, **running)
        if not module.check_mode:
            host.write_text(RESULT, render(document))
    except OperatorError as error:
        if module.check_mode and isinstance(error, InUseError):
            module.warn(f"As this host is now, it would not be verified. {error}")
            module.exit_json(changed=False, verified=False, msg=f"NOT verified. {error}", result_path=None)
        module.fail_json(msg=str(error), found=error.found, expected=error.expected, action=error.action)
    except OSError as error:
        module.fail_json(
            msg=f"Found: {error}. Expected: files that this user can read and write. To do: run as root, and look at"
            " the file system of this host."
        )
    _tell(module, document)


def _tell(module: AnsibleModule, document: dict[str, t.Any]) -> t.NoReturn:
    """End the module as the document says; in check mode a failure is a warning."""
    result = {
        "changed": False,
        "verified": document["verified"],
        "document": document,
        "result_path": None if module.check_mode else RESULT,
    }
    if not document["failure"]:
        module.exit_json(msg=message(document), **result)
    words = (
        f"Found: {document['failure']}. Expected: {', '.join(expected_checks(document))} proven."
        " To do: cure what the checks name and run again; the document in the result has their figures."
    )
    if module.check_mode:
        module.warn(f"As this host is now, the proof would fail. {words}")
        module.exit_json(msg=message(document), **result)
    module.fail_json(msg=words, **result)


if __name__ == "__main__":
    main()
