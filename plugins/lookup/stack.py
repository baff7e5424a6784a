# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: stack
author: gpulab contributors (@gpulab)
version_added: 0.1.0
short_description: Versions, files and locks of the chosen stack
description:
  - Returns components of the stack that the site has chosen, each with what a role needs to install it.
  - A stack that breaks a rule is refused with the words, the source and the nearest valid value of every broken rule.
  - Reads the variables O(gpulab_stack), O(gpulab_stack_overrides) and O(gpulab_catalogue_overlay) of the host.
options:
  _terms:
    description:
      - Names of components.
      - V(driver), V(cuda) and V(miniforge) are files with version, sources, size in bytes and sha256.
      - V(conda_lock) is an explicit conda lock; V(torch), V(diffusion) and V(uv) have pip locks with hashes.
      - V(verification) has the name of the stack and the limits of every model of card.
      - V(stack) is everything that is needed to judge the stack on a host.
      - V(wishes) is every version and sha256 with one digest of them all, for records.
    type: list
    elements: str
    choices: [driver, cuda, miniforge, conda_lock, torch, diffusion, uv, verification, stack, wishes]
    required: true
  gpulab_stack:
    description: Name of a file in C(catalogue/stacks/) or in C(stacks/) of the overlay, without its suffix.
    type: str
    default: cu128
    vars:
      - name: gpulab_stack
  gpulab_stack_overrides:
    description: Values that replace the stack's, by keys such as C(driver.version); all are text.
    type: dict
    default: {}
    vars:
      - name: gpulab_stack_overrides
  gpulab_catalogue_overlay:
    description: Directory on the controller with further catalogue files, laid over the project's own.
    type: str
    vars:
      - name: gpulab_catalogue_overlay
"""

EXAMPLES = r"""
- name: Show which driver the site's stack has
  ansible.builtin.debug:
    msg: "{{ lookup('gpulab.workstation.stack', 'driver')['version'] }}"
"""

RETURN = r"""
_raw:
  description:
    - One mapping per component.
    - C(standin) is true where the lab stands in for a file that only the internet has.
  type: list
  elements: dict
  sample:
    - version: "580.178.04"
      flavour: open
      file: NVIDIA-Linux-x86_64-580.178.04.run
      size: null
      sha256: 5975a86ee45bffcb626f51ae33d1169b108186a2ea47ad651e72f13fa4b6d6f9
      sources:
        - https://us.download.nvidia.com/XFree86/Linux-x86_64/580.178.04/NVIDIA-Linux-x86_64-580.178.04.run
      standin: false
"""

import typing as t

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase

from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._rules import judge
from ansible_collections.gpulab.workstation.plugins.module_utils._stack_components import component, portable, wishes
from ansible_collections.gpulab.workstation.plugins.plugin_utils._catalogue import catalogue_data, load_catalogue

VARIABLES = ("gpulab_stack", "gpulab_stack_overrides", "gpulab_catalogue_overlay")


class LookupModule(LookupBase):
    """Answers with components of a stack that keeps every rule."""

    def run(
        self, terms: list[str], variables: dict[str, t.Any] | None = None, **kwargs: t.Any
    ) -> list[dict[str, t.Any]]:
        """Return one result per term."""
        option = self._choose(variables or {}, kwargs)
        name, overlay = option("gpulab_stack"), option("gpulab_catalogue_overlay") or None
        try:
            verdict = judge(load_catalogue(overlay), name, option("gpulab_stack_overrides"))
            stack = verdict.stack
            if stack is None or verdict.findings:
                reasons = "".join(f"\n- {finding.rule}: {finding.words()}" for finding in verdict.findings)
                message = f"The stack {name} is refused; nothing was changed.{reasons}"
                raise AnsibleLookupError(message)
            data = catalogue_data(overlay) if "stack" in terms else {}
            whole = {"stack": lambda: portable(stack, data), "wishes": lambda: wishes(stack)}
            return [whole[term]() if term in whole else component(stack, term) for term in terms]
        except OperatorError as error:
            raise AnsibleLookupError(str(error)) from error

    def _choose(self, variables: dict[str, t.Any], direct: dict[str, t.Any]) -> t.Callable[[str], t.Any]:
        """Return the getter of options; Ansible hands variables to a lookup as they are written, so render ours."""
        template = getattr(self._templar, "template", lambda value: value)
        set_options = t.cast("t.Callable[..., None]", self.set_options)
        set_options(
            var_options={name: template(variables[name]) for name in VARIABLES if name in variables}, direct=direct
        )
        return t.cast("t.Callable[[str], t.Any]", self.get_option)
