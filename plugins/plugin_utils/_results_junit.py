# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""JUnit XML for CI systems: one suite per host, one case per check and card, by the same rule as the task."""

from __future__ import annotations

import re
import typing as t
import xml.etree.ElementTree as ET

from ansible_collections.gpulab.workstation.plugins.module_utils._verify import Outcome
from ansible_collections.gpulab.workstation.plugins.plugin_utils._results_document import Check, Document
from ansible_collections.gpulab.workstation.plugins.plugin_utils._results_figures import figures_of
from ansible_collections.gpulab.workstation.plugins.plugin_utils._results_store import NoResult, Unreadable

# XML 1.0 has no way to write these, not even as references.
_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(
    documents: t.Iterable[Document], missing: t.Iterable[NoResult] = (), unreadable: t.Iterable[Unreadable] = ()
) -> str:
    """Return the text of a JUnit file.

    A failed check, and a required one that is not proven and not excused, is a failure; one that may stay unproven is
    skipped; a warning passes and says why in ``system-out``. A host without a document is an error.
    """
    root = ET.Element("testsuites", name="gpu_verify")
    for document in documents:
        root.append(_suite(document))
    for row in missing:
        root.append(_broken(row.host, "verification", row.ending, row.why, row.time))
    for file in unreadable:
        root.append(_broken(file.path, "document", "unreadable", file.why))
    for key in ("tests", "failures", "errors", "skipped"):
        root.set(key, str(sum(int(suite.get(key, "0")) for suite in root)))
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _suite(document: Document) -> ET.Element:
    suite = ET.Element("testsuite", name=_clean(document.host), timestamp=_clean(document.time.rstrip("Z")))
    suite.set("time", f"{document.seconds or 0:.3f}")
    names = {card.uuid: card.name for card in document.cards}
    for check in document.checks:
        suite.append(_case(document.host, check, names.get(check.card, "")))
    if document.failure and not any(check.fails for check in document.checks):
        case = ET.SubElement(suite, "testcase", classname=_clean(document.host), name="verification")
        ET.SubElement(case, "failure", message=_clean(document.failure), type="verification")
    return _counted(suite)


def _case(host: str, check: Check, model: str) -> ET.Element:
    name = f"{check.name} [{model} {check.card}]" if check.card else check.name
    case = ET.Element("testcase", classname=_clean(f"{host}.{check.card or 'host'}"), name=_clean(name))
    lines = [f"{check.outcome.value}: {check.why}"]
    lines += [f"{figure.name} = {figure.shown}" for figure in figures_of(check) if figure.value is not None]
    text = _clean("\n".join(lines))
    if check.fails:
        ET.SubElement(case, "failure", message=_clean(check.why), type=check.outcome.value).text = text
    elif check.outcome is Outcome.NOT_PROVEN:
        ET.SubElement(case, "skipped", message=_clean(check.why))
    else:
        ET.SubElement(case, "system-out").text = text
    return case


def _broken(name: str, case_name: str, kind: str, why: str, time: str = "") -> ET.Element:
    suite = ET.Element("testsuite", name=_clean(name))
    if time:
        suite.set("timestamp", _clean(time.rstrip("Z")))
    case = ET.SubElement(suite, "testcase", classname=_clean(name), name=case_name)
    ET.SubElement(case, "error", message=_clean(why), type=_clean(kind))
    return _counted(suite)


def _counted(suite: ET.Element) -> ET.Element:
    suite.set("tests", str(len(suite.findall("testcase"))))
    for key, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(key, str(len(suite.findall(f"testcase/{tag}"))))
    return suite


def _clean(text: str) -> str:
    return _NO_XML.sub("\ufffd", text)


__all__ = ["junit"]
