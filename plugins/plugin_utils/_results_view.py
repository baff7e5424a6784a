# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Work out what the page shows: rows of cards with key figures, checks with medians, changes and charts."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.gpulab.workstation.plugins.module_utils._verify import Outcome
from ansible_collections.gpulab.workstation.plugins.plugin_utils._results_chart import Chart
from ansible_collections.gpulab.workstation.plugins.plugin_utils._results_charts import (
    bandwidth_chart,
    endurance_charts,
)
from ansible_collections.gpulab.workstation.plugins.plugin_utils._results_document import (
    SEVERITY,
    Card,
    Check,
    Document,
    number,
    worst,
)
from ansible_collections.gpulab.workstation.plugins.plugin_utils._results_figures import (
    Figure,
    figures_of,
    label_and_unit,
    limit_words,
    plain,
    with_unit,
)
from ansible_collections.gpulab.workstation.plugins.plugin_utils._results_fleet import (
    changes,
    medians,
    newest_homes,
    versus,
)
from ansible_collections.gpulab.workstation.plugins.plugin_utils._results_shown import (
    CardView,
    CheckView,
    FigureView,
    HostView,
    KeyView,
    ModelView,
    Results,
    Row,
    View,
)
from ansible_collections.gpulab.workstation.plugins.plugin_utils._results_store import NoResult, file_name

# The overview's figures: heading, check, figure. A column without any figure is left out.
KEYS = (
    ("Memory copy", "memory_bandwidth", "copy_gb_s"),
    ("bf16 product", "torch_matmul", "tflops"),
    ("SDXL image", "diffusion_sdxl", "seconds_per_image"),
    ("Hottest", "endurance", "max_temperature_c"),
)
_NAMED = 3  # checks that a row names before it only counts


Medians = t.Mapping[tuple[str, str, str], tuple[float, int]]


def view(results: Results) -> View:
    """Work out the page."""
    homes = newest_homes(results.documents)
    middle = medians(results.documents, homes)
    keys = _keys_in(results)
    missing = {row.host: row for row in results.missing}
    hosts = [_host(document, results, homes, middle, keys, missing) for document in results.documents]
    there = {document.host for document in results.documents}
    hosts += [_absent(row) for row in results.missing if row.host not in there]
    hosts.sort(key=lambda host: natural(host.name))
    rows = [row for host in hosts for row in _rows(host)]
    rows.sort(key=lambda row: (-_rank(row), natural(row.host.name)))
    return View(
        hosts=tuple(hosts),
        rows=tuple(rows),
        models=_models(homes, middle, keys),
        keys=tuple(heading for heading, _, _ in keys),
        unreadable=tuple(results.unreadable),
    )


def natural(name: str) -> tuple[tuple[int, str], ...]:
    """Sort ws-9 before ws-10."""
    parts = re.findall(r"\d+|\D+", name)
    return tuple((int(part), "") if part.isdecimal() else (-1, part) for part in parts)


def _rank(row: Row) -> int:
    """Return how soon somebody has to look: a host that did not answer is first."""
    return len(SEVERITY) if row.host.document is None else SEVERITY.index(row.outcome)


Keys = tuple[tuple[str, str, str], ...]


def _keys_in(results: Results) -> Keys:
    everything = [*results.documents, *(document for earlier in results.earlier.values() for document in earlier)]
    measured = {
        (check.name, figure) for document in everything for check in document.checks for figure in check.figures
    }
    return tuple(key for key in KEYS if key[1:] in measured)


def _host(
    document: Document,
    results: Results,
    homes: t.Mapping[str, Document],
    middle: Medians,
    keys: Keys,
    missing: t.Mapping[str, NoResult],
) -> HostView:
    cards = tuple(_card(document, card, results, homes, middle, keys) for card in document.cards)
    earlier = results.earlier.get(document.host, ()) if not cards else ()
    checks = tuple(_check_view(check, "", {}) for check in document.of_card(""))
    return HostView(
        name=document.host,
        anchor=f"host-{file_name(document.host)}",
        file=f"{file_name(document.host)}.json",
        document=document,
        missing=missing.get(document.host),
        outcome=worst(check.check.outcome for check in checks),
        checks=checks,
        changes=tuple(changes(document, None, earlier)),
        compared=earlier[0].time if earlier else "",
        cards=cards,
    )


def _absent(row: NoResult) -> HostView:
    name = file_name(row.host)
    return HostView(row.host, f"host-{name}", "", None, row, Outcome.NOT_PROVEN, (), (), "", ())


def _card(
    document: Document,
    card: Card,
    results: Results,
    homes: t.Mapping[str, Document],
    middle: Medians,
    keys: Keys,
) -> CardView:
    earlier = results.earlier.get(card.uuid, ())
    now = [(check, "") for check in document.of_card(card.uuid)]
    made = {check.name for check, _ in now}
    for older in earlier:  # what only a fuller run makes stays on the page, with its date
        now += [(check, older.time) for check in older.of_card(card.uuid) if check.name not in made]
        made |= {check.name for check in older.of_card(card.uuid)}
    checks = tuple(_check_view(check, card.name, middle, measured) for check, measured in now)
    home = homes[card.uuid]
    return CardView(
        card=card,
        anchor=f"card-{file_name(document.host)}-{file_name(card.uuid)}",
        outcome=worst(check.outcome for check, measured in now if not measured),
        checks=checks,
        charts=tuple(chart for check, _ in now for chart in _charts(check)),
        changes=tuple(changes(document, card, earlier)),
        compared=earlier[0].time if earlier else "",
        keys=tuple(_key(checks, key, card.name, middle) for key in keys),
        moved_to=home.host if home is not document else "",
    )


def _charts(check: Check) -> list[Chart]:
    if check.name == "endurance":
        return endurance_charts(check)
    chart = bandwidth_chart(check) if check.name == "memory_bandwidth" else None
    return [chart] if chart else []


def _check_view(check: Check, model: str, middle: Medians, measured: str = "") -> CheckView:
    return CheckView(check, tuple(_figure_view(figure, check, model, middle) for figure in figures_of(check)), measured)


def _figure_view(figure: Figure, check: Check, model: str, middle: Medians) -> FigureView:
    found = middle.get((model, check.name, figure.name))
    median = far = ""
    if found is not None:
        median = f"{with_unit(found[0], figure.unit)} ({found[1]}\u00a0cards)"
        far = versus(figure.value, found[0], figure.unit) if figure.value is not None else ""
    limit = figure.limit
    return FigureView(figure, median, far, limit_words(limit) if limit else "", limit.source if limit else "")


def _key(checks: t.Sequence[CheckView], key: tuple[str, str, str], model: str, middle: Medians) -> KeyView:
    _, name, figure_name = key
    found = next((check for check in checks if check.check.name == name), None)
    value = number(found.check.figures.get(figure_name)) if found else None
    if found is None or value is None:
        return KeyView()
    unit = _unit(found.check, figure_name)
    median = middle.get((model, name, figure_name))
    return KeyView(
        shown=with_unit(value, unit),
        median=plain(median[0]) if median else "",
        versus=versus(value, median[0], unit) if median else "",
        sort=value,
        outcome=found.check.outcome.value,
    )


def _unit(check: Check, figure: str) -> str:
    limit = check.limit(figure)
    return limit.unit if limit else label_and_unit(figure)[1]


def _rows(host: HostView) -> list[Row]:
    if not host.cards:
        return [_row(host, None)]
    return [_row(host, card) for card in host.cards]


def _row(host: HostView, card: CardView | None) -> Row:
    checks = [*host.checks, *(check for check in (card.checks if card else ()) if not check.measured)]
    outcome = worst(check.check.outcome for check in checks)
    names = [check.check.name.replace("_", " ") for check in checks if check.check.outcome is outcome]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    found = [*host.changes, *(card.changes if card else ())]
    return Row(
        host=host,
        card=card,
        outcome=outcome,
        named="" if outcome is Outcome.PASS else ", ".join(names[:_NAMED]) + more,
        changed=len(found),
        worse=any(change.worse for change in found),
    )


def _models(homes: t.Mapping[str, Document], middle: Medians, keys: Keys) -> tuple[ModelView, ...]:
    counts: dict[str, int] = {}
    for uuid, document in homes.items():
        name = next(card.name for card in document.cards if card.uuid == uuid)
        counts[name] = counts.get(name, 0) + 1
    found = []
    for name, count in sorted(counts.items()):
        values = [middle.get((name, check, figure)) for _, check, figure in keys]
        units = [label_and_unit(figure)[1] for _, _, figure in keys]
        shown = tuple(with_unit(value[0], unit) if value else "" for value, unit in zip(values, units, strict=True))
        found.append(ModelView(name, count, shown))
    return tuple(found)


__all__ = ["KEYS", "natural", "view"]
