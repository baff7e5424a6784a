# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge a stack, on its own or on a host: every broken rule with its words, source and the nearest valid value."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, replace

from ansible_collections.gpulab.workstation.plugins.module_utils import (
    _driver_rules,
    _lock_rules,
    _platform_rules,
    _torch_rules,
)
from ansible_collections.gpulab.workstation.plugins.module_utils._choice import ChoiceError, Finding
from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError
from ansible_collections.gpulab.workstation.plugins.module_utils._releases import Catalogue
from ansible_collections.gpulab.workstation.plugins.module_utils._rule import Rule
from ansible_collections.gpulab.workstation.plugins.module_utils._stack import NONE, Stack, candidates, resolve
from ansible_collections.gpulab.workstation.plugins.module_utils._stack_facts import StackFacts, read_facts

RULES: tuple[Rule, ...] = (*_platform_rules.RULES, *_driver_rules.RULES, *_torch_rules.RULES, *_lock_rules.RULES)
# Rules that are kept while a stack is being looked up, before there is one to judge.
CHOICE_RULES = ("known-key", "known-version", "linux-numbering", "known-fact")
_LAST_RESORT = ("beta", "cuda-bundle")


@dataclass(frozen=True)
class Verdict:
    """A stack, if everything chosen for it is known, and every rule that it breaks."""

    stack: Stack | None
    findings: tuple[Finding, ...]


def judge(
    catalogue: Catalogue,
    name: str,
    overrides: t.Mapping[str, t.Any] | None = None,
    host_facts: t.Mapping[str, t.Any] | None = None,
) -> Verdict:
    """Resolve and check; where an override is unknown, the rules that do not read it are still applied."""
    facts, wrong = read_facts(host_facts)
    try:
        stack = resolve(catalogue, name, overrides)
    except ChoiceError as error:
        known = {key: value for key, value in (overrides or {}).items() if key not in error.unknown}
        rules = [rule for rule in RULES if not error.unknown.keys() & set(rule.reads)]
        found = (*wrong, *error.unknown.values())
        try:
            rest = resolve(catalogue, name, known)
        except ChoiceError:  # what is unknown stands in the stack file itself
            return Verdict(None, found)
        found = tuple(_valid_here(finding, rest, facts) for finding in found)
        return Verdict(None, (*found, *check(rest, facts, rules)))
    return Verdict(stack, (*wrong, *check(stack, facts)))


def check(stack: Stack, facts: StackFacts | None = None, rules: t.Sequence[Rule] = RULES) -> list[Finding]:
    """Return a finding for every broken rule."""
    known = facts or StackFacts()
    broken = {rule: answer for rule in rules if (answer := rule.test(stack, known)) is not None}
    return [
        Finding(
            rule=rule.rule_id,
            sentence=rule.sentence,
            found=answer.found,
            expected=answer.expected,
            nearest=answer.nearest or _nearest(rule, stack, known, broken),
            source=answer.source or stack.catalogue.rule_sources[rule.rule_id],
        )
        for rule, answer in broken.items()
    ]


def _valid_here(finding: Finding, stack: Stack, facts: StackFacts) -> Finding:
    """Move the nearest driver of a Windows number on to the closest one that the rest of the stack can work with."""
    key, _, value = finding.nearest.partition("=")
    if finding.rule != "linux-numbering":
        return finding
    near = stack.with_value(key, value)
    tried = [(value, near), *_alternatives(near, key)]
    fewest = min(len(_broken(changed, facts)) for _, changed in tried)
    best = [value for value, changed in tried if len(_broken(changed, facts)) == fewest]
    return replace(finding, nearest=_words(stack.catalogue, key, best))


def _nearest(rule: Rule, stack: Stack, facts: StackFacts, broken: t.Collection[Rule]) -> str:
    """Return the closest value that mends the rule and leaves the fewest rules broken; each key that does as well.

    Where each of them would break another rule, the stacks that hold as a whole are named instead.
    """
    mending: dict[str, list[tuple[str, list[Rule]]]] = {}
    for key in rule.cures:
        for value, changed in _alternatives(stack, key):
            left = _broken(changed, facts)
            if rule not in left:
                mending.setdefault(key, []).append((value, left))
    fewest = min((len(left) for values in mending.values() for _, left in values), default=0)
    answers: list[tuple[str, str]] = []
    for key, values in mending.items():
        best = [(value, left) for value, left in values if len(left) == fewest]
        if best:
            new = [other.rule_id for other in best[0][1] if other not in broken]
            price = f" (which breaks {', '.join(new)})" if new else ""
            answers.append((_words(stack.catalogue, key, [value for value, _ in best]), price))
    whole = _whole_stacks(rule, stack, facts) if answers and all(price for _, price in answers) else []
    return " or ".join(whole or [words + price for words, price in answers])


def _whole_stacks(rule: Rule, stack: Stack, facts: StackFacts) -> list[str]:
    """Name the other stacks that keep every rule with the overrides that the rule does not blame; never the lab's."""
    kept = {key: value for key, value in stack.overrides.items() if key not in rule.cures}
    own = ", ".join(key for key in stack.overrides if key in rule.cures)
    found = []
    for name in sorted(stack.catalogue.stacks.keys() - {stack.name}):
        try:
            other = resolve(stack.catalogue, name, kept)
        except OperatorError:  # a mistake in a file that nobody has asked for
            continue
        if not other.standins and not _broken(other, facts):
            found.append(f"the stack {name}" + (f" with its own {own}" if own else ""))
    return found


def _broken(stack: Stack, facts: StackFacts) -> list[Rule]:
    return [rule for rule in RULES if rule.test(stack, facts) is not None]


def _alternatives(stack: Stack, key: str) -> t.Iterator[tuple[str, Stack]]:
    """Yield the other values of a key with their stacks, closest first, the newer of two equally close; none last."""
    known = candidates(stack.catalogue, key)
    here = known.index(stack.values()[key])
    others = [index for index in range(len(known)) if index != here]
    for index in sorted(others, key=lambda index: (known[index] == NONE, abs(index - here), here - index)):
        yield known[index], stack.with_value(key, known[index])


def _words(catalogue: Catalogue, key: str, values: list[str]) -> str:
    """Name the closest value; of a driver whose branch has ended also the closest one in a maintained branch."""
    closest = f"{key}={values[0]}"
    if key != "driver.version" or catalogue.drivers[values[0]].branch_state != "ended":
        return closest
    maintained = [
        value
        for value in values
        if catalogue.drivers[value].branch_state != "ended" and catalogue.drivers[value].kind not in _LAST_RESORT
    ]
    branch = catalogue.drivers[values[0]].number.branch
    return closest + (f" (branch {branch} has ended; {maintained[0]} is maintained)" if maintained else "")


__all__ = ["CHOICE_RULES", "RULES", "Verdict", "check", "judge"]
