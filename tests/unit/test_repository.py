# Copyright: (c) 2026, gpulab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What drifts apart when nobody looks: specs and defaults, roles and their scenarios, version numbers, addresses."""

from __future__ import annotations

import re
import subprocess
import typing as t
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if path.is_dir())
MODULES = sorted(path.stem for path in (ROOT / "plugins/modules").glob("*.py"))

# Addresses that may stand in a file of this repository: where things come from, and who said so.
KNOWN_HOSTS = {
    "127.0.0.1",
    "conda.anaconda.org",
    "developer.download.nvidia.com",
    "developer.nvidia.com",
    "docs.ansible.com",
    "docs.nvidia.com",
    "download.nvidia.com",
    "download.pytorch.org",
    "example.invalid",
    "github.com",
    "json-schema.org",
    "repo.anaconda.com",
    "us.download.nvidia.com",
    "www.gnu.org",
    "www.nvidia.com",
}


def load(path: Path) -> t.Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def tracked(*suffixes: str) -> list[Path]:
    """Return the repository's own text files: what git knows or would add."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split("\n")  # fmt: skip
    found = [ROOT / name for name in listed if name and not name.startswith("collections/")]
    return [path for path in found if path.is_file() and (not suffixes or path.suffix in suffixes)]


# Roles that other playbooks than the site's begin or end with.
BESIDE_THE_SITE = {"host_rebuild", "rollout"}


def roles_of(playbook: str) -> list[str]:
    plays = load(ROOT / "playbooks" / playbook)
    return [role["role"].rsplit(".", 1)[1] for play in plays for role in play.get("roles", [])]


def test_the_site_has_the_roles_of_the_design() -> None:
    order = roles_of("provision.yml")
    assert set(order) | BESIDE_THE_SITE == set(ROLES)
    assert len(order) == len(set(order))
    assert order[0] == "host_preflight"
    assert order[-3:] == ["host_restart", "gpu_verify", "host_record"]


def test_a_rollout_is_the_site_behind_a_gate() -> None:
    assert roles_of("rollout.yml") == ["rollout", *roles_of("provision.yml")]
    (play,) = load(ROOT / "playbooks/rollout.yml")
    (provision,) = load(ROOT / "playbooks/provision.yml")
    assert play["roles"][1:] == provision["roles"]
    defaults = load(ROOT / "roles/rollout/defaults/main.yml")
    assert f"default({defaults['rollout_batches']})" in play["serial"]


@pytest.mark.parametrize("role", ROLES)
def test_a_role_has_all_its_parts(role: str) -> None:
    for part in ("README.md", "defaults/main.yml", "meta/main.yml", "meta/argument_specs.yml", "tasks/main.yml"):
        assert (ROOT / "roles" / role / part).is_file(), part
    for part in ("converge.yml", "verify.yml"):
        assert (ROOT / "molecule" / role / part).is_file(), part
    assert list((ROOT / "tests/faults").glob(f"test_{role}*.py")), "no fault cases"


def test_scenarios_play_on_hosts_that_the_lab_starts() -> None:
    """Where no host matches, molecule runs nothing and is content."""
    (task,) = load(ROOT / "molecule/default/create.yml")[0]["tasks"]
    arguments = task["ansible.builtin.command"]["argv"]
    started = {word.removeprefix("--host=") for word in arguments if word.startswith("--host=")}
    books = [path for path in (ROOT / "molecule").glob("*/*.yml") if path.name not in ("molecule.yml", "create.yml")]
    wanted = {play["hosts"] for path in books for play in load(path) if "hosts" in play}
    assert wanted - {"localhost"} == started


@pytest.mark.parametrize("role", ROLES)
def test_defaults_and_argument_specs_say_the_same(role: str) -> None:
    specs = load(ROOT / "roles" / role / "meta/argument_specs.yml")["argument_specs"]
    entry_points = {path.stem for path in (ROOT / "roles" / role / "tasks").glob("*.yml")}
    assert "main" in specs
    assert set(specs) <= entry_points
    options = specs["main"]["options"]
    defaults = load(ROOT / "roles" / role / "defaults/main.yml") or {}
    assert {name: option["default"] for name, option in options.items() if "default" in option} == defaults
    for name, option in options.items():
        assert name.startswith(f"{role}_"), name
        assert option["description"], name
        assert "default" in option or option.get("required"), f"{name} has neither default nor required"


@pytest.mark.parametrize("role", ROLES)
def test_a_role_names_no_group_and_no_other_roles_variables(role: str) -> None:
    others = "|".join(other for other in ROLES if other != role)
    for path in (ROOT / "roles" / role).rglob("*.yml"):
        text = path.read_text(encoding="utf-8")
        assert "gpu-lab" not in text, path
        assert not re.findall(rf"\b(?:{others})_[a-z_]+\b", text), path


@pytest.mark.parametrize("role", ROLES)
def test_task_files_are_tables_of_contents(role: str) -> None:
    lines = (ROOT / "roles" / role / "tasks/main.yml").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 40


def tasks_in(content: t.Any) -> t.Iterator[dict[str, t.Any]]:
    """Return the tasks of a file with those in its blocks."""
    for task in content or []:
        yield task
        for part in ("block", "rescue", "always"):
            yield from tasks_in(task.get(part))


def options_of(module: str) -> set[str]:
    """Return the options that a module documents, with those of its fragments."""
    (documentation,) = documentations(ROOT / "plugins/modules" / f"{module}.py")
    found = [documentation]
    for fragment in documentation.get("extends_documentation_fragment", []):
        found += documentations(ROOT / "plugins/doc_fragments" / f"{fragment.split('.')[2]}.py")
    return {option for part in found for option in part.get("options", {})}


def documentations(path: Path) -> list[dict[str, t.Any]]:
    parts = re.findall(r'^ *DOCUMENTATION = r?"""((?s:.*?))"""', path.read_text(encoding="utf-8"), re.MULTILINE)
    return [yaml.safe_load(part) for part in parts]


@pytest.mark.parametrize("role", ROLES)
def test_tasks_give_our_modules_options_that_they_have(role: str) -> None:
    """A wrong one only shows where the task runs, and those in a rescue hardly ever do."""
    for path in (ROOT / "roles" / role / "tasks").glob("*.yml"):
        for task in tasks_in(load(path)):
            for name, given in task.items():
                if not name.startswith("gpulab.workstation."):
                    continue
                assert set(given or {}) <= options_of(name.rsplit(".", 1)[1]), f"{path}: {task['name']}"


@pytest.mark.parametrize("module", MODULES)
def test_a_module_is_documented_and_tested(module: str) -> None:
    text = (ROOT / "plugins/modules" / f"{module}.py").read_text(encoding="utf-8")
    namespace: dict[str, t.Any] = {}
    for name in ("DOCUMENTATION", "EXAMPLES", "RETURN"):
        found = re.search(rf'^{name} = r?"""(.*?)"""', text, re.DOTALL | re.MULTILINE)
        assert found, name
        namespace[name] = yaml.safe_load(found[1])
        assert namespace[name], name
    assert namespace["DOCUMENTATION"]["module"] == module
    assert (ROOT / "tests/unit/plugins/modules" / f"test_{module}.py").is_file()
    assert len(text.splitlines()) <= 350


@pytest.mark.parametrize("path", sorted((ROOT / "plugins/module_utils").glob("*.py")), ids=lambda path: path.stem)
def test_only_the_host_touches_the_machine(path: Path) -> None:
    if path.stem == "_host":
        return
    text = path.read_text(encoding="utf-8")
    touching = r"^\s*(?:import|from) (?:subprocess|shutil|socket|urllib\.request|pathlib|tempfile|glob)\b|\bopen\("
    assert not re.findall(touching, text, re.MULTILINE), f"{path.name} has its own way to the machine"


def test_the_command_and_the_plugins_do_not_import_each_other() -> None:
    for path in tracked(".py"):
        text = path.read_text(encoding="utf-8")
        if path.is_relative_to(ROOT / "src"):
            assert not re.search(r"^\s*(?:from|import) ansible_collections", text, re.MULTILINE), path
        if path.is_relative_to(ROOT / "plugins"):
            assert not re.search(r"^\s*(?:from|import) gpulab\b", text, re.MULTILINE), path


VERSION = re.compile(
    r"(?<![\d.])5[789]\d\.\d{2,3}(?:\.\d{2})?(?![\d.])|(?<![\d.])12\.[89]\.[01](?![\d.])|(?<![\d.])2\.9\.1(?![\d.])"
)


def test_version_numbers_stand_in_the_catalogue_only() -> None:
    found = []
    for path in tracked(".py", ".yml", ".sh"):
        relative = path.relative_to(ROOT)
        if relative.parts[0] in ("catalogue", "tests", "requirements", "bench"):
            continue
        text = _without_documentation(path)
        found += [f"{relative}: {match}" for match in VERSION.findall(text)]
    assert found == []


def _without_documentation(path: Path) -> str:
    """Leave out what explains: docstrings, comments and module documentation may name versions as examples."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        text = re.sub(r'r?"""(?s:.*?)"""', "", text)
    text = re.sub(r"^\s*#.*$|\s+#\s.*$", "", text, flags=re.MULTILINE)
    if path.name == "argument_specs.yml":
        text = re.sub(r"description:(?s:.*?)(?=\n\s+\w+:)", "", text)
    return text


ADDRESS = re.compile(r"\b(?:https?|file)://(?:[^\s/@\"']+@)?([A-Za-z0-9.-]+)")
RESERVED = re.compile(
    r"(?:10|127|192\.0\.2|198\.51\.100|203\.0\.113)\.[\d.]+|[^.]+|.*\bexample(?:\.org|\.com)?|.*\.(?:invalid|test)"
)


def test_addresses_are_known_ones() -> None:
    found = set()
    for path in tracked():
        if path.suffix in (".png", ".gz") or path.name == "LICENSE":
            continue
        for host in ADDRESS.findall(path.read_text("utf-8", "replace")):
            if host not in KNOWN_HOSTS and not RESERVED.fullmatch(host):
                found.add(f"{path.relative_to(ROOT)}: {host}")
    assert found == set()


def test_locks_have_hashes_and_no_addresses() -> None:
    locks = [*(ROOT / "requirements").glob("*.txt"), *(ROOT / "catalogue/locks").glob("*.txt")]
    assert locks
    for path in locks:
        text = path.read_text(encoding="utf-8")
        assert "://" not in re.sub(r"^\s*#.*$", "", text, flags=re.MULTILINE), path
        for line in re.sub(r"\\\n\s*", " ", text).splitlines():
            if line.strip() and not line.startswith("#"):
                assert " --hash=sha256:" in line, f"{path.name}: {line[:60]}"


def test_todos_have_an_issue() -> None:
    for path in tracked(".py", ".yml", ".sh", ".md"):
        if path.name == Path(__file__).name:
            continue
        assert not re.search(r"\b(?:TODO|FIXME|XXX)\b(?!\(#\d+\))", path.read_text(encoding="utf-8")), path
