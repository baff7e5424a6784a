# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The catalogue's files on the controller: read once per process, with a site's overlay laid over them."""

from __future__ import annotations

import functools
import typing as t
from pathlib import Path

import yaml

from ansible_collections.gpulab.workstation.plugins.module_utils._catalogue_reader import FILES, read_catalogue
from ansible_collections.gpulab.workstation.plugins.module_utils._errors import OperatorError

if t.TYPE_CHECKING:
    from ansible_collections.gpulab.workstation.plugins.module_utils._releases import Catalogue

DIRECTORY = Path(__file__).parents[2] / "catalogue"


try:
    from yaml import CSafeLoader as _SafeLoader  # ten times as fast, where libyaml is there
except ImportError:
    from yaml import SafeLoader as _SafeLoader  # type: ignore[assignment]


class _Loader(_SafeLoader):
    """SafeLoader that refuses a key that stands twice in a mapping, where YAML would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[t.Hashable, t.Any]:  # noqa: FBT001, FBT002  # PyYAML's signature
        seen = set()
        for key, _ in node.value:
            name = (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else key
            if name in seen:
                problem = f"the key {key.value} stands twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep)


def catalogue_data(overlay: str | None = None, directory: Path = DIRECTORY) -> dict[str, t.Any]:
    """Return the parsed files: one key per file, and ``stacks`` and ``locks`` by name and by relative path.

    An overlay holds files of the same names. Its entries amend those of the same name in a table (releases, devices,
    records, ...), replace them where they bring a sha256, and are added otherwise; stacks and locks are whole files.
    """
    data = _read_directory(directory)
    if overlay:
        extra = Path(overlay).expanduser()
        if not extra.is_dir():
            raise OperatorError(
                found=f"the catalogue overlay {overlay} is not a directory.",
                expected="a directory with files like those in catalogue/.",
                action="correct gpulab_catalogue_overlay (--overlay), or leave it out.",
            )
        data = _laid_over(data, _read_directory(extra))
    return data


@functools.cache
def load_catalogue(overlay: str | None = None) -> Catalogue:
    """Return the validated catalogue of this checkout with the overlay, read once per process."""
    return read_catalogue(catalogue_data(overlay))


def _read_directory(directory: Path) -> dict[str, t.Any]:
    data = {path.stem: _read_yaml(path) for path in sorted(directory.glob("*.yml"))}
    strangers = [name for name in data if name not in FILES]
    if strangers:
        raise OperatorError(
            found=f"{directory} has the file {strangers[0]}.yml, which the catalogue does not know.",
            expected=f"only {', '.join(f'{name}.yml' for name in FILES)}, stacks/ and locks/.",
            action="rename or remove the file.",
        )
    data["stacks"] = {path.stem: _read_yaml(path) for path in sorted((directory / "stacks").glob("*.yml"))}
    locks = directory / "locks"
    data["locks"] = {
        path.relative_to(locks).as_posix(): path.read_text(encoding="utf-8") for path in sorted(locks.rglob("*.txt"))
    }
    return data


def _read_yaml(path: Path) -> t.Any:
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506  # derives from SafeLoader
    except yaml.YAMLError as error:
        raise OperatorError(
            found=f"{path} cannot be read as YAML: {error}.",
            expected="YAML without doubled keys.",
            action="correct the file at the line named.",
        ) from error


def _laid_over(base: dict[str, t.Any], extra: dict[str, t.Any]) -> dict[str, t.Any]:
    """Lay files over files: tables are merged entry by entry, everything else is replaced."""
    merged = dict(base)
    for name, file in extra.items():
        below = base.get(name)
        if name in FILES and isinstance(below, dict) and isinstance(file, dict):
            merged[name] = {**below, **{key: _entries_over(below.get(key), value) for key, value in file.items()}}
        elif name in FILES:
            merged[name] = file
        else:
            merged[name] = {**(below or {}), **file}
    return merged


def _entries_over(below: t.Any, above: t.Any) -> t.Any:
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above
    return {**below, **{name: _entry_over(below.get(name), entry) for name, entry in above.items()}}


def _entry_over(below: t.Any, above: t.Any) -> t.Any:
    """Amend an entry; one that brings its own sha256 is another file, for which nothing said of the first one holds."""
    if isinstance(below, dict) and isinstance(above, dict) and "sha256" not in above:
        return {**below, **above}
    return above


__all__ = ["DIRECTORY", "catalogue_data", "load_catalogue"]
